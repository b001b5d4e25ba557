//! Feature values as JSON: int64 as numbers, doubles in the shortest form that reads back the same, NaN and
//! infinities as null, times in RFC 3339, decimals and bytes (base64) as strings, for no JSON number holds them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::kernel::value::{Value, ValueType};

/// One value beside its type; null where there is none.
pub struct Rendered<'a>(pub &'a ValueType, pub Option<&'a Value>);

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Rendered(value_type, Some(value)) = *self else { return serializer.serialize_none() };
        match value {
            Value::Bool(it) => serializer.serialize_bool(*it),
            Value::Int(it) => serializer.serialize_i64(*it),
            Value::Float(it) if !it.is_finite() => serializer.serialize_none(),
            // Narrowed again, so that a float32 of 0.1 is written as 0.1.
            Value::Float(it) if *value_type == ValueType::Float32 => serializer.serialize_f32(*it as f32),
            Value::Float(it) => serializer.serialize_f64(*it),
            Value::Decimal(it) => serializer.serialize_str(&decimal_text(*it, value_type)),
            Value::Date(days) => serializer.serialize_str(&date_text(*days)),
            Value::Time(it) => serializer.collect_str(it),
            Value::Text(it) => serializer.serialize_str(it),
            Value::Bytes(it) => serializer.serialize_str(&BASE64_STANDARD.encode(it)),
            Value::List(items) => {
                let ValueType::List(item_type) = value_type else { unreachable!("a list has a list's type") };
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Rendered(item_type, Some(item))))?;
                list.end()
            }
        }
    }
}

fn decimal_text(unscaled: i128, value_type: &ValueType) -> String {
    let ValueType::Decimal { scale, .. } = value_type else { unreachable!("a decimal has a decimal's type") };
    let scale = usize::try_from(*scale).expect("scales are not negative");
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn date_text(days: i32) -> String {
    let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days));
    date.map_or_else(|_| format!("{days} days since 1970-01-01"), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value_type: &str, value: Value) -> String {
        let value_type: ValueType = value_type.parse().expect("a type");
        serde_json::to_string(&Rendered(&value_type, Some(&value))).expect("renders")
    }

    #[test]
    fn every_type_has_one_form() {
        assert_eq!(text("int64", Value::Int(i64::MIN)), "-9223372036854775808");
        assert_eq!(text("float64", Value::Float(0.1 + 0.2)), "0.30000000000000004");
        assert_eq!(text("float32", Value::Float(f64::from(0.1_f32))), "0.1");
        assert_eq!(text("float64", Value::Float(f64::NAN)), "null");
        assert_eq!(text("float64", Value::Float(f64::NEG_INFINITY)), "null");
        assert_eq!(text("decimal(5,2)", Value::Decimal(-5)), "\"-0.05\"");
        assert_eq!(text("decimal(5,0)", Value::Decimal(12)), "\"12\"");
        assert_eq!(text("date", Value::Date(-1)), "\"1969-12-31\"");
        assert_eq!(text("bytes", Value::Bytes([255].into())), "\"/w==\"");
        assert_eq!(text("list<string>", Value::List(vec![Value::Text("a\"".into())])), r#"["a\""]"#);
    }
}
