//! Tiles at an as-of → a row of features.

use crate::kernel::aggregate::Finalized;
use crate::kernel::codec::{self, EncodedTiles, Image};
use crate::kernel::engine::selection::{GridSelection, Selection};
use crate::kernel::engine::total::Total;
use crate::kernel::engine::{Part, Tile};
use crate::kernel::plan::{FeaturePlan, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;
use crate::kernel::window::Sliding;

/// Features of a view for one entity at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// In the order in which they were asked for, all of them in that of [`ViewPlan::features`]; `None` is null.
    pub values: Vec<Option<Value>>,
    pub presence: Presence,
    /// The entity's newest event time, whether or not any window still holds that event. `None` for an entity that
    /// is not found: whether the store still has its row must not show.
    pub newest: Option<EventTime>,
    /// Values that are null because they did not fit their type.
    pub overflowed: usize,
}

/// What is known of the entity as a whole (semantics §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    NotFound,
    OutsideMaxAge,
    Known,
}

/// The status of one value, as answers carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Present,
    NullValue,
    NotFound,
    OutsideMaxAge,
    /// Of who answers without a reading: the row could not be had.
    Unavailable,
}

impl Status {
    pub const ALL: [Status; 5] =
        [Status::Present, Status::NullValue, Status::NotFound, Status::OutsideMaxAge, Status::Unavailable];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Present => "PRESENT",
            Status::NullValue => "NULL_VALUE",
            Status::NotFound => "NOT_FOUND",
            Status::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Status::Unavailable => "UNAVAILABLE",
        }
    }
}

impl Reading {
    /// Of an entity whose newest event is known, its values still to come.
    pub(super) fn begin(view: &ViewPlan, newest: Option<EventTime>, as_of: EventTime) -> Reading {
        let presence = Presence::of(view, newest, as_of);
        let newest = newest.filter(|_| presence != Presence::NotFound);
        Reading { values: Vec::new(), presence, newest, overflowed: 0 }
    }

    /// Of one of `values`.
    pub fn status(&self, value: usize) -> Status {
        match (self.presence, &self.values[value]) {
            (Presence::NotFound, _) => Status::NotFound,
            (Presence::OutsideMaxAge, _) => Status::OutsideMaxAge,
            (Presence::Known, None) => Status::NullValue,
            (Presence::Known, Some(_)) => Status::Present,
        }
    }
}

impl Presence {
    /// An age is passed at the very instant that it is reached, as an event leaves a window at the very instant
    /// that the window's start reaches it. So what is not found has left every window, and its values are empty.
    fn of(view: &ViewPlan, newest: Option<EventTime>, as_of: EventTime) -> Presence {
        let Some(newest) = newest else { return Presence::NotFound };
        let passed = |age| newest + age <= as_of;
        if view.found_for().is_some_and(passed) {
            Presence::NotFound
        } else if view.max_age.is_some_and(passed) {
            Presence::OutsideMaxAge
        } else {
            Presence::Known
        }
    }
}

/// Merges the parts of one row as of `as_of`, for all features. No parts: the entity was never seen.
pub fn read(view: &ViewPlan, parts: &[&Part], as_of: EventTime) -> Reading {
    Read::all(view, as_of).parts(parts)
}

/// A read of some features of a view at one instant, of as many rows as are asked for.
pub struct Read<'v> {
    view: &'v ViewPlan,
    as_of: EventTime,
    selection: Selection,
    /// For each grid of the view.
    spans: Vec<Spans>,
}

/// The spans of a [`GridSelection`] at an instant.
struct Spans {
    /// Where each begins; one that begins with the next is empty.
    starts: Vec<EventTime>,
    /// Out, as the as-of is.
    end: EventTime,
}

