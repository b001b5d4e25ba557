//! What our operators tell DataFusion of themselves.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::EquivalenceProperties;
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::{Partitioning, PlanProperties};

/// Of an operator that ends, gives rows as it goes, and promises no order of them.
pub fn unordered(schema: SchemaRef, partitioning: Partitioning) -> Arc<PlanProperties> {
    let equivalences = EquivalenceProperties::new(schema);
    Arc::new(PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded))
}
