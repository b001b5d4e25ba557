//! Exact fractions, and the one place where an exact number becomes a double: rounded once, half to even.

use num_bigint::{BigInt, BigUint, Sign};

/// numerator / denominator * 2^exponent.
#[derive(Debug)]
pub struct Fraction {
    numerator: BigInt,
    denominator: BigUint,
    exponent: i32,
}

impl Fraction {
    /// numerator * 2^exponent.
    pub fn new(numerator: BigInt, exponent: i32) -> Fraction {
        Fraction { numerator, denominator: BigUint::from(1_u32), exponent }
    }

    /// Divided by a number that is not zero.
    pub fn over(mut self, divisor: impl Into<BigUint>) -> Fraction {
        self.denominator *= divisor.into();
        self
    }

    /// Divided by 10^power: what an unscaled decimal of that scale stands for.
    pub fn over_power_of_ten(mut self, power: i32) -> Fraction {
        let factor = BigUint::from(10_u32).pow(power.unsigned_abs());
        if power < 0 {
            self.numerator *= BigInt::from(factor);
        } else {
            self.denominator *= factor;
        }
        self
    }

    pub fn to_f64(&self) -> f64 {
        let magnitude = self.numerator.magnitude();
        if magnitude.bits() == 0 {
            return 0.0;
        }
        // The quotient gets 65 bits or more, so that its highest 64 are what the true quotient begins with.
        let shift = (self.denominator.bits() + 65).saturating_sub(magnitude.bits());
        let shifted = magnitude << shift;
        let quotient = &shifted / &self.denominator;
        let inexact = &quotient * &self.denominator != shifted;
        let dropped = quotient.bits() - 64;
        Leading {
            negative: self.numerator.sign() == Sign::Minus,
            top: u64::try_from(&quotient >> dropped).expect("64 bits are left"),
            sticky: inexact || quotient.trailing_zeros().is_some_and(|zeros| zeros < dropped),
            exponent: i64::from(self.exponent) - shift as i64 + dropped as i64,
        }
        .to_f64()
    }
}

/// numerator / divisor * 2^exponent for a divisor that is not zero, as [`Fraction::to_f64`] has it: for numbers that
/// need no heap.
pub fn small_ratio(numerator: i128, divisor: u64, exponent: i32) -> f64 {
    if numerator == 0 {
        return 0.0;
    }
    let magnitude = numerator.unsigned_abs();
    let shift = magnitude.leading_zeros();
    // With its highest bit set it is 2^127 at least, so the quotient has 64 bits or more.
    let (shifted, divisor) = (magnitude << shift, u128::from(divisor));
    let (quotient, rest) = (shifted / divisor, shifted % divisor);
    let dropped = 64 - quotient.leading_zeros();
    Leading {
        negative: numerator < 0,
        top: (quotient >> dropped) as u64,
        sticky: rest != 0 || quotient.trailing_zeros() < dropped,
        exponent: i64::from(exponent) - i64::from(shift) + i64::from(dropped),
    }
    .to_f64()
}

/// All that rounding needs of a number other than zero: its highest 64 bits as `top` * 2^`exponent`, the highest
/// of them set, and whether anything follows.
#[derive(Clone, Copy, Debug)]
pub struct Leading {
    pub negative: bool,
    pub top: u64,
    pub sticky: bool,
    pub exponent: i64,
}

impl Leading {
    /// The nearest double, the even one of two; ±infinity beyond the range; what rounds to zero is `+0.0`.
    pub fn to_f64(self) -> f64 {
        let highest = self.exponent + 63;
        if highest > 1_023 {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        if highest < -1_075 {
            return 0.0;
        }
        // Below 2^-1022 each halving of the number takes a bit of its precision.
        let precision = (highest + 1_075).min(53) as u32;
        let kept = self.top.checked_shr(64 - precision).unwrap_or(0);
        let rest = self.top << precision;
        let half = 1 << 63;
        let up = rest > half || (rest == half && (self.sticky || kept & 1 == 1));
        // The hidden bit of `kept`, and a carry out of it, add one to the exponent field by themselves.
        let field = (highest + 1_022).max(0) as u64;
        let magnitude = f64::from_bits((field << 52) + kept + u64::from(up));
        if self.negative && magnitude > 0.0 { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(numerator: i64, denominator: u32, exponent: i32) -> f64 {
        Fraction::new(BigInt::from(numerator), exponent).over(denominator).to_f64()
    }

    #[test]
    fn quotients_of_small_integers_are_what_the_processor_says() {
        let mut random = fastrand::Rng::with_seed(53);
        for _ in 0..2_000 {
            let (numerator, denominator) = (random.i32(..), random.u32(1..));
            let expected = f64::from(numerator) / f64::from(denominator);
            assert_eq!(fraction(i64::from(numerator), denominator, 0), expected, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let at_53_bits = 1_i64 << 53;
        assert_eq!(fraction(at_53_bits + 1, 1, 0), at_53_bits as f64);
        assert_eq!(fraction(at_53_bits + 3, 1, 0), (at_53_bits + 4) as f64);
        assert_eq!(fraction(-at_53_bits - 1, 1, 0), -at_53_bits as f64);
    }

    #[test]
    fn the_ends_of_the_range_round_as_ieee_does() {
        let tiny = f64::from_bits(1);
        assert_eq!(fraction(1, 1, -1_074), tiny);
        assert_eq!(fraction(1, 1, -1_075).to_bits(), 0, "half of the least goes to zero, the even one");
        assert_eq!(fraction(-1, 1, -1_075).to_bits(), 0, "and zero has no sign");
        assert_eq!(fraction(3, 1, -1_076), tiny);
        assert_eq!(fraction(1, 3, -1_073), tiny);
        assert_eq!(fraction((1 << 53) - 1, 1, -1_075), f64::MIN_POSITIVE, "a carry makes the least normal number");
        assert_eq!(fraction((1 << 53) - 1, 1, 971), f64::MAX);
        assert_eq!(fraction((1 << 54) - 1, 1, 970), f64::INFINITY);
        assert_eq!(fraction(-1, 1, 1_024), f64::NEG_INFINITY);
    }

    #[test]
    fn decimals_come_out_as_their_text_parses() {
        let decimal = |unscaled: i64, scale| Fraction::new(BigInt::from(unscaled), 0).over_power_of_ten(scale).to_f64();
        assert_eq!(decimal(1, 1), 0.1);
        assert_eq!(decimal(-123_456_789, 9), -0.123_456_789);
        assert_eq!(decimal(17, -3), 17_000.0);
        assert_eq!(decimal(1, 38), 1e-38);
    }
}
