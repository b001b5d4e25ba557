//! The primitives of stored bytes: varints, length-prefixed slices, values with their type tag, stamps.
//!
//! Each `put_*` has one output for one input, and each `take_*` accepts that output alone: an overlong varint or an
//! unknown tag is `None`, so bytes that read back are bytes we wrote. Reading untrusted input never panics and
//! never allocates more than the input is long.

use crate::kernel::aggregate::Stamp;
use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef};

pub(crate) fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

pub(crate) fn take_bytes<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

pub(crate) fn take_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*first)
}

/// LEB128: seven bits a byte, lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
pub(crate) fn take_varint(input: &mut &[u8]) -> Option<u64> {
    match input {
        [byte @ 0..0x80, rest @ ..] => {
            *input = rest;
            Some(u64::from(*byte))
        }
        _ => take_long_varint(input),
    }
}

/// Of two bytes or more. Eight at once where they are there: in the lowest bits of the first that is not followed, and
/// of all before it, stands the number.
fn take_long_varint(input: &mut &[u8]) -> Option<u64> {
    const FOLLOWED: u64 = 0x8080_8080_8080_8080;
    let Some(chunk) = input.first_chunk() else { return take_varint_by_bytes(input) };
    let word = u64::from_le_bytes(*chunk);
    let ends = !word & FOLLOWED;
    if ends == 0 {
        return take_varint_by_bytes(input);
    }
    let bits = ends.trailing_zeros() + 1;
    let groups = word & (u64::MAX >> (64 - bits)) & !FOLLOWED;
    // Seven bits of each byte, next to each other: first in pairs, then in fours, then all eight.
    let pairs = (groups & 0x007f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    let number = (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4);
    let is_overlong = groups >> (bits - 8) == 0;
    *input = &input[bits as usize / 8..];
    (!is_overlong).then_some(number)
}

fn take_varint_by_bytes(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(input)?;
        let bits = u64::from(byte & 0x7f);
        let fits = (bits << shift) >> shift == bits;
        let overlong = byte == 0 && shift > 0;
        if !fits || overlong {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A signed number as a varint, small magnitudes of either sign short.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn take_zigzag(input: &mut &[u8]) -> Option<i64> {
    let folded = take_varint(input)?;
    Some((folded >> 1) as i64 ^ -((folded & 1) as i64))
}

/// The length as a varint, then the bytes.
pub(crate) fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Turns all that was written from `from` on into what [`put_slice`] would have written of it.
pub(crate) fn prefix_slice(out: &mut Vec<u8>, from: usize) {
    let end = out.len();
    put_varint(out, (end - from) as u64);
    let prefix = out.len() - end;
    out[from..].rotate_right(prefix);
}

pub(crate) fn take_slice<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(input)?).ok()?;
    take_bytes(input, length)
}

/// Two's complement, little endian, without the bytes that only repeat the sign: zero is empty.
pub(crate) fn minimal_signed(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let Some((last, rest)) = bytes.split_last() {
        let sign_below = rest.last().map_or(0, |byte| byte >> 7);
        let repeats = (*last == 0 && sign_below == 0) || (*last == 0xff && sign_below == 1);
        if !repeats {
            break;
        }
        bytes = rest;
    }
    bytes
}

fn take_decimal(input: &mut &[u8]) -> Option<i128> {
    let bytes = take_slice(input)?;
    if bytes.len() > size_of::<i128>() || minimal_signed(bytes).len() < bytes.len() {
        return None;
    }
    let negative = bytes.last().is_some_and(|byte| byte >> 7 == 1);
    let mut extended = if negative { [0xff; 16] } else { [0; 16] };
    extended[..bytes.len()].copy_from_slice(bytes);
    Some(i128::from_le_bytes(extended))
}

/// One byte says which kind of value follows.
mod tag {
    pub const FALSE: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const INT: u8 = 2;
    pub const FLOAT: u8 = 3;
    pub const DECIMAL: u8 = 4;
    pub const DATE: u8 = 5;
    pub const TIME: u8 = 6;
    pub const TEXT: u8 = 7;
    pub const BYTES: u8 = 8;
    pub const LIST: u8 = 9;
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(it) => out.push(if *it { tag::TRUE } else { tag::FALSE }),
        Value::Int(it) => {
            out.push(tag::INT);
            put_zigzag(out, *it);
        }
        Value::Float(it) => {
            out.push(tag::FLOAT);
            out.extend(it.to_bits().to_le_bytes());
        }
        Value::Decimal(it) => {
            out.push(tag::DECIMAL);
            put_slice(out, minimal_signed(&it.to_le_bytes()));
        }
        Value::Date(it) => {
            out.push(tag::DATE);
            put_zigzag(out, i64::from(*it));
        }
        Value::Time(it) => {
            out.push(tag::TIME);
            put_zigzag(out, it.micros());
        }
        Value::Text(it) => {
            out.push(tag::TEXT);
            put_slice(out, it.as_bytes());
        }
        Value::Bytes(it) => {
            out.push(tag::BYTES);
            put_slice(out, it);
        }
        Value::List(items) => {
            out.push(tag::LIST);
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| put_value(out, item));
        }
    }
}

pub(crate) fn take_value(input: &mut &[u8]) -> Option<Value> {
    match take_byte(input)? {
        tag::LIST => {
            let length = take_varint(input)?;
            // Grows as items are read, for the length may be a lie.
            let mut items = Vec::new();
            for _ in 0..length {
                items.push(take_scalar(input)?.to_value());
            }
            Some(Value::List(items))
        }
        tag => take_tagged(tag, input).map(ValueRef::to_value),
    }
}

