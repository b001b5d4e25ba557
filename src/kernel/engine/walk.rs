//! One entity walked forward in time: events are folded as they become known, and features read in between, without
//! merging every tile for every row.
//!
//! ```text
//! tiles of a grid, by time:   have left │ front: a total from each tile on │ back: one total │ newest tile
//!                                       ▲ where the window starts
//! ```
//!
//! Promises: `at` gives the bits of [`crate::kernel::engine::read`] over a part with the same events, for merging is
//! associative. A tile is merged about twice for each window, however many rows are read. No more tiles are held than
//! the windows span, however many events there are.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::kernel::aggregate::{Counted, Size, Stamp};
use crate::kernel::engine::Reading;
use crate::kernel::engine::column::Inputs;
use crate::kernel::engine::running::{Place, Running};
use crate::kernel::engine::tiles::Tile;
use crate::kernel::plan::{Grid, Slot, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueRef;
use crate::kernel::window::Sliding;

/// Can be used for one entity after another.
pub struct Walk {
    view: Arc<ViewPlan>,
    /// For each grid of the view.
    grids: Vec<GridWalk>,
    newest: Option<EventTime>,
    as_of: Option<EventTime>,
}

struct GridWalk {
    /// Ordered by start, no two with the same.
    tiles: VecDeque<Tile>,
    windows: Vec<WindowWalk>,
    /// Slots that windows count, and how large the sets of the tile at hand were.
    counted: Vec<(usize, Size)>,
}

/// One window over a grid, and what is read of it.
struct WindowWalk {
    /// `None`: lifetime.
    window: Option<Sliding>,
    running: Running,
    /// The position of each feature in the view, and where its total is.
    features: Vec<(usize, Place)>,
}

impl Walk {
    pub fn new(view: Arc<ViewPlan>) -> Walk {
        let grids = (0..view.grids.len()).map(|grid| GridWalk::new(&view, grid)).collect();
        Walk { view, grids, newest: None, as_of: None }
    }

    /// Goes on to another entity.
    pub fn begin(&mut self) {
        self.newest = None;
        self.as_of = None;
        for grid in &mut self.grids {
            grid.tiles.clear();
            grid.windows.iter_mut().for_each(|window| window.running.clear());
        }
    }

    /// Folds the event at `row`, which no read before `as_of` sees.
    pub fn fold(&mut self, inputs: &Inputs, row: usize, stamp: Stamp, as_of: EventTime) {
        self.newest = self.newest.max(Some(stamp.event_time));
        for (grid, walk) in self.view.grids.iter().zip(&mut self.grids) {
            let start = grid.start_of(stamp.event_time);
            if !grid.has_left(start, as_of) {
                walk.fold(grid, start, Arrival { inputs, row, stamp });
            }
        }
    }

    /// The features at `as_of`, which is no earlier than the one before.
    pub fn at(&mut self, as_of: EventTime) -> Reading {
        assert!(self.as_of.replace(as_of) <= Some(as_of), "the walk forgets what only earlier instants see");
        let mut reading = Reading::begin(&self.view, self.newest, as_of);
        reading.values.resize(self.view.features.len(), None);
        for (grid, walk) in self.view.grids.iter().zip(&mut self.grids) {
            walk.read(&self.view, as_of, &mut reading);
            walk.prune(grid, as_of);
        }
        reading
    }
}

/// An event on its way into tiles.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    inputs: &'a Inputs,
    row: usize,
    stamp: Stamp,
}

impl<'a> Arrival<'a> {
    fn value(self, slot: &Slot) -> Option<ValueRef<'a>> {
        self.inputs.value(slot.column?, self.row, slot.keeps_values)
    }
}

impl GridWalk {
    fn new(view: &ViewPlan, grid: usize) -> GridWalk {
        let mut windows: Vec<WindowWalk> = Vec::new();
        for (index, feature) in view.features.iter().enumerate().filter(|(_, feature)| feature.grid == grid) {
            let found = windows.iter().position(|it| it.window == feature.window);
            let at = found.unwrap_or_else(|| {
                windows.push(WindowWalk { window: feature.window, running: Running::default(), features: Vec::new() });
                windows.len() - 1
            });
            let place = windows[at].running.take_on(feature.slot, &view.slot(feature).identity);
            windows[at].features.push((index, place));
        }
        let slots = view.grids[grid].slots.iter().enumerate();
        let counted = slots.filter(|(_, slot)| Counted::of(&slot.identity).is_some());
        let counted = counted.map(|(slot, _)| (slot, Size::Values(0))).collect();
        GridWalk { tiles: VecDeque::new(), windows, counted }
    }

    #[inline]
    fn fold(&mut self, grid: &Grid, start: EventTime, event: Arrival<'_>) {
        let at = self.place(grid, start);
        let tile = &mut self.tiles[at];
        self.counted.iter_mut().for_each(|(slot, size)| *size = Size::of(&tile.partials[*slot]));
        tile.update(grid, event.inputs, event.row, event.stamp);
        for (slot, before) in &self.counted {
            if let Some(value) = event.value(&grid.slots[*slot]) {
                self.windows.iter_mut().for_each(|it| it.running.grow(tile, *slot, *before, value));
            }
        }
    }

    /// Where the tile at `start` is, about to change; new where there was none. Most events belong to the newest.
    #[inline]
    fn place(&mut self, grid: &Grid, start: EventTime) -> usize {
        let newest = self.tiles.back().map(|newest| newest.start);
        match newest {
            Some(newest) if newest == start => self.tiles.len() - 1,
            Some(newest) if newest > start => self.earlier(grid, start),
            _ => {
                self.tiles.push_back(Tile::new(grid, start));
                self.tiles.len() - 1
            }
        }
    }

    /// An event that is known later than newer ones.
    fn earlier(&mut self, grid: &Grid, start: EventTime) -> usize {
        self.windows.iter_mut().for_each(|it| it.running.forget_if_taken(start));
        self.tiles.binary_search_by_key(&start, |tile| tile.start).unwrap_or_else(|at| {
            self.tiles.insert(at, Tile::new(grid, start));
            at
        })
    }

    fn read(&mut self, view: &ViewPlan, as_of: EventTime, reading: &mut Reading) {
        for it in &mut self.windows {
            let start = it.window.map_or(EventTime::MIN, |window| window.covered(as_of).start);
            it.running.move_to(&self.tiles, start);
            let newest = self.tiles.back().filter(|newest| newest.start >= start);
            for (feature, place) in &it.features {
                let plan = &view.features[*feature];
                let finalized = match *place {
                    Place::Stacked(at) => {
                        (plan.call.function.finalize)(&plan.call, &it.running.total(at, newest), as_of)
                    }
                    Place::Counted(at) => it.running.counted(at).finalize(),
                };
                reading.values[*feature] = plan.answer(finalized, &mut reading.overflowed);
            }
        }
    }

    /// Drops the tiles that no read at or after `as_of` sees.
    fn prune(&mut self, grid: &Grid, as_of: EventTime) {
        while self.tiles.front().is_some_and(|oldest| grid.has_left(oldest.start, as_of)) {
            self.tiles.pop_front();
        }
    }
}
