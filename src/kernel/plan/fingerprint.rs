//! The fingerprint: xxh3-64 over a canonical text of all that changes a view's values.
//!
//! In it: the semantics version, the view's name, the source's name, topic, times and ids, the fields that the
//! view uses (type, unit, whether required), lateness, skew, keys, expressions and features. So are required fields
//! that it does not use, for they decide which records are events; wider numbers are the same field. An optional one
//! is not: adding one recomputes nothing. `online` is, though it changes no value: turning it on must fill the store.
//!
//! Not in it: `default` and `max_age`, which change reads alone; descriptions, owners and tags; the order of
//! features, columns and fields, since everything goes by name; the message key.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::kernel::aggregate::bytes::put_value;
use crate::kernel::aggregate::{Call, Parameter};
use crate::kernel::definition::{Source, SourceField};
use crate::kernel::plan::{FeaturePlan, Fingerprint, SEMANTICS_VERSION, ViewPlan};
use crate::kernel::value::ValueType;

/// What the fingerprint is over, by what to call it in a message: "feature views_1h" → "count over 1h by 1m".
pub(super) type Facts = BTreeMap<String, String>;

pub(super) fn fingerprint(view: &ViewPlan) -> Fingerprint {
    let mut text = Vec::new();
    for part in facts(view).iter().flat_map(|(name, fact)| [name, fact]) {
        // With its length before it, no part can pass for two, whatever an expression contains.
        text.extend(format!("{}:{part}", part.len()).into_bytes());
    }
    Fingerprint(xxh3_64(&text))
}

/// What the fingerprint leaves out, and answers depend on: the order of the features, and their defaults.
pub(super) fn answers(view: &ViewPlan) -> Fingerprint {
    let mut bytes = Vec::new();
    for feature in &view.features {
        bytes.extend(format!("{};{};", feature.name, feature.default.is_some()).into_bytes());
        feature.default.iter().for_each(|default| put_value(&mut bytes, default));
    }
    Fingerprint(xxh3_64(&bytes))
}

pub(super) fn facts(view: &ViewPlan) -> Facts {
    let mut facts = Facts::new();
    facts.insert("semantics".into(), SEMANTICS_VERSION.to_string());
    facts.insert("view".into(), view.name.to_string());
    if !view.online {
        facts.insert("online".into(), "false".into());
    }
    let lateness = view.allowed_lateness.map_or("unlimited".to_owned(), |lateness| lateness.to_string());
    facts.insert("allowed_lateness".into(), lateness);
    source_facts(&view.source, &mut facts);
    for (position, (field, (_, value_type))) in view.key_fields.iter().zip(&view.entity.keys).enumerate() {
        facts.insert(format!("key {}", position + 1), format!("{} as {value_type}", view.column_name(*field)));
    }
    facts.extend(view.filter.iter().map(|filter| ("where".to_owned(), filter.text().to_owned())));
    let columns = view.columns.iter();
    facts.extend(columns.map(|(name, expression)| (format!("column {name}"), expression.text().to_owned())));
    let features = view.features.iter();
    facts.extend(features.map(|feature| (format!("feature {}", feature.name), computation(view, feature))));
    for (index, field) in view.source.fields.iter().enumerate() {
        let fact = if uses(view, index, field) { Some(field_fact(field)) } else { unused_field_fact(field) };
        facts.extend(fact.map(|fact| (format!("field {}", field.name), fact)));
    }
    facts
}

/// What a feature is, in words: `last_n(distinct: true, n: 5) of item over 1h by 1m`.
pub(super) fn computation(view: &ViewPlan, feature: &FeaturePlan) -> String {
    let column = view.slot(feature).column.map(|column| format!(" of {}", view.column_name(column)));
    let window = feature.window.map_or("lifetime".to_owned(), |window| format!("over {window}"));
    format!("{}{} {window}", call(&feature.call), column.unwrap_or_default())
}

fn call(call: &Call) -> String {
    let parameter = |(name, parameter): (&&str, &Parameter)| match parameter {
        Parameter::Count(count) => format!("{name}: {count}"),
        Parameter::Flag(flag) => format!("{name}: {flag}"),
    };
    let parameters: Vec<String> = call.parameters.iter().map(parameter).collect();
    match parameters.as_slice() {
        [] => call.function.name.to_owned(),
        parameters => format!("{}({})", call.function.name, parameters.join(", ")),
    }
}

fn source_facts(source: &Source, facts: &mut Facts) {
    facts.insert("source".into(), source.name.to_string());
    facts.insert("topic".into(), source.topic.clone());
    facts.insert("event_time".into(), source.fields[source.event_time].name.to_string());
    facts.insert("max_future_skew".into(), source.max_future_skew.to_string());
    if let Some(event_id) = source.event_id {
        facts.insert("event_id".into(), source.fields[event_id].name.to_string());
        facts.insert("dedup_window".into(), source.dedup_window.to_string());
    }
    for (position, files) in source.history.iter().enumerate() {
        let fact = format!("{} as {} until {}", files.path, files.format.as_str(), files.until);
        facts.insert(format!("history {}", position + 1), fact);
    }
}

fn field_fact(field: &SourceField) -> String {
    let required = if field.required { ", required" } else { "" };
    match field.value_type {
        ValueType::Timestamp => format!("timestamp in {}{required}", field.unit.as_str()),
        ref other => format!("{other}{required}"),
    }
}

/// Earlier events are none any more where they lack a field that is required now. What only widens rejects none of them.
fn unused_field_fact(field: &SourceField) -> Option<String> {
    let widest = match field.value_type {
        ValueType::Int32 => ValueType::Int64,
        ValueType::Float32 => ValueType::Float64,
        ref other => other.clone(),
    };
    field.required.then(|| field_fact(&SourceField { value_type: widest, ..field.clone() }))
}

fn uses(view: &ViewPlan, index: usize, field: &SourceField) -> bool {
    let source = &view.source;
    let structural = index == source.event_time || Some(index) == source.event_id || view.key_fields.contains(&index);
    let aggregated = view.grids.iter().flat_map(|grid| &grid.slots).any(|slot| slot.column == Some(index));
    let mut expressions = view.columns.iter().map(|(_, expression)| expression).chain(&view.filter);
    structural || aggregated || expressions.any(|expression| mentions(expression.text(), field.name.as_str()))
}

/// Whether an SQL text has `name` as a word. A word in a string literal counts too: a field too many in the
/// fingerprint costs a backfill that was not needed, one too few a wrong value.
fn mentions(sql: &str, name: &str) -> bool {
    let words = sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.into_iter().any(|word| word.eq_ignore_ascii_case(name))
}
