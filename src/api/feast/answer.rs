//! The answer to a lookup in Feast's shape: names in one list, and a vector for each, keys first.
//!
//! Values are as the native API has them, but for two that Feast's client cannot read: an instant is a number of
//! whole seconds, Feast's `UNIX_TIMESTAMP`, and an empty list is null.

use serde::ser::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::api::json::Rendered;
use crate::kernel::engine::Status;
use crate::kernel::key::KeyPart;
use crate::kernel::name::Name;
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::{Value, ValueType};
use crate::serving::{Column, KeyColumn};

#[derive(serde::Serialize, ToSchema)]
pub(super) struct FeastAnswer<'a> {
    metadata: FeastMetadata<'a>,
    /// In the order of the names.
    results: Vec<FeastVector<'a>>,
}

#[derive(serde::Serialize, ToSchema)]
struct FeastMetadata<'a> {
    /// Keys, then features.
    #[schema(value_type = Vec<String>)]
    feature_names: Vec<&'a str>,
    /// With `include_feature_view_version_metadata`; Freshet's versions have no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_view_metadata: Option<Vec<FeastView>>,
}

#[derive(serde::Serialize, ToSchema)]
struct FeastView {
    name: String,
}

/// A key or a feature, for each row of the request.
#[derive(serde::Serialize, ToSchema)]
struct FeastVector<'a> {
    #[schema(value_type = Vec<serde_json::Value>)]
    values: Values<'a>,
    /// PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE.
    #[schema(value_type = Vec<String>)]
    statuses: Statuses<'a>,
    /// Of the newest event of the row's entity; the year 1970 where there is none, and for keys.
    #[schema(value_type = Vec<String>)]
    event_timestamps: EventTimes<'a>,
}

/// One key of the rows.
#[derive(Clone, Copy)]
pub(super) struct KeyValues<'a> {
    name: &'a str,
    parts: &'a [Option<KeyPart>],
}

impl<'a> KeyValues<'a> {
    pub fn of((name, parts): &'a KeyColumn) -> KeyValues<'a> {
        KeyValues { name, parts }
    }
}

impl<'a> FeastAnswer<'a> {
    /// `names` are those of the features, in their order.
    pub fn new(
        keys: &[KeyValues<'a>],
        names: &'a [String],
        views: Option<Vec<&Name>>,
        features: impl Iterator<Item = Column<'a>>,
    ) -> FeastAnswer<'a> {
        let feature_names = keys.iter().map(|key| key.name).chain(names.iter().map(String::as_str)).collect();
        let view = |name: &Name| FeastView { name: name.to_string() };
        let feature_view_metadata = views.map(|views| views.into_iter().map(view).collect());
        let results = keys.iter().map(|key| FeastVector::of_key(key.parts)).chain(features.map(FeastVector::of));
        FeastAnswer { metadata: FeastMetadata { feature_names, feature_view_metadata }, results: results.collect() }
    }
}

impl<'a> FeastVector<'a> {
    fn of_key(parts: &'a [Option<KeyPart>]) -> FeastVector<'a> {
        FeastVector {
            values: Values::Keys(parts),
            statuses: Statuses::Present(parts.len()),
            event_timestamps: EventTimes::Never(parts.len()),
        }
    }

    fn of(column: Column<'a>) -> FeastVector<'a> {
        FeastVector {
            values: Values::Feature(column),
            statuses: Statuses::Of(column),
            event_timestamps: EventTimes::Of(column),
        }
    }
}

enum Values<'a> {
    Keys(&'a [Option<KeyPart>]),
    Feature(Column<'a>),
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Values::Keys(parts) => serializer.collect_seq(parts.iter().map(|part| part.as_ref().map(Key))),
            Values::Feature(column) => {
                serializer.collect_seq(column.values().map(|value| FeastValue(column.value_type(), value)))
            }
        }
    }
}

struct Key<'a>(&'a KeyPart);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            KeyPart::Text(text) => serializer.serialize_str(text),
            KeyPart::Int(int) => serializer.serialize_i64(*int),
        }
    }
}

struct FeastValue<'a>(&'a ValueType, Option<&'a Value>);

impl Serialize for FeastValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            FeastValue(_, Some(Value::Time(instant))) => serializer.serialize_i64(seconds(*instant)),
            FeastValue(_, Some(Value::List(items))) if items.is_empty() => serializer.serialize_none(),
            FeastValue(ValueType::List(item_type), Some(Value::List(items))) => {
                serializer.collect_seq(items.iter().map(|item| FeastValue(item_type, Some(item))))
            }
            FeastValue(value_type, value) => Rendered(value_type, value).serialize(serializer),
        }
    }
}

fn seconds(instant: EventTime) -> i64 {
    instant.micros().div_euclid(Micros::SECOND.get())
}

enum Statuses<'a> {
    Present(usize),
    Of(Column<'a>),
}

impl Serialize for Statuses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Statuses::Present(rows) => serializer.collect_seq(std::iter::repeat_n(Status::Present.as_str(), *rows)),
            Statuses::Of(column) => serializer.collect_seq(column.statuses().map(Status::as_str)),
        }
    }
}

enum EventTimes<'a> {
    Never(usize),
    Of(Column<'a>),
}

impl Serialize for EventTimes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EventTimes::Never(rows) => serializer.collect_seq(std::iter::repeat_n(Instant(None), *rows)),
            EventTimes::Of(column) => serializer.collect_seq(column.event_times().map(Instant)),
        }
    }
}

/// The protocol that Feast's answers are made of has no null: an instant that is not there is its zero.
#[derive(Clone, Copy)]
struct Instant(Option<EventTime>);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_str("1970-01-01T00:00:00Z"),
            Some(instant) => serializer.collect_str(&instant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value_type: &str, value: Value) -> String {
        let value_type: ValueType = value_type.parse().expect("a type");
        serde_json::to_string(&FeastValue(&value_type, Some(&value))).expect("renders")
    }

    #[test]
    fn values_are_what_the_client_of_feast_can_read() {
        let instant = |text: &str| Value::Time(text.parse().expect("a time"));
        assert_eq!(text("timestamp", instant("2026-01-01T00:00:00.999Z")), "1767225600");
        assert_eq!(text("timestamp", instant("1969-12-31T23:59:59.5Z")), "-1");
        assert_eq!(text("list<timestamp>", Value::List(vec![instant("1970-01-01T00:01:00Z")])), "[60]");
        assert_eq!(text("list<string>", Value::List(Vec::new())), "null");
        assert_eq!(text("float64", Value::Float(3.0)), "3.0");
        assert_eq!(text("float64", Value::Float(1e300)), "1e+300");
        assert_eq!(text("list<float64>", Value::List(vec![Value::Float(-2.0), Value::Float(1e-7)])), "[-2.0,1e-7]");
        assert_eq!(text("int64", Value::Int(i64::MAX)), "9223372036854775807");
        assert_eq!(text("float64", Value::Float(f64::NAN)), "null");
    }
}
