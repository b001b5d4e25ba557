//! An exact sum of integers, decimals (unscaled) and doubles, and of their squares: no rounding before the end, so
//! order and grouping cannot matter.
//!
//! ```text
//! value ─► Number ─► ExactSum: 192 bits ─(only when it must)─► big integer ─► double, rounded once
//! ```
//!
//! NaN does not come in. Infinities are remembered beside the finite part, which stays exact.

use num_bigint::BigInt;

use super::bytes::{minimal_signed, put_varint, put_zigzag, take_bytes, take_varint, take_zigzag};
use super::fraction::{Fraction, Leading};
use super::int192::Int192;
use super::number::Number;

#[derive(Clone, Debug)]
pub struct ExactSum {
    finite: Finite,
    /// [`POSITIVE`] and [`NEGATIVE`], as they were seen.
    infinities: u8,
}

const POSITIVE: u8 = 1;
const NEGATIVE: u8 = 2;

/// mantissa * 2^exponent. The exponent is the lowest that was needed so far, so it depends on the order of events;
/// what is encoded and compared does not.
#[derive(Clone, Debug)]
enum Finite {
    Narrow { mantissa: Int192, exponent: i32 },
    Wide(Box<Wide>),
}

#[derive(Clone, Debug)]
struct Wide {
    mantissa: BigInt,
    exponent: i32,
}

/// A sum that outgrew 192 bits goes back to them when this much is enough: from there it can grow again either way.
const NARROW_BITS: u64 = 160;

/// Bounds on what is decoded, far beyond any sum of squares of doubles: a damaged length or exponent must not
/// make us allocate.
const LONGEST_MANTISSA_BYTES: usize = 1_024;
const LARGEST_EXPONENT: u64 = 8_192;

impl Default for ExactSum {
    fn default() -> ExactSum {
        ExactSum { finite: Finite::Narrow { mantissa: Int192::ZERO, exponent: 0 }, infinities: 0 }
    }
}

impl ExactSum {
    #[inline]
    pub fn add(&mut self, number: Number) {
        match number {
            Number::Finite { mantissa: 0, .. } => {}
            Number::Finite { mantissa, exponent } => {
                if self.try_add_near(mantissa, exponent).is_none() {
                    self.add_anywhere(Int192::from(mantissa), exponent);
                }
            }
            Number::PositiveInfinity => self.infinities |= POSITIVE,
            Number::NegativeInfinity => self.infinities |= NEGATIVE,
        }
    }

    #[inline]
    pub fn add_square(&mut self, number: Number) {
        match number {
            Number::Finite { mantissa, exponent } => match mantissa.checked_mul(mantissa) {
                Some(square) => self.add(Number::Finite { mantissa: square, exponent: 2 * exponent }),
                None => self.add_big(&(BigInt::from(mantissa) * mantissa), 2 * exponent),
            },
            Number::PositiveInfinity | Number::NegativeInfinity => self.infinities |= POSITIVE,
        }
    }

    pub fn merge(&mut self, other: &ExactSum) {
        self.infinities |= other.infinities;
        match &other.finite {
            Finite::Narrow { mantissa, .. } if mantissa.is_zero() => {}
            Finite::Narrow { mantissa, exponent } => {
                let near = mantissa.to_i128().and_then(|mantissa| self.try_add_near(mantissa, *exponent));
                if near.is_none() {
                    self.add_anywhere(*mantissa, *exponent);
                }
            }
            Finite::Wide(wide) => self.add_big(&wide.mantissa, wide.exponent),
        }
    }

