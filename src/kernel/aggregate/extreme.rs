//! `min` and `max`: by value for numbers and times, by bytes for strings; false below true, `-0.0` below `0.0`.

use std::cmp::Ordering;

use super::bytes::{put_value, take_byte, take_scalar};
use super::{Arity, Call, Finalized, Function, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static MIN: Function = function("min", |_| Partial::Extreme(Extreme { end: End::Least, value: None }));
pub static MAX: Function = function("max", |_| Partial::Extreme(Extreme { end: End::Greatest, value: None }));

const fn function(name: &'static str, identity: fn(&Call) -> Partial) -> Function {
    Function {
        name,
        column: Arity::Always,
        accepts: |value_type| !matches!(value_type, ValueType::List(_) | ValueType::Bytes),
        accepted: "a number, a string, a timestamp, a date or a bool",
        parameters: &[],
        keeps_values: true,
        result: |call| call.argument().clone(),
        identity,
        finalize,
    }
}

/// The least or the greatest value so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extreme {
    end: End,
    value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

impl Extreme {
    fn take_in(&mut self, candidate: ValueRef<'_>) {
        let beaten = match self.end {
            End::Least => Ordering::Less,
            End::Greatest => Ordering::Greater,
        };
        let held = self.value.as_ref().and_then(Value::scalar);
        if held.is_none_or(|held| candidate.cmp(&held) == beaten) {
            self.value = Some(candidate.to_value());
        }
    }
}

impl State for Extreme {
    fn update(&mut self, value: Option<ValueRef<'_>>, _: Stamp) {
        self.take_in(value.expect("an extreme is of a column"));
    }

    fn merge(&mut self, other: &Extreme) {
        if let Some(value) = other.value.as_ref().and_then(Value::scalar) {
            self.take_in(value);
        }
    }

    fn is_identity(&self) -> bool {
        self.value.is_none()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.value.is_some()));
        if let Some(value) = &self.value {
            put_value(out, value);
        }
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Extreme> {
        let value = match take_byte(input)? {
            0 => None,
            1 => Some(take_scalar(input)?.to_value()),
            _ => return None,
        };
        Some(Extreme { end: self.end, value })
    }

    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        if take_byte(input)? != 0 {
            self.take_in(take_scalar(input)?);
        }
        Some(())
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        if take_byte(input)? != 0 {
            take_scalar(input)?;
        }
        Some(())
    }

    fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, super::heap_bytes)
    }
}

fn finalize(_: &Call, partial: &Partial, _: EventTime) -> Finalized {
    Extreme::of(partial).value.clone().map_or(Finalized::Empty(None), Finalized::Value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::aggregate::laws::{finalized, numbers};

    fn ends(argument: ValueType, values: &[Value]) -> [Finalized; 2] {
        ["min", "max"].map(|function| finalized(function, argument.clone(), values))
    }

    #[test]
    fn zeros_of_either_sign_are_told_apart() {
        let zeros = numbers(&[0.0, -0.0, 0.0], Value::Float);
        assert_eq!(ends(ValueType::Float64, &zeros), [-0.0, 0.0].map(|zero| Finalized::Value(Value::Float(zero))));
    }

    #[test]
    fn strings_compare_by_bytes() {
        let words = ["b", "Z", "", "\u{10000}", "\u{ffff}"].map(|word| Value::Text(word.into()));
        let ends = ends(ValueType::String, &words);
        assert_eq!(ends, ["", "\u{10000}"].map(|word| Finalized::Value(Value::Text(word.into()))));
    }

    #[test]
    fn nothing_has_no_extreme() {
        assert_eq!(ends(ValueType::Date, &[]), [Finalized::Empty(None), Finalized::Empty(None)]);
    }

    #[test]
    fn bytes_that_hold_a_list_are_refused() {
        let mut list = vec![1];
        put_value(&mut list, &Value::List(vec![]));
        let identity = (MIN.identity)(&Call { function: &MIN, argument: None, parameters: Default::default() });
        assert_eq!(identity.decode(&mut list.as_slice()), None);
    }
}
