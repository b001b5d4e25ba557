//! The spine of a training set: rows of entity keys and a label time, with any other columns beside them.
//!
//! Promises: key columns have their keys' types and the label time is in microseconds, never null; other columns,
//! the order of rows, and rows that are alike are as they were handed in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::datatypes::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use jiff::fmt::temporal::Pieces;

use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::offline::json_rows;
use crate::offline::table::{self, Format, Limits, TableError};

/// The columns that a spine must have.
#[derive(Clone, Copy, Debug)]
pub struct SpineColumns<'a> {
    /// Name and type (string or int64) of each entity key.
    pub keys: &'a [(Name, ValueType)],
    pub label_time: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpineFormat {
    Table(Format),
    /// A JSON array of rows.
    Json,
}

/// Reads a spine, all batches under one schema.
pub fn read(
    bytes: Bytes,
    format: SpineFormat,
    columns: SpineColumns<'_>,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let SpineFormat::Table(format) = format else { return check(json_rows::decode(&bytes, limits)?, columns) };
    let as_text = |name: &str| name == columns.label_time || columns.keys.iter().any(|(key, _)| *key == *name);
    check(table::decode(bytes, format, &as_text, limits)?, columns)
}

/// The same for a spine that came as batches.
pub fn check(mut batches: Vec<RecordBatch>, columns: SpineColumns<'_>) -> Result<Vec<RecordBatch>, TableError> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(batches) };
    check_names(&schema, columns)?;
    if batches.iter().any(|batch| batch.schema().fields() != schema.fields()) {
        return Err(TableError::new("its batches have different columns").help("give all of them one schema"));
    }
    let mut rows_before = 0;
    for batch in &mut batches {
        let rows = batch.num_rows();
        *batch = typed(batch, columns, rows_before)?;
        rows_before += rows;
    }
    Ok(batches)
}

fn check_names(schema: &Schema, columns: SpineColumns<'_>) -> Result<(), TableError> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some((_, twice)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(TableError::in_column(twice, "the name stands twice").help("name each column differently"));
    }
    if columns.keys.iter().any(|(key, _)| *key == *columns.label_time) {
        let what = "it is an entity key, and cannot be the label time too";
        return Err(TableError::in_column(columns.label_time, what).help("name the column that says when each row was"));
    }
    let needed = columns.keys.iter().map(|(key, _)| key.as_str()).chain([columns.label_time]);
    match needed.into_iter().find(|name| !names.contains(name)) {
        Some(missing) => Err(TableError::in_column(missing, "the spine has no such column")
            .help(format!("it needs every entity key and the label time; it has `{}`", names.join("`, `")))),
        None => Ok(()),
    }
}

fn typed(batch: &RecordBatch, columns: SpineColumns<'_>, rows_before: usize) -> Result<RecordBatch, TableError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let array = if name == columns.label_time {
            label_times(array, name, rows_before)?
        } else if let Some((_, key_type)) = columns.keys.iter().find(|(key, _)| *key == *name.as_str()) {
            key(array, key_type, name, rows_before)?
        } else {
            fields.push(field.clone());
            arrays.push(array.clone());
            continue;
        };
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns keep their rows"))
}

/// Text may become an int64, digit by digit; nothing else changes its kind.
fn key(array: &ArrayRef, key_type: &ValueType, name: &str, rows_before: usize) -> Result<ArrayRef, TableError> {
    let array = plain(array);
    let held = ValueType::from_arrow(array.data_type());
    let (Some(ValueType::String), ValueType::Int64) = (&held, key_type) else {
        let fits = held.as_ref().is_some_and(|held| held == key_type || held.is_integer() && key_type.is_integer());
        return match cast(&array, &key_type.to_arrow()) {
            Ok(cast) if fits && cast.null_count() == array.null_count() => Ok(cast),
            _ => Err(TableError::in_column(name, format!("it is {}, and the key is {key_type}", array.data_type()))),
        };
    };
    let text = array.as_string::<i32>();
    let parsed = text.iter().enumerate().map(|(row, text)| text.map(|text| int(text, row)).transpose());
    let int64: Result<arrow::array::Int64Array, (usize, String)> = parsed.collect();
    int64.map(|it| Arc::new(it) as ArrayRef).map_err(|(row, what)| TableError::at(rows_before + row, name, what))
}

