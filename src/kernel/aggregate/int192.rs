//! A signed integer of 192 bits: what most exact sums fit into without a heap.

use num_bigint::BigInt;

use super::fraction::Leading;

/// Two's complement, lowest limb first. Values lie in -2^190 .. 2^190, so that the sum of two never leaves 192 bits
/// and a look at its highest two bits tells whether it still fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int192([u64; 3]);

const BITS_MAX: u32 = 190;

impl Int192 {
    pub const ZERO: Int192 = Int192([0; 3]);

    pub fn is_zero(self) -> bool {
        self.0 == [0; 3]
    }

    /// number * 2^shift for a shift below 64, so that it fits.
    #[inline]
    pub fn shifted(number: i128, shift: u32) -> Int192 {
        debug_assert!(shift < 64, "a shift of {shift} may lose bits");
        let (low, high) = (number << shift, number >> (127 - shift) >> 1);
        Int192([low as u64, (low >> 64) as u64, high as u64])
    }

    /// `None` where the sum does not fit.
    #[inline]
    pub fn checked_add(self, other: Int192) -> Option<Int192> {
        let (low, carry) = self.low().overflowing_add(other.low());
        let high = self.0[2].wrapping_add(other.0[2]).wrapping_add(u64::from(carry));
        let fits = (high ^ (high << 1)) >> 63 == 0;
        fits.then_some(Int192([low as u64, (low >> 64) as u64, high]))
    }

    /// Times 2^shift; `None` where that does not fit.
    #[inline]
    pub fn checked_shl(self, shift: u32) -> Option<Int192> {
        if shift == 0 {
            return Some(self);
        }
        (shift <= BITS_MAX && self.bits() + shift <= BITS_MAX).then(|| Int192(shl(self.0, shift)))
    }

    /// Divided by 2^shift, for a shift below 192; exact where that many low bits are zero.
    pub fn shr(self, shift: u32) -> Int192 {
        let ([a, b, c], sign) = (self.0, self.sign());
        let [a, b, c] = match shift / 64 {
            0 => [a, b, c],
            1 => [b, c, sign],
            _ => [c, sign, sign],
        };
        let bits = shift % 64;
        let from_above = |limb: u64| (limb << 1) << (63 - bits);
        Int192([a >> bits | from_above(b), b >> bits | from_above(c), ((c as i64) >> bits) as u64])
    }

    /// 192 for zero.
    pub fn trailing_zeros(self) -> u32 {
        match self.0 {
            [0, 0, c] => 128 + c.trailing_zeros(),
            [0, b, _] => 64 + b.trailing_zeros(),
            [a, _, _] => a.trailing_zeros(),
        }
    }

    /// The highest 64 bits of a number that is not zero, and whether any bit below them is set.
    pub fn leading(self) -> Leading {
        let magnitude = self.magnitude();
        let bits = bits(magnitude);
        let [a, b, top] = shl(magnitude, 192 - bits);
        Leading { negative: self.sign() != 0, top, sticky: a | b != 0, exponent: i64::from(bits) - 64 }
    }

    pub fn to_le_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// From two's complement of any length; `None` where the value does not fit, or the bytes are longer than 23.
    pub fn from_le_bytes(bytes: &[u8]) -> Option<Int192> {
        if bytes.len() > 23 {
            return None;
        }
        let negative = bytes.last().is_some_and(|byte| byte >> 7 == 1);
        let mut extended = if negative { [0xff; 24] } else { [0; 24] };
        extended[..bytes.len()].copy_from_slice(bytes);
        let limb = |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| extended[8 * index + byte]));
        Some(Int192(std::array::from_fn(limb)))
    }

    #[inline]
    pub fn to_i128(self) -> Option<i128> {
        let number = self.low() as i128;
        (self.0[2] == (number >> 127) as u64).then_some(number)
    }

    pub fn to_big(self) -> BigInt {
        BigInt::from_signed_bytes_le(&self.to_le_bytes())
    }

    /// How many bits the value takes besides its sign.
    fn bits(self) -> u32 {
        bits(self.0.map(|limb| limb ^ self.sign()))
    }

    /// All ones for a negative value, else all zeros.
    fn sign(self) -> u64 {
        ((self.0[2] as i64) >> 63) as u64
    }

    fn low(self) -> u128 {
        u128::from(self.0[1]) << 64 | u128::from(self.0[0])
    }

    fn magnitude(self) -> [u64; 3] {
        let sign = self.sign();
        let flipped = Int192(self.0.map(|limb| limb ^ sign));
        let (low, carry) = flipped.low().overflowing_add(u128::from(sign & 1));
        [low as u64, (low >> 64) as u64, flipped.0[2] + u64::from(carry)]
    }
}

