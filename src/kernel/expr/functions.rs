//! The functions that expressions may call. Each is immutable and stands in a test that evaluates it over nulls and
//! extremes; what is not listed is not offered, even where DataFusion has it. Left out on purpose: whatever reads
//! a clock or draws a random number, and `repeat`, `lpad`, `rpad`, whose result can be as large as an argument says.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::datatype::DataTypeExt;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion_functions::core::{coalesce, greatest, least, nullif, nvl};
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::datetime::{date_part, date_trunc, make_date, to_date, to_unixtime};
use datafusion_functions::math::{abs, ceil, floor, isnan, nanvl, round, signum, sqrt, trunc};
use datafusion_functions::regex::{regexp_like, regexp_replace};
use datafusion_functions::string::{
    ascii, btrim, concat, concat_ws, contains, ends_with, lower, ltrim, octet_length, replace, rtrim, split_part,
    starts_with, upper,
};
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion_functions::unicode::{character_length, initcap, left, reverse, right, strpos, substr, translate};
use datafusion_sql::sqlparser::ast::DataType as SqlType;

use super::bounded::levenshtein;
use super::transcendental;

static OFFERED: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut offered = vec![
        // Conditional.
        coalesce(),
        nullif(),
        nvl(),
        greatest(),
        least(),
        // Numbers.
        abs(),
        ceil(),
        floor(),
        isnan(),
        nanvl(),
        round(),
        signum(),
        sqrt(),
        trunc(),
        // Strings.
        ascii(),
        btrim(),
        character_length(),
        concat(),
        concat_ws(),
        contains(),
        ends_with(),
        initcap(),
        left(),
        levenshtein(),
        lower(),
        ltrim(),
        octet_length(),
        regexp_like(),
        regexp_replace(),
        replace(),
        reverse(),
        right(),
        rtrim(),
        split_part(),
        starts_with(),
        strpos(),
        substr(),
        translate(),
        upper(),
        // Dates and times.
        date_part(),
        date_trunc(),
        make_date(),
        to_date(),
        to_unixtime(),
    ];
    offered.extend(transcendental::functions());
    offered
});

/// By name or alias, in lower case.
pub(super) fn find(name: &str) -> Option<&'static Arc<ScalarUDF>> {
    OFFERED.iter().find(|function| function.name() == name || function.aliases().iter().any(|alias| alias == name))
}

/// What is offered, by the names that people know, in alphabetical order.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = OFFERED.iter().map(|function| function.name()).collect();
    names.sort_unstable();
    names
}

/// What DataFusion's planner asks for: our functions, and no tables, variables, aggregates or windows.
pub(super) struct Offered {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Default for Offered {
    fn default() -> Offered {
        Offered {
            options: ConfigOptions::default(),
            planners: vec![Arc::new(DatetimeFunctionPlanner), Arc::new(UnicodeFunctionPlanner)],
        }
    }
}

impl ContextProvider for Offered {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("`{name}`: an expression has no tables")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Microseconds))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        find(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        names().into_iter().map(str::to_owned).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `TIMESTAMP` means our own: microseconds in UTC. DataFusion's is nanoseconds without a zone, which ends in 2262.
#[derive(Debug)]
struct Microseconds;

impl TypePlanner for Microseconds {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(matches!(sql_type, SqlType::Timestamp(..)).then(|| timestamp.into_nullable_field_ref()))
    }
}
