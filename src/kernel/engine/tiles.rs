//! Decoded tiles of one part, by grid.

use crate::kernel::aggregate::{Partial, Stamp};
use crate::kernel::engine::Prepared;
use crate::kernel::plan::{Grid, ViewPlan};
use crate::kernel::time::EventTime;

/// For each grid of the view its tiles, ordered by start, no two with the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiles(pub Vec<Vec<Tile>>);

/// What the events of one tile add up to; a partial for each slot of its grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub start: EventTime,
    pub partials: Box<[Partial]>,
}

impl Tiles {
    pub fn new(view: &ViewPlan) -> Tiles {
        Tiles(vec![Vec::new(); view.grids.len()])
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Updates the one tile of each grid that the event at `row` belongs to.
    pub fn update(&mut self, view: &ViewPlan, prepared: &Prepared, row: usize, stamp: Stamp) {
        for (grid, tiles) in view.grids.iter().zip(&mut self.0) {
            let tile = tile_at(tiles, grid, grid.start_of(stamp.event_time));
            for (slot, partial) in grid.slots.iter().zip(&mut tile.partials) {
                match slot.column {
                    None => partial.update(None, stamp),
                    Some(column) => {
                        if let Some(value) = prepared.value(column, row, slot.keeps_values) {
                            partial.update(Some(value), stamp);
                        }
                    }
                }
            }
        }
    }

    /// Drops the tiles that no read at or after `as_of` sees.
    pub fn prune(&mut self, view: &ViewPlan, as_of: EventTime) {
        for (grid, tiles) in view.grids.iter().zip(&mut self.0) {
            tiles.drain(..tiles.partition_point(|tile| grid.has_left(tile.start, as_of)));
        }
    }

    pub fn bytes(&self) -> usize {
        let tile = |tile: &Tile| size_of::<Tile>() + tile.partials.iter().map(Partial::bytes).sum::<usize>();
        self.0.iter().flatten().map(tile).sum()
    }
}

impl Grid {
    /// Where the tile of an event begins. The lifetime tile has no bounds, and is called 0.
    pub(super) fn start_of(&self, event_time: EventTime) -> EventTime {
        self.hop.map_or(EventTime::unchecked(0), |hop| event_time.floor(hop))
    }

    /// Whether every window over the grid has moved past the tile.
    pub(crate) fn has_left(&self, start: EventTime, as_of: EventTime) -> bool {
        self.reach.is_some_and(|reach| start + reach <= as_of)
    }
}

impl Tile {
    pub fn new(grid: &Grid, start: EventTime) -> Tile {
        Tile { start, partials: grid.slots.iter().map(|slot| slot.identity.clone()).collect() }
    }

    pub fn merge(&mut self, other: &Tile) {
        self.partials.iter_mut().zip(&other.partials).for_each(|(mine, other)| mine.merge(other));
    }
}

/// The tile at `start`, new where there was none. Most events belong to the newest tile.
fn tile_at<'a>(tiles: &'a mut Vec<Tile>, grid: &Grid, start: EventTime) -> &'a mut Tile {
    let place = match tiles.last() {
        Some(last) if last.start == start => Ok(tiles.len() - 1),
        Some(last) if last.start > start => tiles.binary_search_by_key(&start, |tile| tile.start),
        _ => Err(tiles.len()),
    };
    let at = place.unwrap_or_else(|at| {
        tiles.insert(at, Tile::new(grid, start));
        at
    });
    &mut tiles[at]
}
