//! Tiles at an as-of → a row of features.

use std::ops::Range;

use crate::kernel::aggregate::{Finalized, Partial};
use crate::kernel::codec::{self, EncodedTiles};
use crate::kernel::engine::{Part, Tile};
use crate::kernel::plan::{FeaturePlan, Grid, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;
use crate::kernel::window::Sliding;

/// A view's features for one entity at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// In the order of [`ViewPlan::features`]; `None` is null.
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
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Present => "PRESENT",
            Status::NullValue => "NULL_VALUE",
            Status::NotFound => "NOT_FOUND",
            Status::OutsideMaxAge => "OUTSIDE_MAX_AGE",
        }
    }
}

impl Reading {
    /// Of an entity whose newest event is known, its values still to come.
    pub(super) fn begin(view: &ViewPlan, newest: Option<EventTime>, as_of: EventTime) -> Reading {
        let presence = Presence::of(view, newest, as_of);
        let newest = newest.filter(|_| presence != Presence::NotFound);
        Reading { values: vec![None; view.features.len()], presence, newest, overflowed: 0 }
    }

    pub fn status(&self, feature: usize) -> Status {
        match (self.presence, &self.values[feature]) {
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
        let found_for = view.reach.map(|reach| reach.max(view.max_age.unwrap_or(reach)));
        let passed = |age| newest + age <= as_of;
        if found_for.is_some_and(passed) {
            Presence::NotFound
        } else if view.max_age.is_some_and(passed) {
            Presence::OutsideMaxAge
        } else {
            Presence::Known
        }
    }
}

/// Merges the parts of one row as of `as_of`. No parts: the entity was never seen.
pub fn read(view: &ViewPlan, parts: &[&Part], as_of: EventTime) -> Reading {
    let mut reading = Reading::begin(view, parts.iter().filter_map(|part| part.newest()).max(), as_of);
    let mut bodies: Vec<_> = parts.iter().map(|part| codec::sealed_grids(view, &part.body)).collect();
    for (index, grid) in view.grids.iter().enumerate() {
        let mut totals = Totals::new(view, index, as_of);
        for (part, body) in parts.iter().zip(&mut bodies) {
            let head = &part.head.0[index];
            totals.merge_recent(&head.recent);
            totals.merge_encoded(grid, head.flushed.tiles(grid));
            totals.merge_encoded(grid, body.next().expect("a body has every grid of the plan"));
        }
        totals.finish(view, index, as_of, &mut reading);
    }
    reading
}

/// What the windows over one grid have merged so far.
struct Totals {
    windows: Vec<Total>,
    /// Starts of the tiles that any of the windows covers; `None`: lifetime.
    hull: Option<Range<EventTime>>,
}

/// One slot over one window; several features may be finished from it.
struct Total {
    slot: usize,
    window: Option<Sliding>,
    covered: Option<Range<EventTime>>,
    merged: Partial,
}

impl Totals {
    fn new(view: &ViewPlan, grid: usize, as_of: EventTime) -> Totals {
        let mut windows: Vec<Total> = Vec::new();
        for feature in view.features.iter().filter(|feature| feature.grid == grid) {
            if !windows.iter().any(|total| total.serves(feature)) {
                windows.push(Total {
                    slot: feature.slot,
                    window: feature.window,
                    covered: feature.window.map(|window| window.covered(as_of)),
                    merged: view.slot(feature).identity.clone(),
                });
            }
        }
        let start = windows.iter().filter_map(|total| Some(total.covered.as_ref()?.start)).min();
        Totals { windows, hull: start.map(|start| start..as_of) }
    }

    fn merge_recent(&mut self, tiles: &[Tile]) {
        let from = self.hull.as_ref().map_or(0, |hull| tiles.partition_point(|tile| tile.start < hull.start));
        for tile in tiles[from..].iter().take_while(|tile| is_within(&self.hull, tile.start)) {
            for total in &mut self.windows {
                if is_within(&total.covered, tile.start) {
                    total.merged.merge(&tile.partials[total.slot]);
                }
            }
        }
    }

    fn merge_encoded(&mut self, grid: &Grid, tiles: EncodedTiles) {
        for tile in tiles.filter(|tile| is_within(&self.hull, tile.start)) {
            for (slot, partial) in tile.partials(grid).enumerate() {
                for total in self.windows.iter_mut().filter(|total| total.slot == slot) {
                    if is_within(&total.covered, tile.start) {
                        total.merged.merge(&partial);
                    }
                }
            }
        }
    }

    fn finish(&self, view: &ViewPlan, grid: usize, as_of: EventTime, reading: &mut Reading) {
        for (feature, value) in view.features.iter().zip(&mut reading.values) {
            if feature.grid != grid {
                continue;
            }
            let total = self.windows.iter().find(|total| total.serves(feature)).expect("each feature has its total");
            let finalized = (feature.call.function.finalize)(&feature.call, &total.merged, as_of);
            *value = feature.answer(finalized, &mut reading.overflowed);
        }
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

impl Total {
    fn serves(&self, feature: &FeaturePlan) -> bool {
        self.slot == feature.slot && self.window == feature.window
    }
}

/// A lifetime window has no bounds.
fn is_within(covered: &Option<Range<EventTime>>, start: EventTime) -> bool {
    covered.as_ref().is_none_or(|covered| covered.contains(&start))
}
