//! `entities` of a request → key columns, as forgiving as Feast is: a key may be text where a number is declared and
//! the other way round, and columns that are no key of any entity are left out.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::kernel::definition::Entity;
use crate::kernel::key::KeyPart;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::Plan;
use crate::kernel::value::ValueType;

use super::failure::Failure;
use crate::serving::KeyColumn;

/// The key columns of a request, in its order.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// What the features are looked up by.
    pub read: Vec<KeyColumn>,
    /// Keys of entities that no feature asks for, each with its place among all: an answer repeats them.
    pub repeated: Vec<(usize, KeyColumn)>,
}

impl Keys {
    pub fn parse(plan: &Plan, features: &[FeatureRef], entities: Map<String, Value>) -> Result<Keys, Failure> {
        let mut keys = Keys::default();
        let needed = needed(plan, features);
        for (column, values) in lists(entities)? {
            let Some((name, value_type)) = key(&plan.entities, &needed, &column) else { continue };
            let is_read = needed.contains(&(name, value_type));
            let parts = values.into_iter().enumerate().map(|(row, value)| part(name, row, value, value_type));
            let column = (name.to_string(), parts.collect::<Result<Vec<_>, Failure>>()?);
            if is_read {
                keys.read.push(column);
            } else {
                keys.repeated.push((keys.read.len() + keys.repeated.len(), column));
            }
        }
        Ok(keys)
    }
}

/// Columns of one length.
fn lists(entities: Map<String, Value>) -> Result<Vec<(String, Vec<Value>)>, Failure> {
    let mut columns: Vec<(String, Vec<Value>)> = Vec::with_capacity(entities.len());
    for (name, values) in entities {
        let Value::Array(values) = values else {
            let message = format!("`entities` has a list for each key, and `{name}` is {values}");
            return Err(Failure::unprocessable(message));
        };
        if let Some((first, others)) = columns.first().filter(|(_, others)| others.len() != values.len()) {
            let (found, expected) = (values.len(), others.len());
            let message = format!("`{name}` has {found} values, but `{first}` has {expected}: all lists are as long");
            return Err(Failure::bad_request(message));
        }
        columns.push((name, values));
    }
    Ok(columns)
}

/// Keys of the entities of the features' views.
fn needed<'a>(plan: &'a Plan, features: &[FeatureRef]) -> Vec<(&'a Name, &'a ValueType)> {
    let mut keys = Vec::new();
    for (at, feature) in features.iter().enumerate() {
        if features[..at].iter().any(|before| before.view == feature.view) {
            continue;
        }
        let entity = plan.view(feature.view.as_str()).map(|view| &view.entity);
        keys.extend(entity.into_iter().flat_map(|entity| &entity.keys).map(|(name, value_type)| (name, value_type)));
    }
    keys
}

/// The key that a column is meant for. Feast takes an entity's name for its only key, too.
fn key<'a>(
    entities: &'a [Arc<Entity>],
    needed: &[(&'a Name, &'a ValueType)],
    column: &str,
) -> Option<(&'a Name, &'a ValueType)> {
    let all = || entities.iter().flat_map(|entity| &entity.keys).map(|(name, value_type)| (name, value_type));
    let by_key = needed.iter().copied().chain(all()).find(|(name, _)| **name == *column);
    let named = || entities.iter().find(|entity| entity.name == *column && entity.keys.len() == 1);
    by_key.or_else(|| named().map(|entity| (&entity.keys[0].0, &entity.keys[0].1)))
}

fn part(key: &Name, row: usize, value: Value, expected: &ValueType) -> Result<Option<KeyPart>, Failure> {
    let part = match (value, expected == &ValueType::String) {
        (Value::Null, _) => return Ok(None),
        (Value::String(text), true) => Ok(KeyPart::Text(text)),
        (Value::Number(number), true) => Ok(KeyPart::Text(number.to_string())),
        (value, true) => Err(value),
        (value, false) => integer(&value).map(KeyPart::Int).ok_or(value),
    };
    let refuse =
        |value| Failure::bad_request(format!("row {row} of key `{key}` is {value}, but the key is {expected}"));
    part.map(Some).map_err(refuse)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Data frames make floats of integers where one of them is missing; beyond 2^53 they are other integers.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}
