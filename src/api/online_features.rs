//! `POST` and `GET /v1/online-features`: lookups.

use std::collections::BTreeMap;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::json::Rendered;
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::kernel::engine::Status;
use crate::kernel::key::KeyPart;
use crate::kernel::value::{Value, ValueType};
use crate::registry::catalogue::Catalogue;
use crate::serving::{Answer, Column, Request, Wanted};

/// What to look up, for which entities.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupBody {
    /// A feature service; or give `features`.
    #[schema(example = "recommender")]
    service: Option<String>,
    /// `view:feature`, or `view` for all of it; or give `service`.
    features: Option<Vec<String>>,
    /// A list for each key; all lists have the same length, the number of rows. A null key has no events.
    #[schema(value_type = BTreeMap<String, Vec<serde_json::Value>>, example = json!({"user_id": ["u1", "u2"]}))]
    entities: BTreeMap<String, Vec<serde_json::Value>>,
    /// What to add to each column.
    #[serde(default)]
    include: Vec<Include>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Include {
    Statuses,
    EventTimes,
}

/// One list for each key and feature.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `write_answer` writes straight from the values")]
pub struct LookupAnswer {
    /// The one instant of all values.
    #[schema(example = "2026-11-21T10:00:00.000123Z")]
    as_of: String,
    columns: Vec<LookupColumn>,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `write_answer` writes straight from the values")]
pub struct LookupColumn {
    /// A key, or `view:feature`.
    name: String,
    /// In the order of the request's rows.
    values: Vec<serde_json::Value>,
    /// PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE; with `include: [statuses]`.
    statuses: Option<Vec<String>>,
    /// Newest event time of each row; with `include: [event_times]`.
    event_times: Option<Vec<Option<String>>>,
}

/// Look up features of many entities
#[utoipa::path(
    post, operation_id = "look_up", path = "/v1/online-features", tag = "lookup", request_body = LookupBody,
    responses(
        (status = 200, description = "The values, all as of one instant", body = LookupAnswer),
        (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service or feature", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too many rows, features or values", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Json<Object<LookupBody>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Object(body)) = body?;
    let wanted = match (body.service, body.features) {
        (Some(service), None) => {
            caller.require_service(&service)?;
            Wanted::Service(service)
        }
        (None, Some(features)) => {
            caller.require_any_feature()?;
            Wanted::Features(features)
        }
        _ => return Err(Problem::bad_request("INVALID_BODY", "give one of `service` and `features`")),
    };
    let keys = body.entities.into_iter().map(|(name, values)| {
        let parts = values.iter().enumerate().map(|(row, value)| key_part(&name, row, value));
        Ok((name.clone(), parts.collect::<Result<Vec<_>, Problem>>()?))
    });
    let request = Request { wanted, entities: keys.collect::<Result<_, Problem>>()? };
    answer(&state, &request, &body.include).await
}

/// Look up features of one entity
#[utoipa::path(
    get, operation_id = "look_up_one", path = "/v1/online-features/{service}", tag = "lookup",
    params(
        ("service" = String, Path, description = "A feature service"),
        ("key" = BTreeMap<String, String>, Query, style = Form, explode, description = "The entity's keys: `?user_id=u1`"),
    ),
    responses(
        (status = 200, description = "The values, with statuses and event times", body = LookupAnswer),
        (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup_one(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(service): Path<String>,
    keys: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require_service(&service)?;
    let Query(keys) = keys?;
    if let Some((_, (name, _))) =
        keys.iter().enumerate().find(|(at, (name, _))| keys[..*at].iter().any(|it| it.0 == *name))
    {
        let detail =
            format_args!("key `{name}` is given twice: `POST /v1/online-features` takes many entities").to_string();
        return Err(Problem::bad_request("KEY_TWICE", detail));
    }
    let catalogue = state.catalogues.current();
    let parts = keys.into_iter().map(|(name, text)| {
        let part = typed_part(&catalogue, &name, text)?;
        Ok((name, vec![Some(part)]))
    });
    let request = Request { wanted: Wanted::Service(service), entities: parts.collect::<Result<_, Problem>>()? };
    answer(&state, &request, &[Include::Statuses, Include::EventTimes]).await
}

async fn answer(state: &State, request: &Request, include: &[Include]) -> Result<Response, Problem> {
    let catalogue = state.catalogues.current();
    let answer = state.serving.lookup(&catalogue, request).await?;
    count(state, &answer);
    let mut body = Vec::with_capacity(256 * (1 + answer.columns.len()));
    write_answer(&mut body, request, &answer, include).expect("writing to memory does not fail");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) fn count(state: &State, answer: &Answer) {
    for column in &answer.columns {
        // A counter is looked up for each run of equal statuses: there are few of those, and many values.
        for run in column.statuses.chunk_by(PartialEq::eq) {
            let labels = [column.feature.view.as_str(), run[0].as_str()];
            state.metrics.values_served.with_label_values(&labels).inc_by(run.len() as u64);
        }
    }
    for (view, values) in &answer.overflowed {
        state.metrics.values_overflowed.with_label_values(&[view.as_str()]).inc_by(*values as u64);
    }
}

fn key_part(name: &str, row: usize, value: &serde_json::Value) -> Result<Option<KeyPart>, Problem> {
    match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(KeyPart::Text(text.clone()))),
        serde_json::Value::Number(number) if number.is_i64() => {
            Ok(Some(KeyPart::Int(number.as_i64().expect("it is an i64"))))
        }
        other => Err(Problem::bad_request(
            "WRONG_KEY_TYPE",
            format_args!("row {row} of key `{name}` is {other}: a key is a string, an int64, or null"),
        )),
    }
}

/// The text of a query parameter as the type that the key has; unknown keys are refused by the lookup.
fn typed_part(catalogue: &Catalogue, name: &str, text: String) -> Result<KeyPart, Problem> {
    let keys = catalogue.plan.entities.iter().flat_map(|entity| &entity.keys);
    let int = keys.into_iter().any(|(key, value_type)| *key == *name && *value_type == ValueType::Int64);
    if !int {
        return Ok(KeyPart::Text(text));
    }
    let number = text.parse().map_err(|_| {
        Problem::bad_request("WRONG_KEY_TYPE", format_args!("key `{name}` is an int64, and `{text}` is not one"))
    })?;
    Ok(KeyPart::Int(number))
}

/// Straight from the values to JSON, without a tree in between.
fn write_answer(body: &mut Vec<u8>, request: &Request, answer: &Answer, include: &[Include]) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::new(body);
    let mut object = serializer.serialize_map(Some(2))?;
    object.serialize_entry("as_of", &Text(answer.as_of))?;
    object.serialize_entry("columns", &Columns { request, answer, include })?;
    SerializeMap::end(object)
}

struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Columns<'a> {
    request: &'a Request,
    answer: &'a Answer,
    include: &'a [Include],
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.request.entities.len() + self.answer.columns.len();
        let mut list = serializer.serialize_seq(Some(count))?;
        for (name, values) in &self.request.entities {
            list.serialize_element(&KeyColumn { name, values, include: self.include })?;
        }
        for column in &self.answer.columns {
            list.serialize_element(&FeatureColumn { column, include: self.include })?;
        }
        list.end()
    }
}

struct KeyColumn<'a> {
    name: &'a str,
    values: &'a [Option<KeyPart>],
    include: &'a [Include],
}

impl Serialize for KeyColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("name", self.name)?;
        object.serialize_entry(
            "values",
            &Each(self.values, |part: &Option<KeyPart>| match part {
                None => serde_json::Value::Null,
                Some(KeyPart::Text(text)) => text.as_str().into(),
                Some(KeyPart::Int(int)) => (*int).into(),
            }),
        )?;
        if self.include.contains(&Include::Statuses) {
            object.serialize_entry("statuses", &Each(self.values, |_: &Option<KeyPart>| "PRESENT"))?;
        }
        object.end()
    }
}

struct FeatureColumn<'a> {
    column: &'a Column,
    include: &'a [Include],
}

impl Serialize for FeatureColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Column { feature, value_type, values, statuses, event_times } = self.column;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("name", &Text(feature))?;
        object.serialize_entry("values", &Values { value_type, values })?;
        if self.include.contains(&Include::Statuses) {
            object.serialize_entry("statuses", &Each(statuses, |status: &Status| status.as_str()))?;
        }
        if self.include.contains(&Include::EventTimes) {
            object.serialize_entry("event_times", &Each(event_times, |time: &Option<_>| time.map(Text)))?;
        }
        object.end()
    }
}

struct Values<'a> {
    value_type: &'a ValueType,
    values: &'a [Option<Value>],
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values.iter().map(|value| Rendered(self.value_type, value.as_ref())))
    }
}

/// A list, each item as the function renders it.
struct Each<'a, T, F>(&'a [T], F);

impl<T, R: Serialize, F: Fn(&T) -> R> Serialize for Each<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}