impl<'v> Read<'v> {
    pub fn all(view: &'v ViewPlan, as_of: EventTime) -> Read<'v> {
        Read::of(view, 0..view.features.len(), as_of)
    }

    /// Of these features, by their positions in the view.
    pub fn of(view: &'v ViewPlan, features: impl IntoIterator<Item = usize>, as_of: EventTime) -> Read<'v> {
        let selection = Selection::of(view, features.into_iter());
        let spans = selection.grids.iter().map(|grid| Spans::at(grid, as_of)).collect();
        Read { view, as_of, selection, spans }
    }

    /// Of a row whose parts are in memory.
    pub fn parts<'p>(&'p self, parts: &[&'p Part]) -> Reading {
        let mut totals = self.totals();
        for part in parts {
            let body = codec::sealed_grids(self.view, &part.body);
            for ((index, head), body) in part.head.0.iter().enumerate().zip(body) {
                self.merge(index, &head.recent, &mut totals);
                let flushed = head.flushed.tiles(&self.view.grids[index]);
                let absorbed = [flushed, body].into_iter().try_for_each(|tiles| self.absorb(index, tiles, &mut totals));
                absorbed.expect("intact bytes have partials of their layout");
            }
        }
        self.finish(parts.iter().filter_map(|part| part.newest()).max(), totals)
    }

    /// Of a row as a store keeps it: the same bits as [`Read::parts`] of its decoded parts, without decoding them.
    pub fn images<'i>(&'i self, images: impl IntoIterator<Item = &'i Image>) -> Result<Reading, codec::Error> {
        let mut totals = self.totals();
        let mut newest = None;
        for image in images.into_iter().filter(|image| **image != Image::default()) {
            let head = codec::open_head(self.view, &image.head)?;
            newest = newest.max(head.newest);
            let body = codec::open_body(self.view, &image.body)?;
            for (index, (head, body)) in head.grids.zip(body).enumerate() {
                let absorbed = [head, body].into_iter().try_for_each(|tiles| self.absorb(index, tiles?, &mut totals));
                absorbed.ok_or(codec::Error::Damaged { what: "a tile does not read" })?;
            }
        }
        Ok(self.finish(newest, totals))
    }

    /// Of an entity that was never seen.
    pub fn unknown(&self) -> Reading {
        self.finish(None, self.totals())
    }

    fn totals<'t>(&self) -> Vec<Total<'t>> {
        self.selection.identities.iter().map(Total::new).collect()
    }

    /// Tiles of one grid, in their order.
    fn merge<'t>(&self, grid: usize, tiles: &'t [Tile], totals: &mut [Total<'t>]) {
        let Some(first) = self.spans[grid].starts.first() else { return };
        let from = tiles.partition_point(|tile| tile.start < *first);
        for tile in &tiles[from..] {
            let Some(targets) = self.targets(grid, tile.start) else { return };
            for (partial, target) in tile.partials.iter().zip(targets) {
                if let Some(total) = *target {
                    totals[total].take_in(partial);
                }
            }
        }
    }

    /// As [`Read::merge`], of bytes. `None`: they are no tiles.
    fn absorb<'t>(&self, grid: usize, mut tiles: EncodedTiles<'t>, totals: &mut [Total<'t>]) -> Option<()> {
        let slots = &self.view.grids[grid].slots;
        if self.spans[grid].starts.is_empty() {
            return Some(());
        }
        while !tiles.is_empty() {
            let tile = tiles.take_tile()?;
            let Some(targets) = self.targets(grid, tile.start) else { continue };
            let mut partials = tile.partials;
            for (slot, target) in slots.iter().zip(targets) {
                match *target {
                    Some(total) => totals[total].absorb(&mut partials)?,
                    None => slot.identity.skip(&mut partials)?,
                }
            }
        }
        Some(())
    }

    /// What a tile is merged into, by slot; `None` where no window covers it.
    #[inline]
    fn targets(&self, grid: usize, start: EventTime) -> Option<&[Option<usize>]> {
        let span = self.spans[grid].of(start)?;
        Some(&self.selection.grids[grid].targets[span])
    }

    fn finish(&self, newest: Option<EventTime>, mut totals: Vec<Total<'_>>) -> Reading {
        for (longer, shorter) in &self.selection.joins {
            let [longer, shorter] =
                totals.get_disjoint_mut([*longer, *shorter]).expect("a total has no join with itself");
            longer.merge(shorter);
        }
        let mut reading = Reading::begin(self.view, newest, self.as_of);
        reading.values.reserve_exact(self.selection.features.len());
        for (feature, total) in &self.selection.features {
            let plan = &self.view.features[*feature];
            let value = plan.answer(totals[*total].finalize(plan, self.as_of), &mut reading.overflowed);
            reading.values.push(value);
        }
        reading
    }
}

impl Spans {
    fn at(grid: &GridSelection, as_of: EventTime) -> Spans {
        let start = |window: &Option<Sliding>| window.map_or(EventTime::MIN, |window| window.covered(as_of).start);
        let is_lifetime = grid.windows.contains(&None);
        let end = if is_lifetime { EventTime::MAX } else { as_of };
        Spans { starts: grid.windows.iter().map(start).collect(), end }
    }

    /// The last that begins no later.
    #[inline]
    fn of(&self, start: EventTime) -> Option<usize> {
        if start >= self.end { None } else { self.starts.iter().rposition(|begin| *begin <= start) }
    }
}

impl FeaturePlan {
    /// The value that is answered; `None` is null.
    pub(super) fn answer(&self, finalized: Finalized, overflowed: &mut usize) -> Option<Value> {
        match finalized {
            Finalized::Empty(own) => self.default.clone().or(own),
            Finalized::Value(value) => Some(value),
            Finalized::Undefined => None,
            Finalized::Overflow => {
                *overflowed += 1;
                None
            }
        }
    }
}
