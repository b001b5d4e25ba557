//! What one window over a grid adds up to while it moves forward over the tiles.
//!
//! Two stacks of totals: the front has one for each of its tiles, of that tile and all newer ones of the front, so that
//! the oldest leaves by dropping its total; the back has one for all of its tiles. When the front is used up it is
//! built anew from the tiles that the window still covers. The newest tile stays out of both, for events still come to
//! it. Sets of distinct values, whose totals would be as large as their tiles, are counted instead, the newest tile's too.

use std::collections::VecDeque;

use crate::kernel::aggregate::{Counted, Partial, Size};
use crate::kernel::engine::tiles::Tile;
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueRef;

#[derive(Default)]
pub(super) struct Running {
    stacked: Vec<Stacked>,
    counted: Vec<CountedSlot>,
    /// Starts of the front's tiles, the oldest last.
    front: Vec<EventTime>,
    /// Of the back's oldest tile.
    back: Option<EventTime>,
    /// Where the newest tile that is known starts: those before were taken in. `None`: nothing is valid, begin anew.
    taken: Option<EventTime>,
}

/// Where a slot's total is found.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Stacked(usize),
    Counted(usize),
}

struct Stacked {
    slot: usize,
    identity: Partial,
    /// As `front` of [`Running`].
    front: Vec<Partial>,
    back: Partial,
}

struct CountedSlot {
    slot: usize,
    counted: Counted,
    /// Tiles from here on that were taken in are counted.
    from: EventTime,
}

impl Running {
    /// Adds up a slot from now on, if it does not yet.
    pub fn take_on(&mut self, slot: usize, identity: &Partial) -> Place {
        if let Some(at) = self.stacked.iter().position(|it| it.slot == slot) {
            return Place::Stacked(at);
        }
        if let Some(at) = self.counted.iter().position(|it| it.slot == slot) {
            return Place::Counted(at);
        }
        if let Some(counted) = Counted::of(identity) {
            self.counted.push(CountedSlot { slot, counted, from: EventTime::MIN });
            return Place::Counted(self.counted.len() - 1);
        }
        let identity = identity.clone();
        self.stacked.push(Stacked { slot, back: identity.clone(), identity, front: Vec::new() });
        Place::Stacked(self.stacked.len() - 1)
    }

    /// Forgets what it knows of an entity.
    pub fn clear(&mut self) {
        self.taken = None;
    }

    /// A tile changes, or comes in between: totals that it is part of cannot be mended.
    pub fn forget_if_taken(&mut self, start: EventTime) {
        self.taken = self.taken.filter(|taken| start >= *taken);
    }

    /// A tile has taken in a value for a counted slot, whose set was of this size before.
    pub fn grow(&mut self, tile: &Tile, slot: usize, before: Size, value: ValueRef<'_>) {
        if self.taken != Some(tile.start) {
            return;
        }
        let Some(it) = self.counted.iter_mut().find(|it| it.slot == slot && it.from <= tile.start) else { return };
        if !it.counted.grow(&tile.partials[slot], before, value) {
            self.taken = None;
        }
    }

    /// Moves on to the tiles from `start` on. All that were taken in and had not left are still there.
    pub fn move_to(&mut self, tiles: &VecDeque<Tile>, start: EventTime) {
        let newest = tiles.len().saturating_sub(1);
        let first = tiles.partition_point(|tile| tile.start < start);
        self.move_counted(tiles, first, start);
        let first = first.min(newest);
        while self.front.last().is_some_and(|oldest| *oldest < start) {
            self.front.pop();
            self.stacked.iter_mut().for_each(|it| drop(it.front.pop()));
        }
        let used_up = self.front.is_empty() && self.back.is_some_and(|oldest| oldest < start);
        match self.taken {
            Some(taken) if !used_up => {
                let from = tiles.partition_point(|tile| tile.start < taken).max(first);
                self.extend_back(tiles, from, newest);
            }
            _ => self.build_front(tiles, first, newest),
        }
        self.taken = tiles.get(newest).map(|newest| newest.start).or(self.taken);
    }

    /// The total of a slot over the front, the back and the newest tile where the window covers it.
    pub fn total(&self, stacked: usize, newest: Option<&Tile>) -> Partial {
        let Stacked { slot, front, back, .. } = &self.stacked[stacked];
        let mut total = match front.last() {
            Some(front) => front.clone(),
            None => back.clone(),
        };
        if !front.is_empty() && self.back.is_some() {
            total.merge(back);
        }
        if let Some(newest) = newest {
            total.merge(&newest.partials[*slot]);
        }
        total
    }

    pub fn counted(&self, counted: usize) -> &Counted {
        &self.counted[counted].counted
    }

    fn build_front(&mut self, tiles: &VecDeque<Tile>, first: usize, newest: usize) {
        self.back = None;
        self.front.clear();
        self.front.extend(tiles.range(first..newest).rev().map(|tile| tile.start));
        for it in &mut self.stacked {
            it.back.clone_from(&it.identity);
            it.front.clear();
            for tile in tiles.range(first..newest).rev() {
                let mut total = tile.partials[it.slot].clone();
                it.front.last().into_iter().for_each(|newer| total.merge(newer));
                it.front.push(total);
            }
        }
    }

    fn extend_back(&mut self, tiles: &VecDeque<Tile>, from: usize, newest: usize) {
        if from >= newest {
            return;
        }
        self.back = self.back.or(Some(tiles[from].start));
        for it in &mut self.stacked {
            tiles.range(from..newest).for_each(|tile| it.back.merge(&tile.partials[it.slot]));
        }
    }

    fn move_counted(&mut self, tiles: &VecDeque<Tile>, first: usize, start: EventTime) {
        for it in &mut self.counted {
            let mut enter_from = first;
            match self.taken.filter(|taken| start <= *taken) {
                Some(taken) => {
                    let oldest = tiles.partition_point(|tile| tile.start < it.from).min(first);
                    tiles.range(oldest..first).for_each(|tile| it.counted.leave(&tile.partials[it.slot]));
                    enter_from = tiles.partition_point(|tile| tile.start <= taken).max(first);
                }
                None => it.counted.clear(),
            }
            tiles.range(enter_from..).for_each(|tile| it.counted.enter(&tile.partials[it.slot]));
            it.from = start;
        }
    }
}
