//! JSON rows → a record batch: an array of objects, as a program has them at hand. A column gets the type that all of its
//! values have: bool, int64, float64 or text. A key that a row lacks is null, as it is where it says so.
//!
//! Rows go into columns as they are read, and what they take is counted with each value: text of some bytes may name
//! more cells than any memory holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::offline::table::{Limits, MOST_COLUMNS, TableError, too_large, too_wide};

/// No batch for no rows, which name no columns.
pub(super) fn decode(text: &[u8], limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
    let mut rows = Rows::new(limits);
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = AllOf(&mut rows).deserialize(&mut json).and_then(|()| json.end());
    if let Some(refused) = rows.refused {
        return Err(refused);
    }
    read.map_err(|error| {
        let help = r#"hand in an array of rows: [{"user_id": "u1", "event_timestamp": "2026-11-21T10:00:00Z"}]"#;
        TableError::new(format!("not JSON rows: {error}")).help(help)
    })?;
    if rows.columns.is_empty() {
        return Ok(Vec::new());
    }
    let count = rows.count;
    let columns = rows.columns.into_iter().map(|column| Ok((column.name.clone(), column.array(count)?, true)));
    let columns: Vec<_> = columns.collect::<Result<_, TableError>>()?;
    Ok(vec![RecordBatch::try_from_iter_with_nullable(columns).expect("each row has a value or null in each column")])
}

/// What has been read so far.
struct Rows {
    columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    count: usize,
    bytes: usize,
    limits: Limits,
    /// Why there is no reading on.
    refused: Option<TableError>,
}

struct Column {
    name: String,
    /// Of the rows up to the last that has one.
    cells: Vec<Cell>,
}

enum Cell {
    Null,
    Bool(bool),
    Int64(i64),
    Float64(f64),
    Text(String),
    /// A list, an object, or a number that fits no int64.
    Other,
}

const CELL: usize = size_of::<Cell>();

/// What a column takes beside its cells, with room to spare.
const COLUMN: usize = 256;

impl Rows {
    fn new(limits: Limits) -> Rows {
        Rows { columns: Vec::new(), by_name: HashMap::new(), count: 0, bytes: 0, limits, refused: None }
    }

    /// Of a key that stands twice in a row the last counts.
    fn put<E: Error>(&mut self, name: String, cell: Cell) -> Result<(), E> {
        let text = if let Cell::Text(text) = &cell { text.capacity() } else { 0 };
        self.take(text)?;
        let at = match self.by_name.get(&name) {
            Some(at) => *at,
            None => self.column(name)?,
        };
        let cells = &mut self.columns[at].cells;
        cells.truncate(self.count);
        cells.resize_with(self.count, || Cell::Null);
        cells.push(cell);
        Ok(())
    }

    fn column<E: Error>(&mut self, name: String) -> Result<usize, E> {
        if self.columns.len() == MOST_COLUMNS {
            return Err(self.refuse(too_wide()));
        }
        // The rows before may all have to say that they have none.
        self.take(COLUMN + 2 * name.len() + self.count * CELL)?;
        self.by_name.insert(name.clone(), self.columns.len());
        self.columns.push(Column { name, cells: Vec::new() });
        Ok(self.columns.len() - 1)
    }

    fn end_row<E: Error>(&mut self) -> Result<(), E> {
        self.count += 1;
        self.take(self.columns.len() * CELL)
    }

    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > self.limits.bytes || self.count > self.limits.rows {
            true => Err(self.refuse(too_large(self.limits))),
            false => Ok(()),
        }
    }

    fn refuse<E: Error>(&mut self, why: TableError) -> E {
        self.refused = Some(why);
        E::custom("refused")
    }
}

struct AllOf<'r>(&'r mut Rows);

struct OneOf<'r>(&'r mut Rows);

