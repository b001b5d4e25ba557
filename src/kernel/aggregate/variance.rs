//! `var_pop`, `var_samp`, `stddev_pop`, `stddev_samp`: from the exact count n, sum S and sum of squares Q. The
//! variance is one exact fraction, (nQ - S²) / n² or (nQ - S²) / (n(n-1)), rounded once, so nothing cancels; the
//! standard deviation is the root of that double.

use num_bigint::{BigInt, BigUint};

use super::bytes::{put_varint, take_varint};
use super::exact::ExactSum;
use super::fraction::{Fraction, small_ratio};
use super::number::Number;
use super::{Arity, Call, Finalized, Function, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static VAR_POP: Function =
    function("var_pop", |call, partial, _| spread(call, partial, Divisor::Population, |variance| variance));

pub static VAR_SAMP: Function =
    function("var_samp", |call, partial, _| spread(call, partial, Divisor::Sample, |variance| variance));

pub static STDDEV_POP: Function =
    function("stddev_pop", |call, partial, _| spread(call, partial, Divisor::Population, f64::sqrt));

pub static STDDEV_SAMP: Function =
    function("stddev_samp", |call, partial, _| spread(call, partial, Divisor::Sample, f64::sqrt));

const fn function(name: &'static str, finalize: fn(&Call, &Partial, EventTime) -> Finalized) -> Function {
    Function {
        name,
        column: Arity::Always,
        accepts: ValueType::is_number,
        accepted: "a number",
        parameters: &[],
        keeps_values: false,
        result: |_| ValueType::Float64,
        identity: |_| Partial::Moments(Moments::default()),
        finalize,
    }
}

/// Boxed, for it is twice the size of any other state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments(Box<Sums>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    count: u64,
    values: ExactSum,
    squares: ExactSum,
}

impl State for Moments {
    fn update(&mut self, value: Option<ValueRef<'_>>, _: Stamp) {
        let number = Number::of(value.expect("a variance is of a column"));
        self.0.count += 1;
        self.0.values.add(number);
        self.0.squares.add_square(number);
    }

    fn merge(&mut self, other: &Moments) {
        self.0.count += other.0.count;
        self.0.values.merge(&other.0.values);
        self.0.squares.merge(&other.0.squares);
    }

