//! The one value that `first` or `last` gives of several tiles, left where it lies as bytes: a read copies the best one
//! and none of those before it.
//!
//! Promises: what it reads is what merging the tiles would.

use super::{End, Ends, Kept};
use crate::kernel::aggregate::bytes::{take_scalar, take_stamp, take_varint};
use crate::kernel::aggregate::{Partial, Stamp};
use crate::kernel::value::ValueRef;

#[derive(Clone, Debug)]
pub struct Nearest<'a> {
    /// Empty.
    identity: Ends,
    best: Option<(Stamp, ValueRef<'a>)>,
}

impl<'a> Nearest<'a> {
    /// `None` where the partial is of another aggregate, or keeps more than one.
    pub fn of(identity: &Partial) -> Option<Nearest<'a>> {
        match identity {
            Partial::Ends(identity) if identity.n == 1 => Some(Nearest { identity: identity.clone(), best: None }),
            _ => None,
        }
    }

    /// As [`Partial::absorb`].
    pub fn absorb(&mut self, input: &mut &'a [u8]) -> Option<()> {
        for _ in 0..take_varint(input)? {
            let stamp = take_stamp(input)?;
            self.offer(stamp, take_scalar(input)?);
        }
        Some(())
    }

    pub fn take_in(&mut self, tile: &'a Partial) {
        let Partial::Ends(ends) = tile else {
            unreachable!("the tiles of a grid share a layout, yet this is {tile:?}")
        };
        for kept in &ends.kept {
            self.offer(kept.stamp, kept.value.scalar().expect("columns of lists are not accepted"));
        }
    }

    pub fn merge(&mut self, other: &Nearest<'a>) {
        other.best.iter().for_each(|(stamp, value)| self.offer(*stamp, *value));
    }

    /// What merging the tiles gives.
    pub fn to_partial(&self) -> Partial {
        let mut ends = self.identity.clone();
        ends.kept.extend(self.best.map(|(stamp, value)| Kept { stamp, value: value.to_value() }));
        Partial::Ends(ends)
    }

    fn offer(&mut self, stamp: Stamp, value: ValueRef<'a>) {
        let is_better = |(best, _): &(Stamp, ValueRef<'a>)| match self.identity.end {
            End::Oldest => stamp < *best,
            End::Newest => stamp > *best,
        };
        if self.best.as_ref().is_none_or(is_better) {
            self.best = Some((stamp, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Repeats;
    use super::*;
    use crate::kernel::key::Origin;
    use crate::kernel::time::EventTime;

    fn tile(end: End, events: &[(i64, u64, i64)]) -> Partial {
        let mut ends = Ends::new(end, 1, Repeats::Kept);
        for (at, offset, value) in events {
            let origin = Origin::Log { partition: 0, offset: *offset };
            ends.take_in(ValueRef::Int(*value), Stamp { event_time: EventTime::unchecked(*at), origin });
        }
        Partial::Ends(ends)
    }

    #[test]
    fn the_nearest_of_tiles_and_of_bytes_is_that_of_the_merged_partial() {
        for end in [End::Oldest, End::Newest] {
            let tiles = [tile(end, &[(5, 1, 10)]), tile(end, &[]), tile(end, &[(5, 0, 20)]), tile(end, &[(7, 2, 30)])];
            let mut merged = tile(end, &[]);
            let mut of_tiles = Nearest::of(&merged).expect("it keeps one");
            let mut of_bytes = of_tiles.clone();
            let bytes = tiles.each_ref().map(|tile| {
                let mut out = Vec::new();
                tile.encode(&mut out);
                out
            });
            assert_eq!(of_tiles.to_partial(), merged, "nothing yet");
            for (tile, bytes) in tiles.iter().zip(&bytes) {
                merged.merge(tile);
                of_tiles.take_in(tile);
                of_bytes.absorb(&mut bytes.as_slice()).expect("it was encoded");
                of_bytes.merge(&of_tiles);
                assert_eq!((of_tiles.to_partial(), of_bytes.to_partial()), (merged.clone(), merged.clone()));
            }
        }
        assert!(Nearest::of(&Partial::Ends(Ends::new(End::Newest, 2, Repeats::Kept))).is_none());
    }
}
