//! Features → grids and slots. The layout is part of stored bytes, so it must follow from what the fingerprint
//! covers and from nothing else: features are laid out in the order of what they compute, not of the file. To
//! reorder a view's features, or to describe them better, then leaves its stored rows as they are.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use crate::kernel::aggregate::Parameter;
use crate::kernel::definition::Feature;
use crate::kernel::plan::{Grid, Slot};
use crate::kernel::time::Micros;
use crate::kernel::window::Sliding;

pub(super) struct Layout {
    pub grids: Vec<Grid>,
    /// For each feature, its grid and its slot there.
    pub positions: Vec<(usize, usize)>,
}

/// Finite hops first, by length; the lifetime grid last.
type GridOrder = (bool, Option<Micros>);

pub(super) fn lay_out(features: &[Feature], schema: &SchemaRef) -> Layout {
    let mut canonical: Vec<&Feature> = features.iter().collect();
    canonical.sort_by_cached_key(|feature| {
        let column = feature.column.map(|column| schema.field(column).name().clone());
        let parameters: Vec<(&str, Parameter)> =
            feature.call.parameters.iter().map(|(name, it)| (*name, *it)).collect();
        (column, feature.call.function.name, parameters)
    });
    let mut grids: BTreeMap<GridOrder, Grid> = BTreeMap::new();
    for feature in canonical {
        let hop = feature.window.map(|window| window.hop);
        let grid = grids.entry(grid_order(feature)).or_insert_with(|| Grid { hop, reach: None, slots: Vec::new() });
        grid.reach = grid.reach.max(feature.window.map(Sliding::reach));
        if position(grid, feature).is_none() {
            grid.slots.push(slot(feature));
        }
    }
    let place = |feature: &Feature| {
        let grid = grids.keys().position(|order| *order == grid_order(feature)).expect("each feature has its grid");
        let slot = position(&grids[&grid_order(feature)], feature).expect("each feature has its slot");
        (grid, slot)
    };
    let positions = features.iter().map(place).collect();
    Layout { grids: grids.into_values().collect(), positions }
}

fn grid_order(feature: &Feature) -> GridOrder {
    let hop = feature.window.map(|window| window.hop);
    (hop.is_none(), hop)
}

fn slot(feature: &Feature) -> Slot {
    let function = feature.call.function;
    Slot { column: feature.column, identity: (function.identity)(&feature.call), keeps_values: function.keeps_values }
}

/// The slot of a grid that knows what the feature needs.
fn position(grid: &Grid, feature: &Feature) -> Option<usize> {
    let wanted = slot(feature);
    grid.slots.iter().position(|slot| {
        let same = slot.column == wanted.column && slot.identity == wanted.identity;
        same && slot.keeps_values == wanted.keeps_values
    })
}