impl From<i128> for Int192 {
    #[inline]
    fn from(number: i128) -> Int192 {
        Int192([number as u64, (number >> 64) as u64, (number >> 127) as u64])
    }
}

fn bits(limbs: [u64; 3]) -> u32 {
    match limbs {
        [a, 0, 0] => 64 - a.leading_zeros(),
        [_, b, 0] => 128 - b.leading_zeros(),
        [_, _, c] => 192 - c.leading_zeros(),
    }
}

/// Bits beyond 192 are lost, so the caller knows that there are none; the shift is below 192.
fn shl([a, b, c]: [u64; 3], shift: u32) -> [u64; 3] {
    let [a, b, c] = match shift / 64 {
        0 => [a, b, c],
        1 => [0, a, b],
        _ => [0, 0, a],
    };
    let bits = shift % 64;
    let from_below = |limb: u64| (limb >> 1) >> (63 - bits);
    [a << bits, b << bits | from_below(a), c << bits | from_below(b)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Vec<i128> {
        let mut random = fastrand::Rng::with_seed(192);
        let mut numbers = vec![0, 1, -1, i128::MAX, i128::MIN, 1 << 63, -(1 << 63), 1 << 64, -(1 << 64)];
        numbers.extend((0..200).map(|_| random.i128(..) >> random.u32(..127)));
        numbers
    }

    #[test]
    fn shifts_and_sums_agree_with_big_integers_or_say_that_they_do_not_fit() {
        let limit = BigInt::from(1) << BITS_MAX;
        let fits = |number: &BigInt| -&limit <= *number && *number < limit;
        for number in numbers() {
            for shift in [0, 1, 62, 63, 64, 65, 127, 128, 129, 189, 190, 191, 5_000] {
                let expected = BigInt::from(number) << shift;
                if shift < 64 {
                    assert_eq!(Int192::shifted(number, shift).to_big(), expected, "{number} << {shift}");
                }
                match Int192::from(number).checked_shl(shift) {
                    Some(shifted) => {
                        assert_eq!(shifted.to_big(), expected, "{number} << {shift}");
                        assert_eq!(shifted.to_i128(), i128::try_from(&expected).ok(), "{number} << {shift}");
                        let sum = shifted.checked_add(shifted).map(Int192::to_big);
                        let twice = expected * 2;
                        assert_eq!(sum, fits(&twice).then_some(twice), "{number} << {shift} twice");
                    }
                    None => assert!(!fits(&expected) || number == 0, "{number} << {shift}"),
                }
            }
        }
    }

    #[test]
    fn trailing_zeros_come_off_and_bytes_read_back() {
        for number in numbers().into_iter().filter(|number| *number != 0) {
            let Some(shifted) = Int192::from(number).checked_shl(60) else { continue };
            let zeros = shifted.trailing_zeros();
            assert_eq!(zeros, 60 + number.trailing_zeros());
            let odd = shifted.shr(zeros);
            assert_eq!(odd.to_big(), BigInt::from(number >> number.trailing_zeros()));
            assert_eq!(Int192::from_le_bytes(&odd.to_le_bytes()[..23]), Some(odd));
        }
    }
}
