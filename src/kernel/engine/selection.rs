//! Which features a read finishes, and what it merges for them: each slot over each window once, whoever shares it.
//!
//! All windows over one grid end at the as-of, so the longer ones hold the shorter ones. Their starts cut the tiles into
//! **spans**; a tile is merged once, into the total of the shortest window that covers it and reads the slot, and
//! at the end each total takes in that of the next shorter window.
//!
//! ```text
//! tiles    ──┬───────────┬─────┬──► as-of
//! 30d        └── span 0 ─┼─────┼──   total(30d) = span 0 + total(14d)
//! 14d                    └─ 1 ─┼──   total(14d) = span 1 + total(7d)
//! 7d                           └─2   total(7d)  = span 2
//! ```

use std::cmp::Reverse;

use crate::kernel::aggregate::Partial;
use crate::kernel::plan::{Grid, ViewPlan};
use crate::kernel::window::Sliding;

/// Of some features of one view.
pub(super) struct Selection {
    /// The position of each feature in the view, and the total that it is finished from.
    pub features: Vec<(usize, usize)>,
    /// For each grid of the view.
    pub grids: Vec<GridSelection>,
    /// What each total begins as.
    pub identities: Vec<Partial>,
    /// A total, and that of the next shorter window over the slot: shorter ones first.
    pub joins: Vec<(usize, usize)>,
}

pub(super) struct GridSelection {
    /// Longest first; of the lifetime grid one, without an end. None at all: the grid is not read.
    pub windows: Vec<Option<Sliding>>,
    /// For the span that begins with each window, by slot: the total that a tile is merged into.
    pub targets: Vec<Vec<Option<usize>>>,
}

impl Selection {
    pub fn of(view: &ViewPlan, features: impl Iterator<Item = usize>) -> Selection {
        let mut selection = Selection {
            features: features.map(|feature| (feature, 0)).collect(),
            grids: Vec::with_capacity(view.grids.len()),
            identities: Vec::new(),
            joins: Vec::new(),
        };
        for (index, grid) in view.grids.iter().enumerate() {
            let grid = selection.select(view, index, grid);
            selection.grids.push(grid);
        }
        selection
    }

    fn select(&mut self, view: &ViewPlan, index: usize, grid: &Grid) -> GridSelection {
        let plans = self.features.iter().map(|(feature, _)| &view.features[*feature]);
        let windows = longest_first(plans.filter(|plan| plan.grid == index).map(|plan| plan.window));
        let mut targets = vec![vec![None; grid.slots.len()]; windows.len()];
        for (feature, total) in &mut self.features {
            let plan = &view.features[*feature];
            if plan.grid == index {
                let window = windows.iter().position(|window| *window == plan.window);
                let target = &mut targets[window.expect("each feature has its window")][plan.slot];
                *total = *target.get_or_insert_with(|| {
                    self.identities.push(grid.slots[plan.slot].identity.clone());
                    self.identities.len() - 1
                });
            }
        }
        for slot in 0..grid.slots.len() {
            self.join_and_inherit(&mut targets, slot);
        }
        GridSelection { windows, targets }
    }

    /// A span whose own window does not read the slot belongs to the next longer one that does.
    fn join_and_inherit(&mut self, targets: &mut [Vec<Option<usize>>], slot: usize) {
        let own: Vec<usize> = targets.iter().filter_map(|totals| totals[slot]).collect();
        self.joins.extend(own.windows(2).rev().map(|pair| (pair[0], pair[1])));
        let mut longer = None;
        for totals in targets {
            longer = totals[slot].or(longer);
            totals[slot] = longer;
        }
    }
}

fn longest_first(windows: impl Iterator<Item = Option<Sliding>>) -> Vec<Option<Sliding>> {
    let mut distinct: Vec<Option<Sliding>> = Vec::new();
    for window in windows {
        if !distinct.contains(&window) {
            distinct.push(window);
        }
    }
    distinct.sort_unstable_by_key(|window| Reverse(window.map(|window| window.length)));
    distinct
}
