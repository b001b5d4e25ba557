//! `count_distinct`: an exact set of values up to a limit. A set that would pass its limit becomes full for good: it
//! absorbs everything and reads as the limit, so it cannot matter in which order it filled.

mod counted;
mod gathered;

pub use counted::{Counted, Size};
pub use gathered::Gathered;

use std::collections::BTreeSet;

use super::bytes::{put_slice, put_varint, put_zigzag, take_byte, take_slice, take_varint, take_zigzag};
use super::{Arity, Call, Finalized, Function, ParameterKind, ParameterRule, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

pub static COUNT_DISTINCT: Function = Function {
    name: "count_distinct",
    column: Arity::Always,
    accepts: |value_type| value_type.is_integer() || matches!(value_type, ValueType::String | ValueType::Bool),
    accepted: "a string, an integer or a bool",
    parameters: &[ParameterRule {
        name: "limit",
        kind: ParameterKind::Count { least: 1, most: 100_000, default: Some(1_000) },
    }],
    keeps_values: true,
    result: |_| ValueType::Int64,
    identity,
    finalize,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    limit: u32,
    of: Kind,
    set: Set,
}

/// What the values are, which a full set cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bools too.
    Ints,
    Texts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    /// Integers, and bools as 0 and 1.
    Ints(BTreeSet<i64>),
    Texts {
        texts: BTreeSet<Box<str>>,
        /// Of all texts together, so that asking for the size of a large set costs nothing.
        bytes: usize,
    },
    Full,
}

impl Distinct {
    fn insert_int(&mut self, int: i64) {
        if let Set::Ints(ints) = &mut self.set {
            ints.insert(int);
            self.absorb_beyond_limit();
        }
    }

    fn insert_text(&mut self, text: &str) {
        if let Set::Texts { texts, bytes } = &mut self.set
            && !texts.contains(text)
        {
            texts.insert(text.into());
            *bytes += text.len();
            self.absorb_beyond_limit();
        }
    }

    fn absorb_beyond_limit(&mut self) {
        if self.len() > self.limit as usize {
            self.set = Set::Full;
        }
    }

    fn len(&self) -> usize {
        match &self.set {
            Set::Ints(ints) => ints.len(),
            Set::Texts { texts, .. } => texts.len(),
            Set::Full => self.limit as usize,
        }
    }

    /// Reads `count` values that ascend strictly.
    fn decode_ints(count: u64, input: &mut &[u8]) -> Option<Set> {
        let (mut ints, mut distinct) = (BTreeSet::new(), 0);
        each_int(count, input, |int| distinct += usize::from(ints.insert(int)))?;
        (distinct as u64 == count).then_some(Set::Ints(ints))
    }

    fn decode_texts(count: u64, input: &mut &[u8]) -> Option<Set> {
        let mut texts: BTreeSet<Box<str>> = BTreeSet::new();
        let (mut bytes, mut are_right) = (0, true);
        each_text(count, input, |text| {
            let Ok(text) = str::from_utf8(text) else { return are_right = false };
            are_right &= texts.last().is_none_or(|before| **before < *text);
            bytes += text.len();
            texts.insert(text.into());
        })?;
        are_right.then_some(Set::Texts { texts, bytes })
    }
}

/// Each value is written by its distance from the one before.
fn each_int(count: u64, input: &mut &[u8], mut take: impl FnMut(i64)) -> Option<()> {
    let mut before = None;
    for _ in 0..count {
        let int = match before {
            None => take_zigzag(input)?,
            Some(before) => take_varint(input).and_then(|gap| i64::checked_add_unsigned(before, gap))?,
        };
        before = Some(int);
        take(int);
    }
    Some(())
}

fn each_text<'a>(count: u64, input: &mut &'a [u8], mut take: impl FnMut(&'a [u8])) -> Option<()> {
    for _ in 0..count {
        take(take_slice(input)?);
    }
    Some(())
}

const EXACT: u8 = 0;
const FULL: u8 = 1;

impl State for Distinct {
    fn update(&mut self, value: Option<ValueRef<'_>>, _: Stamp) {
        match value.expect("distinct values are of a column") {
            ValueRef::Int(int) => self.insert_int(int),
            ValueRef::Bool(bool) => self.insert_int(i64::from(bool)),
            ValueRef::Text(text) => self.insert_text(text),
            other => unreachable!("definitions refuse other columns, yet this is {other:?}"),
        }
    }

