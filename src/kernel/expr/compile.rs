//! A checked SQL tree → a physical expression with its type.
//!
//! DataFusion's simplifier is not run: it folds constants with wrapping arithmetic and assumes laws (`x * 1 = x`)
//! that need not hold to the bit. Types are coerced, functions that only exist as rewrites are rewritten, and
//! integer arithmetic is made to fail on overflow.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue, ToDFSchema, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{BinaryExpr as LogicalBinary, Cast, Expr, ExprSchemable, Operator};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

use super::Fault;
use super::functions::Offered;
use super::parse::{lower_first, offset_of};
use crate::kernel::value::ValueType;

/// The most nodes that the arguments of a rewritten function may have.
const LARGEST: usize = 300;

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
    let coerced = ExprSimplifier::new(context.clone()).coerce(planned.clone(), &schema)?;
    refuse_implicit_parsing(&planned, &coerced, &schema)?;
    let rewritten = coerced.transform_up(|expr| rewrite(expr, &schema, &context)).data()?;
    let logical = ExprSimplifier::new(context).coerce(rewritten, &schema)?;
    let props = ExecutionProps::new();
    create_physical_expr(&logical, &schema, &props, &PhysicalPlanningContext::default())?
        .transform_up(|node| Ok(fail_on_overflow(node)))
        .data()
}

fn rewrite(expr: Expr, schema: &DFSchema, context: &SimplifyContext) -> Result<Transformed<Expr>> {
    match expr {
        // These two can only be evaluated as the CASE that they stand for, in which an argument stands twice.
        Expr::ScalarFunction(ScalarFunction { func, args }) if matches!(func.name(), "coalesce" | "nvl") => {
            check_size(&args)?;
            Ok(match func.simplify(args, context)? {
                ExprSimplifyResult::Simplified(case) => Transformed::yes(case),
                ExprSimplifyResult::Original(args) => {
                    Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
                }
            })
        }
        // Nanoseconds end in the year 2262: where a coercion or a function chose them, microseconds take their place.
        Expr::Cast(Cast { expr, field }) if is_nanoseconds(field.data_type()) => Ok(Transformed::yes(to_micros(*expr))),
        expr @ Expr::ScalarFunction(_) if is_nanoseconds(&expr.get_type(schema)?) => {
            Ok(Transformed::yes(to_micros(expr)))
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

/// Nested calls double at each level: what a short text asks for must stay small.
fn check_size(args: &[Expr]) -> Result<()> {
    let mut nodes = 0;
    for arg in args {
        arg.apply(|_| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if nodes > LARGEST {
        return plan_err!("`coalesce` is nested too deeply; give one call all the arguments");
    }
    Ok(())
}

fn is_nanoseconds(arrow: &DataType) -> bool {
    matches!(arrow, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

fn to_micros(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), ValueType::Timestamp.to_arrow()))
}

/// DataFusion would read a string column as a number, or as a time, wherever it meets one; it mostly fails, on each
/// event anew. Whoever means it writes the cast.
fn refuse_implicit_parsing(planned: &Expr, coerced: &Expr, schema: &DFSchema) -> Result<()> {
    let written = parsed_strings(planned, schema)?;
    let needed = parsed_strings(coerced, schema)?;
    match needed.iter().find(|cast| !written.contains(cast)) {
        Some(Cast { expr, field }) => {
            let target = field.data_type();
            plan_err!("`{expr}` is a string where {target} is needed; cast it if that is meant, or quote the literal")
        }
        None => Ok(()),
    }
}

/// The casts that turn a string, other than a literal, into another type.
fn parsed_strings(expr: &Expr, schema: &DFSchema) -> Result<Vec<Cast>> {
    let mut casts = Vec::new();
    expr.apply(|node| {
        if let Expr::Cast(cast) = node
            && !matches!(*cast.expr, Expr::Literal(..))
            && cast.expr.get_type(schema)?.is_string()
            && !cast.field.data_type().is_string()
        {
            casts.push(cast.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(casts)
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
    const NAMES: [(&str, &str); 10] = [
        ("LargeUtf8", "string"),
        ("Utf8View", "string"),
        ("Utf8", "string"),
        ("Int64", "int64"),
        ("Int32", "int32"),
        ("Float64", "float64"),
        ("Float32", "float32"),
        ("Boolean", "bool"),
        ("Date32", "date"),
        ("Timestamp(ns)", "timestamp"),
    ];
    NAMES.iter().fold(message.to_owned(), |message, (arrow, ours)| message.replace(arrow, ours))
}
