//! JSON rows → a record batch: an array of objects, as a program has them at hand. A column gets the type that all of its
//! values have: bool, int64, float64 or text. A key that a row lacks is null, as it is where it says so.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value};

use crate::offline::table::{Limits, TableError, too_large};

type Row = Map<String, Value>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int64,
    Float64,
    Text,
}

/// No batch for no rows, which name no columns.
pub(super) fn decode(text: &[u8], limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
    let rows: Vec<Row> = serde_json::from_slice(text).map_err(|error| {
        let help = r#"hand in an array of rows: [{"user_id": "u1", "event_timestamp": "2026-11-21T10:00:00Z"}]"#;
        TableError::new(format!("not JSON rows: {error}")).help(help)
    })?;
    if rows.len() > limits.rows || text.len() > limits.bytes {
        return Err(too_large(limits));
    }
    let names: Map<String, Value> = rows.iter().flat_map(Row::keys).map(|name| (name.clone(), Value::Null)).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let columns = names.keys().map(|name| Ok((name, column(&rows, name)?, true)));
    let columns: Vec<_> = columns.collect::<Result<_, TableError>>()?;
    Ok(vec![RecordBatch::try_from_iter_with_nullable(columns).expect("each row has a value or null in each column")])
}

fn column(rows: &[Row], name: &str) -> Result<ArrayRef, TableError> {
    let values = || rows.iter().map(|row| row.get(name));
    Ok(match kind_of_all(rows, name)? {
        Kind::Bool => Arc::new(values().map(|value| value?.as_bool()).collect::<BooleanArray>()),
        Kind::Int64 => Arc::new(values().map(|value| value?.as_i64()).collect::<Int64Array>()),
        Kind::Float64 => Arc::new(values().map(|value| value?.as_f64()).collect::<Float64Array>()),
        Kind::Text => Arc::new(values().map(|value| value?.as_str()).collect::<StringArray>()),
    })
}

/// Text, where all values are null.
fn kind_of_all(rows: &[Row], name: &str) -> Result<Kind, TableError> {
    let mut of_all = None;
    for (index, value) in rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.get(name)?))) {
        if value.is_null() {
            continue;
        }
        let wrong = |what: &str| TableError::at(index, name, what);
        let kind = kind(value).ok_or_else(|| wrong("a value is a bool, an int64, a double or text"))?;
        of_all = match of_all {
            None | Some(Kind::Int64) if kind == Kind::Float64 => Some(kind),
            Some(Kind::Float64) if kind == Kind::Int64 => of_all,
            Some(before) if before != kind => return Err(wrong("the value is of another kind than those before it")),
            _ => Some(kind),
        };
    }
    Ok(of_all.unwrap_or(Kind::Text))
}

/// `None`: a list, an object, or a number that fits no int64.
fn kind(value: &Value) -> Option<Kind> {
    match value {
        Value::Bool(_) => Some(Kind::Bool),
        Value::Number(number) if number.is_i64() => Some(Kind::Int64),
        Value::Number(number) if number.is_f64() => Some(Kind::Float64),
        Value::String(_) => Some(Kind::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, expected: Expect) {
        let limits = Limits { rows: 4, bytes: 1 << 20 };
        expected.assert_eq(&match decode(json.as_bytes(), limits) {
            Ok(batches) => {
                let types = batches.iter().flat_map(|batch| batch.schema().fields().to_vec());
                let types: Vec<String> = types.map(|field| field.data_type().to_string()).collect();
                format!("{}\n{}", types.join(" "), pretty_format_batches(&batches).expect("printed"))
            }
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn a_column_has_the_type_of_all_its_values_and_null_where_a_row_has_none() {
        check(
            r#"[{"user": "u1", "n": 1, "x": 1, "is": true}, {"x": 0.5, "later": null, "user": null}, {}]"#,
            expect![[r#"
                Utf8 Int64 Float64 Boolean Utf8
                +------+---+-----+------+-------+
                | user | n | x   | is   | later |
                +------+---+-----+------+-------+
                | u1   | 1 | 1.0 | true |       |
                |      |   | 0.5 |      |       |
                |      |   |     |      |       |
                +------+---+-----+------+-------+"#]],
        );
        assert!(decode(b"[]", Limits { rows: 0, bytes: 9 }).expect("no rows").is_empty());
    }

    #[test]
    fn mistakes_name_row_and_column() {
        check(
            r#"[{"n": 1}, {"n": "1"}]"#,
            expect!["row 2, column `n`: the value is of another kind than those before it"],
        );
        check(r#"[{"n": [1]}]"#, expect!["row 1, column `n`: a value is a bool, an int64, a double or text"]);
        check(
            r#"[{"n": 9223372036854775808}]"#,
            expect!["row 1, column `n`: a value is a bool, an int64, a double or text"],
        );
        check(
            r#"{"n": 1}"#,
            expect![[r#"
                not JSON rows: invalid type: map, expected a sequence at line 1 column 0
                  help: hand in an array of rows: [{"user_id": "u1", "event_timestamp": "2026-11-21T10:00:00Z"}]"#]],
        );
        check(
            "[{},{},{},{},{}]",
            expect![[r#"
                the table has more than 4 rows or 1048576 bytes
                  help: hand it in as several tables"#]],
        );
    }
}
