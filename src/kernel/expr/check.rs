//! What an expression may consist of: the shapes of SQL that are values of one row and that we have tested. All
//! else is refused here by name and place, before the planner sees it.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_common::utils::datafusion_strsim::levenshtein;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned,
    UnaryOperator, Value, Visit, Visitor,
};

use super::Fault;
use super::functions;
use super::parse::fault_at;

/// The tallest tree. A chain of operators such as `a OR b OR c` is as tall as it has operands.
const TALLEST: usize = 100;

pub(super) fn check(text: &str, parsed: &SqlExpr, columns: &Schema) -> Result<(), Fault> {
    let mut checker = Checker { text, columns, height: 0 };
    match parsed.visit(&mut checker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(fault),
    }
}

struct Checker<'a> {
    text: &'a str,
    columns: &'a Schema,
    height: usize,
}

impl Visitor for Checker<'_> {
    type Break = Fault;

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Fault> {
        self.height += 1;
        if self.height > TALLEST {
            let what = format!("the expression chains more than {TALLEST} operators");
            return self.refuse(expr, what, Some("write `IN (…)`, or split it into several derived columns".into()));
        }
        self.check_node(expr)
    }

    fn post_visit_expr(&mut self, _: &SqlExpr) -> ControlFlow<Fault> {
        self.height -= 1;
        ControlFlow::Continue(())
    }
}

impl Checker<'_> {
    fn check_node(&self, expr: &SqlExpr) -> ControlFlow<Fault> {
        match expr {
            SqlExpr::Identifier(name) => self.check_column(name),
            SqlExpr::CompoundIdentifier(_) => {
                let help = "write the column's name alone".to_owned();
                self.refuse(expr, format!("`{expr}` is qualified; there is one table only"), Some(help))
            }
            SqlExpr::Function(function) => self.check_function(expr, function),
            SqlExpr::Value(value) => match &value.value {
                Value::Placeholder(name) => {
                    self.refuse(expr, format!("`{name}` is a placeholder; an expression has no parameters"), None)
                }
                _ => ControlFlow::Continue(()),
            },
            SqlExpr::Subquery(_) | SqlExpr::InSubquery { .. } | SqlExpr::Exists { .. } => {
                self.refuse(expr, "a sub-query is not a value of one event".into(), None)
            }
            SqlExpr::BinaryOp { op, .. } if !is_offered(op) => {
                self.refuse(expr, format!("the operator `{op}` is not offered"), Some(OPERATORS.into()))
            }
            SqlExpr::UnaryOp { op, .. }
                if !matches!(op, UnaryOperator::Not | UnaryOperator::Minus | UnaryOperator::Plus) =>
            {
                self.refuse(expr, format!("the operator `{op}` is not offered"), Some(OPERATORS.into()))
            }
            SqlExpr::Like { any: true, .. } | SqlExpr::ILike { any: true, .. } => self.refuse_shape(expr),
            SqlExpr::BinaryOp { .. }
            | SqlExpr::UnaryOp { .. }
            | SqlExpr::Nested(_)
            | SqlExpr::IsNull(_)
            | SqlExpr::IsNotNull(_)
            | SqlExpr::IsTrue(_)
            | SqlExpr::IsNotTrue(_)
            | SqlExpr::IsFalse(_)
            | SqlExpr::IsNotFalse(_)
            | SqlExpr::IsUnknown(_)
            | SqlExpr::IsNotUnknown(_)
            | SqlExpr::IsDistinctFrom(..)
            | SqlExpr::IsNotDistinctFrom(..)
            | SqlExpr::InList { .. }
            | SqlExpr::Between { .. }
            | SqlExpr::Like { .. }
            | SqlExpr::ILike { .. }
            | SqlExpr::Case { .. }
            | SqlExpr::Cast { .. }
            | SqlExpr::Extract { .. }
            | SqlExpr::Ceil { .. }
            | SqlExpr::Floor { .. }
            | SqlExpr::Position { .. }
            | SqlExpr::Substring { .. }
            | SqlExpr::Trim { .. }
            | SqlExpr::TypedString(_)
            | SqlExpr::Interval(_) => ControlFlow::Continue(()),
            _ => self.refuse_shape(expr),
        }
    }

    fn check_column(&self, name: &Ident) -> ControlFlow<Fault> {
        let wanted = match name.quote_style {
            None => name.value.to_lowercase(),
            Some(_) => name.value.clone(),
        };
        let known: Vec<&str> = self.columns.fields().iter().map(|field| field.name().as_str()).collect();
        if known.contains(&wanted.as_str()) {
            return ControlFlow::Continue(());
        }
        let help = match name.quote_style {
            Some('"') => format!("a string is written with single quotes: '{wanted}'"),
            _ => suggest(&wanted, &known, "columns"),
        };
        let what = format!("`{wanted}` is not a column here");
        ControlFlow::Break(fault_at(self.text, name.span.start, what, Some(help)))
    }

    fn check_function(&self, expr: &SqlExpr, function: &Function) -> ControlFlow<Fault> {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            let what = format!("`{name}` looks at several rows; an expression sees one event");
            return self.refuse(expr, what, Some(IN_FEATURES.into()));
        }
        if functions::find(&name).is_none() {
            let help = match AGGREGATES.contains(&name.as_str()) {
                true => IN_FEATURES.to_owned(),
                false => suggest(&name, &functions::names(), "functions"),
            };
            return self.refuse(expr, format!("the function `{name}` is not offered"), Some(help));
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.refuse(expr, format!("`{name}` takes its arguments in brackets"), None);
        };
        let plain = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
        let bare = list.clauses.is_empty() && list.duplicate_treatment.is_none() && function.null_treatment.is_none();
        match bare && list.args.iter().all(plain) {
            true => ControlFlow::Continue(()),
            false => self.refuse(expr, format!("`{name}` takes plain arguments: no `*`, `DISTINCT` or names"), None),
        }
    }

    fn refuse_shape(&self, expr: &SqlExpr) -> ControlFlow<Fault> {
        let help = "literals, columns, operators, CASE, CAST, IN, BETWEEN, LIKE, IS NULL and the offered functions";
        self.refuse(expr, format!("`{expr}` is not offered in an expression"), Some(help.into()))
    }

    fn refuse(&self, expr: &SqlExpr, what: String, help: Option<String>) -> ControlFlow<Fault> {
        ControlFlow::Break(fault_at(self.text, expr.span().start, what, help))
    }
}

const OPERATORS: &str = "the operators are + - * / % || = <> < <= > >= AND OR NOT";

const IN_FEATURES: &str = "what looks at several events is an `aggregate` under `features`";

/// Names that are asked for as functions, so that the help can say where they belong.
const AGGREGATES: [&str; 9] = ["avg", "count", "max", "mean", "median", "min", "stddev", "sum", "var"];

fn is_offered(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::And
            | BinaryOperator::Or
    )
}

/// The nearest of what is known, where one is near, and all of it.
fn suggest(wanted: &str, known: &[&str], kind: &str) -> String {
    let nearest = known.iter().map(|name| (levenshtein(wanted, name), name)).min();
    let listed = known.join(", ");
    match nearest {
        Some((distance, name)) if distance <= 1 + wanted.chars().count() / 4 => {
            format!("did you mean `{name}`? the {kind} are {listed}")
        }
        _ => format!("the {kind} are {listed}"),
    }
}
