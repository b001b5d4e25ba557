//! Filters and derived columns: SQL scalar expressions, compiled once by DataFusion and evaluated on batches.
//! The same compiled expression runs in the stream, in backfills and in training sets.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;

use crate::kernel::value::ValueType;

/// A compiled, type-checked, immutable expression over the columns of one schema.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    physical: Arc<dyn PhysicalExpr>,
    value_type: ValueType,
}

/// What is wrong with the text of an expression. `offset` is in characters from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub offset: usize,
    pub what: String,
    pub help: Option<String>,
}

/// One value for each row of a batch.
pub struct Evaluated {
    pub values: ArrayRef,
    /// Rows on which evaluation failed (a division by zero, say); their values are null.
    pub failed: usize,
}

impl Expression {
    /// Parses, type-checks and compiles `text` over `columns`. Bounded in length and depth; only functions of a
    /// tested list, all of them immutable.
    pub fn compile(text: &str, columns: &SchemaRef) -> Result<Expression, Fault> {
        todo!("{text} {columns}")
    }

    /// Never fails: a row on which the expression fails is null and counted. A batch that fails as a whole is
    /// evaluated again row by row, so the value of an event never depends on its neighbours.
    pub fn evaluate(&self, batch: &RecordBatch) -> Evaluated {
        todo!("{batch:?}")
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn value_type(&self) -> &ValueType {
        &self.value_type
    }
}