/// A value that is no list, which is what state keeps: it lies in the input.
#[inline]
pub(crate) fn take_scalar<'a>(input: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    take_tagged(take_byte(input)?, input)
}

/// Not a list: there are no lists of lists, so a reader's stack is bounded.
#[inline]
fn take_tagged<'a>(tag: u8, input: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    Some(match tag {
        tag::FALSE => ValueRef::Bool(false),
        tag::TRUE => ValueRef::Bool(true),
        tag::INT => ValueRef::Int(take_zigzag(input)?),
        tag::FLOAT => ValueRef::Float(f64::from_bits(u64::from_le_bytes(take_array(input)?))),
        tag::DECIMAL => ValueRef::Decimal(take_decimal(input)?),
        tag::DATE => ValueRef::Date(i32::try_from(take_zigzag(input)?).ok()?),
        tag::TIME => ValueRef::Time(EventTime::from_micros(take_zigzag(input)?)?),
        tag::TEXT => ValueRef::Text(str::from_utf8(take_slice(input)?).ok()?),
        tag::BYTES => ValueRef::Bytes(take_slice(input)?),
        _ => return None,
    })
}

/// The event time, then the origin: its kind in the lowest bit of file or partition, then row or offset.
pub(crate) fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    put_zigzag(out, stamp.event_time.micros());
    let (kind, place, position) = match stamp.origin {
        Origin::History { file, row } => (0, file, row),
        Origin::Log { partition, offset } => (1, partition, offset),
    };
    put_varint(out, u64::from(place) << 1 | kind);
    put_varint(out, position);
}

pub(crate) fn take_stamp(input: &mut &[u8]) -> Option<Stamp> {
    let event_time = EventTime::from_micros(take_zigzag(input)?)?;
    let folded = take_varint(input)?;
    let place = u32::try_from(folded >> 1).ok()?;
    let position = take_varint(input)?;
    let origin = match folded & 1 {
        0 => Origin::History { file: place, row: position },
        _ => Origin::Log { partition: place, offset: position },
    };
    Some(Stamp { event_time, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_their_bytes_are_used_up() {
        for number in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_zigzag(&mut out, number);
            put_varint(&mut out, number as u64);
            let mut input = out.as_slice();
            assert_eq!(take_zigzag(&mut input), Some(number));
            assert_eq!(take_varint(&mut input), Some(number as u64));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn numbers_of_every_length_read_back_wherever_the_input_ends() {
        for bit in 0..64 {
            for number in [1_u64 << bit, (1 << bit) - 1, u64::MAX >> bit, 0x5555_5555_5555_5555 >> bit] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                for behind in [0, 1, 9] {
                    let padded = [out.clone(), vec![0xff; behind]].concat();
                    let mut input = padded.as_slice();
                    assert_eq!(take_varint(&mut input), Some(number));
                    assert_eq!(input.len(), behind);
                    let overlong =
                        [&out[..out.len() - 1], &[out[out.len() - 1] | 0x80, 0], &vec![0; behind][..]].concat();
                    assert_eq!(take_varint(&mut overlong.as_slice()), None, "{number} in a byte too many");
                }
            }
        }
    }

    #[test]
    fn a_slice_whose_length_comes_later_is_the_same_slice() {
        for length in [0, 1, 127, 128, 20_000] {
            let bytes: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let (mut at_once, mut later) = (vec![7], vec![7]);
            put_slice(&mut at_once, &bytes);
            later.extend(&bytes);
            prefix_slice(&mut later, 1);
            assert_eq!(later, at_once);
        }
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(take_varint(&mut &[0x80, 0x00][..]), None, "overlong");
        assert_eq!(take_varint(&mut &[0xff; 9][..]), None, "cut off");
        assert_eq!(take_varint(&mut &[0xff; 10][..]), None, "beyond 64 bits");
    }

    #[test]
    fn values_read_back() {
        let decimals = [0, 1, -1, 127, 128, -128, -129, i128::MAX, i128::MIN].map(Value::Decimal);
        let mut values = vec![
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(-0.0),
            Value::Date(-1),
            Value::Time(EventTime::MIN),
            Value::Text("ü".into()),
            Value::Bytes([0, 255].into()),
        ];
        values.extend(decimals);
        values.push(Value::List(values.clone()));
        for value in values {
            let mut out = Vec::new();
            put_value(&mut out, &value);
            let mut input = out.as_slice();
            assert_eq!(take_value(&mut input), Some(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_length_that_lies_and_a_list_of_lists_are_refused() {
        assert_eq!(take_value(&mut &[tag::TEXT, 0xff, 0xff, 0xff, 0xff, 0x0f, b'a'][..]), None);
        assert_eq!(take_value(&mut &[tag::LIST, 0xff, 0xff, 0xff, 0xff, 0x0f, tag::TRUE][..]), None);
        assert_eq!(take_value(&mut &[tag::LIST, 1, tag::LIST, 0][..]), None);
        assert_eq!(take_value(&mut &[tag::TEXT, 1, 0xff][..]), None, "not UTF-8");
        assert_eq!(take_value(&mut &[tag::DECIMAL, 2, 1, 0][..]), None, "a byte too many");
    }

    #[test]
    fn stamps_read_back() {
        let origins =
            [Origin::History { file: u32::MAX, row: 7 }, Origin::Log { partition: u32::MAX, offset: u64::MAX }];
        for origin in origins {
            let stamp = Stamp { event_time: EventTime::MAX, origin };
            let mut out = Vec::new();
            put_stamp(&mut out, stamp);
            assert_eq!(take_stamp(&mut out.as_slice()), Some(stamp));
        }
    }
}
