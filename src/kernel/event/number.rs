//! JSON numbers by their digits, never through a double.

/// `floor(number * 10^shift)`, and whether nothing was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scaled {
    pub(super) value: i128,
    pub(super) exact: bool,
}

/// `None` where the result does not fit 128 bits. `number` is a valid JSON number.
pub(super) fn scale(number: &str, shift: i32) -> Option<Scaled> {
    // Nearly all are short whole numbers, which need no 128 bits for each digit.
    if let (Ok(whole), 0..=18) = (number.parse::<i64>(), shift) {
        return Some(Scaled { value: i128::from(whole) * i128::from(10i64.pow(shift as u32)), exact: true });
    }
    let (negative, unsigned) = number.strip_prefix('-').map_or((false, number), |unsigned| (true, unsigned));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Digits that stand before the point once it has moved; an exponent too large for i64 saturates.
    let kept = whole.len() as i64 + i64::from(shift);
    let kept = kept.saturating_add(exponent_of(exponent));
    let digits = || whole.bytes().chain(fraction.bytes());
    let mut value: i128 = 0;
    let mut exact = true;
    for (index, digit) in digits().enumerate() {
        if (index as i64) < kept {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        } else {
            exact &= digit == b'0';
        }
    }
    let missing = kept - (whole.len() + fraction.len()) as i64;
    if missing > 0 && value != 0 {
        value = value.checked_mul(10i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    }
    let value = if negative { -value - i128::from(!exact) } else { value };
    Some(Scaled { value, exact })
}

fn exponent_of(digits: &str) -> i64 {
    digits.parse().unwrap_or(if digits.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_moved_exactly_and_floored() {
        let scaled = |number: &str, shift| scale(number, shift).map(|it| (it.value, it.exact));
        assert_eq!(scaled("1.5", 3), Some((1_500, true)));
        assert_eq!(scaled("1.0005", 3), Some((1_000, false)));
        assert_eq!(scaled("-1.0005", 3), Some((-1_001, false)));
        assert_eq!(scaled("-0.0", 3), Some((0, true)));
        assert_eq!(scaled("-0.0000001", 3), Some((-1, false)));
        assert_eq!(scaled("1795255200123456789", -3), Some((1_795_255_200_123_456, false)));
        assert_eq!(scaled("-1", -3), Some((-1, false)));
        assert_eq!(scaled("-1000", -3), Some((-1, true)));
        assert_eq!(scaled("12e2", 0), Some((1_200, true)));
        assert_eq!(scaled("12E-1", 2), Some((120, true)));
        assert_eq!(scaled("0.1e+1", 0), Some((1, true)));
        assert_eq!(scaled("0e999999999999999999999", 6), Some((0, true)));
        assert_eq!(scaled("7e-999999999999999999999", 6), Some((0, false)));
        assert_eq!(scaled("7e999999999999999999999", 6), None);
        assert_eq!(scaled("99999999999999999999999999999999999999", 0), Some((10i128.pow(38) - 1, true)));
        assert_eq!(scaled("999999999999999999999999999999999999999", 0), None);
        assert_eq!(scaled("0.000000000000000000000000000000000000000000001", 46), Some((10, true)));
    }
}
