//! `sum`: exact until it is read. Integers give int64, decimals 38 digits of the same scale, floats a double.

use super::bytes::{put_varint, take_varint};
use super::exact::ExactSum;
use super::number::Number;
use super::{Arity, Call, Finalized, Function, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static SUM: Function = Function {
    name: "sum",
    column: Arity::Always,
    accepts: ValueType::is_number,
    accepted: "a number",
    parameters: &[],
    keeps_values: false,
    result,
    identity: |_| Partial::Sum(Sum::default()),
    finalize,
};

/// How many numbers, and their sum; `mean` reads it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    pub total: ExactSum,
}

impl State for Sum {
    fn update(&mut self, value: Option<ValueRef<'_>>, _: Stamp) {
        self.count += 1;
        self.total.add(Number::of(value.expect("a sum is of a column")));
    }

    fn merge(&mut self, other: &Sum) {
        self.count += other.count;
        self.total.merge(&other.total);
    }

    fn is_identity(&self) -> bool {
        self.count == 0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.count);
        self.total.encode(out);
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Sum> {
        Some(Sum { count: take_varint(input)?, total: ExactSum::decode(input)? })
    }

    #[inline]
    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        self.count = self.count.checked_add(take_varint(input)?)?;
        self.total.absorb(input)
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        take_varint(input)?;
        ExactSum::skip(input)
    }

    fn inputs(&self) -> Option<u64> {
        Some(self.count)
    }

    fn heap_bytes(&self) -> usize {
        self.total.heap_bytes()
    }
}

const DIGITS_MAX: u8 = 38;

fn result(call: &Call) -> ValueType {
    match call.argument() {
        ValueType::Decimal { scale, .. } => ValueType::Decimal { precision: DIGITS_MAX, scale: *scale },
        integer if integer.is_integer() => ValueType::Int64,
        _ => ValueType::Float64,
    }
}

fn finalize(call: &Call, partial: &Partial, _: EventTime) -> Finalized {
    let Sum { count, total } = Sum::of(partial);
    let value = match result(call) {
        ValueType::Float64 => Some(Value::Float(total.to_f64())),
        ValueType::Int64 => total.to_i128().and_then(|sum| i64::try_from(sum).ok()).map(Value::Int),
        _ => total.to_i128().filter(|sum| sum.unsigned_abs() < 10_u128.pow(u32::from(DIGITS_MAX))).map(Value::Decimal),
    };
    match value {
        zero @ Some(_) if *count == 0 => Finalized::Empty(zero),
        value => value.map_or(Finalized::Overflow, Finalized::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::aggregate::laws::{finalized, numbers};

    const DECIMAL: ValueType = ValueType::Decimal { precision: 38, scale: 2 };

    #[test]
    fn the_empty_sum_is_a_zero_of_the_result_type() {
        for (argument, zero) in
            [(ValueType::Int32, Value::Int(0)), (ValueType::Float32, Value::Float(0.0)), (DECIMAL, Value::Decimal(0))]
        {
            assert_eq!(finalized("sum", argument, &[]), Finalized::Empty(Some(zero)));
        }
    }

    #[test]
    fn integers_may_pass_int64_on_the_way_but_not_at_the_end() {
        let ints = |ints: &[i64]| finalized("sum", ValueType::Int64, &numbers(ints, Value::Int));
        assert_eq!(ints(&[i64::MAX, 5, -5]), Finalized::Value(Value::Int(i64::MAX)));
        assert_eq!(ints(&[i64::MAX, 1]), Finalized::Overflow);
        assert_eq!(ints(&[i64::MIN, -1]), Finalized::Overflow);
    }

    #[test]
    fn decimals_may_pass_38_digits_on_the_way_but_not_at_the_end() {
        let most = 10_i128.pow(38) - 1;
        let decimals = |decimals: &[i128]| finalized("sum", DECIMAL, &numbers(decimals, Value::Decimal));
        assert_eq!(decimals(&[most, most, most, -most, -most]), Finalized::Value(Value::Decimal(most)));
        assert_eq!(decimals(&[most, 1]), Finalized::Overflow);
        assert_eq!(decimals(&[-most, -1]), Finalized::Overflow);
    }

    #[test]
    fn floats_are_never_an_overflow() {
        let floats = |floats: &[f64]| finalized("sum", ValueType::Float64, &numbers(floats, Value::Float));
        assert_eq!(floats(&[f64::MAX, f64::MAX]), Finalized::Value(Value::Float(f64::INFINITY)));
        assert_eq!(floats(&[0.1, 0.2, 0.3]), Finalized::Value(Value::Float(0.6)));
    }
}
