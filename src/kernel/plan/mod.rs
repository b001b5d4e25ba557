//! Checked definitions → what to compute: slots, grids of tiles, and a fingerprint over all that changes a value.

mod compatibility;
mod cost;
mod deprecation;
mod diff;
mod explain;
mod fingerprint;
mod layout;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::kernel::aggregate::{Call, Partial};
use crate::kernel::definition::{Definitions, Description, Entity, Feature, FeatureService, FeatureView, Source};
use crate::kernel::expr::Expression;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::time::Micros;
use crate::kernel::value::{Value, ValueType};
use crate::kernel::window::Sliding;

pub use compatibility::Refusal;
pub use cost::{StateCost, state_cost};
pub use deprecation::{DeprecatedUse, deprecated_uses};
pub use diff::{Change, Diff, Effect, diff, lost_features};
pub use explain::explain;

/// Raised when the meaning of a value changes, so that versions of a view are recomputed.
pub const SEMANTICS_VERSION: u32 = 1;

/// Identifies what computes a view's values; also the name of the view's version. Sixteen hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Fingerprint {
    /// What the rows of a version are stored under in one of its generations: copies of the same bytes, of which a
    /// later one is built beside the one that serves. The first has the version's own name.
    pub fn in_generation(self, generation: u32) -> Fingerprint {
        match generation {
            0 => self,
            later => Fingerprint(xxh3_64_with_seed(&later.to_le_bytes(), self.0)),
        }
    }
}

/// All that is applied, compiled.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub entities: Vec<Arc<Entity>>,
    pub sources: Vec<Arc<Source>>,
    pub views: Vec<Arc<ViewPlan>>,
    pub services: Vec<Arc<FeatureService>>,
}

/// How one view is computed and read.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    pub name: Name,
    pub fingerprint: Fingerprint,
    /// What its rows are stored under: another name, and the same bytes, in each generation.
    pub rows: Fingerprint,
    /// For partitions of the log, the offset below which these rows are the archive's, folded in bulk; the stream folds
    /// from there on. Of all others it folds everything.
    pub seeded_to: Arc<BTreeMap<u32, u64>>,
    pub entity: Arc<Entity>,
    pub source: Arc<Source>,
    /// For each key of the entity, the index of the source field.
    pub key_fields: Vec<usize>,
    /// Evaluated on the source's batch, appended to its columns in this order.
    pub columns: Vec<(Name, Expression)>,
    /// Evaluated on the batch with its derived columns.
    pub filter: Option<Expression>,
    /// The source's fields, then the derived columns.
    pub schema: SchemaRef,
    pub grids: Vec<Grid>,
    pub features: Vec<FeaturePlan>,
    /// `None`: no event is late (a lifetime feature, and no limit in the source).
    pub allowed_lateness: Option<Micros>,
    /// After this long without an event a row's values are all empty; `None` with a lifetime feature.
    pub reach: Option<Micros>,
    pub max_age: Option<Micros>,
    pub online: bool,
    pub about: Description,
}

/// Tiles of one size, and the partials that each holds. Grids are ordered by hop, lifetime last; slots in an order
/// that the set of features decides and their order in the file does not.
#[derive(Clone, Debug)]
pub struct Grid {
    /// `None`: the lifetime grid, one tile without bounds.
    pub hop: Option<Micros>,
    /// The longest reach of the windows over this grid; `None` for lifetime.
    pub reach: Option<Micros>,
    pub slots: Vec<Slot>,
}

/// One partial of each tile of a grid. Features with equal identity and column share it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Index into [`ViewPlan::schema`].
    pub column: Option<usize>,
    pub identity: Partial,
    pub keeps_values: bool,
}

#[derive(Clone, Debug)]
pub struct FeaturePlan {
    pub name: Name,
    pub value_type: ValueType,
    pub call: Call,
    /// Index into [`ViewPlan::grids`], and into that grid's slots.
    pub grid: usize,
    pub slot: usize,
    /// `None`: lifetime.
    pub window: Option<Sliding>,
    pub default: Option<Value>,
    pub description: Option<String>,
    pub deprecated: Option<String>,
}

/// Has no `Result`: [`crate::kernel::definition::parse`] left nothing to refuse.
pub fn compile(definitions: &Definitions) -> Plan {
    Plan {
        entities: definitions.entities.clone(),
        sources: definitions.sources.clone(),
        views: definitions.views.iter().map(|view| Arc::new(compile_view(view))).collect(),
        services: definitions.services.clone(),
    }
}

