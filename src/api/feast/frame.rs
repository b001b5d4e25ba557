//! Feast's `df`, a table as JSON → events of a source, a row each.
//!
//! Feast calls the time of a row `event_timestamp`, and writes times as text, without a zone where they are UTC. An
//! event has the time where its source says, in the unit of the source.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::kernel::definition::{Source, SourceField, TimeFormat};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;

use super::failure::Failure;

/// What Feast calls the time of a row.
pub(super) const EVENT_TIMESTAMP: &str = "event_timestamp";

/// What Feast calls the time at which a row was made: Freshet has its own, the ingestion time.
pub(super) const CREATED: &str = "created";

/// A column of what Feast's clients call a data frame.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a column of `df` is a list, or an object by row label")]
pub(super) enum FeastColumn {
    /// In the order of the rows.
    List(Vec<Value>),
    /// By the labels of the rows, as pandas writes them: all columns have the same. The rows are in the order of the first
    /// column's.
    ByRow(Map<String, Value>),
}

/// A table: columns of one length.
#[derive(Debug)]
pub(super) struct Frame {
    columns: Vec<(String, Vec<Value>)>,
    rows: usize,
}

impl Frame {
    pub fn parse(df: BTreeMap<String, FeastColumn>) -> Result<Frame, Failure> {
        let mut columns: Vec<(String, Vec<Value>)> = Vec::with_capacity(df.len());
        let mut labels: Option<Vec<String>> = None;
        for (name, column) in df {
            let values = column.in_order(&name, &mut labels)?;
            if let Some((first, others)) = columns.first().filter(|(_, others)| others.len() != values.len()) {
                let (found, expected) = (values.len(), others.len());
                let message = format!("column `{name}` has {found} values, but `{first}` has {expected}");
                return Err(Failure::unprocessable(message));
            }
            columns.push((name, values));
        }
        let rows = columns.first().map_or(0, |(_, values)| values.len());
        Ok(Frame { columns, rows })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// A JSON object for each row. `fields` says for each column which field of the source it is, if any.
    pub fn events(&self, source: &Source, fields: &[Option<usize>]) -> Result<Vec<Bytes>, Failure> {
        let known: Vec<(&SourceField, &[Value])> = self
            .columns
            .iter()
            .zip(fields)
            .filter_map(|((_, values), field)| Some((&source.fields[(*field)?], values.as_slice())))
            .collect();
        let event = |row: usize| {
            let fields = known.iter().map(|(field, values)| {
                let value = written(field, &values[row])
                    .map_err(|what| Failure::unprocessable(format!("row {row}: {what}")))?;
                Ok(format!("\"{}\":{value}", field.name))
            });
            let fields: Vec<String> = fields.collect::<Result<_, Failure>>()?;
            Ok(Bytes::from(format!("{{{}}}", fields.join(","))))
        };
        (0..self.rows).map(event).collect()
    }
}

impl FeastColumn {
    /// The values by row; `labels` are those of the columns before.
    fn in_order(self, name: &str, labels: &mut Option<Vec<String>>) -> Result<Vec<Value>, Failure> {
        let mut values = match self {
            FeastColumn::List(values) => return Ok(values),
            FeastColumn::ByRow(values) => values,
        };
        let labels = labels.get_or_insert_with(|| values.keys().cloned().collect());
        // Columns with rows of their own could ask for more cells than the body has.
        let is_as_long = labels.len() == values.len();
        let ordered = labels.iter().map(|label| values.remove(label)).collect::<Option<Vec<Value>>>();
        ordered.filter(|_| is_as_long).ok_or_else(|| {
            Failure::unprocessable(format!("column `{name}` has other row labels than a column before it"))
        })
    }
}

/// A value as the source's events have it.
fn written(field: &SourceField, value: &Value) -> Result<String, String> {
    let Value::String(text) = value else { return Ok(value.to_string()) };
    if field.value_type != ValueType::Timestamp {
        return Ok(value.to_string());
    }
    let instant: EventTime =
        text.parse().or_else(|wrong: String| format!("{text}Z").parse().map_err(|_: String| wrong))?;
    Ok(in_unit(instant, field.unit))
}

fn in_unit(instant: EventTime, unit: TimeFormat) -> String {
    let micros = instant.micros();
    match unit {
        TimeFormat::Rfc3339 => format!("\"{instant}\""),
        TimeFormat::Seconds => with_point(micros, 6),
        TimeFormat::Millis => with_point(micros, 3),
        TimeFormat::Micros => micros.to_string(),
        TimeFormat::Nanos => (i128::from(micros) * 1_000).to_string(),
    }
}

/// Exactly: a double would round the microseconds of far years.
fn with_point(unscaled: i64, places: usize) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if unscaled < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(df: Value) -> Result<Frame, Failure> {
        let df = serde_json::from_value(df).map_err(|error| Failure::unprocessable(error.to_string()))?;
        Frame::parse(df)
    }

    fn rows(df: Value) -> Vec<Vec<Value>> {
        let frame = frame(df).expect("a table");
        (0..frame.rows).map(|row| frame.columns.iter().map(|(_, values)| values[row].clone()).collect()).collect()
    }

    #[test]
    fn columns_are_lists_or_objects_by_row_label() {
        let expected = [vec![json!(1), json!("x")], vec![json!(2), json!(null)]];
        assert_eq!(rows(json!({ "a": [1, 2], "b": ["x", null] })), expected);
        assert_eq!(rows(json!({ "a": { "0": 1, "7": 2 }, "b": { "7": null, "0": "x" } })), expected);
        let many: Map<String, Value> = (0..12).map(|row| (row.to_string(), json!(row))).collect();
        let expected: Vec<Vec<Value>> = (0..12).map(|row| vec![json!(row)]).collect();
        assert_eq!(rows(json!({ "a": many })), expected, "not in the order of the labels' texts");
        assert!(rows(json!({})).is_empty());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for df in [
            json!({ "a": 1 }),
            json!({ "a": [1], "b": [1, 2] }),
            json!({ "a": [1], "b": { "0": 1, "1": 2 } }),
            json!({ "a": { "0": 1 }, "b": { "1": 1 } }),
        ] {
            assert!(frame(df.clone()).is_err(), "{df}");
        }
    }

    #[test]
    fn times_are_written_in_the_unit_of_the_source() {
        let field = |unit| SourceField {
            name: "at".parse().expect("a name"),
            value_type: ValueType::Timestamp,
            required: true,
            unit,
        };
        let in_each = |value: Value| TimeFormat::ALL.map(|unit| written(&field(unit), &value).expect("a time"));
        let expected = ["1.500000", "1500.000", "1500000", "1500000000", "\"1970-01-01T00:00:01.500Z\""];
        assert_eq!(in_each(json!("1970-01-01T00:00:01.5Z")), expected);
        assert_eq!(in_each(json!("1970-01-01 00:00:01.5")), expected);
        assert_eq!(in_each(json!("1970-01-01T01:00:01.500000+01:00")), expected);
        assert_eq!(in_each(json!("1969-12-31T23:59:59.999999"))[0], "-0.000001");
        assert_eq!(in_each(json!(1500)), ["1500"; 5]);
        assert!(written(&field(TimeFormat::Millis), &json!("yesterday")).is_err());
    }
}
