//! `mean`: the exact sum over the count, rounded once. It reads the state of `sum`, so the two share a slot.

use super::exact::ExactSum;
use super::fraction::{Fraction, small_ratio};
use super::sum::Sum;
use super::{Arity, Call, Finalized, Function, Partial, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueType};

pub static MEAN: Function = Function {
    name: "mean",
    column: Arity::Always,
    accepts: ValueType::is_number,
    accepted: "a number",
    parameters: &[],
    keeps_values: false,
    result: |_| ValueType::Float64,
    identity: |_| Partial::Sum(Sum::default()),
    finalize,
};

fn finalize(call: &Call, partial: &Partial, _: EventTime) -> Finalized {
    let Sum { count, total } = Sum::of(partial);
    if *count == 0 {
        return Finalized::Empty(None);
    }
    let scale = call.scale();
    let small = || small_mean(*count, total, scale);
    let mean = total.non_finite().or_else(small).unwrap_or_else(|| {
        let (mantissa, exponent) = total.finite();
        Fraction::new(mantissa, exponent).over(*count).over_power_of_ten(scale).to_f64()
    });
    Finalized::Value(Value::Float(mean))
}

fn small_mean(count: u64, total: &ExactSum, scale: i32) -> Option<f64> {
    let (mantissa, exponent) = total.small()?;
    let divisor = 10_u64.checked_pow(u32::try_from(scale).ok()?)?.checked_mul(count)?;
    Some(small_ratio(mantissa, divisor, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::aggregate::laws::{finalized, numbers};

    fn mean(floats: &[f64]) -> f64 {
        match finalized("mean", ValueType::Float64, &numbers(floats, Value::Float)) {
            Finalized::Value(Value::Float(mean)) => mean,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sum_may_pass_the_range_though_the_mean_does_not() {
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(mean(&[1.0, 2.0, 2.0]), 5.0 / 3.0);
    }

    #[test]
    fn infinities_are_as_ieee_has_them() {
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert_eq!(mean(&[f64::NEG_INFINITY, f64::MAX]), f64::NEG_INFINITY);
        assert!(mean(&[f64::NEG_INFINITY, f64::INFINITY]).is_nan());
    }

    #[test]
    fn the_mean_of_decimals_is_scaled_and_of_nothing_is_null() {
        let decimal = ValueType::Decimal { precision: 10, scale: 2 };
        let prices = numbers(&[10, 20, 21], Value::Decimal);
        assert_eq!(finalized("mean", decimal.clone(), &prices), Finalized::Value(Value::Float(0.17)));
        assert_eq!(finalized("mean", decimal, &[]), Finalized::Empty(None));
    }
}