fn int(text: &str, row: usize) -> Result<i64, (usize, String)> {
    text.parse().map_err(|_| (row, format!("`{}` is not an int64", table::shortened(text))))
}

fn label_times(array: &ArrayRef, name: &str, rows_before: usize) -> Result<ArrayRef, TableError> {
    let array = plain(array);
    let mut times = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let time = match array.is_null(row) {
            true => Err("a row needs a label time, and this one is null".to_owned()),
            false => label_time(&array, row),
        };
        times.push(time.map_err(|what| {
            let help = "write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC";
            TableError::at(rows_before + row, name, what).help(help)
        })?);
    }
    let micros = times.into_iter().map(EventTime::micros);
    Ok(Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")))
}

/// Floored to the microsecond; a time without a zone is UTC.
fn label_time(array: &ArrayRef, row: usize) -> Result<EventTime, String> {
    let micros = match array.data_type() {
        DataType::Utf8 => return parse_time(array.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000))
        }
        other => return Err(format!("the column is {other}, not a timestamp or text")),
    };
    micros.and_then(EventTime::from_micros).ok_or_else(|| "the time is outside the years 0001 to 9999".to_owned())
}

fn parse_time(text: &str) -> Result<EventTime, String> {
    let pieces = Pieces::parse(text).map_err(|_| format!("`{}` is not a time", table::shortened(text)))?;
    match (pieces.offset(), pieces.time_zone_annotation()) {
        (None, None) => EventTime::of_civil(pieces.date().to_datetime(pieces.time().unwrap_or_default())),
        (None, Some(_)) => return Err(format!("`{}` names a time zone, and no offset", table::shortened(text))),
        (Some(_), _) => text.parse().ok(),
    }
    .ok_or_else(|| format!("`{}` is outside the years 0001 to 9999", table::shortened(text)))
}

