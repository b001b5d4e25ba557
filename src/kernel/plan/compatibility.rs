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
        let faults = unreadable(&old.fields, &new.fields);
        broken.extend(faults.iter().map(|fault| refusal(&new.name, &fault.newly(), "backward")));
    }
    if matches!(rule, Compatibility::Forward | Compatibility::Full) {
        let faults = unreadable(&new.fields, &old.fields);
        broken.extend(faults.iter().map(|fault| refusal(&new.name, &fault.formerly(), "forward")));
    }
    broken
}

/// Why the events of one schema may not fit another.
enum Fault<'s> {
    /// Required by the reader, and unknown to the writer.
    Absent {
        name: &'s Name,
    },
    /// Required by the reader, and optional for the writer.
    Optional {
        name: &'s Name,
    },
    Retyped {
        written: &'s SourceField,
        read: &'s SourceField,
    },
}

/// What became of a field, and what to do about it.
struct Step<'s> {
    name: &'s Name,
    was: String,
    is: String,
    mend: &'static str,
}

const ADD_ANOTHER: &str = "keep the field, and add one of another name";

impl Fault<'_> {
    /// Where the new schema reads what the old one wrote.
    fn newly(&self) -> Step<'_> {
        match self {
            Fault::Absent { name } => step(name, "absent", "required", "make it optional: earlier events lack it"),
            Fault::Optional { name } => step(name, "optional", "required", "leave it optional"),
            Fault::Retyped { written, read } => step(&read.name, type_of(written), type_of(read), ADD_ANOTHER),
        }
    }

    /// Where the old schema reads what the new one writes.
    fn formerly(&self) -> Step<'_> {
        match self {
            Fault::Absent { name } => step(name, "required", "absent", "keep it: readers of before require it"),
            Fault::Optional { name } => step(name, "required", "optional", "leave it required"),
            Fault::Retyped { written, read } => step(&read.name, type_of(read), type_of(written), ADD_ANOTHER),
        }
    }
}

fn step<'s>(name: &'s Name, was: impl Into<String>, is: impl Into<String>, mend: &'static str) -> Step<'s> {
    Step { name, was: was.into(), is: is.into(), mend }
}

/// Fields for which some event of the `writer`'s schema is rejected, or read as something else, by the `reader`'s.
fn unreadable<'s>(writer: &'s [SourceField], reader: &'s [SourceField]) -> Vec<Fault<'s>> {
    let fault = |read: &'s SourceField| {
        let name = &read.name;
        match writer.iter().find(|written| written.name == *name) {
            None if read.required => Some(Fault::Absent { name }),
            Some(written) if !widens(written, read) => Some(Fault::Retyped { written, read }),
            Some(written) if read.required && !written.required => Some(Fault::Optional { name }),
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

fn refusal(source: &Name, step: &Step, rule: &str) -> Refusal {
    let Step { name, was, is, mend } = step;
    Refusal {
        source: source.clone(),
        what: format!("the field `{name}` was {was} and is now {is}, which `compatibility: {rule}` forbids"),
        help: format!("{mend}; or declare `compatibility: none` where no event of the other schema matters any more"),
    }
}
