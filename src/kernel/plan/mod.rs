//! Checked definitions → what to compute: slots, grids of tiles, and a fingerprint over all that changes a value.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::kernel::aggregate::{Call, Partial};
use crate::kernel::definition::{Definitions, Entity, FeatureService, Source};
use crate::kernel::expr::Expression;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::time::Micros;
use crate::kernel::value::{Value, ValueType};
use crate::kernel::window::Sliding;

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
    pub about: crate::kernel::definition::Description,
}

/// Tiles of one size, and the partials that each holds. Grids are ordered by hop, lifetime last.
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
}

/// Has no `Result`: [`crate::kernel::definition::parse`] left nothing to refuse.
pub fn compile(definitions: &Definitions) -> Plan {
    todo!("{definitions:?}")
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
