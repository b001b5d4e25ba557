//! `POST /push`: rows of a table → events of the source that has the push source's name.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::events::{self, Stamping, accept};
use crate::kernel::definition::Source;

use super::failure::{Class, Failure, FeastFailure};
use super::frame::{EVENT_TIMESTAMP, FeastColumn, Frame};
use super::parse;

/// What Feast's clients push.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FeastPush {
    /// A source.
    #[schema(example = "shop_events")]
    push_source_name: String,
    /// A column for each field; `event_timestamp` is the event's time, and what is no field is left out.
    df: BTreeMap<String, FeastColumn>,
    /// Events are seen online and offline alike: `online` and `online_and_offline` mean the same.
    #[serde(default)]
    to: PushTarget,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PushTarget {
    #[default]
    Online,
    Offline,
    OnlineAndOffline,
}

/// Push rows as events
#[utoipa::path(
    post, operation_id = "push", path = "/push", tag = "feast", request_body = FeastPush,
    responses(
        (status = 200, description = "The events are durable"),
        (status = 400, description = "Offline alone, which events cannot be", body = FeastFailure, content_type = "application/json"),
        (status = 409, description = "The topic cannot take them, and why", body = FeastFailure, content_type = "application/json"),
        (status = 413, description = "Too large, or too many rows", body = FeastFailure, content_type = "application/json"),
        (status = 422, description = "No such source, or a row that it does not take; nothing was written", body = FeastFailure, content_type = "application/json"),
        (status = 503, description = "The log is away: push again", body = FeastFailure, content_type = "application/json"),
    )
)]
pub(super) async fn push(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Failure> {
    let pushed: FeastPush = parse(body)?;
    caller.require_source(&pushed.push_source_name)?;
    if pushed.to == PushTarget::Offline {
        let message = "events are seen online and offline alike: push `to` \"online_and_offline\"";
        return Err(Failure::bad_request(message));
    }
    let catalogue = state.catalogues.current();
    let name = pushed.push_source_name;
    let source = catalogue.plan.source(&name).ok_or_else(|| {
        let message = format!("Unable to find push source '{name}'.");
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, Class::PushSourceNotFound, message)
    })?;
    let frame = Frame::parse(pushed.df)?;
    let events = frame.events(source, &fields(source, &frame))?;
    append(&state, source, events).await?;
    Ok(StatusCode::OK)
}

/// Which field each column is.
fn fields(source: &Source, frame: &Frame) -> Vec<Option<usize>> {
    let named = |column: &str| source.fields.iter().position(|field| field.name == *column);
    let has_time = frame.names().any(|column| named(column) == Some(source.event_time));
    let field = |column: &str| named(column).or((column == EVENT_TIMESTAMP && !has_time).then_some(source.event_time));
    frame.names().map(field).collect()
}

/// Puts events into the log, all of them or none, and returns once they are durable.
pub(super) async fn append(state: &State, source: &Source, events: Vec<Bytes>) -> Result<(), Failure> {
    let (rows, most) = (events.len(), state.limits.events);
    if rows > most {
        let message = format!("{rows} rows in one call, and at most {most} are taken");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Class::Feast, message));
    }
    let (records, rejected) = accept(source, events, Stamping::Now(state.clock.now()));
    if let Some(first) = rejected.first() {
        events::count(state, source, 0, &rejected);
        let (row, detail, wrong) = (first.index, &first.detail, rejected.len());
        let message = format!("row {row}: {detail}; {wrong} of {rows} rows are wrong, and nothing was written");
        return Err(Failure::unprocessable(message));
    }
    let accepted = records.len();
    if accepted > 0 {
        state.log.append(&source.topic, records).await?;
    }
    events::count(state, source, accepted, &[]);
    Ok(())
}
