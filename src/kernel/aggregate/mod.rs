//! Aggregates. A [`Partial`] is what one aggregate knows about some set of events; a [`Function`] is what a
//! definition calls it, what it accepts, and how a partial becomes a value.
//!
//! The law that everything else stands on: `merge` is **associative and commutative, bit for bit**, the identity
//! changes nothing, and equal sets of events encode to equal bytes. `laws.rs` checks it for every function.
//! An aggregate is one file, with a line in [`partials!`] and its functions in [`FUNCTIONS`].

mod exact;
mod laws;

use std::collections::BTreeMap;

use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

/// The longest value that state keeps, in bytes; longer ones are skipped like nulls, and counted.
pub const LONGEST_KEPT_BYTES: usize = 1_024;

/// When and where an event happened, in the order of `first` and `last`: event time, then history before log,
/// then file and row or partition and offset. No two events share one, so a tie cannot depend on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    pub event_time: EventTime,
    pub origin: Origin,
}

/// Why a non-null value was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    NaN,
    TooLong,
}

/// What reading a partial at an as-of gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Finalized {
    /// No input was counted: the definition's `default` stands in, else this, the aggregate's own empty value
    /// (`None`: null).
    Empty(Option<Value>),
    Value(Value),
    /// Null although there were inputs: a variance of one value, say. `default` does not stand in.
    Undefined,
    /// Null because the value does not fit its type; counted.
    Overflow,
}

/// One way for a definition to call an aggregate: `{ aggregate: last_n, column: item, n: 5, distinct: true }`.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: &'static Function,
    /// The type of the column it is applied to; `None` where it takes none.
    pub argument: Option<ValueType>,
    /// Checked against [`Function::parameters`], defaults filled in; by name.
    pub parameters: BTreeMap<&'static str, Parameter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    Count(u32),
    Flag(bool),
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub struct ParameterRule {
    pub name: &'static str,
    pub kind: ParameterKind,
}

#[derive(Clone, Copy, Debug)]
pub enum ParameterKind {
    /// A whole number from `least` to `most`; required where there is no default.
    Count { least: u32, most: u32, default: Option<u32> },
    /// `true` or `false`; false unless given.
    Flag,
}

/// Whether a function takes a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Never,
    Optional,
    Always,
}

/// An aggregate as definitions know it. Plain data and pure functions.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub column: Arity,
    /// Whether a column of this type will do; `accepted` says it in words ("a number") for the message.
    pub accepts: fn(&ValueType) -> bool,
    pub accepted: &'static str,
    pub parameters: &'static [ParameterRule],
    /// Whether values themselves are kept in state, so that [`LONGEST_KEPT_BYTES`] bounds them.
    pub keeps_values: bool,
    pub result: fn(&Call) -> ValueType,
    /// The partial of the empty set. Two calls whose identities are equal share one slot.
    pub identity: fn(&Call) -> Partial,
    /// `as_of` matters to recency alone.
    pub finalize: fn(&Call, &Partial, EventTime) -> Finalized,
}

/// What one aggregate knows about some set of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partial {}
