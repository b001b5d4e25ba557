//! Types and values as definitions write them: `decimal(12,2)`, and the default of a feature of that type.

use crate::kernel::definition::fields::{Entry, is_cut_off};
use crate::kernel::definition::findings::Findings;
use crate::kernel::definition::suggest;
use crate::kernel::definition::yaml::{Kind, Scalar};
use crate::kernel::time::{EventTime, FIRST_DAY, days_since_epoch};
use crate::kernel::value::{Value, ValueType};

const TYPES: [&str; 11] =
    ["bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp", "date", "decimal(p,s)", "list<T>"];

/// The type that an entry names.
pub(super) fn read(entry: &Entry, found: &mut Findings) -> Option<ValueType> {
    let text = entry.text("a type such as `string`", found)?;
    match text.parse() {
        Ok(value_type) => Some(value_type),
        Err(message) => {
            let (what, help) = if is_cut_off(entry.node) {
                (format!("`{text}` is cut off at its comma"), "put it in quotes: `\"decimal(12,2)\"`".to_owned())
            } else if message.contains("out of range") {
                (message, "write for example `decimal(12,2)`".to_owned())
            } else {
                (format!("unknown type `{text}`"), suggest::instead_of(text, TYPES))
            };
            found.mistake(entry.node.place, what, help);
            None
        }
    }
}

/// A value of `value_type`, for example the default of a feature. Lists are of plain values.
pub(super) fn value(entry: &Entry, value_type: &ValueType, found: &mut Findings) -> Option<Value> {
    if let (ValueType::List(item), Kind::List(nodes)) = (value_type, &entry.node.kind) {
        let subject = format!("an item of {}", entry.subject);
        let entries = nodes.iter().map(|node| Entry { subject: subject.clone(), place: node.place, node });
        let values: Vec<Option<Value>> = entries.map(|entry| value(&entry, item, found)).collect();
        return values.into_iter().collect::<Option<Vec<Value>>>().map(Value::List);
    }
    let expected = expected(value_type);
    let scalar = entry.scalar(&expected, found)?;
    let value = scalar_value(scalar, value_type);
    if value.is_none() {
        let what = format!("{} must be {expected}, not `{}`", entry.subject, scalar.text);
        found.mistake(entry.node.place, what, format!("the type here is {value_type}"));
    }
    value
}

fn expected(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Bool => "`true` or `false`".into(),
        ValueType::Int32 | ValueType::Int64 => "a whole number".into(),
        ValueType::Float32 | ValueType::Float64 => "a number".into(),
        ValueType::String => "text".into(),
        ValueType::Bytes => "left out, for bytes cannot be written here".into(),
        ValueType::Timestamp => "a time such as `2026-11-21T10:00:00Z`".into(),
        ValueType::Date => "a day such as `2026-11-21`".into(),
        ValueType::Decimal { scale, .. } => format!("a number with at most {scale} decimals"),
        ValueType::List(item) => format!("a list of {item}"),
    }
}

fn scalar_value(scalar: &Scalar, value_type: &ValueType) -> Option<Value> {
    let text = scalar.text.as_str();
    let plain = || scalar.is_plain().then_some(text);
    match value_type {
        ValueType::Bool => plain()?.parse().ok().map(Value::Bool),
        ValueType::Int32 => plain()?.parse::<i32>().ok().map(|it| Value::Int(it.into())),
        ValueType::Int64 => plain()?.parse().ok().map(Value::Int),
        ValueType::Float32 => {
            plain()?.parse::<f32>().ok().filter(|it| it.is_finite()).map(|it| Value::Float(it.into()))
        }
        ValueType::Float64 => plain()?.parse::<f64>().ok().filter(|it| it.is_finite()).map(Value::Float),
        ValueType::String => Some(Value::Text(text.into())),
        ValueType::Timestamp => text.parse::<EventTime>().ok().map(Value::Time),
        ValueType::Date => days_since_epoch(text).filter(|days| *days >= FIRST_DAY).map(Value::Date),
        ValueType::Decimal { precision, scale } => decimal(plain()?, *precision, *scale).map(Value::Decimal),
        ValueType::Bytes | ValueType::List(_) => None,
    }
}

/// The unscaled integer of `-12.5` at a scale, exactly; `None` where it does not fit.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
    (unscaled.unsigned_abs() < 10_u128.pow(precision.into())).then_some(unscaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        let read = |text| decimal(text, 5, 2);
        assert_eq!(["12.5", "-0.05", "7", "999.99"].map(read), [Some(1250), Some(-5), Some(700), Some(99999)]);
        assert_eq!(["1000", "0.001", "1e3", "", "-", ".5", "1.-5", "+1"].map(read), [None; 8]);
    }
}
