//! Numbers as big integers, and the fraction of two of them rounded once, half to even: by long division, which is
//! slow and easily seen to be right.

use std::cmp::Ordering;

use freshet::kernel::value::Value;
use num_bigint::{BigInt, BigUint, Sign};

/// Numerator and denominator; the denominator is positive.
pub struct Ratio(pub BigInt, pub BigInt);

/// A finite number: a double as a multiple of 2^-1074, an integer or a decimal as it is.
pub fn exact(value: &Value) -> BigInt {
    match value {
        Value::Int(int) => BigInt::from(*int),
        Value::Decimal(unscaled) => BigInt::from(*unscaled),
        Value::Float(float) => exact_double(*float),
        other => panic!("{other:?} is not a number"),
    }
}

fn exact_double(float: f64) -> BigInt {
    let bits = float.to_bits();
    let exponent = bits >> 52 & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    let magnitude = match exponent {
        0 => BigInt::from(fraction),
        _ => BigInt::from(fraction | 1 << 52) << (exponent - 1),
    };
    if float.is_sign_negative() { -magnitude } else { magnitude }
}

impl Ratio {
    /// The nearest double; what rounds to zero is `+0.0`.
    pub fn to_f64(&self) -> f64 {
        let Ratio(numerator, denominator) = self;
        let exponent = numerator.bits() as i64 - denominator.bits() as i64 - 53;
        let magnitude = rounded(numerator.magnitude(), denominator.magnitude(), exponent.max(-1074));
        if numerator.sign() == Sign::Minus && magnitude > 0.0 { -magnitude } else { magnitude }
    }
}

/// numerator / denominator in units of 2^exponent, a finer unit than which a double does not have.
fn rounded(numerator: &BigUint, denominator: &BigUint, exponent: i64) -> f64 {
    let dividend = numerator << (-exponent).max(0);
    let divisor = denominator << exponent.max(0);
    let mut quotient = &dividend / &divisor;
    if quotient.bits() > 53 {
        return rounded(numerator, denominator, exponent + 1);
    }
    let rest = dividend - &quotient * &divisor;
    match (rest * 2_u32).cmp(&divisor) {
        Ordering::Greater => quotient += 1_u32,
        Ordering::Equal if quotient.bit(0) => quotient += 1_u32,
        _ => {}
    }
    let whole = u64::try_from(quotient).expect("54 bits at most") as f64;
    scaled(whole, exponent)
}

/// whole * 2^exponent, in two steps so that neither factor leaves the range of doubles.
fn scaled(whole: f64, exponent: i64) -> f64 {
    if exponent > 971 {
        return if whole == 0.0 { 0.0 } else { f64::INFINITY };
    }
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    let half = exponent / 2;
    whole * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: i64, denominator: i64) -> f64 {
        Ratio(numerator.into(), denominator.into()).to_f64()
    }

    #[test]
    fn small_fractions_are_what_the_processor_divides() {
        for (numerator, denominator) in [(0, 1), (1, 3), (-2, 3), (1, 10), (7, 1), (-355, 113), (i64::MAX, 1)] {
            assert_eq!(ratio(numerator, denominator), numerator as f64 / denominator as f64);
        }
    }

    #[test]
    fn doubles_read_back_from_their_exact_numbers() {
        for float in [1.0, -0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.5e-310, 123456.789] {
            assert_eq!(Ratio(exact(&Value::Float(float)), BigInt::from(1) << 1074).to_f64(), float);
        }
        assert_eq!(Ratio(exact(&Value::Float(f64::MAX)) * 2, BigInt::from(1) << 1074).to_f64(), f64::INFINITY);
    }
}
