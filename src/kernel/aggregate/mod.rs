//! Aggregates. A [`Partial`] is what one aggregate knows about some set of events; a [`Function`] is what a
//! definition calls it, what it accepts, and how a partial becomes a value.
//!
//! The law that everything else stands on: `merge` is **associative and commutative, bit for bit**, the identity
//! changes nothing, and equal sets of events encode to equal bytes. `laws.rs` checks it for every function.
//!
//! A further aggregate is one new file (with its `mod` line) that implements `State` and holds its [`Function`]s,
//! a line in `partials!` and its functions in [`FUNCTIONS`]: nothing else names an aggregate.

pub(crate) mod bytes;
mod exact;
mod fraction;
mod int192;
mod number;

mod count;
mod distinct;
mod ends;
mod extreme;
mod mean;
mod recency;
mod sum;
mod variance;

#[cfg(test)]
mod laws;

pub use distinct::{Counted, Gathered, Size};
pub use ends::Nearest;

use std::collections::BTreeMap;

use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::kernel::value::{LONGEST_KEPT_BYTES, Value, ValueRef, ValueType};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Every aggregate, in the order of the documentation.
pub static FUNCTIONS: &[&Function] = &[
    &count::COUNT,
    &sum::SUM,
    &mean::MEAN,
    &variance::VAR_POP,
    &variance::VAR_SAMP,
    &variance::STDDEV_POP,
    &variance::STDDEV_SAMP,
    &extreme::MIN,
    &extreme::MAX,
    &ends::FIRST,
    &ends::LAST,
    &ends::FIRST_N,
    &ends::LAST_N,
    &distinct::COUNT_DISTINCT,
    &recency::SECONDS_SINCE_LAST,
];

/// The aggregate that definitions call `name`.
pub fn lookup(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().copied().find(|function| function.name == name)
}

/// The value as aggregates take it, or why it is left out like a null: every column's values pass here before
/// [`Partial::update`].
pub fn admit(keeps_values: bool, value: ValueRef<'_>) -> Result<ValueRef<'_>, Skip> {
    match value {
        ValueRef::Float(float) if float.is_nan() => Err(Skip::NaN),
        value if keeps_values && value.bytes() > LONGEST_KEPT_BYTES => Err(Skip::TooLong),
        value => Ok(value),
    }
}

impl Call {
    /// The column's type, where the function always has one.
    fn argument(&self) -> &ValueType {
        self.argument.as_ref().expect("definitions gave the function the column that it asks for")
    }

    /// Decimals come unscaled, this power of ten too large; other numbers as they are.
    fn scale(&self) -> i32 {
        match self.argument() {
            ValueType::Decimal { scale, .. } => i32::from(*scale),
            _ => 0,
        }
    }

    fn count(&self, name: &str) -> u32 {
        match self.parameters.get(name) {
            Some(Parameter::Count(count)) => *count,
            other => unreachable!("definitions checked parameter `{name}`, yet it is {other:?}"),
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.parameters.get(name) {
            Some(Parameter::Flag(flag)) => *flag,
            other => unreachable!("definitions checked parameter `{name}`, yet it is {other:?}"),
        }
    }
}

/// What the file of an aggregate provides: its part of [`Partial`]. The contract is that of [`Partial`]'s methods.
trait State: Sized {
    /// Whether it tells events of one time apart by where they came from.
    const READS_ORIGIN: bool = false;

    fn update(&mut self, value: Option<ValueRef<'_>>, stamp: Stamp);
    fn merge(&mut self, other: &Self);
    fn is_identity(&self) -> bool;
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(&self, input: &mut &[u8]) -> Option<Self>;

    /// Decodes and merges; overridden where no state has to be made for that.
    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        let other = self.decode(input)?;
        self.merge(&other);
        Some(())
    }

    /// Reads past what [`State::decode`] would read.
    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        self.decode(input).map(drop)
    }

    /// How many inputs it was made of, where it knows.
    fn inputs(&self) -> Option<u64> {
        None
    }

    /// Rough size of what hangs off the state.
    fn heap_bytes(&self) -> usize;
}

/// A state within a [`Partial`] that is known to hold it.
trait Variant {
    fn of(partial: &Partial) -> &Self;
}

/// Rough size of what hangs off a kept value.
fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// One line for each kind of state: its name in [`Partial`], and its type.
macro_rules! partials {
    ($($name:ident($state:ty),)+) => {
        /// What one aggregate knows about some set of events.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Partial {
            $($name($state),)+
        }

        impl Partial {
            /// Takes in one event: its value that [`admit`] let through, or `None` where the aggregate is of the
            /// events themselves.
            pub fn update(&mut self, value: Option<ValueRef<'_>>, stamp: Stamp) {
                match self {
                    $(Partial::$name(state) => state.update(value, stamp),)+
                }
            }

            /// Takes in what `other` knows. Associative and commutative, bit for bit. Both are of one slot.
            pub fn merge(&mut self, other: &Partial) {
                match (self, other) {
                    $((Partial::$name(state), Partial::$name(other)) => state.merge(other),)+
                    (state, other) => unreachable!("rows share a layout, yet {state:?} met {other:?}"),
                }
            }

            /// Whether it knows nothing, so that merging it changes nothing.
            pub fn is_identity(&self) -> bool {
                match self {
                    $(Partial::$name(state) => state.is_identity(),)+
                }
            }

            /// Appends canonical bytes: equal sets of events give equal bytes. What the identity already says
            /// (limits, `n`) is not repeated.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Partial::$name(state) => state.encode(out),)+
                }
            }

            /// Called on any partial of the slot: reads what [`Partial::encode`] wrote for this slot off the front of
            /// `input`. `None`: not such bytes, whatever they are.
            pub fn decode(&self, input: &mut &[u8]) -> Option<Partial> {
                match self {
                    $(Partial::$name(identity) => identity.decode(input).map(Partial::$name),)+
                }
            }

            /// As merging what [`Partial::decode`] reads, and cheaper. `None`: it holds anything now.
            #[inline]
            pub fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
                match self {
                    $(Partial::$name(state) => state.absorb(input),)+
                }
            }

            /// Reads past what [`Partial::decode`] reads; `None` only where that is `None` too.
            #[inline]
            pub fn skip(&self, input: &mut &[u8]) -> Option<()> {
                match self {
                    $(Partial::$name(state) => state.skip(input),)+
                }
            }

            /// How many inputs it was made of, where it knows.
            pub fn inputs(&self) -> Option<u64> {
                match self {
                    $(Partial::$name(state) => state.inputs(),)+
                }
            }

            /// Whether updates look at more of the stamp than its event time.
            pub fn reads_origin(&self) -> bool {
                match self {
                    $(Partial::$name(_) => <$state as State>::READS_ORIGIN,)+
                }
            }

            /// Rough size of what hangs off it.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    $(Partial::$name(state) => state.heap_bytes(),)+
                }
            }
        }

        $(impl Variant for $state {
            fn of(partial: &Partial) -> &$state {
                match partial {
                    Partial::$name(state) => state,
                    other => unreachable!("a plan gives each function its own kind of slot, yet this is {other:?}"),
                }
            }
        })+
    };
}

partials! {
    Count(count::Count),
    Sum(sum::Sum),
    Moments(variance::Moments),
    Extreme(extreme::Extreme),
    Ends(ends::Ends),
    Distinct(distinct::Distinct),
    Newest(recency::Newest),
}
