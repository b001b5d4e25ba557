//! Numbers of any column, taken apart: an integer times a power of two, which is what sums are made of.

use crate::kernel::value::ValueRef;

/// What a sum takes in.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// mantissa * 2^exponent.
    Finite {
        mantissa: i128,
        exponent: i32,
    },
    PositiveInfinity,
    NegativeInfinity,
}

impl Number {
    #[inline]
    pub fn of(value: ValueRef<'_>) -> Number {
        match value {
            ValueRef::Int(number) => Number::Finite { mantissa: i128::from(number), exponent: 0 },
            ValueRef::Decimal(unscaled) => Number::Finite { mantissa: unscaled, exponent: 0 },
            ValueRef::Float(float) => Number::of_float(float),
            other => unreachable!("definitions apply sums to numbers, yet this is {other:?}"),
        }
    }

    #[inline]
    pub fn of_float(float: f64) -> Number {
        let bits = float.to_bits();
        let field = (bits >> 52 & 0x7ff) as i32;
        let stored = (bits & ((1 << 52) - 1)) as i64;
        let hidden = i64::from(field != 0) << 52;
        let negative = bits >> 63 == 1;
        match (field, negative) {
            (0x7ff, false) => Number::PositiveInfinity,
            (0x7ff, true) => Number::NegativeInfinity,
            (field, negative) => {
                let magnitude = stored | hidden;
                let mantissa = i128::from(if negative { -magnitude } else { magnitude });
                Number::Finite { mantissa, exponent: field.max(1) - 1_075 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_come_apart_without_loss() {
        let parts = |float| match Number::of_float(float) {
            Number::Finite { mantissa, exponent } => (mantissa, exponent),
            infinity => panic!("{infinity:?}"),
        };
        assert_eq!(parts(1.0), (1 << 52, -52));
        assert_eq!(parts(-f64::MAX), (-((1 << 53) - 1), 971));
        assert_eq!(parts(f64::MIN_POSITIVE), (1 << 52, -1_074));
        assert_eq!(parts(f64::from_bits(1)), (1, -1_074), "a subnormal number has no hidden bit");
        assert_eq!(parts(-0.0).0, 0);
    }

    #[test]
    fn infinities_keep_their_sign() {
        assert!(matches!(Number::of_float(f64::INFINITY), Number::PositiveInfinity));
        assert!(matches!(Number::of_float(f64::NEG_INFINITY), Number::NegativeInfinity));
    }
}
