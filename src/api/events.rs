//! `POST /v1/sources/{source}/events`: ingest. An event is checked by the same decoder as the stream's before it
//! enters the log, so that a producer hears at once what would otherwise be a dead letter.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::event_log::NewRecord;
use crate::kernel::definition::Source;
use crate::kernel::event::{self, Envelope, RawRecord};
use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::registry::access::Scope;

/// What became of the events of one call, once the accepted ones are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestAnswer {
    pub accepted: usize,
    pub rejected: Vec<EventRejection>,
}

/// One event that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventRejection {
    /// From 0, in the order of the call.
    pub index: usize,
    /// Stable, for programs: `missing_field`.
    pub code: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IngestQuery {
    /// Stamp records with their event time, as if they had been ingested when they happened: for history. Needs the
    /// scope `admin`.
    #[serde(default)]
    replay: bool,
}

/// Ingest one event, an array of events, or NDJSON
#[utoipa::path(
    post, operation_id = "ingest_events", path = "/v1/sources/{source}/events", tag = "ingest",
    params(("source" = String, Path, description = "A source"), IngestQuery),
    request_body(content = serde_json::Value, description = "An object, an array of objects, or an object a line"),
    responses(
        (status = 200, description = "Accepted events are durable; rejected ones are named", body = IngestAnswer),
        (status = 400, description = "The body is not events", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such source", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The topic cannot take them, and why", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large, or too many events", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log is away: send the events again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ingest(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(source): Path<String>,
    query: Result<Query<IngestQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<IngestAnswer>, Problem> {
    caller.require_source(&source)?;
    let Query(query) = query?;
    if query.replay {
        caller.require(Scope::Admin)?;
    }
    let body = body?;
    let catalogue = state.catalogues.current();
    let source = catalogue
        .plan
        .source(&source)
        .ok_or_else(|| Problem::not_found("UNKNOWN_SOURCE", format_args!("source `{source}` is not defined")))?;
    // An array is a wrong event where each line is one.
    let events = if is_ndjson(&headers) { lines(&body) } else { split(&body)? };
    if events.len() > state.limits.events {
        let (found, most) = (events.len(), state.limits.events);
        let detail = format_args!("{found} events in one call, and at most {most} are taken");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_EVENTS", detail));
    }
    if query.replay {
        state.log.takes_replay(&source.topic).await?;
    }
    let stamping = if query.replay { Stamping::EventTime } else { Stamping::Now(state.clock.now()) };
    let (records, rejected) = accept(source, events, stamping);
    let answer = IngestAnswer { accepted: records.len(), rejected };
    if !records.is_empty() {
        state.log.append(&source.topic, records).await?;
    }
    count(&state, source, answer.accepted, &answer.rejected);
    Ok(Json(answer))
}

pub(super) fn count(state: &State, source: &Source, accepted: usize, rejected: &[EventRejection]) {
    let name = source.name.as_str();
    state.metrics.events_accepted.with_label_values(&[name]).inc_by(accepted as u64);
    for rejection in rejected {
        state.metrics.events_rejected.with_label_values(&[name, &rejection.code]).inc();
    }
}

/// Which ingestion time records get.
#[derive(Clone, Copy, Debug)]
pub enum Stamping {
    Now(EventTime),
    /// Their own event time: replayed history.
    EventTime,
}

/// The records of the events that the source takes, and the others with their reasons.
pub fn accept(source: &Source, events: Vec<Bytes>, stamping: Stamping) -> (Vec<NewRecord>, Vec<EventRejection>) {
    // Replayed events are decoded as if ingested at the end of time, so that none is early.
    let provisional = match stamping {
        Stamping::Now(now) => now.floor_to_millis(),
        Stamping::EventTime => EventTime::MAX.floor_to_millis(),
    };
    let raw = |(index, value): (usize, &Bytes)| RawRecord {
        partition: 0,
        offset: index as u64,
        ingestion_time: provisional,
        value: value.clone(),
    };
    let records: Vec<RawRecord> = events.iter().enumerate().map(raw).collect();
    let decoded = event::decode(source, &records);
    let keys = event::message_keys(source, &decoded.events);
    let accepted = decoded.events.events.iter().zip(keys).map(|(envelope, key)| {
        let ingestion_time = match stamping {
            Stamping::Now(_) => provisional,
            Stamping::EventTime => envelope.event_time.floor_to_millis(),
        };
        NewRecord { key, value: events[index_of(envelope)].clone(), ingestion_time }
    });
    let rejected = decoded.rejections.iter().map(|rejection| EventRejection {
        index: rejection.index,
        code: rejection.reason.as_str().to_owned(),
        detail: rejection.to_string(),
    });
    (accepted.collect(), rejected.collect())
}

/// Where in the call the event stood: its provisional offset.
fn index_of(envelope: &Envelope) -> usize {
    match envelope.origin {
        Origin::Log { offset, .. } => offset as usize,
        Origin::History { .. } => unreachable!("records were given as of the log"),
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/x-ndjson"))
}

/// The events of a body, each as its own bytes: the log gets what was sent, to the digit.
fn split(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => {
            Err(Problem::bad_request("INVALID_BODY", "the body is empty: send an event, an array of events, or NDJSON"))
        }
        Some(b'[') => items(body),
        // One object, however many lines it takes, or an object a line.
        Some(_) if one_value(body) == Some(body.trim_ascii_end().len()) => Ok(vec![body.clone()]),
        Some(_) => Ok(lines(body)),
    }
}

fn items(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    // Checked as a whole first, so that below only the places of its items are left to find.
    serde_json::from_slice::<Vec<IgnoredAny>>(body).map_err(|error| {
        Problem::bad_request("INVALID_BODY", format_args!("the array of events is not JSON: {error}"))
    })?;
    let mut rest = &body.trim_ascii_start()[1..];
    let mut items = Vec::new();
    while let Some(length) = one_value(rest) {
        items.push(body.slice_ref(rest[..length].trim_ascii_start()));
        let after = rest[length..].trim_ascii_start();
        rest = after.strip_prefix(b",").unwrap_or_default();
    }
    Ok(items)
}

/// How many bytes the first JSON value takes, with the white space before it; `None` where there is none.
fn one_value(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

fn lines(body: &Bytes) -> Vec<Bytes> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| body.slice_ref(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Vec<String> {
        let parts = split(&Bytes::copy_from_slice(body.as_bytes())).expect(body);
        parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    #[test]
    fn a_body_is_one_event_an_array_or_a_line_each() {
        assert_eq!(parts("{\n \"a\": 1\n}\n"), ["{\n \"a\": 1\n}\n"]);
        assert_eq!(parts(" [ {\"a\": 1.10} ,{\"b\":[]}, 3 ] "), ["{\"a\": 1.10}", "{\"b\":[]}", "3"]);
        assert_eq!(parts("[]"), Vec::<String>::new());
        assert_eq!(parts("{\"a\":1}\n\n{broken\n{\"b\":2}"), ["{\"a\":1}", "{broken", "{\"b\":2}"]);
    }

    #[test]
    fn a_body_without_events_is_refused() {
        for body in ["", " \n", "[{\"a\":1}", "[1,]"] {
            assert!(split(&Bytes::copy_from_slice(body.as_bytes())).is_err(), "{body}");
        }
    }
}