    /// The infinity that was seen, or NaN for both.
    pub fn non_finite(&self) -> Option<f64> {
        match self.infinities {
            0 => None,
            POSITIVE => Some(f64::INFINITY),
            NEGATIVE => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// The finite part, mantissa * 2^exponent.
    pub fn finite(&self) -> (BigInt, i32) {
        match &self.finite {
            Finite::Narrow { mantissa, exponent } => (mantissa.to_big(), *exponent),
            Finite::Wide(wide) => (wide.mantissa.clone(), wide.exponent),
        }
    }

    /// The finite part where its mantissa fits 128 bits, as nearly always.
    pub fn small(&self) -> Option<(i128, i32)> {
        match &self.finite {
            Finite::Narrow { mantissa, exponent } => Some((mantissa.to_i128()?, *exponent)),
            Finite::Wide(_) => None,
        }
    }

    /// `None` where the sum is not an integer of 128 bits.
    pub fn to_i128(&self) -> Option<i128> {
        if self.infinities != 0 {
            return None;
        }
        if let Finite::Narrow { mantissa, exponent: exponent @ 0.. } = &self.finite {
            return mantissa.checked_shl(*exponent as u32)?.to_i128();
        }
        let (mantissa, exponent) = self.canonical();
        i128::try_from(mantissa << u32::try_from(exponent).ok()?).ok()
    }

    /// Rounded once; beyond the range ±infinity; zero is `+0.0`.
    pub fn to_f64(&self) -> f64 {
        if let Some(non_finite) = self.non_finite() {
            return non_finite;
        }
        match &self.finite {
            Finite::Narrow { mantissa, .. } if mantissa.is_zero() => 0.0,
            Finite::Narrow { mantissa, exponent } => {
                let leading = mantissa.leading();
                Leading { exponent: leading.exponent + i64::from(*exponent), ..leading }.to_f64()
            }
            Finite::Wide(wide) => Fraction::new(wide.mantissa.clone(), wide.exponent).to_f64(),
        }
    }

    /// The number of mantissa bytes with the infinities in its two lowest bits; then, unless there are none, the
    /// exponent and the mantissa: odd, and as short as its sign allows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.finite {
            Finite::Narrow { mantissa, .. } if mantissa.is_zero() => self.encode_parts(out, &[], 0),
            Finite::Narrow { mantissa, exponent } => {
                let zeros = mantissa.trailing_zeros();
                self.encode_parts(out, &mantissa.shr(zeros).to_le_bytes(), exponent + zeros as i32);
            }
            Finite::Wide(_) => {
                let (mantissa, exponent) = self.canonical();
                self.encode_parts(out, &mantissa.to_signed_bytes_le(), exponent);
            }
        }
    }

    fn encode_parts(&self, out: &mut Vec<u8>, mantissa: &[u8], exponent: i32) {
        let mantissa = minimal_signed(mantissa);
        put_varint(out, (mantissa.len() as u64) << 2 | u64::from(self.infinities));
        if !mantissa.is_empty() {
            put_zigzag(out, i64::from(exponent));
            out.extend_from_slice(mantissa);
        }
    }

    pub fn decode(input: &mut &[u8]) -> Option<ExactSum> {
        let Encoded { infinities, exponent, mantissa: bytes } = Encoded::take(input)?;
        if bytes.is_empty() {
            return Some(ExactSum { infinities, ..ExactSum::default() });
        }
        if bytes[0] & 1 == 0 || minimal_signed(bytes).len() < bytes.len() {
            return None;
        }
        let finite = match Int192::from_le_bytes(bytes) {
            Some(mantissa) => Finite::Narrow { mantissa, exponent },
            None => Finite::Wide(Box::new(Wide { mantissa: BigInt::from_signed_bytes_le(bytes), exponent })),
        };
        Some(ExactSum { finite, infinities })
    }

