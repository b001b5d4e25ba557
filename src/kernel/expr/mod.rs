//! Filters and derived columns: SQL scalar expressions, compiled once by DataFusion and evaluated on batches.
//! The same compiled expression runs in the stream, in backfills and in training sets.
//!
//! ```text
//! text ─► parse (bounded SQL tree) ─► check (offered shapes, functions, columns) ─► compile (typed, physical)
//! ```

mod bounded;
mod check;
mod compile;
mod functions;
mod parse;
mod transcendental;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{Date32Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::utils::collect_columns;

use crate::kernel::time::{EventTime, Micros};
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
        let parsed = parse::parse(text)?;
        check::check(text, &parsed, columns)?;
        let (physical, value_type) = compile::compile(text, parsed, columns)?;
        Ok(Expression { text: text.to_owned(), physical, value_type })
    }

    /// Never fails: a row on which the expression fails is null and counted. A batch that fails as a whole is
    /// evaluated again row by row, so the value of an event never depends on its neighbours.
    pub fn evaluate(&self, batch: &RecordBatch) -> Evaluated {
        if let Some(values) = self.try_evaluate(batch) {
            return Evaluated { values, failed: 0 };
        }
        let mut pieces = Vec::new();
        let failed = self.evaluate_halves(batch, &mut pieces);
        let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece.as_ref()).collect();
        Evaluated { values: concat(&pieces).expect("all pieces have the type of the expression"), failed }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn value_type(&self) -> &ValueType {
        &self.value_type
    }

    /// Which columns of its schema it looks at.
    pub fn columns(&self) -> BTreeSet<usize> {
        collect_columns(&self.physical).iter().map(|column| column.index()).collect()
    }

    /// `None` where some row fails. A time or date outside the years 0001 to 9999 is a failure like any other.
    fn try_evaluate(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        let values = self.physical.evaluate(batch).and_then(|values| values.into_array(batch.num_rows())).ok()?;
        let within_years = |micros: i64| EventTime::from_micros(micros).is_some();
        let fits = if let Some(times) = values.as_primitive_opt::<TimestampMicrosecondType>() {
            times.iter().flatten().all(within_years)
        } else if let Some(dates) = values.as_primitive_opt::<Date32Type>() {
            dates.iter().flatten().all(|days| within_years(i64::from(days) * Micros::DAY.get()))
        } else {
            true
        };
        fits.then_some(values)
    }

    /// Row by row where it must be, and in runs where it can: halves that succeed as a whole need no further look.
    fn evaluate_halves(&self, batch: &RecordBatch, pieces: &mut Vec<ArrayRef>) -> usize {
        if let Some(values) = self.try_evaluate(batch) {
            pieces.push(values);
            return 0;
        }
        if batch.num_rows() <= 1 {
            pieces.push(new_null_array(&self.value_type.to_arrow(), batch.num_rows()));
            return batch.num_rows();
        }
        let middle = batch.num_rows() / 2;
        self.evaluate_halves(&batch.slice(0, middle), pieces)
            + self.evaluate_halves(&batch.slice(middle, batch.num_rows() - middle), pieces)
    }
}

#[cfg(test)]
mod tests;
