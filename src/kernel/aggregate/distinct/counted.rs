//! How many distinct values stand in a run of tiles that moves forward: each value with the number of tiles that hold
//! it, so that a tile which leaves takes its own values along.
//!
//! Promises: what it reads is what merging the tiles that are in it would, limit and all. That it subtracts does not
//! break the law that nothing capped may be: full tiles are counted as such, the others are whole.

use std::hash::Hash;

use hashbrown::HashMap;

use super::{Distinct, Set, counted};
use crate::kernel::aggregate::{Finalized, Partial};
use crate::kernel::value::ValueRef;

#[derive(Clone, Debug)]
pub struct Counted {
    limit: usize,
    ints: Tally<i64>,
    texts: Tally<Box<str>>,
    full_tiles: usize,
}

/// Value → the number of tiles that hold it.
type Tally<T> = HashMap<T, u32>;

impl Counted {
    /// `None` where the partial is of another aggregate.
    pub fn of(identity: &Partial) -> Option<Counted> {
        let Partial::Distinct(distinct) = identity else { return None };
        let (ints, texts) = (Tally::default(), Tally::default());
        Some(Counted { limit: distinct.limit as usize, ints, texts, full_tiles: 0 })
    }

    pub fn clear(&mut self) {
        self.ints.clear();
        self.texts.clear();
        self.full_tiles = 0;
    }

    pub fn enter(&mut self, tile: &Partial) {
        match &set(tile).set {
            Set::Ints(ints) => ints.iter().for_each(|int| hold(&mut self.ints, int)),
            Set::Texts { texts, .. } => texts.iter().for_each(|text| hold(&mut self.texts, text)),
            Set::Full => self.full_tiles += 1,
        }
    }

    /// The tile is as it was when it came in.
    pub fn leave(&mut self, tile: &Partial) {
        match &set(tile).set {
            Set::Ints(ints) => ints.iter().for_each(|int| release(&mut self.ints, int)),
            Set::Texts { texts, .. } => texts.iter().for_each(|text| release(&mut self.texts, text)),
            Set::Full => self.full_tiles -= 1,
        }
    }

    /// A tile that came in took in one more value, and was of this size before. False: that made it full, and the
    /// values that it had cannot be told any more.
    #[must_use]
    pub fn grow(&mut self, tile: &Partial, before: Size, value: ValueRef<'_>) -> bool {
        let (Size::Values(before), Size::Values(now)) = (before, Size::of(tile)) else { return before == Size::Full };
        if now > before {
            match value {
                ValueRef::Text(text) => hold(&mut self.texts, &Box::from(text)),
                ValueRef::Int(int) => hold(&mut self.ints, &int),
                ValueRef::Bool(bool) => hold(&mut self.ints, &i64::from(bool)),
                other => unreachable!("definitions refuse other columns, yet this is {other:?}"),
            }
        }
        true
    }

    pub fn finalize(&self) -> Finalized {
        let all = self.ints.len() + self.texts.len();
        counted(if self.full_tiles > 0 { self.limit } else { all.min(self.limit) })
    }
}

/// How much a tile of this kind knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Values(usize),
    Full,
}

impl Size {
    pub fn of(tile: &Partial) -> Size {
        let distinct = set(tile);
        if distinct.set == Set::Full { Size::Full } else { Size::Values(distinct.len()) }
    }
}

fn set(partial: &Partial) -> &Distinct {
    match partial {
        Partial::Distinct(distinct) => distinct,
        other => unreachable!("the tiles of a grid share a layout, yet this is {other:?}"),
    }
}

fn hold<T: Eq + Hash + Clone>(tally: &mut Tally<T>, value: &T) {
    match tally.get_mut(value) {
        Some(held) => *held += 1,
        None => drop(tally.insert(value.clone(), 1)),
    }
}

fn release<T: Eq + Hash>(tally: &mut Tally<T>, value: &T) {
    let held = tally.get_mut(value).expect("what leaves came in");
    *held -= 1;
    if *held == 0 {
        tally.remove(value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Kind;
    use super::*;
    use crate::kernel::value::Value;

    fn ints(ints: &[i64]) -> Partial {
        let mut distinct = Distinct { limit: 3, of: Kind::Ints, set: Set::Ints(BTreeSet::new()) };
        ints.iter().for_each(|int| distinct.insert_int(*int));
        Partial::Distinct(distinct)
    }

    fn read(counted: &Counted) -> Option<i64> {
        match counted.finalize() {
            Finalized::Value(Value::Int(count)) => Some(count),
            Finalized::Empty(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_of_two_tiles_stays_until_both_have_left() {
        let mut counted = Counted::of(&ints(&[])).expect("a set");
        assert_eq!(read(&counted), None);
        counted.enter(&ints(&[1, 2]));
        counted.enter(&ints(&[2]));
        assert_eq!(read(&counted), Some(2));
        counted.leave(&ints(&[1, 2]));
        assert_eq!(read(&counted), Some(1));
        counted.leave(&ints(&[2]));
        assert_eq!(read(&counted), None);
    }

    #[test]
    fn a_full_tile_reads_as_the_limit_until_it_leaves() {
        let mut counted = Counted::of(&ints(&[])).expect("a set");
        counted.enter(&ints(&[1, 2, 3, 4]));
        counted.enter(&ints(&[9]));
        assert_eq!(read(&counted), Some(3));
        counted.leave(&ints(&[1, 2, 3, 4]));
        assert_eq!(read(&counted), Some(1));
        counted.enter(&ints(&[1, 2, 3]));
        assert_eq!(read(&counted), Some(3), "the union would pass the limit");
    }

    #[test]
    fn a_tile_may_grow_until_it_is_full() {
        let mut counted = Counted::of(&ints(&[])).expect("a set");
        counted.enter(&ints(&[1, 2]));
        let two = Size::of(&ints(&[1, 2]));
        assert!(counted.grow(&ints(&[1, 2]), two, ValueRef::Int(2)), "a value that it had");
        assert!(counted.grow(&ints(&[1, 2, 3]), two, ValueRef::Int(3)));
        assert_eq!(read(&counted), Some(3));
        counted.leave(&ints(&[1, 2, 3]));
        assert_eq!(read(&counted), None);
        let full = ints(&[1, 2, 3, 4]);
        assert!(!counted.grow(&full, Size::of(&ints(&[1, 2, 3])), ValueRef::Int(4)));
        assert!(counted.grow(&full, Size::Full, ValueRef::Int(5)), "nothing more is known of it");
    }
}
