//! How the values of a row came about: the tiles that each feature was merged from, and what each of them holds by
//! itself. Plain data, for people; `engine::read` is what answers.

use std::ops::Range;

use crate::kernel::aggregate::Partial;
use crate::kernel::codec::{self, EncodedTile, EncodedTiles, Image};
use crate::kernel::key::PartId;
use crate::kernel::plan::{FeaturePlan, Grid, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;

/// One feature at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Position in the view.
    pub feature: usize,
    /// Where the tiles begin that count, the end out; `None`: a lifetime, which has no edges.
    pub covered: Option<Range<EventTime>>,
    /// Oldest first; two of one span are of two parts, or one of them is recent.
    pub tiles: Vec<ExplainedTile>,
}

/// What one part knows of one span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedTile {
    pub part: PartId,
    pub place: Place,
    /// The end is out; `None`: the lifetime tile.
    pub span: Option<Range<EventTime>>,
    /// How many inputs it was made of, where the aggregate knows.
    pub inputs: Option<u64>,
    /// What the feature would be if there were no other tile.
    pub value: Option<Value>,
}

/// Where a tile is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Among the recent ones, which each flush writes.
    Head,
    /// Among the sealed ones.
    Body,
}

impl Place {
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Head => "head",
            Place::Body => "body",
        }
    }
}

/// Of these features, by their positions in the view, from a row as a store keeps it.
pub fn explain(
    view: &ViewPlan,
    parts: &[(PartId, Image)],
    features: &[usize],
    as_of: EventTime,
) -> Result<Vec<Explanation>, codec::Error> {
    let mut explanations: Vec<Explanation> = features.iter().map(|it| Explanation::new(view, *it, as_of)).collect();
    for (part, image) in parts.iter().filter(|(_, image)| *image != Image::default()) {
        let head = codec::open_head(view, &image.head)?.grids;
        let body = codec::open_body(view, &image.body)?;
        for (place, grids) in [(Place::Head, head), (Place::Body, body)] {
            for (grid, tiles) in grids.enumerate() {
                let mine = explanations.iter_mut().filter(|it| view.features[it.feature].grid == grid);
                let taken = mine.into_iter().try_for_each(|it| it.take_in(view, *part, place, tiles?, as_of));
                taken.ok_or(codec::Error::Damaged { what: "a tile does not read" })?;
            }
        }
    }
    let start = |tile: &ExplainedTile| tile.span.as_ref().map(|span| span.start);
    explanations.iter_mut().for_each(|it| it.tiles.sort_by_key(|tile| (start(tile), tile.part, tile.place)));
    Ok(explanations)
}

impl Explanation {
    fn new(view: &ViewPlan, feature: usize, as_of: EventTime) -> Explanation {
        let covered = view.features[feature].window.map(|window| window.covered(as_of));
        Explanation { feature, covered, tiles: Vec::new() }
    }

    fn take_in(
        &mut self,
        view: &ViewPlan,
        part: PartId,
        place: Place,
        mut tiles: EncodedTiles,
        as_of: EventTime,
    ) -> Option<()> {
        let feature = &view.features[self.feature];
        let grid = &view.grids[feature.grid];
        while !tiles.is_empty() {
            let tile = tiles.take_tile()?;
            if self.covered.as_ref().is_none_or(|covered| covered.contains(&tile.start)) {
                let partial = partial(grid, feature, tile)?;
                let finalized = (feature.call.function.finalize)(&feature.call, &partial, as_of);
                self.tiles.push(ExplainedTile {
                    part,
                    place,
                    span: grid.hop.map(|hop| tile.start..tile.start + hop),
                    inputs: partial.inputs(),
                    value: feature.answer(finalized, &mut 0),
                });
            }
        }
        Some(())
    }
}

/// What a tile holds for one feature.
fn partial(grid: &Grid, feature: &FeaturePlan, tile: EncodedTile) -> Option<Partial> {
    let mut rest = tile.partials;
    grid.slots[..feature.slot].iter().try_for_each(|slot| slot.identity.skip(&mut rest))?;
    grid.slots[feature.slot].identity.decode(&mut rest)
}