/// One view, for whoever has no other definitions.
pub fn compile_view(view: &FeatureView) -> ViewPlan {
    let schema = view.schema();
    let layout = layout::lay_out(&view.features, &schema);
    let reach = longest_reach(&view.features);
    let features = view.features.iter().zip(layout.positions);
    let mut plan = ViewPlan {
        name: view.name.clone(),
        fingerprint: Fingerprint(0),
        rows: Fingerprint(0),
        seeded_to: Arc::default(),
        entity: view.entity.clone(),
        source: view.source.clone(),
        key_fields: view.key_fields.clone(),
        columns: view.columns.clone(),
        filter: view.filter.clone(),
        schema,
        grids: layout.grids,
        features: features.map(|(feature, (grid, slot))| feature_plan(feature, grid, slot)).collect(),
        allowed_lateness: view.source.allowed_lateness.or(reach),
        reach,
        max_age: view.max_age,
        online: view.online,
        about: view.about.clone(),
    };
    plan.fingerprint = fingerprint::fingerprint(&plan);
    plan.rows = plan.fingerprint;
    plan
}

fn feature_plan(feature: &Feature, grid: usize, slot: usize) -> FeaturePlan {
    FeaturePlan {
        name: feature.name.clone(),
        value_type: (feature.call.function.result)(&feature.call),
        call: feature.call.clone(),
        grid,
        slot,
        window: feature.window,
        default: feature.default.clone(),
        description: feature.description.clone(),
        deprecated: feature.deprecated.clone(),
    }
}

/// `None` with a lifetime feature, which reaches back to the first event.
fn longest_reach(features: &[Feature]) -> Option<Micros> {
    let reaches = features.iter().map(|feature| feature.window.map(Sliding::reach));
    reaches.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
}

impl Plan {
    pub fn view(&self, name: &str) -> Option<&Arc<ViewPlan>> {
        self.views.iter().find(|view| view.name == *name)
    }

    pub fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.sources.iter().find(|source| source.name == *name)
    }

    pub fn service(&self, name: &str) -> Option<&Arc<FeatureService>> {
        self.services.iter().find(|service| service.name == *name)
    }

    pub fn feature(&self, feature: &FeatureRef) -> Option<(&Arc<ViewPlan>, &FeaturePlan)> {
        let view = self.view(feature.view.as_str())?;
        Some((view, view.features.iter().find(|candidate| candidate.name == feature.feature)?))
    }
}

impl ViewPlan {
    /// The source's fields that the view's values depend on: its keys, times and ids, and what expressions and
    /// aggregates look at.
    pub fn fields(&self) -> BTreeSet<usize> {
        let expressions = self.columns.iter().map(|(_, expression)| expression).chain(&self.filter);
        let slots = self.grids.iter().flat_map(|grid| &grid.slots).filter_map(|slot| slot.column);
        let mut fields: BTreeSet<usize> = expressions.flat_map(Expression::columns).chain(slots).collect();
        fields.extend(self.key_fields.iter().copied().chain([self.source.event_time]).chain(self.source.event_id));
        // The others are derived columns.
        fields.retain(|column| *column < self.source.fields.len());
        fields
    }

    /// For how long after its newest event an entity is found (semantics §6); `None`: for ever.
    pub fn found_for(&self) -> Option<Micros> {
        self.reach.map(|reach| reach.max(self.max_age.unwrap_or(reach)))
    }

    /// The partial that a feature is finished from.
    pub fn slot(&self, feature: &FeaturePlan) -> &Slot {
        &self.grids[feature.grid].slots[feature.slot]
    }

    /// The same plan, over the rows of one generation.
    pub fn in_generation(&self, generation: u32) -> ViewPlan {
        ViewPlan { rows: self.fingerprint.in_generation(generation), ..self.clone() }
    }

    /// The same plan, over rows that the archive gives up to these offsets.
    pub fn seeded(self, to: &BTreeMap<u32, u64>) -> ViewPlan {
        ViewPlan { seeded_to: Arc::new(to.clone()), ..self }
    }

    /// The offset of a partition from which the stream folds; 0: from wherever the log begins.
    pub fn folded_from(&self, partition: u32) -> u64 {
        self.seeded_to.get(&partition).copied().unwrap_or(0)
    }

    /// Two plans of one version answer with the same bits if these are the same: else their features stand in another
    /// order, or have other defaults.
    pub fn answers(&self) -> Fingerprint {
        fingerprint::answers(self)
    }

    fn column_name(&self, column: usize) -> &str {
        self.schema.field(column).name()
    }
}

#[cfg(test)]
mod tests;
