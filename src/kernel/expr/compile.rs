//! A checked SQL tree → a physical expression with its type.
//!
//! DataFusion's simplifier is not run: it folds constants with wrapping arithmetic and assumes laws (`x * 1 = x`)
//! that need not hold to the bit. Types are coerced, functions that only exist as rewrites are rewritten, and
//! integer arithmetic is made to fail on overflow.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue, ToDFSchema};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{BinaryExpr as LogicalBinary, Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use super::Fault;
use super::functions::Offered;
use super::parse::{lower_first, offset_of};
use crate::kernel::value::ValueType;

pub(super) fn compile(
    text: &str,
    parsed: SqlExpr,
    columns: &SchemaRef,
) -> Result<(Arc<dyn PhysicalExpr>, ValueType), Fault> {
    let physical = plan(parsed, columns).map_err(|error| planning_fault(text, &error))?;
    let computed = physical.data_type(columns).map_err(|error| planning_fault(text, &error))?;
    let value_type = ValueType::from_arrow(&computed).ok_or_else(|| unnamed_type(&computed))?;
    let exact = value_type.to_arrow();
    let physical: Arc<dyn PhysicalExpr> = match computed == exact {
        true => physical,
        false => Arc::new(CastExpr::new(physical, exact, None)),
    };
    // What fails without any row fails on every row: a constant such as `1 / 0`, or types without a kernel.
    let nothing = RecordBatch::new_empty(Arc::clone(columns));
    physical.evaluate(&nothing).map_err(|error| planning_fault(text, &error))?;
    Ok((physical, value_type))
}

fn plan(parsed: SqlExpr, columns: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let schema = Arc::new(Arc::clone(columns).to_dfschema()?);
    let options =
        ParserOptions { collect_spans: true, map_string_types_to_utf8view: false, ..ParserOptions::default() };
    let offered = Offered::default();
    let planner = SqlToRel::new_with_options(&offered, options);
    let planned = planner.sql_to_expr(parsed, &schema, &mut PlannerContext::new())?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
    // Rewrites need coerced arguments, and what they give (a CASE, say) needs coercion again.
    let coerced = ExprSimplifier::new(context.clone()).coerce(planned, &schema)?;
    let rewritten = coerced.transform_up(|expr| rewrite(expr, &schema, &context)).data()?;
    let logical = ExprSimplifier::new(context).coerce(rewritten, &schema)?;
    let props = ExecutionProps::new();
    create_physical_expr(&logical, &schema, &props, &PhysicalPlanningContext::default())?
        .transform_up(|node| Ok(fail_on_overflow(node)))
        .data()
}

fn rewrite(expr: Expr, schema: &DFSchema, context: &SimplifyContext) -> Result<Transformed<Expr>> {
    match expr {
        // These three can only be evaluated as the CASE that they stand for.
        Expr::ScalarFunction(ScalarFunction { func, args }) if matches!(func.name(), "coalesce" | "nvl" | "nvl2") => {
            Ok(match func.simplify(args, context)? {
                ExprSimplifyResult::Simplified(case) => Transformed::yes(case),
                ExprSimplifyResult::Original(args) => {
                    Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
                }
            })
        }
        // Negation wraps, and cannot be told not to; subtraction can.
        Expr::Negative(operand) if operand.get_type(schema)?.is_integer() => {
            let zero = Expr::Literal(ScalarValue::new_zero(&operand.get_type(schema)?)?, None);
            let subtraction = LogicalBinary::new(Box::new(zero), Operator::Minus, operand);
            Ok(Transformed::yes(Expr::BinaryExpr(subtraction)))
        }
        expr => Ok(Transformed::no(expr)),
    }
}

fn fail_on_overflow(node: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
    match node.downcast_ref::<BinaryExpr>() {
        Some(binary) => Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))),
        None => Transformed::no(node),
    }
}

fn unnamed_type(computed: &DataType) -> Fault {
    let (what, help) = match computed {
        DataType::Null => ("the expression is always null".to_owned(), "give it a type: CAST(NULL AS DOUBLE)"),
        DataType::Duration(_) | DataType::Interval(_) => (
            "the expression gives a duration, which no column can hold".to_owned(),
            "subtract seconds: date_part('epoch', a) - date_part('epoch', b)",
        ),
        other => {
            (format!("the expression gives {other}, which no column can hold"), "cast it to a type of definitions")
        }
    };
    Fault { offset: 0, what, help: Some(help.into()) }
}

fn planning_fault(text: &str, error: &DataFusionError) -> Fault {
    let root = error.find_root();
    let message = root.message();
    let words: Vec<&str> = message.split_whitespace().filter(|word| !word.starts_with('~')).collect();
    let what = in_our_words(&lower_first(&words.join(" ")));
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let offset = span.map_or(0, |span| offset_of(text, span.start.line, span.start.column));
    Fault { offset, what, help: None }
}

/// DataFusion's messages name Arrow's types; definitions know them by others.
fn in_our_words(message: &str) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("LargeUtf8", "string"),
        ("Utf8View", "string"),
        ("Utf8", "string"),
        ("Int64", "int64"),
        ("Int32", "int32"),
        ("Float64", "float64"),
        ("Float32", "float32"),
        ("Boolean", "bool"),
    ];
    NAMES.iter().fold(message.to_owned(), |message, (arrow, ours)| message.replace(arrow, ours))
}