    fn merge(&mut self, other: &Distinct) {
        match &other.set {
            Set::Ints(ints) => ints.iter().for_each(|int| self.insert_int(*int)),
            Set::Texts { texts, .. } => texts.iter().for_each(|text| self.insert_text(text)),
            Set::Full => self.set = Set::Full,
        }
    }

    fn is_identity(&self) -> bool {
        self.len() == 0
    }

    /// A byte that says whether it is full; if not, the number of values and the values, ascending.
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.set == Set::Full { FULL } else { EXACT });
        match &self.set {
            Set::Full => {}
            Set::Ints(ints) => {
                put_varint(out, ints.len() as u64);
                ints.first().into_iter().for_each(|first| put_zigzag(out, *first));
                let gaps = ints.iter().zip(ints.iter().skip(1)).map(|(before, int)| int.abs_diff(*before));
                gaps.for_each(|gap| put_varint(out, gap));
            }
            Set::Texts { texts, .. } => {
                put_varint(out, texts.len() as u64);
                texts.iter().for_each(|text| put_slice(out, text.as_bytes()));
            }
        }
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Distinct> {
        let set = match take_byte(input)? {
            FULL => Set::Full,
            EXACT => {
                let count = take_varint(input).filter(|count| *count <= u64::from(self.limit))?;
                match self.of {
                    Kind::Ints => Distinct::decode_ints(count, input)?,
                    Kind::Texts => Distinct::decode_texts(count, input)?,
                }
            }
            _ => return None,
        };
        Some(Distinct { set, ..*self })
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        if take_byte(input)? == FULL {
            return Some(());
        }
        let count = take_varint(input)?;
        match self.of {
            Kind::Ints => each_int(count, input, |_| {}),
            Kind::Texts => each_text(count, input, |_| {}),
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.set {
            Set::Ints(ints) => ints.len() * size_of::<i64>(),
            Set::Texts { texts, bytes } => texts.len() * size_of::<Box<str>>() + bytes,
            Set::Full => 0,
        }
    }
}

fn identity(call: &Call) -> Partial {
    let (of, set) = match call.argument() {
        ValueType::String => (Kind::Texts, Set::Texts { texts: BTreeSet::new(), bytes: 0 }),
        _ => (Kind::Ints, Set::Ints(BTreeSet::new())),
    };
    Partial::Distinct(Distinct { limit: call.count("limit"), of, set })
}

fn finalize(_: &Call, partial: &Partial, _: EventTime) -> Finalized {
    counted(Distinct::of(partial).len())
}

fn counted(values: usize) -> Finalized {
    let count = Value::Int(values as i64);
    if values == 0 { Finalized::Empty(Some(count)) } else { Finalized::Value(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(limit: u32, ints: impl IntoIterator<Item = i64>) -> Distinct {
        let mut distinct = Distinct { limit, of: Kind::Ints, set: Set::Ints(BTreeSet::new()) };
        ints.into_iter().for_each(|int| distinct.insert_int(int));
        distinct
    }

    #[test]
    fn a_full_set_absorbs_and_reads_as_the_limit() {
        let mut full = ints(3, 0..4);
        assert_eq!(ints(3, [1, 2, 3, 1]).len(), 3, "at the limit it is exact");
        assert_eq!((full.len(), &full.set), (3, &Set::Full));
        full.merge(&ints(3, [9]));
        assert_eq!(full, ints(3, [5, 6, 7, 8]));
        let mut few = ints(3, [1]);
        few.merge(&full);
        assert_eq!(few, full);
    }

    #[test]
    fn the_extremes_of_int64_read_back() {
        let extremes = ints(9, [i64::MAX, i64::MIN, 0, -1]);
        let mut bytes = Vec::new();
        extremes.encode(&mut bytes);
        assert_eq!(extremes.decode(&mut bytes.as_slice()), Some(extremes));
    }

    #[test]
    fn bytes_that_repeat_a_value_or_pass_the_limit_are_refused() {
        let decode = |limit, bytes: &[u8]| ints(limit, []).decode(&mut &bytes[..]);
        assert_eq!(decode(9, &[EXACT, 2, 2, 3]), Some(ints(9, [1, 4])));
        assert_eq!(decode(9, &[EXACT, 2, 2, 0]), None, "the same value twice");
        assert_eq!(decode(1, &[EXACT, 2, 2, 3]), None, "two values where one is the limit");
        let texts = Set::Texts { texts: BTreeSet::new(), bytes: 0 };
        let texts = Distinct { limit: 9, of: Kind::Texts, set: texts };
        assert_eq!(texts.decode(&mut &[EXACT, 2, 1, b'b', 1, b'a'][..]), None, "out of order");
    }
}
