//! What a view's state takes: how many tiles, and about how many bytes for an entity that is busy all the time.

use crate::kernel::plan::{Grid, ViewPlan};
use crate::kernel::time::Micros;

/// What a tile takes besides its slots, encoded: its start, as a difference.
const TILE_BYTES: i64 = 2;

/// What a slot takes, encoded: an exact sum of prices, a small count and the like.
const SLOT_BYTES: i64 = 10;

/// The most that is kept of one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateCost {
    pub tiles: i64,
    /// About; without the values below.
    pub bytes: i64,
    /// Whether values are kept besides (first, last, distinct and the like), as many and as long as the events have.
    pub keeps_values: bool,
}

pub fn state_cost(view: &ViewPlan) -> StateCost {
    StateCost {
        tiles: view.grids.iter().map(grid_tiles).sum(),
        bytes: view.grids.iter().map(grid_bytes).sum(),
        keeps_values: view.grids.iter().flat_map(|grid| &grid.slots).any(|slot| slot.keeps_values),
    }
}

pub(super) fn grid_tiles(grid: &Grid) -> i64 {
    // A reach is length and hop.
    grid.hop.zip(grid.reach).map_or(1, |(hop, reach)| tiles_over(reach, hop) - 1)
}

fn grid_bytes(grid: &Grid) -> i64 {
    grid_tiles(grid) * (TILE_BYTES + SLOT_BYTES * grid.slots.len() as i64)
}

/// The most tiles that a window covers at any as-of: its start is rounded down, so it begins within one tile and
/// ends within another.
pub(super) fn tiles_over(length: Micros, hop: Micros) -> i64 {
    length.get() / hop.get() + i64::from(length.get() % hop.get() != 0) + 1
}
