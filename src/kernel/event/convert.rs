//! One JSON value → one cell of a column, by the field's type; or what would have been right.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{Broken, Json, Scanner, Text};
use super::number::{Scaled, scale};
use super::{Reason, shortened};
use crate::kernel::definition::TimeFormat;
use crate::kernel::time::{EventTime, FIRST_DAY, days_since_epoch, nanos_since_epoch};
use crate::kernel::value::{ValueRef, ValueType};

/// A value that fits its column. Not yet in it: a record enters the columns as a whole or not at all.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Of a float32 too: widening is exact.
    Float(f64),
    Decimal(i128),
    Date(i32),
    Time(EventTime),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
    List(Vec<Cell<'a>>),
}

impl Cell<'_> {
    /// `None`: null, or a list.
    pub(super) fn scalar(&self) -> Option<ValueRef<'_>> {
        Some(match self {
            Cell::Null | Cell::List(_) => return None,
            Cell::Bool(it) => ValueRef::Bool(*it),
            Cell::Int(it) => ValueRef::Int(*it),
            Cell::Float(it) => ValueRef::Float(*it),
            Cell::Decimal(it) => ValueRef::Decimal(*it),
            Cell::Date(it) => ValueRef::Date(*it),
            Cell::Time(it) => ValueRef::Time(*it),
            Cell::Text(it) => ValueRef::Text(it),
            Cell::Bytes(it) => ValueRef::Bytes(it),
        })
    }
}

#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) reason: Reason,
    /// Where within the field: `[2]`, or nothing.
    pub(super) path: String,
    pub(super) detail: String,
}

/// The broken part lies within a value that was scanned whole before.
impl From<Broken> for Wrong {
    fn from(broken: Broken) -> Wrong {
        unreachable!("an array that was scanned is valid, yet {broken:?}")
    }
}

pub(super) fn convert<'a>(json: Json<'a>, value_type: &ValueType, unit: TimeFormat) -> Result<Cell<'a>, Wrong> {
    match (value_type, json) {
        (_, Json::Null) => Ok(Cell::Null),
        (ValueType::Bool, Json::Bool(it)) => Ok(Cell::Bool(it)),
        (ValueType::Int32, Json::Number(digits)) => integer(digits, value_type, i32::MIN.into(), i32::MAX.into()),
        (ValueType::Int64, Json::Number(digits)) => integer(digits, value_type, i64::MIN, i64::MAX),
        (ValueType::Float32 | ValueType::Float64, Json::Number(digits)) => float(digits, value_type),
        (ValueType::Float32 | ValueType::Float64, Json::Text(text)) => match text.raw() {
            "NaN" => Ok(Cell::Float(f64::NAN)),
            "Infinity" => Ok(Cell::Float(f64::INFINITY)),
            "-Infinity" => Ok(Cell::Float(f64::NEG_INFINITY)),
            _ => Err(wrong_type(json, value_type, unit)),
        },
        (ValueType::String, Json::Text(text)) => said(text).map(Cell::Text),
        (ValueType::Bytes, Json::Text(text)) => {
            let bytes = STANDARD.decode(said(text)?.as_bytes());
            bytes.map(Cell::Bytes).map_err(|_| wrong_type(json, value_type, unit))
        }
        (ValueType::Timestamp, json) => timestamp(json, unit),
        (ValueType::Date, Json::Text(text)) => date(text),
        (ValueType::Decimal { precision, scale }, Json::Number(digits)) => decimal(digits, *precision, *scale),
        (ValueType::Decimal { precision, scale }, Json::Text(text)) if is_number(text.raw()) => {
            decimal(text.raw(), *precision, *scale)
        }
        (ValueType::List(item), Json::Array(raw)) => list(raw, item, unit),
        (_, json) => Err(wrong_type(json, value_type, unit)),
    }
}

fn integer(digits: &str, value_type: &ValueType, least: i64, most: i64) -> Result<Cell<'static>, Wrong> {
    if digits.contains(['.', 'e', 'E']) {
        return Err(wrong_type(Json::Number(digits), value_type, TimeFormat::Millis));
    }
    match digits.parse::<i64>() {
        Ok(it) if (least..=most).contains(&it) => Ok(Cell::Int(it)),
        _ => Err(out_of_range(format!("{} does not fit {value_type}: {least} to {most}", shortened(digits)))),
    }
}

fn float(digits: &str, value_type: &ValueType) -> Result<Cell<'static>, Wrong> {
    // Each is rounded once, from the digits.
    let parsed = match value_type {
        ValueType::Float32 => digits.parse::<f32>().map(f64::from),
        _ => digits.parse::<f64>(),
    };
    let it = parsed.expect("Rust reads every JSON number");
    if it.is_infinite() {
        let detail = format!("{} is beyond {value_type}; infinity is written \"Infinity\"", shortened(digits));
        return Err(out_of_range(detail));
    }
    Ok(Cell::Float(it))
}

