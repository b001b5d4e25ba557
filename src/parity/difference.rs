//! One served value that the archive contradicts, in words.

use std::fmt;

use crate::kernel::key::KeyPart;
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueType};
use crate::offline::LoggedLookup;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub feature: FeatureRef,
    pub version: Fingerprint,
    /// `user_id=u1`.
    pub entity: String,
    pub as_of: EventTime,
    /// The offsets that the row was read at: (partition, next record).
    pub offsets: Vec<(u32, u64)>,
    pub served: String,
    pub recomputed: String,
}

impl Difference {
    pub(super) fn new(
        view: &ViewPlan,
        feature: usize,
        lookup: &LoggedLookup,
        served: &[Option<Value>],
        recomputed: &[Option<Value>],
    ) -> Difference {
        Difference {
            feature: FeatureRef { view: view.name.clone(), feature: view.features[feature].name.clone() },
            version: lookup.version,
            entity: entity(view, lookup),
            as_of: lookup.as_of,
            offsets: lookup.offsets.clone(),
            served: words(served[feature].as_ref()),
            recomputed: words(recomputed[feature].as_ref()),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { feature, entity, as_of, served, recomputed, .. } = self;
        write!(f, "{feature} of {entity} at {as_of}: served {served}, recomputed {recomputed}")
    }
}

fn entity(view: &ViewPlan, lookup: &LoggedLookup) -> String {
    let types: Vec<ValueType> = view.entity.keys.iter().map(|(_, value_type)| value_type.clone()).collect();
    let Some(parts) = lookup.entity.decode(&types) else { return format!("{:?}", lookup.entity) };
    let part = |((name, _), part): (&(_, _), KeyPart)| match part {
        KeyPart::Text(text) => format!("{name}={text}"),
        KeyPart::Int(int) => format!("{name}={int}"),
    };
    view.entity.keys.iter().zip(parts).map(part).collect::<Vec<_>>().join(" ")
}

/// Exactly: doubles in the shortest form that reads back the same, and NaN with its bits.
fn words(value: Option<&Value>) -> String {
    match value {
        None => "null".to_owned(),
        Some(Value::Bool(it)) => it.to_string(),
        Some(Value::Int(it)) => it.to_string(),
        Some(Value::Float(it)) if it.is_nan() => format!("NaN ({:016x})", it.to_bits()),
        Some(Value::Float(it)) => format!("{it:?}"),
        Some(Value::Decimal(it)) => format!("{it} (unscaled)"),
        Some(Value::Date(it)) => format!("day {it} since 1970-01-01"),
        Some(Value::Time(it)) => it.to_string(),
        Some(Value::Text(it)) => format!("{it:?}"),
        Some(Value::Bytes(it)) => format!("bytes {it:02x?}"),
        Some(Value::List(items)) => {
            format!("[{}]", items.iter().map(|item| words(Some(item))).collect::<Vec<_>>().join(", "))
        }
    }
}