    /// As merging what [`ExactSum::decode`] reads.
    #[inline]
    pub fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        let mut ahead = *input;
        let encoded = Encoded::take(&mut ahead)?;
        let length = encoded.mantissa.len();
        let added = match length {
            0 => Some(()),
            _ => sign_extended(&input[input.len() - ahead.len() - length..], length)
                .and_then(|mantissa| self.try_add_near(mantissa, encoded.exponent)),
        };
        if added.is_none() {
            self.merge(&ExactSum::decode(&mut { *input })?);
        }
        self.infinities |= encoded.infinities;
        *input = ahead;
        Some(())
    }

    pub fn skip(input: &mut &[u8]) -> Option<()> {
        Encoded::take(input).map(drop)
    }

    pub fn heap_bytes(&self) -> usize {
        match &self.finite {
            Finite::Narrow { .. } => 0,
            Finite::Wide(wide) => size_of::<Wide>() + wide.mantissa.bits() as usize / 8,
        }
    }

    /// The finite part with an odd mantissa, or zero with exponent zero.
    fn canonical(&self) -> (BigInt, i32) {
        let (mantissa, exponent) = self.finite();
        stripped(mantissa, exponent)
    }

    /// The usual case, without a branch that depends on the value: the sum reaches as low as the number, and not
    /// 64 bits lower. `None`, and nothing done, where it is not so.
    #[inline]
    fn try_add_near(&mut self, number: i128, at: i32) -> Option<()> {
        let Finite::Narrow { mantissa, exponent } = &mut self.finite else { return None };
        let shift = u32::try_from(at - *exponent).ok().filter(|shift| *shift < 64)?;
        *mantissa = mantissa.checked_add(Int192::shifted(number, shift))?;
        Some(())
    }

    fn add_anywhere(&mut self, mantissa: Int192, exponent: i32) {
        if self.try_add_narrow(mantissa, exponent).is_none() {
            self.add_big(&mantissa.to_big(), exponent);
        }
    }

    /// `None`, and nothing done, where 192 bits are not enough.
    fn try_add_narrow(&mut self, addend: Int192, at: i32) -> Option<()> {
        let Finite::Narrow { mantissa, exponent } = &mut self.finite else { return None };
        if mantissa.is_zero() {
            (*mantissa, *exponent) = (addend, at);
            return Some(());
        }
        let lowest = at.min(*exponent);
        let own = mantissa.checked_shl((*exponent - lowest) as u32)?;
        let sum = own.checked_add(addend.checked_shl((at - lowest) as u32)?)?;
        (*mantissa, *exponent) = (sum, lowest);
        Some(())
    }

    #[cold]
    fn add_big(&mut self, mantissa: &BigInt, exponent: i32) {
        match &mut self.finite {
            Finite::Wide(wide) => wide.add(mantissa, exponent),
            Finite::Narrow { mantissa: own, exponent: at } => {
                let mut wide = Wide { mantissa: own.to_big(), exponent: *at };
                wide.add(mantissa, exponent);
                self.finite = wide.settled();
            }
        }
    }
}

/// What [`ExactSum::encode`] wrote, taken apart.
struct Encoded<'a> {
    infinities: u8,
    exponent: i32,
    /// Empty: zero.
    mantissa: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn take(input: &mut &'a [u8]) -> Option<Encoded<'a>> {
        let head = take_varint(input)?;
        let infinities = (head & 3) as u8;
        let length = usize::try_from(head >> 2).ok().filter(|length| *length <= LONGEST_MANTISSA_BYTES)?;
        if length == 0 {
            return Some(Encoded { infinities, exponent: 0, mantissa: &[] });
        }
        let exponent = take_zigzag(input).filter(|exponent| exponent.unsigned_abs() <= LARGEST_EXPONENT)? as i32;
        Some(Encoded { infinities, exponent, mantissa: take_bytes(input, length)? })
    }
}

/// The number in the first `length` bytes, of which there is at least one; read with what follows it, for that is
/// one load. `None` for what is longer than 128 bits, or stands too near to the end of the input.
#[inline]
fn sign_extended(bytes: &[u8], length: usize) -> Option<i128> {
    let above = (size_of::<i128>().checked_sub(length)? * 8) as u32;
    let word = i128::from_le_bytes(*bytes.first_chunk()?);
    Some(word << above >> above)
}

/// The same number in any form is the same sum.
impl PartialEq for ExactSum {
    fn eq(&self, other: &ExactSum) -> bool {
        self.infinities == other.infinities && self.canonical() == other.canonical()
    }
}

impl Eq for ExactSum {}

impl Wide {
    fn add(&mut self, mantissa: &BigInt, exponent: i32) {
        let lowest = exponent.min(self.exponent);
        if self.exponent > lowest {
            self.mantissa <<= self.exponent - lowest;
            self.exponent = lowest;
        }
        if exponent > lowest {
            self.mantissa += mantissa << (exponent - lowest);
        } else {
            self.mantissa += mantissa;
        }
    }

    /// Narrow again if it was only zeros at the low end that took the room.
    fn settled(self) -> Finite {
        let (mantissa, exponent) = stripped(self.mantissa, self.exponent);
        let narrow = (mantissa.bits() <= NARROW_BITS)
            .then(|| Int192::from_le_bytes(minimal_signed(&mantissa.to_signed_bytes_le())))
            .flatten();
        match narrow {
            Some(mantissa) => Finite::Narrow { mantissa, exponent },
            None => Finite::Wide(Box::new(Wide { mantissa, exponent })),
        }
    }
}