fn decimal(digits: &str, precision: u8, places: i8) -> Result<Cell<'static>, Wrong> {
    let refuse = |at_most: String| {
        let value_type = ValueType::Decimal { precision, scale: places };
        Err(out_of_range(format!("{} does not fit {value_type}: at most {at_most}", shortened(digits))))
    };
    match scale(digits, places.into()) {
        Some(Scaled { value, .. }) if value.unsigned_abs() >= 10u128.pow(precision.into()) => {
            refuse(format!("{} digits before the point", precision as i8 - places))
        }
        None => refuse(format!("{} digits before the point", precision as i8 - places)),
        Some(Scaled { exact: false, .. }) => refuse(format!("{places} digits after the point")),
        Some(Scaled { value, .. }) => Ok(Cell::Decimal(value)),
    }
}

/// Whether a string is a number as JSON writes them, and nothing else.
fn is_number(text: &str) -> bool {
    let mut same = false;
    let scanned = Scanner::new(&format!("[{text}]")).array(|item| {
        same = item == Json::Number(text);
        Ok::<(), Broken>(())
    });
    scanned.is_ok() && same
}

fn timestamp(json: Json<'_>, unit: TimeFormat) -> Result<Cell<'static>, Wrong> {
    let wrong = || wrong_type(json, &ValueType::Timestamp, unit);
    let micros: Option<i128> = match (unit, json) {
        (TimeFormat::Rfc3339, Json::Text(text)) => {
            let nanos = nanos_since_epoch(&said(text)?).ok_or_else(wrong)?;
            Some(nanos.div_euclid(1_000))
        }
        (TimeFormat::Seconds, Json::Number(digits)) => scale(digits, 6).map(|it| it.value),
        (TimeFormat::Millis, Json::Number(digits)) => scale(digits, 3).map(|it| it.value),
        (TimeFormat::Micros, Json::Number(digits)) => scale(digits, 0).map(|it| it.value),
        (TimeFormat::Nanos, Json::Number(digits)) => scale(digits, -3).map(|it| it.value),
        _ => return Err(wrong()),
    };
    let instant = micros.and_then(|micros| i64::try_from(micros).ok()).and_then(EventTime::from_micros);
    instant.map(Cell::Time).ok_or_else(|| {
        let detail = format!("{} is outside the years 0001 to 9999; the unit is `{}`", shown(json), unit.as_str());
        Wrong { reason: Reason::TimeOutOfRange, path: String::new(), detail }
    })
}

fn date(text: Text<'_>) -> Result<Cell<'static>, Wrong> {
    let wrong = || wrong_type(Json::Text(text), &ValueType::Date, TimeFormat::Millis);
    let said = said(text)?;
    let days = days_since_epoch(&said).ok_or_else(wrong)?;
    if days < FIRST_DAY {
        let detail = format!("{} is outside the years 0001 to 9999", shown(Json::Text(text)));
        return Err(Wrong { reason: Reason::TimeOutOfRange, path: String::new(), detail });
    }
    Ok(Cell::Date(days))
}

fn list<'a>(raw: &'a str, item_type: &ValueType, unit: TimeFormat) -> Result<Cell<'a>, Wrong> {
    let mut items = Vec::new();
    Scanner::new(raw).array(|json| {
        let item = convert(json, item_type, unit)
            .map_err(|wrong| Wrong { path: format!("[{}]{}", items.len(), wrong.path), ..wrong })?;
        items.push(item);
        Ok::<(), Wrong>(())
    })?;
    Ok(Cell::List(items))
}

fn said(text: Text<'_>) -> Result<Cow<'_, str>, Wrong> {
    text.unescape().ok_or_else(|| {
        let detail = format!("{} holds half of a surrogate pair, which is no character", shown(Json::Text(text)));
        Wrong { reason: Reason::Undecodable, path: String::new(), detail }
    })
}

fn wrong_type(json: Json<'_>, value_type: &ValueType, unit: TimeFormat) -> Wrong {
    let expected = match (value_type, unit) {
        (ValueType::Bool, _) => "true or false".to_owned(),
        (ValueType::Int32 | ValueType::Int64, _) => format!("a whole number ({value_type})"),
        (ValueType::Float32 | ValueType::Float64, _) => format!("a number ({value_type})"),
        (ValueType::String, _) => "a string".to_owned(),
        (ValueType::Bytes, _) => "a base64 string (bytes)".to_owned(),
        (ValueType::Timestamp, TimeFormat::Rfc3339) => "a time such as \"2026-11-21T10:00:00Z\" (rfc3339)".to_owned(),
        (ValueType::Timestamp, unit) => format!("a number of `{}` since 1970 (timestamp)", unit.as_str()),
        (ValueType::Date, _) => "a date such as \"2026-11-21\"".to_owned(),
        (ValueType::Decimal { .. }, _) => format!("a number, or a string of its digits ({value_type})"),
        (ValueType::List(_), _) => format!("an array ({value_type})"),
    };
    let detail = format!("expected {expected}, found {}", shown(json));
    Wrong { reason: Reason::WrongType, path: String::new(), detail }
}

fn out_of_range(detail: String) -> Wrong {
    Wrong { reason: Reason::OutOfRange, path: String::new(), detail }
}

fn shown(json: Json<'_>) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(it) => it.to_string(),
        Json::Text(text) => format!("\"{}\"", shortened(text.raw())),
        Json::Number(raw) | Json::Array(raw) | Json::Object(raw) => shortened(raw).into_owned(),
    }
}
