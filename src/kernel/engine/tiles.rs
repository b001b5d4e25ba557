//! The tiles of one part that are not sealed, by grid.

use crate::kernel::aggregate::{Partial, Stamp};
use crate::kernel::codec::TileRun;
use crate::kernel::engine::column::Inputs;
use crate::kernel::plan::{Grid, ViewPlan};
use crate::kernel::time::EventTime;

/// For each grid of the view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles(pub Vec<GridTiles>);

/// Decoded tiles take ten times the room of encoded ones, and most entities rest most of the time: so what was
/// flushed is kept as bytes, and an event that comes back to such a tile opens a second one, to be merged into the
/// first by the next flush.
#[derive(Clone, Debug, Default)]
pub(crate) struct GridTiles {
    /// Touched since the last flush: ordered by start, no two with the same.
    pub recent: Vec<Tile>,
    /// What hangs off their partials.
    recent_heap_bytes: usize,
    pub flushed: TileRun,
}

/// What the events of one tile add up to; a partial for each slot of its grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub start: EventTime,
    pub partials: Box<[Partial]>,
}

impl Tiles {
    pub fn new(view: &ViewPlan) -> Tiles {
        Tiles(vec![GridTiles::default(); view.grids.len()])
    }

    pub fn of_runs(runs: Vec<TileRun>) -> Tiles {
        let grid = |flushed| GridTiles { flushed, ..GridTiles::default() };
        Tiles(runs.into_iter().map(grid).collect())
    }

    /// Updates the one tile of each grid that the event at `row` belongs to.
    pub fn update(&mut self, view: &ViewPlan, inputs: &Inputs, row: usize, stamp: Stamp) {
        for (grid, tiles) in view.grids.iter().zip(&mut self.0) {
            tiles.update(grid, inputs, row, stamp);
        }
    }

    /// Makes bytes of all tiles but those that no read at or after `as_of` sees.
    pub fn encode_recent(&mut self, view: &ViewPlan, as_of: EventTime) {
        for (grid, tiles) in view.grids.iter().zip(&mut self.0) {
            tiles.flushed.take_in(grid, &tiles.recent, as_of);
            tiles.recent.clear();
            tiles.recent_heap_bytes = 0;
        }
    }

    /// How many there are at most, for one that was touched again may count twice.
    pub fn len(&self) -> usize {
        self.0.iter().map(|tiles| tiles.recent.len() + tiles.flushed.len()).sum()
    }

    pub fn runs(&self) -> impl Iterator<Item = &TileRun> + Clone {
        self.0.iter().map(|tiles| &tiles.flushed)
    }

    /// Rough size in memory.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(GridTiles::bytes).sum()
    }

    /// Rough size once all are bytes.
    pub fn encoded_bytes(&self) -> usize {
        self.0.iter().map(GridTiles::encoded_bytes).sum()
    }
}

/// What a partial takes as bytes, beside what hangs off it: roughly, and rather too much.
const ENCODED_PARTIAL_BYTES: usize = 16;

impl GridTiles {
    #[inline]
    fn update(&mut self, grid: &Grid, inputs: &Inputs, row: usize, stamp: Stamp) {
        let count = self.recent.len();
        let at = index_of(&mut self.recent, grid, grid.start_of(stamp.event_time));
        let is_new = self.recent.len() > count;
        let tile = &mut self.recent[at];
        let heap_bytes_before = if is_new { 0 } else { tile.heap_bytes() };
        tile.update(grid, inputs, row, stamp);
        self.recent_heap_bytes = self.recent_heap_bytes + tile.heap_bytes() - heap_bytes_before;
    }

    fn bytes(&self) -> usize {
        let tile = size_of::<Tile>() + self.slots() * size_of::<Partial>();
        self.recent.len() * tile + self.recent_heap_bytes + self.flushed.bytes()
    }

    fn encoded_bytes(&self) -> usize {
        let tile = self.slots() * ENCODED_PARTIAL_BYTES;
        self.recent.len() * tile + self.recent_heap_bytes + self.flushed.encoded_bytes()
    }

    fn slots(&self) -> usize {
        self.recent.first().map_or(0, |tile| tile.partials.len())
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

    /// Takes in the event at `row`.
    #[inline]
    pub fn update(&mut self, grid: &Grid, inputs: &Inputs, row: usize, stamp: Stamp) {
        for (slot, partial) in grid.slots.iter().zip(&mut self.partials) {
            match slot.column {
                None => partial.update(None, stamp),
                Some(column) => {
                    if let Some(value) = inputs.value(column, row, slot.keeps_values) {
                        partial.update(Some(value), stamp);
                    }
                }
            }
        }
    }

    pub fn merge(&mut self, other: &Tile) {
        self.partials.iter_mut().zip(&other.partials).for_each(|(mine, other)| mine.merge(other));
    }

    fn heap_bytes(&self) -> usize {
        self.partials.iter().map(Partial::heap_bytes).sum()
    }
}

/// Where the tile at `start` is, new where there was none. Most events belong to the newest tile.
fn index_of(tiles: &mut Vec<Tile>, grid: &Grid, start: EventTime) -> usize {
    let place = match tiles.last() {
        Some(last) if last.start == start => Ok(tiles.len() - 1),
        Some(last) if last.start > start => tiles.binary_search_by_key(&start, |tile| tile.start),
        _ => Err(tiles.len()),
    };
    place.unwrap_or_else(|at| {
        tiles.insert(at, Tile::new(grid, start));
        at
    })
}
