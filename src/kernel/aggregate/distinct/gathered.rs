//! Which values some tiles hold, gathered where they lie as bytes: for a read, which counts them and keeps none.
//!
//! Promises: what it reads is what merging the tiles would, limit and all.

use hashbrown::HashSet;

use super::{Distinct, FULL, Kind, Set, counted, each_int, each_text};
use crate::kernel::aggregate::bytes::{take_byte, take_varint};
use crate::kernel::aggregate::{Finalized, Partial};

#[derive(Clone, Debug)]
pub struct Gathered<'a> {
    limit: usize,
    of: Kind,
    ints: HashSet<i64>,
    /// Their bytes: which they are is all that matters.
    texts: HashSet<&'a [u8]>,
    is_full: bool,
}

impl<'a> Gathered<'a> {
    /// `None` where the partial is of another aggregate.
    pub fn of(identity: &Partial) -> Option<Gathered<'a>> {
        let Partial::Distinct(Distinct { limit, of, .. }) = identity else { return None };
        let (ints, texts) = (HashSet::new(), HashSet::new());
        Some(Gathered { limit: *limit as usize, of: *of, ints, texts, is_full: false })
    }

    /// As [`Partial::absorb`].
    pub fn absorb(&mut self, input: &mut &'a [u8]) -> Option<()> {
        if take_byte(input)? == FULL {
            self.is_full = true;
            return Some(());
        }
        let count = take_varint(input)?;
        match self.of {
            Kind::Ints => each_int(count, input, |int| _ = self.ints.insert(int)),
            Kind::Texts => each_text(count, input, |text| _ = self.texts.insert(text)),
        }
    }

    pub fn take_in(&mut self, tile: &'a Partial) {
        let Partial::Distinct(Distinct { set, .. }) = tile else {
            unreachable!("the tiles of a grid share a layout, yet this is {tile:?}")
        };
        match set {
            Set::Ints(ints) => self.ints.extend(ints),
            Set::Texts { texts, .. } => self.texts.extend(texts.iter().map(|text| text.as_bytes())),
            Set::Full => self.is_full = true,
        }
    }

    pub fn merge(&mut self, other: &Gathered<'a>) {
        self.ints.extend(&other.ints);
        self.texts.extend(&other.texts);
        self.is_full |= other.is_full;
    }

    pub fn finalize(&self) -> Finalized {
        let all = self.ints.len() + self.texts.len();
        counted(if self.is_full { self.limit } else { all.min(self.limit) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// With a limit of three.
    fn set(ints: &[i64]) -> Partial {
        let mut distinct = Distinct { limit: 3, of: Kind::Ints, set: Set::Ints(BTreeSet::new()) };
        ints.iter().for_each(|int| distinct.insert_int(*int));
        Partial::Distinct(distinct)
    }

    #[test]
    fn values_of_tiles_and_of_bytes_are_counted_once_up_to_the_limit() {
        let cases: [(&[&[i64]], i64); 4] =
            [(&[&[1, 2], &[2]], 2), (&[&[1], &[2], &[3]], 3), (&[&[1, 2], &[3, 4]], 3), (&[&[1, 2, 3, 4], &[1]], 3)];
        for (tiles, expected) in cases {
            let tiles: Vec<Partial> = tiles.iter().map(|tile| set(tile)).collect();
            let bytes: Vec<Vec<u8>> = tiles.iter().map(encoded).collect();
            let mut of_tiles = Gathered::of(&tiles[0]).expect("a set");
            let mut of_bytes = of_tiles.clone();
            tiles.iter().for_each(|tile| of_tiles.take_in(tile));
            bytes.iter().for_each(|bytes| of_bytes.absorb(&mut bytes.as_slice()).expect("it was encoded"));
            let merged = tiles.iter().skip(1).fold(tiles[0].clone(), |mut merged, tile| {
                merged.merge(tile);
                merged
            });
            let mut both = of_tiles.clone();
            both.merge(&of_bytes);
            let Partial::Distinct(merged) = merged else { unreachable!("it is a set") };
            for found in [of_tiles.finalize(), of_bytes.finalize(), both.finalize(), counted(merged.len())] {
                assert_eq!(found, counted(expected as usize));
            }
        }
    }

    fn encoded(partial: &Partial) -> Vec<u8> {
        let mut out = Vec::new();
        partial.encode(&mut out);
        out
    }
}
