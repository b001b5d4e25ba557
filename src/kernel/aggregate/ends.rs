//! `first`, `last`, `first_n`, `last_n`: the values at one end of the order of events, which is by [`Stamp`] and so
//! never by arrival.

use std::collections::VecDeque;

use super::bytes::{put_stamp, put_value, put_varint, take_scalar, take_stamp, take_varint};
use super::{Arity, Call, Finalized, Function, ParameterKind, ParameterRule, Partial, Stamp, State, Variant};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueRef, ValueType};

mod nearest;

pub use nearest::Nearest;

pub static FIRST: Function = one("first", |_| Partial::Ends(Ends::new(End::Oldest, 1, Repeats::Kept)));
pub static LAST: Function = one("last", |_| Partial::Ends(Ends::new(End::Newest, 1, Repeats::Kept)));
pub static FIRST_N: Function = several("first_n", |call| Partial::Ends(Ends::of_call(End::Oldest, call)));
pub static LAST_N: Function = several("last_n", |call| Partial::Ends(Ends::of_call(End::Newest, call)));

const fn one(name: &'static str, identity: fn(&Call) -> Partial) -> Function {
    Function {
        name,
        column: Arity::Always,
        accepts: |value_type| !matches!(value_type, ValueType::List(_)),
        accepted: "anything but a list",
        parameters: &[],
        keeps_values: true,
        result: |call| call.argument().clone(),
        identity,
        finalize: |_, partial, _| match Ends::of(partial).best_first().next() {
            None => Finalized::Empty(None),
            Some(kept) => Finalized::Value(kept.value.clone()),
        },
    }
}

const fn several(name: &'static str, identity: fn(&Call) -> Partial) -> Function {
    Function {
        parameters: &[
            ParameterRule { name: "n", kind: ParameterKind::Count { least: 1, most: 1_000, default: None } },
            ParameterRule { name: "distinct", kind: ParameterKind::Flag },
        ],
        result: |call| ValueType::List(Box::new(call.argument().clone())),
        finalize: finalize_list,
        ..one(name, identity)
    }
}

/// The `n` oldest or newest values. A value that falls out of a subset of the events has `n` better ones there, and
/// so in every larger set: that is why cutting to `n` early changes no result. Among `distinct` values the better
/// of two equals is kept, and the same holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    end: End,
    repeats: Repeats,
    n: u32,
    /// Oldest first.
    kept: VecDeque<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Oldest,
    Newest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    Kept,
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    stamp: Stamp,
    value: Value,
}

impl Ends {
    fn new(end: End, n: u32, repeats: Repeats) -> Ends {
        Ends { end, repeats, n, kept: VecDeque::new() }
    }

    fn of_call(end: End, call: &Call) -> Ends {
        let repeats = if call.flag("distinct") { Repeats::Dropped } else { Repeats::Kept };
        Ends::new(end, call.count("n"), repeats)
    }

    fn best_first(&self) -> impl Iterator<Item = &Kept> {
        let count = self.kept.len();
        (0..count).map(move |rank| match self.end {
            End::Oldest => &self.kept[rank],
            End::Newest => &self.kept[count - 1 - rank],
        })
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= self.n as usize
    }

    /// Whether all `n` that are kept are better than an event of this stamp.
    fn is_beyond(&self, stamp: Stamp) -> bool {
        let worst = match self.end {
            End::Oldest => self.kept.back(),
            End::Newest => self.kept.front(),
        };
        self.is_full() && worst.is_some_and(|worst| self.is_better(worst.stamp, stamp))
    }

    fn is_better(&self, one: Stamp, other: Stamp) -> bool {
        match self.end {
            End::Oldest => one < other,
            End::Newest => one > other,
        }
    }

    fn take_in(&mut self, value: ValueRef<'_>, stamp: Stamp) {
        if self.is_beyond(stamp) || !self.outdo_equal(value, stamp) {
            return;
        }
        let mut index = self.kept.partition_point(|kept| kept.stamp < stamp);
        // No two events share a stamp, and what is stored must not either: whoever merges an event with itself is
        // wrong, but has to hear of it by a wrong value, not by bytes that do not read back.
        if self.kept.get(index).is_some_and(|kept| kept.stamp == stamp) {
            return;
        }
        if self.is_full() {
            match self.end {
                End::Oldest => drop(self.kept.pop_back()),
                End::Newest => {
                    self.kept.pop_front();
                    index -= 1;
                }
            }
        }
        if self.n == 1 {
            // The usual case, in many tiles: room for one and no more.
            self.kept.reserve_exact(1);
        }
        self.kept.insert(index, Kept { stamp, value: value.to_value() });
    }

    /// Makes place for a better event of a value that may be kept once; false where the kept one is better.
    fn outdo_equal(&mut self, value: ValueRef<'_>, stamp: Stamp) -> bool {
        if self.repeats == Repeats::Kept {
            return true;
        }
        let is_equal = |kept: &Kept| kept.value.scalar().is_some_and(|held| held == value);
        let Some(index) = self.kept.iter().position(is_equal) else { return true };
        let better = self.is_better(stamp, self.kept[index].stamp);
        if better {
            self.kept.remove(index);
        }
        better
    }
}

