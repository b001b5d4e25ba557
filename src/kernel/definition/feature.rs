//! One entry of a view's `features`: an aggregate, what it is applied to, and over which windows. An entry with
//! several windows declares several features.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::aggregate::{self, Arity, Call, FUNCTIONS, Function, Parameter, ParameterKind, ParameterRule};
use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::windows::{self, Written};
use crate::kernel::definition::{Feature, suggest, value_type};
use crate::kernel::name::Name;
use crate::kernel::value::ValueType;

/// What a feature may be applied to: a field of the source, or a derived column.
pub(super) struct Column {
    pub name: Name,
    /// `None` where its expression has a mistake.
    pub value_type: Option<ValueType>,
}

const EXAMPLE: &str = "`{ name: views, aggregate: count, windows: [1h] }`";

/// Aggregates that are part of the language and not of this release.
const NOT_YET: [&str; 6] = ["approx_count_distinct", "quantile", "top_k", "histogram", "decayed_count", "decayed_sum"];

/// `columns` is `None` where the source is not known. With each feature comes the place that names it.
pub(super) fn read(item: &Entry, columns: Option<&[Column]>, found: &mut Findings) -> Vec<(Place, Feature)> {
    let Some(mut fields) = Fields::of(item, "a feature", EXAMPLE, found) else { return Vec::new() };
    let mistakes_before = found.count();
    let name_entry = fields.required("name", "views");
    let name = name_entry.as_ref().and_then(|entry| entry.name(found));
    let (description, deprecated) = (fields.words("description", found), fields.deprecated(found));
    let windows = fields.optional("windows").map(|entry| windows::read(&entry, found));
    let refused = refuse_unbuilt(&mut fields, found);
    let call = call(&mut fields, columns, refused, found);
    let default_entry = fields.optional("default");
    let default = match (&default_entry, &call) {
        (Some(entry), Some((call, _))) => value_type::value(entry, &(call.function.result)(call), found),
        _ => None,
    };
    fields.finish(found);
    let (Some(name), Some((call, column)), Some(name_entry)) = (name, call, name_entry) else { return Vec::new() };
    if found.count() > mistakes_before {
        return Vec::new();
    }
    let template = Feature { name, call, column, window: None, default, description, deprecated };
    match windows.flatten() {
        None => vec![(name_entry.node.place, template)],
        Some(windows) => windows.iter().filter_map(|window| over(&template, window, found)).collect(),
    }
}

/// The feature over one window, with the suffix that tells it from its siblings.
fn over(template: &Feature, written: &Written, found: &mut Findings) -> Option<(Place, Feature)> {
    let name = format!("{}_{}", template.name, written.suffix).parse();
    let help = "shorten the feature's name: the window becomes its suffix";
    let name = name.map_err(|what: String| found.mistake(written.place, what, help)).ok()?;
    Some((written.place, Feature { name, window: Some(written.window), ..template.clone() }))
}

fn refuse_unbuilt(fields: &mut Fields, found: &mut Findings) -> bool {
    let sliding = "use sliding windows: `windows: [1h]`";
    let tumbling = fields.refuse("tumbling", sliding, found);
    let session = fields.refuse("session", sliding, found);
    let by = fields.refuse("by", "declare one feature view for each value, selected by `where`", found);
    tumbling || session || by
}

/// What is aggregated how; `None` where there is a mistake, or where the column's type is not known.
fn call(
    fields: &mut Fields,
    columns: Option<&[Column]>,
    refused: bool,
    found: &mut Findings,
) -> Option<(Call, Option<usize>)> {
    let entry = fields.required("aggregate", "count");
    let function = entry.as_ref().and_then(|entry| function(entry, found));
    let column_entry = fields.optional("column");
    let Some(function) = function else {
        // Whatever else it was given may belong to it.
        tolerate_parameters(fields);
        return None;
    };
    let mistakes_before = found.count();
    if refused {
        // A `limit` beside `by`, say: not a mistake of its own.
        tolerate_parameters(fields);
        return None;
    }
    let parameters = parameters(function, fields, found);
    let column = column(function, entry?.node.place, column_entry.as_ref(), columns, found)?;
    let (index, argument) = column.unzip();
    (found.count() == mistakes_before).then_some((Call { function, argument, parameters }, index))
}

fn function(entry: &Entry, found: &mut Findings) -> Option<&'static Function> {
    let text = entry.text("an aggregate such as `count`", found)?;
    let function = aggregate::lookup(text);
    if function.is_none() {
        let names = || FUNCTIONS.iter().map(|function| function.name);
        let (what, help) = if NOT_YET.contains(&text) {
            let offered: Vec<&str> = names().collect();
            (format!("the aggregate `{text}` is not in this release"), suggest::one_of(&offered))
        } else {
            (format!("unknown aggregate `{text}`"), suggest::instead_of(text, names()))
        };
        found.mistake(entry.node.place, what, help);
    }
    function
}