impl<'de> DeserializeSeed<'de> for AllOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AllOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(OneOf(self.0))?.is_some() {
            self.0.end_row()?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for OneOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        while let Some((name, cell)) = row.next_entry::<String, Cell>()? {
            self.0.put(name, cell)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Cell, D::Error> {
        json.deserialize_any(AnyCell)
    }
}

struct AnyCell;

impl<'de> Visitor<'de> for AnyCell {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Int64(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(i64::try_from(value).map_or(Cell::Other, Cell::Int64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Float64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Cell, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int64,
    Float64,
    Text,
}

impl Column {
    fn array(mut self, rows: usize) -> Result<ArrayRef, TableError> {
        let kind = self.kind_of_all()?;
        self.cells.resize_with(rows, || Cell::Null);
        let cells = self.cells.iter();
        Ok(match kind {
            Kind::Bool => Arc::new(cells.map(Cell::bool).collect::<BooleanArray>()),
            Kind::Int64 => Arc::new(cells.map(Cell::int64).collect::<Int64Array>()),
            Kind::Float64 => Arc::new(cells.map(Cell::float64).collect::<Float64Array>()),
            Kind::Text => Arc::new(cells.map(Cell::text).collect::<StringArray>()),
        })
    }

    /// Text, where all values are null.
    fn kind_of_all(&self) -> Result<Kind, TableError> {
        let mut of_all = None;
        for (index, cell) in self.cells.iter().enumerate() {
            let wrong = |what: &str| TableError::at(index, &self.name, what);
            let kind = match cell {
                Cell::Null => continue,
                Cell::Bool(_) => Kind::Bool,
                Cell::Int64(_) => Kind::Int64,
                Cell::Float64(_) => Kind::Float64,
                Cell::Text(_) => Kind::Text,
                Cell::Other => return Err(wrong("a value is a bool, an int64, a double or text")),
            };
            of_all = match of_all {
                None | Some(Kind::Int64) if kind == Kind::Float64 => Some(kind),
                Some(Kind::Float64) if kind == Kind::Int64 => of_all,
                Some(before) if before != kind => {
                    return Err(wrong("the value is of another kind than those before it"));
                }
                _ => Some(kind),
            };
        }
        Ok(of_all.unwrap_or(Kind::Text))
    }
}

impl Cell {
    fn bool(&self) -> Option<bool> {
        if let Cell::Bool(value) = self { Some(*value) } else { None }
    }

    fn int64(&self) -> Option<i64> {
        if let Cell::Int64(value) = self { Some(*value) } else { None }
    }

    fn float64(&self) -> Option<f64> {
        match self {
            Cell::Int64(value) => Some(*value as f64),
            Cell::Float64(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        if let Cell::Text(value) = self { Some(value) } else { None }
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

    #[test]
    fn rows_are_counted_while_they_are_read() {
        let refused = |json: &str, bytes| {
            let refused = decode(json.as_bytes(), Limits { rows: 4, bytes }).expect_err("it ends within a row");
            refused.what
        };
        let too_many = refused("[{},{},{},{},{},{\"n\":", 1 << 20);
        assert!(too_many.starts_with("the table has more than 4 rows"), "{too_many}");
        let wide: String = (0..9).map(|name| format!("\"{name}\":1,")).collect();
        let too_wide = refused(&format!("[{{{wide}"), 1 << 11);
        assert!(too_wide.starts_with("the table has more than"), "{too_wide}");
        assert!(refused("[{\"n\":", 1 << 20).starts_with("not JSON rows: EOF"), "what is small is read to its end");
        let columns: String = (0..=MOST_COLUMNS).map(|name| format!("\"{name}\":1,")).collect();
        assert_eq!(refused(&format!("[{{{columns}"), 1 << 30), "the table has more than 10000 columns");
    }

    #[test]
    fn of_a_key_that_stands_twice_in_a_row_the_last_value_counts() {
        check(
            r#"[{"n": 1}, {"n": 2, "m": "x", "n": 3}]"#,
            expect![[r#"
                Int64 Utf8
                +---+---+
                | n | m |
                +---+---+
                | 1 |   |
                | 3 | x |
                +---+---+"#]],
        );
    }
}