impl State for Ends {
    const READS_ORIGIN: bool = true;

    fn update(&mut self, value: Option<ValueRef<'_>>, stamp: Stamp) {
        self.take_in(value.expect("first and last are of a column"), stamp);
    }

    fn merge(&mut self, other: &Ends) {
        for kept in other.best_first() {
            if self.is_beyond(kept.stamp) {
                break;
            }
            self.take_in(kept.value.scalar().expect("columns of lists are not accepted"), kept.stamp);
        }
    }

    fn is_identity(&self) -> bool {
        self.kept.is_empty()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.kept.len() as u64);
        for kept in &self.kept {
            put_stamp(out, kept.stamp);
            put_value(out, &kept.value);
        }
    }

    fn decode(&self, input: &mut &[u8]) -> Option<Ends> {
        let count = take_varint(input).filter(|count| *count <= u64::from(self.n))?;
        let mut kept: VecDeque<Kept> = VecDeque::new();
        for _ in 0..count {
            let (stamp, value) = (take_stamp(input)?, take_scalar(input)?);
            if kept.back().is_some_and(|before| before.stamp >= stamp) {
                return None;
            }
            kept.push_back(Kept { stamp, value: value.to_value() });
        }
        Some(Ends { kept, ..*self })
    }

    fn absorb(&mut self, input: &mut &[u8]) -> Option<()> {
        for _ in 0..take_varint(input)? {
            let stamp = take_stamp(input)?;
            self.take_in(take_scalar(input)?, stamp);
        }
        Some(())
    }

    fn skip(&self, input: &mut &[u8]) -> Option<()> {
        for _ in 0..take_varint(input)? {
            take_stamp(input)?;
            take_scalar(input)?;
        }
        Some(())
    }

    fn heap_bytes(&self) -> usize {
        let values: usize = self.kept.iter().map(|kept| super::heap_bytes(&kept.value)).sum();
        self.kept.capacity() * size_of::<Kept>() + values
    }
}

fn finalize_list(_: &Call, partial: &Partial, _: EventTime) -> Finalized {
    let values: Vec<Value> = Ends::of(partial).best_first().map(|kept| kept.value.clone()).collect();
    let empty = values.is_empty();
    let list = Value::List(values);
    if empty { Finalized::Empty(Some(list)) } else { Finalized::Value(list) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Origin;

    fn stamp(micros: i64, origin: Origin) -> Stamp {
        Stamp { event_time: EventTime::unchecked(micros), origin }
    }

    fn log(partition: u32, offset: u64) -> Origin {
        Origin::Log { partition, offset }
    }

    fn kept(end: End, n: u32, repeats: Repeats, events: &[(i64, Stamp)]) -> Vec<i64> {
        let mut ends = Ends::new(end, n, repeats);
        events.iter().for_each(|(value, stamp)| ends.update(Some(ValueRef::Int(*value)), *stamp));
        let int = |kept: &Kept| match kept.value {
            Value::Int(int) => int,
            ref other => panic!("{other:?}"),
        };
        ends.best_first().map(int).collect()
    }

    #[test]
    fn ties_in_time_go_by_origin() {
        let events = [
            (1, stamp(5, log(0, 9))),
            (2, stamp(5, log(1, 0))),
            (3, stamp(5, Origin::History { file: 7, row: 7 })),
            (4, stamp(5, log(1, 1))),
        ];
        assert_eq!(kept(End::Oldest, 4, Repeats::Kept, &events), [3, 1, 2, 4]);
        assert_eq!(kept(End::Newest, 2, Repeats::Kept, &events), [4, 2]);
    }

    #[test]
    fn distinct_keeps_the_oldest_of_equals_in_first_n_and_the_newest_in_last_n() {
        let events = [7, 8, 7, 9, 8].iter().zip(0..).map(|(value, at)| (*value, stamp(at, log(0, at as u64))));
        let mut events: Vec<_> = events.collect();
        for _ in 0..events.len() {
            assert_eq!(kept(End::Oldest, 2, Repeats::Dropped, &events), [7, 8]);
            assert_eq!(kept(End::Newest, 2, Repeats::Dropped, &events), [8, 9]);
            assert_eq!(kept(End::Newest, 9, Repeats::Dropped, &events), [8, 9, 7]);
            events.rotate_left(1);
        }
    }

    #[test]
    fn bytes_with_too_many_or_unordered_values_are_refused() {
        let mut two = Ends::new(End::Oldest, 2, Repeats::Kept);
        two.update(Some(ValueRef::Bool(true)), stamp(1, log(0, 0)));
        two.update(Some(ValueRef::Bool(true)), stamp(2, log(0, 1)));
        let mut bytes = Vec::new();
        two.encode(&mut bytes);
        assert_eq!(two.decode(&mut bytes.as_slice()), Some(two.clone()));
        assert_eq!(Ends::new(End::Oldest, 1, Repeats::Kept).decode(&mut bytes.as_slice()), None);
        let half = (bytes.len() - 1) / 2;
        let swapped = [&bytes[..1], &bytes[1 + half..], &bytes[1..1 + half]].concat();
        assert_eq!(two.decode(&mut swapped.as_slice()), None);
    }
}