/// Takes keys that are parameters of some aggregate, of this release or a later one, without a word.
fn tolerate_parameters(fields: &mut Fields) {
    let later = ["k", "limit", "q", "accuracy", "boundaries", "half_life"];
    rules().map(|rule| rule.name).chain(later).for_each(|key| fields.tolerate(key));
}

/// The parameters of all aggregates.
fn rules() -> impl Iterator<Item = &'static ParameterRule> {
    FUNCTIONS.iter().flat_map(|function| function.parameters)
}

fn parameters(function: &Function, fields: &mut Fields, found: &mut Findings) -> BTreeMap<&'static str, Parameter> {
    let own = |name: &str| function.parameters.iter().any(|rule| rule.name == name);
    let foreign: BTreeSet<&str> = rules().map(|rule| rule.name).filter(|name| !own(name)).collect();
    for name in foreign {
        refuse_foreign(function, name, fields, found);
    }
    let read = |rule: &ParameterRule| Some((rule.name, parameter(function, rule, fields, found)?));
    function.parameters.iter().filter_map(read).collect()
}

/// A parameter that only other aggregates take.
fn refuse_foreign(function: &Function, name: &'static str, fields: &mut Fields, found: &mut Findings) {
    // Asked for only where it is given, lest it be suggested.
    if !fields.has(name) {
        return;
    }
    if let Some(entry) = fields.optional(name) {
        let takes = |function: &&&Function| function.parameters.iter().any(|rule| rule.name == name);
        let others: Vec<&str> = FUNCTIONS.iter().filter(takes).map(|function| function.name).collect();
        let what = format!("the aggregate `{}` takes no `{name}`", function.name);
        found.mistake(entry.place, what, format!("leave it out; it belongs to {}", suggest::quoted(&others)));
    }
}

fn parameter(
    function: &Function,
    rule: &ParameterRule,
    fields: &mut Fields,
    found: &mut Findings,
) -> Option<Parameter> {
    let entry = fields.optional(rule.name);
    match (rule.kind, entry) {
        (ParameterKind::Flag, entry) => {
            Some(Parameter::Flag(entry.and_then(|entry| entry.flag(found)).unwrap_or(false)))
        }
        (ParameterKind::Count { least, most, .. }, Some(entry)) => {
            entry.whole_number(least, most, found).map(Parameter::Count)
        }
        (ParameterKind::Count { default: Some(default), .. }, None) => Some(Parameter::Count(default)),
        (ParameterKind::Count { least, most, default: None }, None) => {
            let what = format!("the aggregate `{}` needs `{}`", function.name, rule.name);
            found.mistake(fields.place, what, format!("add `{}`, a whole number from {least} to {most}", rule.name));
            None
        }
    }
}

/// The column's index and type (`Some(None)`: it takes none); `None` where there is a mistake.
fn column(
    function: &Function,
    aggregate: Place,
    entry: Option<&Entry>,
    columns: Option<&[Column]>,
    found: &mut Findings,
) -> Option<Option<(usize, ValueType)>> {
    match (function.column, entry) {
        (Arity::Never, Some(entry)) => {
            let what = format!("the aggregate `{}` takes no column", function.name);
            found.mistake(entry.place, what, "leave `column` out");
            None
        }
        (Arity::Always, None) => {
            let what = format!("the aggregate `{}` needs a column", function.name);
            let help = format!("add `column: …`, {}: {}", function.accepted, suitable(function, columns?));
            found.mistake(aggregate, what, help);
            None
        }
        (Arity::Never | Arity::Optional, None) => Some(None),
        (Arity::Optional | Arity::Always, Some(entry)) => named(function, entry, columns, found).map(Some),
    }
}

fn named(
    function: &Function,
    entry: &Entry,
    columns: Option<&[Column]>,
    found: &mut Findings,
) -> Option<(usize, ValueType)> {
    let text = entry.text("the name of a field or of a derived column", found)?;
    let columns = columns?;
    let Some(index) = columns.iter().position(|column| column.name == *text) else {
        let help = suggest::instead_of(text, columns.iter().map(|column| column.name.as_str()));
        found.mistake(entry.node.place, format!("unknown column `{text}`"), help);
        return None;
    };
    let value_type = columns[index].value_type.clone()?;
    if !(function.accepts)(&value_type) {
        let what = format!(
            "the aggregate `{}` takes {}, and the column `{text}` is {value_type}",
            function.name, function.accepted
        );
        found.mistake(entry.node.place, what, format!("columns that would do: {}", suitable(function, columns)));
        return None;
    }
    Some((index, value_type))
}

/// The columns that a function accepts.
fn suitable(function: &Function, columns: &[Column]) -> String {
    let fits = |column: &&Column| column.value_type.as_ref().is_some_and(function.accepts);
    let names: Vec<&str> = columns.iter().filter(fits).map(|column| column.name.as_str()).collect();
    if names.is_empty() { "none of this view".into() } else { suggest::quoted(&names) }
}
