//! `count`: how many events, or how many values of a column that are neither null nor NaN.

use super::bytes::{put_varint, take_varint};
use super::{Arity, Call, Finalized, Function, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static COUNT: Function = Function {
    name: "count",
    column: Arity::Optional,
    accepts: |value_type| !matches!(value_type, ValueType::List(_)),
    accepted: "anything but a list",
    parameters: &[],
    keeps_values: false,
    result: |_| ValueType::Int64,
    identity: |_| Partial::Count(Count::default()),
    finalize,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count(u64);

impl State for Count {
    fn update(&mut self, _: Option<ValueRef<'_>>, _: Stamp) {
        self.0 += 1;
    }

    fn merge(&mut self, other: &Count) {
        self.0 += other.0;
    }

    fn is_identity(&self) -> bool {
        self.0 == 0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0);
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Count> {
        take_varint(input).map(Count)
    }

    #[inline]
    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        self.0 = self.0.checked_add(take_varint(input)?)?;
        Some(())
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        take_varint(input).map(drop)
    }

    fn inputs(&self) -> Option<u64> {
        Some(self.0)
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

fn finalize(_: &Call, partial: &Partial, _: EventTime) -> Finalized {
    match Count::of(partial).0 {
        0 => Finalized::Empty(Some(Value::Int(0))),
        count => i64::try_from(count).map_or(Finalized::Overflow, |count| Finalized::Value(Value::Int(count))),
    }
}
