//! How the schema of a source may change. Old events stay in log and archive, and producers are not all replaced
//! at once; `compatibility` says which of the two a change must respect.
//!
//! * `backward`: the new schema reads events that were written by the old one.
//! * `forward`: the old schema reads events that are written by the new one.
//! * `full`: both. `none`: anything goes.
//!
//! The rule that the new definition declares is the one that holds.

use std::fmt;

use crate::kernel::definition::{Compatibility, Source, SourceField};
use crate::kernel::name::Name;
use crate::kernel::value::ValueType;

/// A change of a schema that its rule forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub source: Name,
    pub what: String,
    pub help: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source `{}`: {}\n  help: {}", self.source, self.what, self.help)
    }
}

pub(super) fn broken_rules(old: &Source, new: &Source) -> Vec<Refusal> {
    let rule = new.compatibility;
    let mut broken = Vec::new();
    if matches!(rule, Compatibility::Backward | Compatibility::Full) {
        broken.extend(unreadable(&old.fields, &new.fields).into_iter().map(|fault| refusal(fault, "backward", new)));
    }
    if matches!(rule, Compatibility::Forward | Compatibility::Full) {
        let faults = unreadable(&new.fields, &old.fields).into_iter();
        broken.extend(faults.map(|fault| refusal(fault.seen_backwards(), "forward", new)));
    }
    // A changed type may break both directions of `full` for one reason.
    broken.dedup_by(|a, b| a.help == b.help && a.what == b.what);
    broken
}

/// Why an event that fits one schema may not fit another.
struct Fault<'s> {
    name: &'s Name,
    was: String,
    is: String,
    mend: &'static str,
}

impl Fault<'_> {
    fn seen_backwards(self) -> Self {
        Fault { was: self.is, is: self.was, ..self }
    }
}

/// Fields for which some event of the `writer`'s schema is rejected, or read as something else, by the `reader`'s.
fn unreadable<'s>(writer: &'s [SourceField], reader: &'s [SourceField]) -> Vec<Fault<'s>> {
    let fault = |field: &'s SourceField| {
        let written = writer.iter().find(|candidate| candidate.name == field.name);
        let fault = |was: String, is: String, mend| Some(Fault { name: &field.name, was, is, mend });
        match written {
            None if field.required => fault("absent".into(), "required".into(), "make it optional on both sides first"),
            Some(written) if !widens(written, field) => {
                fault(type_of(written), type_of(field), "keep the field, and add one of another name")
            }
            Some(written) if field.required && !written.required => {
                fault("optional".into(), "required".into(), "leave it optional")
            }
            _ => None,
        }
    };
    reader.iter().filter_map(fault).collect()
}

/// Whether every value of `from` is the same value of `to`.
fn widens(from: &SourceField, to: &SourceField) -> bool {
    let same_unit = from.value_type != ValueType::Timestamp || from.unit == to.unit;
    let wider = matches!(
        (&from.value_type, &to.value_type),
        (ValueType::Int32, ValueType::Int64) | (ValueType::Float32, ValueType::Float64)
    );
    wider || (from.value_type == to.value_type && same_unit)
}

fn type_of(field: &SourceField) -> String {
    match field.value_type {
        ValueType::Timestamp => format!("timestamp in {}", field.unit.as_str()),
        ref other => other.to_string(),
    }
}

fn refusal(fault: Fault, rule: &str, source: &Source) -> Refusal {
    let Fault { name, was, is, mend } = fault;
    Refusal {
        source: source.name.clone(),
        what: format!("the field `{name}` was {was} and is now {is}, which `compatibility: {rule}` forbids"),
        help: format!("{mend}; or declare `compatibility: none` where no event of the old schema matters any more"),
    }
}
