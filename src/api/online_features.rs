//! `POST` and `GET /v1/online-features`: lookups.

mod body;
mod keys;
mod media;
mod table;

use std::collections::BTreeMap;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::api::unavailable::UnavailableView;
use crate::kernel::key::KeyPart;
use crate::kernel::name::Name;
use crate::kernel::value::ValueType;
use crate::registry::catalogue::Catalogue;
use crate::serving::{Answer, KeyColumn, Request, Wanted};

use keys::GivenKey;
use media::Media;

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
    entities: BTreeMap<String, Vec<GivenKey>>,
    /// Values that only the request knows, a list for each. No feature is computed from any, so it has to be empty.
    #[serde(default)]
    request: BTreeMap<String, Vec<serde_json::Value>>,
    /// What to add to each column.
    #[serde(default)]
    include: Vec<Include>,
    /// Whether what can be read is answered where something cannot, with statuses and with `errors`; else the call fails.
    #[serde(default)]
    partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Include {
    Statuses,
    EventTimes,
}

/// One list for each key and feature.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `body::json` writes straight from the values")]
pub struct LookupAnswer {
    /// The one instant of all values.
    #[schema(example = "2026-11-21T10:00:00.000123Z")]
    as_of: String,
    /// The views of which values are not there, each value with the status UNAVAILABLE; with `partial`.
    errors: Option<Vec<UnavailableView>>,
    columns: Vec<LookupColumn>,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `body::json` writes straight from the values")]
pub struct LookupColumn {
    /// A key, or `view:feature`.
    name: String,
    /// In the order of the request's rows.
    values: Vec<serde_json::Value>,
    /// PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE; with `include: [statuses]`. With `partial` also UNAVAILABLE, for
    /// what could not be read.
    statuses: Option<Vec<String>>,
    /// Newest event time of each row; with `include: [event_times]`.
    event_times: Option<Vec<Option<String>>>,
}

/// Look up features of many entities
#[utoipa::path(
    post, operation_id = "look_up", path = "/v1/online-features", tag = "lookup", request_body = LookupBody,
    responses(
        (status = 200, description = "The values, all as of one instant; as Arrow one record batch",
            content((LookupAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service or feature", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "Neither JSON nor Arrow is accepted", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too many rows, features or values", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup(
    Shared(state): Shared<State>,
    caller: Caller,
    media: Media,
    body: Result<Json<Object<LookupBody>>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Object(body)) = body?;
    refuse_request_values(&body.request)?;
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
    let keys = body.entities.into_iter().map(|(name, rows)| {
        let rows = keys::column(&name, rows)?;
        Ok((name, rows))
    });
    let request = Request { wanted, entities: keys.collect::<Result<_, Problem>>()? };
    answer(&state, &request, Shape::of(body.include, body.partial), media).await
}

/// Look up features of one entity
#[utoipa::path(
    get, operation_id = "look_up_one", path = "/v1/online-features/{service}", tag = "lookup",
    params(
        ("service" = String, Path, description = "A feature service"),
        ("key" = BTreeMap<String, String>, Query, style = Form, explode, description = "The entity's keys: `?user_id=u1`"),
        ("partial" = Option<bool>, Query, description = "Whether what can be read is answered where something cannot. Where a key of the entity has this name, it is the key"),
    ),
    responses(
        (status = 200, description = "The values, with statuses and event times; as Arrow one record batch",
            content((LookupAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "Neither JSON nor Arrow is accepted", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup_one(
    Shared(state): Shared<State>,
    caller: Caller,
    media: Media,
    Path(service): Path<String>,
    keys: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require_service(&service)?;
    let Query(mut keys) = keys?;
    refuse_repeated(&keys)?;
    let catalogue = state.catalogues.current();
    let wanted = Wanted::Service(service);
    let known = known_keys(&catalogue, &wanted);
    let is_partial = take_partial(&known, &mut keys)?;
    let entities = keys_of(&known, keys)?;
    let request = Request { wanted, entities };
    answer(&state, &request, Shape::of(vec![Include::Statuses, Include::EventTimes], is_partial), media).await
}

/// What an answer has beside the values.
struct Shape {
    include: Vec<Include>,
    is_partial: bool,
}

impl Shape {
    /// A null that is none of the entity's is told by its status alone.
    fn of(mut include: Vec<Include>, is_partial: bool) -> Shape {
        if is_partial {
            include.push(Include::Statuses);
        }
        Shape { include, is_partial }
    }
}

async fn answer(state: &State, request: &Request, shape: Shape, media: Media) -> Result<Response, Problem> {
    let catalogue = state.catalogues.current();
    let answer = match shape.is_partial {
        true => state.serving.lookup_in_part(&catalogue, request).await?,
        false => state.serving.lookup(&catalogue, request).await?,
    };
    count(state, &answer);
    let errors: Option<Vec<UnavailableView>> =
        shape.is_partial.then(|| answer.unavailable.iter().map(UnavailableView::of).collect());
    let (errors, include) = (errors.as_deref(), &shape.include);
    let body = match media {
        Media::Json => body::json(request, &answer, include, errors),
        Media::Arrow => table::stream(request, &answer, include, errors).map_err(|error| Problem::internal(&error))?,
    };
    Ok(([(header::CONTENT_TYPE, media.content_type())], body).into_response())
}

pub(super) fn count(state: &State, answer: &Answer) {
    for (view, status, values) in answer.statuses() {
        state.metrics.values_served.with_label_values(&[view.as_str(), status.as_str()]).inc_by(values as u64);
    }
    for (view, values) in answer.overflowed() {
        state.metrics.values_overflowed.with_label_values(&[view.as_str()]).inc_by(values as u64);
    }
}

/// A key and its type.
pub(super) type KnownKey<'c> = &'c (Name, ValueType);

/// The keys of what is wanted: those of another view may be called alike, and be of another type.
pub(super) fn known_keys<'c>(catalogue: &'c Catalogue, wanted: &Wanted) -> Vec<KnownKey<'c>> {
    let served = &catalogue.served;
    let mut views: Vec<&str> = match wanted {
        Wanted::Service(name) => {
            let features = served.service(name).into_iter().flat_map(|service| &service.features);
            features.map(|feature| feature.view.as_str()).collect()
        }
        Wanted::Features(features) => features.iter().filter_map(|feature| feature.split(':').next()).collect(),
    };
    views.dedup();
    let views = views.into_iter().filter_map(|name| served.view(name));
    views.flat_map(|view| &view.entity.keys).collect()
}

/// Keys as query parameters give them, one row.
pub(super) fn keys_of(known: &[KnownKey<'_>], keys: Vec<(String, String)>) -> Result<Vec<KeyColumn>, Problem> {
    let column = |(name, text): (String, String)| {
        let part = typed_part(known, &name, text)?;
        Ok((name, vec![Some(part)]))
    };
    keys.into_iter().map(column).collect()
}

/// Whether the query asks for what can be read, by a parameter that is no key then.
fn take_partial(known: &[KnownKey<'_>], keys: &mut Vec<(String, String)>) -> Result<bool, Problem> {
    let place = keys.iter().position(|(name, _)| name == "partial");
    let Some(place) = place.filter(|_| known.iter().all(|(key, _)| *key != *"partial")) else { return Ok(false) };
    let (_, text) = keys.remove(place);
    text.parse().map_err(|_| {
        Problem::bad_request("INVALID_QUERY", format_args!("`partial` is `true` or `false`, and `{text}` is neither"))
    })
}

fn refuse_request_values(request: &BTreeMap<String, Vec<serde_json::Value>>) -> Result<(), Problem> {
    let Some(name) = request.keys().next() else { return Ok(()) };
    let detail = format_args!(
        "`request` gives `{name}`, and no feature is computed from what a request gives: leave `request` out, and hand \
         the value to the model yourself"
    );
    Err(Problem::bad_request("NO_REQUEST_FEATURES", detail))
}

pub(super) fn refuse_repeated(keys: &[(String, String)]) -> Result<(), Problem> {
    let is_repeated = |(at, (name, _)): &(usize, &(String, String))| keys[..*at].iter().any(|before| before.0 == *name);
    match keys.iter().enumerate().find(is_repeated) {
        None => Ok(()),
        Some((_, (name, _))) => Err(Problem::bad_request(
            "KEY_TWICE",
            format_args!("key `{name}` is given twice: `POST /v1/online-features` takes many entities"),
        )),
    }
}

/// The text of a query parameter as the type that the key has; unknown keys are refused by the lookup.
fn typed_part(known: &[KnownKey<'_>], name: &str, text: String) -> Result<KeyPart, Problem> {
    if !known.iter().any(|(key, value_type)| *key == *name && *value_type == ValueType::Int64) {
        return Ok(KeyPart::Text(text));
    }
    let number = text.parse().map_err(|_| {
        Problem::bad_request("WRONG_KEY_TYPE", format_args!("key `{name}` is an int64, and `{text}` is not one"))
    })?;
    Ok(KeyPart::Int(number))
}