fn stripped(mantissa: BigInt, exponent: i32) -> (BigInt, i32) {
    match mantissa.trailing_zeros() {
        None => (mantissa, 0),
        Some(0) => (mantissa, exponent),
        Some(zeros) => (mantissa >> zeros, exponent + zeros as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(floats: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        floats.iter().for_each(|float| sum.add(Number::of_float(*float)));
        sum
    }

    fn encoded(sum: &ExactSum) -> Vec<u8> {
        let mut out = Vec::new();
        sum.encode(&mut out);
        out
    }

    const TINY: f64 = f64::from_bits(1);

    #[test]
    fn what_rounding_each_step_would_lose_is_kept() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).to_f64(), 1.0);
        assert_eq!(sum(&[0.1; 10]).to_f64(), 1.0);
        assert_eq!(sum(&[f64::MAX, TINY, -f64::MAX]).to_f64(), TINY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).to_f64(), f64::MAX, "no overflow on the way");
        assert_eq!(sum(&[1e308, 1e308]).to_f64(), f64::INFINITY, "only at the end");
        let half_ulp = 2_f64.powi(-53);
        assert_eq!(sum(&[1.0, half_ulp]).to_f64(), 1.0, "half goes to even");
        assert_eq!(sum(&[1.0, half_ulp, TINY]).to_f64(), 1.0_f64.next_up(), "the least bit breaks the tie");
    }

    #[test]
    fn zero_has_one_form_and_is_positive() {
        for zero in [sum(&[]), sum(&[-0.0, -0.0]), sum(&[1e300, TINY, -TINY, -1e300])] {
            assert_eq!(zero.to_f64().to_bits(), 0);
            assert_eq!(encoded(&zero), [0]);
            assert_eq!(zero, ExactSum::default());
        }
    }

    #[test]
    fn infinities_are_remembered_and_opposite_ones_are_nan() {
        assert_eq!(sum(&[1.0, f64::INFINITY]).to_f64(), f64::INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, f64::MAX]).to_f64(), f64::NEG_INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, f64::INFINITY]).to_f64().to_bits(), f64::NAN.to_bits());
    }

    #[test]
    fn equal_sums_encode_to_equal_bytes_however_they_came_about() {
        let (narrow, wide) = (sum(&[3.0, 0.5]), sum(&[3.0, 1e300, TINY, 0.5, -1e300, -TINY]));
        assert!(matches!(wide.finite, Finite::Wide(_)), "the case is about a sum that outgrew 192 bits");
        assert_eq!(encoded(&narrow), encoded(&wide));
        assert_eq!(narrow, wide);
        assert_eq!(encoded(&sum(&[12.34, 99.99])).len(), 9, "prices are short");
    }

    #[test]
    fn a_sum_over_a_wide_range_of_low_zeros_stays_narrow() {
        let far = sum(&[2_f64.powi(150), 2_f64.powi(10), 2_f64.powi(40)]);
        assert!(matches!(far.finite, Finite::Narrow { .. }));
    }

    #[test]
    fn bytes_that_no_sum_encodes_to_are_refused() {
        let decode = |bytes: &[u8]| ExactSum::decode(&mut &bytes[..]);
        assert!(decode(&[1 << 2, 0, 1]).is_some_and(|one| one.to_f64() == 1.0));
        assert_eq!(decode(&[1 << 2, 0, 2]), None, "an even mantissa");
        assert_eq!(decode(&[2 << 2, 0, 1, 0]), None, "a byte too many");
        assert_eq!(decode(&[1 << 2, 0]), None, "cut off");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0]), None, "a length that lies");
        assert_eq!(decode(&[1 << 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]), None, "an exponent that no sum has");
    }

    #[test]
    fn integers_come_back_whole_or_not_at_all() {
        let mut integers = ExactSum::default();
        integers.add(Number::Finite { mantissa: i128::MAX, exponent: 0 });
        assert_eq!(integers.to_i128(), Some(i128::MAX));
        integers.add(Number::Finite { mantissa: 1, exponent: 0 });
        assert_eq!(integers.to_i128(), None);
        integers.add(Number::Finite { mantissa: -1, exponent: 0 });
        assert_eq!(integers.to_i128(), Some(i128::MAX));
        assert_eq!(sum(&[0.5]).to_i128(), None);
    }
}