/// Dictionaries, views and large strings as the plain arrays that they stand for.
fn plain(array: &ArrayRef) -> ArrayRef {
    let value_type = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    match value_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            cast(array, &DataType::Utf8).expect("text becomes plain text")
        }
        other => cast(array, other).expect("a dictionary opens to its values"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray, TimestampNanosecondArray};
    use arrow::util::pretty::pretty_format_batches;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::offline::parquet_file;

    const LIMITS: Limits = Limits { rows: 100_000, bytes: 1 << 26 };

    fn read_as(bytes: Bytes, format: Format, limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
        let keys = [("user_id", ValueType::String), ("shop", ValueType::Int64)];
        let keys = keys.map(|(name, value_type)| (name.parse().expect("a name"), value_type));
        read(bytes, SpineFormat::Table(format), SpineColumns { keys: &keys, label_time: "label_time" }, limits)
    }

    fn check(csv: &'static str, expected: Expect) {
        expected.assert_eq(&match read_as(Bytes::from_static(csv.as_bytes()), Format::Csv, LIMITS) {
            Ok(batches) => pretty_format_batches(&batches).expect("printed").to_string(),
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn csv_columns_take_the_types_of_their_keys_and_else_of_their_values() {
        check(
            "user_id,shop,label_time,n,zip,ratio,note\n\
             007,1,2026-11-21T10:00:00+02:00,1,01234,1,a\n\
             ,-2,2026-11-21 10:00:00.1234567,,99999,0.5,\n",
            expect![[r#"
                +---------+------+-----------------------------+---+-------+-------+------+
                | user_id | shop | label_time                  | n | zip   | ratio | note |
                +---------+------+-----------------------------+---+-------+-------+------+
                | 007     | 1    | 2026-11-21T08:00:00Z        | 1 | 01234 | 1.0   | a    |
                |         | -2   | 2026-11-21T10:00:00.123456Z |   | 99999 | 0.5   |      |
                +---------+------+-----------------------------+---+-------+-------+------+"#]],
        );
    }

    #[test]
    fn a_number_that_fits_no_int64_is_passed_through_as_text() {
        check(
            "user_id,shop,label_time,big\nu,1,2026-11-21T10:00:00Z,99999999999999999999\n",
            expect![[r#"
                +---------+------+----------------------+----------------------+
                | user_id | shop | label_time           | big                  |
                +---------+------+----------------------+----------------------+
                | u       | 1    | 2026-11-21T10:00:00Z | 99999999999999999999 |
                +---------+------+----------------------+----------------------+"#]],
        );
    }

    #[test]
    fn a_csv_column_that_a_type_would_write_otherwise_is_passed_through_as_text() {
        check(
            "user_id,shop,label_time,code,version,flag,at,price,kept\n\
             u,1,2026-11-21T10:00:00Z,12E5,1.10,TRUE,2026-11-21T10:00:00+02:00,2.50,2026-11-21T10:00:00\n\
             u,1,2026-11-21T10:00:00Z,34E2,1.20,false,2026-11-21T10:00:00Z,3,2026-11-21T11:00:00\n",
            expect![[r#"
                +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+
                | user_id | shop | label_time           | code | version | flag  | at                        | price | kept                |
                +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+
                | u       | 1    | 2026-11-21T10:00:00Z | 12E5 | 1.10    | TRUE  | 2026-11-21T10:00:00+02:00 | 2.50  | 2026-11-21T10:00:00 |
                | u       | 1    | 2026-11-21T10:00:00Z | 34E2 | 1.20    | false | 2026-11-21T10:00:00Z      | 3     | 2026-11-21T11:00:00 |
                +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+"#]],
        );
    }

    #[test]
    fn a_table_without_rows_has_its_columns_and_must_have_those_of_a_spine() {
        let columns = |csv: &'static [u8]| {
            let batches = read_as(Bytes::from_static(csv), Format::Csv, LIMITS)?;
            let names = batches[0].schema().fields().iter().map(|it| it.name().clone()).collect::<Vec<_>>().join(" ");
            Ok::<_, TableError>((names, batches[0].num_rows(), batches[0].column(1).data_type().clone()))
        };
        let whole = columns(b"user_id,shop,label_time,note\n").expect("read");
        assert_eq!(whole, ("user_id shop label_time note".to_owned(), 0, DataType::Int64));
        assert_eq!(columns(b"user_id,label_time\n").expect_err("no shop").column.as_deref(), Some("shop"));
        let none = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new("user_id", DataType::Utf8, true)])));
        let parquet = Bytes::from(parquet_file::encode(&none).expect("encoded"));
        assert!(read_as(parquet, Format::Parquet, LIMITS).is_err(), "it lacks columns");
    }

    #[test]
    fn mistakes_name_row_and_column() {
        check(
            "user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1,yesterday\n",
            expect![[r#"
                row 2, column `label_time`: `yesterday` is not a time
                  help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC"#]],
        );
        check(
            "user_id,shop,label_time\nu,1,\n",
            expect![[r#"
                row 1, column `label_time`: a row needs a label time, and this one is null
                  help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC"#]],
        );
        check(
            "user_id,shop,label_time\nu,1.5,2026-11-21T10:00:00Z\n",
            expect!["row 1, column `shop`: `1.5` is not an int64"],
        );
        check(
            "user_id,label_time\nu,2026-11-21T10:00:00Z\n",
            expect![[r#"
                column `shop`: the spine has no such column
                  help: it needs every entity key and the label time; it has `user_id`, `label_time`"#]],
        );
        check(
            "user_id,shop,label_time,shop\nu,1,2026-11-21T10:00:00Z,2\n",
            expect![[r#"
                column `shop`: the name stands twice
                  help: name each column differently"#]],
        );
        check(
            "user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1\n",
            expect![[
                r#"not a CSV table: Csv error: Encountered unequal lengths between records on CSV file. Expected 3 records, found 2 records at line 3"#
            ]],
        );
        check(
            "",
            expect![[r#"
                the table has no header line
                  help: name the columns in the first line"#]],
        );
    }

    #[test]
    fn a_label_time_is_of_its_offset_or_of_utc_and_never_of_a_zone_that_was_not_looked_at() {
        let micros = |text: &str| parse_time(text).map(EventTime::micros);
        let text = |text: &str| parse_time(text).map(|time| time.to_string());
        assert_eq!(text("2026-11-21T10:00:00+02:00[Europe/Berlin]").as_deref(), Ok("2026-11-21T08:00:00Z"));
        assert_eq!(text("2026-11-21").as_deref(), Ok("2026-11-21T00:00:00Z"));
        assert_eq!(micros("9999-12-31 23:59:59.9999999"), Ok(EventTime::MAX.micros()));
        assert_eq!(micros("0001-01-01T00:00:00"), Ok(EventTime::MIN.micros()));
        for (wrong, what) in [
            ("2026-11-21T10:00:00[Europe/Berlin]", "names a time zone, and no offset"),
            ("0001-01-01T00:00:00+02:00", "is outside the years 0001 to 9999"),
            ("0000-12-31T23:59:59", "is outside the years 0001 to 9999"),
            ("tomorrow", "is not a time"),
        ] {
            assert!(parse_time(wrong).expect_err(wrong).ends_with(what), "{wrong}");
        }
    }

    #[test]
    fn the_label_time_is_no_entity_key() {
        let keys = [("user_id".parse().expect("a name"), ValueType::String)];
        let columns = SpineColumns { keys: &keys, label_time: "user_id" };
        let csv = Bytes::from_static(b"user_id\n2026-01-01T00:00:00Z\n");
        let refused = read(csv, SpineFormat::Table(Format::Csv), columns, LIMITS).expect_err("refused");
        assert_eq!(refused.column.as_deref(), Some("user_id"), "{refused}");
    }

    #[test]
    fn the_row_of_a_mistake_counts_from_the_start_of_the_table() {
        let mut csv = "user_id,shop,label_time\n".to_owned();
        csv.extend(std::iter::repeat_n("u,1,2026-11-21T10:00:00Z\n", 20_000));
        csv.push_str("u,1,?\n");
        let error = read_as(Bytes::from(csv), Format::Csv, LIMITS).expect_err("the last row is wrong");
        assert_eq!(error.row, Some(20_001));
    }

    #[test]
    fn parquet_takes_narrow_keys_and_naive_times_of_any_unit_and_refuses_other_kinds() {
        let spine = |shop: ArrayRef, nanos: Vec<Option<i64>>| {
            let batch = RecordBatch::try_from_iter_with_nullable([
                ("shop", shop, true),
                ("user_id", Arc::new(StringArray::from(vec![Some("u"), None])) as ArrayRef, true),
                ("label_time", Arc::new(TimestampNanosecondArray::from(nanos)), true),
            ]);
            Bytes::from(parquet_file::encode(&batch.expect("a batch")).expect("encoded"))
        };
        let shops = || Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
        let read = read_as(spine(shops(), vec![Some(-1), Some(1_999)]), Format::Parquet, LIMITS).expect("read");
        assert_eq!(read[0].column(0).data_type(), &DataType::Int64);
        assert_eq!(read[0].column(0).null_count(), 1);
        let times = read[0].column(2).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values(), &[-1, 1], "floored, before 1970 too");
        let null = read_as(spine(shops(), vec![Some(0), None]), Format::Parquet, LIMITS).expect_err("a null time");
        assert!(null.to_string().starts_with("row 2, column `label_time`"), "{null}");
        let floats = Arc::new(arrow::array::Float64Array::from(vec![1.0, 2.0]));
        let float = read_as(spine(floats, vec![Some(0); 2]), Format::Parquet, LIMITS).expect_err("a float key");
        assert_eq!(float.to_string(), "column `shop`: it is Float64, and the key is int64");
    }

    #[test]
    fn a_table_beyond_the_limits_is_refused() {
        let csv = Bytes::from_static(b"user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1,2026-11-21T10:00:00Z\n");
        let one_row = Limits { rows: 1, ..LIMITS };
        let refused = read_as(csv, Format::Csv, one_row).expect_err("two rows");
        assert!(refused.what.starts_with("the table has more than 1 rows"), "{refused}");
    }
}