    fn is_identity(&self) -> bool {
        self.0.count == 0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.count);
        self.0.values.encode(out);
        self.0.squares.encode(out);
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Moments> {
        let count = take_varint(input)?;
        let (values, squares) = (ExactSum::decode(input)?, ExactSum::decode(input)?);
        Some(Moments(Box::new(Sums { count, values, squares })))
    }

    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        let sums = &mut *self.0;
        sums.count = sums.count.checked_add(take_varint(input)?)?;
        sums.values.absorb(input)?;
        sums.squares.absorb(input)
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        take_varint(input)?;
        ExactSum::skip(input)?;
        ExactSum::skip(input)
    }

    fn inputs(&self) -> Option<u64> {
        Some(self.0.count)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Sums>() + self.0.values.heap_bytes() + self.0.squares.heap_bytes()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Divisor {
    Population,
    Sample,
}

fn spread(call: &Call, partial: &Partial, divisor: Divisor, finish: fn(f64) -> f64) -> Finalized {
    let sums = &*Moments::of(partial).0;
    match (sums.count, divisor) {
        (0, _) => Finalized::Empty(None),
        (1, Divisor::Sample) => Finalized::Undefined,
        _ if sums.values.non_finite().is_some() => Finalized::Value(Value::Float(f64::NAN)),
        _ => Finalized::Value(Value::Float(finish(variance(sums, divisor, call.scale())))),
    }
}

fn variance(sums: &Sums, divisor: Divisor, scale: i32) -> f64 {
    small_variance(sums, divisor, scale).unwrap_or_else(|| any_variance(sums, divisor, scale))
}

/// Where 128 bits are enough, as for some thousand prices.
fn small_variance(sums: &Sums, divisor: Divisor, scale: i32) -> Option<f64> {
    let (sum, sum_exponent) = sums.values.small()?;
    let (squares, squares_exponent) = sums.squares.small()?;
    let exponent = squares_exponent.min(2 * sum_exponent);
    let scaled_squares = checked_shl(squares.checked_mul(i128::from(sums.count))?, squares_exponent - exponent)?;
    let scaled_square = checked_shl(sum.checked_mul(sum)?, 2 * sum_exponent - exponent)?;
    let others = match divisor {
        Divisor::Population => sums.count,
        Divisor::Sample => sums.count - 1,
    };
    let unscaled = 10_u64.checked_pow(u32::try_from(2 * scale).ok()?)?;
    let divisor = sums.count.checked_mul(others)?.checked_mul(unscaled)?;
    Some(small_ratio(scaled_squares.checked_sub(scaled_square)?, divisor, exponent))
}

fn checked_shl(number: i128, shift: i32) -> Option<i128> {
    let shift = u32::try_from(shift).ok().filter(|shift| *shift < i128::BITS)?;
    let shifted = number << shift;
    (shifted >> shift == number).then_some(shifted)
}

fn any_variance(sums: &Sums, divisor: Divisor, scale: i32) -> f64 {
    let (sum, sum_exponent) = sums.values.finite();
    let (squares, squares_exponent) = sums.squares.finite();
    let exponent = squares_exponent.min(2 * sum_exponent);
    let scaled_squares = (squares * sums.count) << (squares_exponent - exponent);
    let scaled_square: BigInt = (&sum * &sum) << (2 * sum_exponent - exponent);
    let count = BigUint::from(sums.count);
    let others = match divisor {
        Divisor::Population => count.clone(),
        Divisor::Sample => &count - 1_u32,
    };
    Fraction::new(scaled_squares - scaled_square, exponent).over(count * others).over_power_of_ten(2 * scale).to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::aggregate::laws::{finalized, numbers};

    fn of(function: &str, floats: &[f64]) -> Finalized {
        finalized(function, ValueType::Float64, &numbers(floats, Value::Float))
    }

    fn value(float: f64) -> Finalized {
        Finalized::Value(Value::Float(float))
    }

    #[test]
    fn nothing_cancels_far_from_zero() {
        let far = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
        assert_eq!(of("var_samp", &far), value(30.0));
        assert_eq!(of("var_pop", &far), value(22.5));
        assert_eq!(of("stddev_samp", &far), value(30_f64.sqrt()));
        assert_eq!(of("stddev_pop", &far), value(22.5_f64.sqrt()));
        assert_eq!(of("var_pop", &[0.1; 3]), value(0.0));
    }

    #[test]
    fn a_sample_of_one_has_no_variance_but_a_population_of_one_does() {
        assert_eq!(of("var_samp", &[3.0]), Finalized::Undefined);
        assert_eq!(of("stddev_samp", &[f64::INFINITY]), Finalized::Undefined);
        assert_eq!(of("var_pop", &[3.0]), value(0.0));
        assert_eq!(of("var_pop", &[]), Finalized::Empty(None));
        assert_eq!(of("var_samp", &[]), Finalized::Empty(None));
    }

    #[test]
    fn an_infinity_makes_it_nan_and_squares_may_pass_the_range() {
        assert_eq!(of("var_pop", &[f64::INFINITY, 1.0]), value(f64::NAN));
        assert_eq!(of("stddev_pop", &[f64::NEG_INFINITY, 1.0]), value(f64::NAN));
        assert_eq!(of("var_pop", &[1e200, -1e200]), value(f64::INFINITY));
        assert_eq!(of("var_pop", &[1e-200, -1e-200]), value(0.0));
    }

    #[test]
    fn decimals_are_scaled_and_their_squares_do_not_overflow() {
        let prices = numbers(&[400, 700, 1_300, 1_600], Value::Decimal);
        let decimal = |scale| ValueType::Decimal { precision: 38, scale };
        assert_eq!(finalized("var_samp", decimal(2), &prices), value(30.0));
        let most = 10_i128.pow(38) - 1;
        let opposite = numbers(&[most, -most], Value::Decimal);
        assert_eq!(finalized("stddev_pop", decimal(38), &opposite), value(1.0));
    }
}
