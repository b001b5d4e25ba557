//! `POST /write-to-online-store`: rows of a view, as Feast's own `push` and `write_to_online_store` send them.
//!
//! Feast writes values; Freshet has values from events alone. For a feature that is the last value of a field, over
//! all time, an event with that value says the same: the newest `event_timestamp` wins, whatever comes in which
//! order. So such a row is an event of the view's source, and any other feature is refused.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::kernel::plan::{FeaturePlan, ViewPlan};

use super::failure::{Failure, FeastFailure};
use super::frame::{CREATED, EVENT_TIMESTAMP, FeastColumn, Frame};
use super::parse;
use super::push::append;

/// What Feast's client writes.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FeastWrite {
    #[schema(example = "user_profile")]
    feature_view_name: String,
    /// A column for each key, feature or field, and `event_timestamp`.
    df: BTreeMap<String, FeastColumn>,
}

/// Write rows of a view whose features are last values
#[utoipa::path(
    post, operation_id = "write_to_online_store", path = "/write-to-online-store", tag = "feast",
    request_body = FeastWrite,
    responses(
        (status = 200, description = "The rows are durable, as events of the view's source", body = Value),
        (status = 404, description = "No such view", body = FeastFailure, content_type = "application/json"),
        (status = 409, description = "The topic cannot take them, and why", body = FeastFailure, content_type = "application/json"),
        (status = 413, description = "Too large, or too many rows", body = FeastFailure, content_type = "application/json"),
        (status = 422, description = "A column that is computed, or a row that the source does not take; nothing was written", body = FeastFailure, content_type = "application/json"),
        (status = 503, description = "The log is away: write again", body = FeastFailure, content_type = "application/json"),
    )
)]
pub(super) async fn write(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<()>, Failure> {
    let asked: FeastWrite = parse(body)?;
    let catalogue = state.catalogues.current();
    let name = asked.feature_view_name;
    let view = catalogue.plan.view(&name).ok_or_else(|| Failure::no_view(&name, &state.project))?;
    caller.require_source(view.source.name.as_str())?;
    let frame = Frame::parse(asked.df)?;
    let fields: Vec<Option<usize>> = frame.names().map(|column| field(view, column)).collect::<Result<_, _>>()?;
    let events = frame.events(&view.source, &fields)?;
    append(&state, &view.source, events).await?;
    Ok(Json(()))
}

/// Which field of the source a column is.
fn field(view: &ViewPlan, column: &str) -> Result<Option<usize>, Failure> {
    let key = view.entity.keys.iter().position(|(key, _)| *key == *column).map(|key| view.key_fields[key]);
    let feature = || view.features.iter().find(|feature| feature.name == *column);
    match (column, key, feature()) {
        (_, Some(key), _) => Ok(Some(key)),
        (EVENT_TIMESTAMP, ..) => Ok(Some(view.source.event_time)),
        (_, None, Some(feature)) => last_of(view, feature).map(Some).ok_or_else(|| computed(view, feature)),
        (_, None, None) => match view.source.fields.iter().position(|field| field.name == *column) {
            None if column != CREATED => Err(unknown(view, column)),
            field => Ok(field),
        },
    }
}

/// The field whose last value of all time the feature is.
fn last_of(view: &ViewPlan, feature: &FeaturePlan) -> Option<usize> {
    let is_last = feature.call.function.name == "last" && feature.window.is_none();
    view.slot(feature).column.filter(|column| is_last && *column < view.source.fields.len())
}

fn computed(view: &ViewPlan, feature: &FeaturePlan) -> Failure {
    let (name, view, source) = (&feature.name, &view.name, &view.source.name);
    Failure::unprocessable(format!(
        "feature `{name}` of view `{view}` is computed from events and cannot be written: push what happened, rows \
         of source `{source}`"
    ))
}

fn unknown(view: &ViewPlan, column: &str) -> Failure {
    let (view, source) = (&view.name, &view.source.name);
    Failure::unprocessable(format!(
        "`{column}` is no key and no feature of view `{view}`, and no field of source `{source}`"
    ))
}
