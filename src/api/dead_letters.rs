//! `/v1/dead-letters`: records of the log that entered no view, with why; and their replay, once the schema is mended.

mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::{Extension, Json};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::audit::Done;
use crate::api::blocking;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::kernel::definition::Source;
use crate::offline::{self, Archive, DeadLetter, Filter};

use replay::Replayed;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// Of which source.
    source: String,
    /// Only those with this reason: `missing_field`.
    reason: Option<String>,
    /// How many at most; 100 unless given.
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// The newest first.
    dead_letters: Vec<DeadLetterView>,
}

/// One rejected record.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterView {
    topic: String,
    partition: u32,
    offset: u64,
    ingestion_time: String,
    /// Of the source when the record was rejected.
    schema_version: u32,
    /// Stable, for programs: `missing_field`.
    reason: String,
    field: Option<String>,
    detail: String,
    /// What the source makes of it as it is now: `rejected`; `taken`, by views that are built from now on and by those of
    /// a replay; `replayed`, by all views.
    now: &'static str,
    /// The record as text, where it is UTF-8.
    text: Option<String>,
    /// The record's bytes in base64, where they are not.
    bytes: Option<String>,
}

/// List rejected records of a source
#[utoipa::path(get, operation_id = "list_dead_letters", path = "/v1/dead-letters", tag = "ingest", params(DeadLettersQuery), responses(
    (status = 200, description = "The newest first", body = DeadLetters),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such source", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<DeadLettersQuery>, QueryRejection>,
) -> Result<Json<DeadLetters>, Problem> {
    let Query(query) = query?;
    caller.require_source(&query.source)?;
    let ends = replay::ends(&state, &query.source).await?;
    let letters = on_archive(&state, &query.source, move |archive, source| {
        let limit = query.limit.unwrap_or(100).min(10_000);
        let letters = archive.dead_letters(source, Filter { reason: query.reason.as_deref(), limit })?;
        Ok(letters.into_iter().map(|letter| view(letter, source, &ends)).collect())
    });
    Ok(Json(DeadLetters { dead_letters: letters.await? }))
}

/// Show one rejected record
#[utoipa::path(get, operation_id = "show_dead_letter", path = "/v1/dead-letters/{source}/{partition}/{offset}", tag = "ingest",
    params(("source" = String, Path), ("partition" = u32, Path), ("offset" = u64, Path)),
    responses(
        (status = 200, description = "The record, and why it was rejected", body = DeadLetterView),
        (status = 400, description = "Partition or offset is no number", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such source, or no dead letter there", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path((source, partition, offset)): Path<(String, u32, u64)>,
) -> Result<Json<DeadLetterView>, Problem> {
    caller.require_source(&source)?;
    let ends = replay::ends(&state, &source).await?;
    let found = on_archive(&state, &source, move |archive, source| {
        let letter = archive.dead_letter(source, partition, offset)?;
        Ok(letter.map(|letter| view(letter, source, &ends)))
    });
    let letter = found.await?.ok_or_else(|| {
        Problem::not_found("UNKNOWN_DEAD_LETTER", format_args!("`{source}` has no dead letter at {partition}/{offset}"))
    })?;
    Ok(Json(letter))
}

/// Take rejected records into the views of a source, once its schema takes them
#[utoipa::path(post, operation_id = "replay_dead_letters", path = "/v1/dead-letters/{source}/replay", tag = "ingest",
    params(("source" = String, Path)),
    responses(
        (status = 200, description = "What became of them; views are rebuilt while lookups go on", body = Replayed),
        (status = 404, description = "No such source", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replay(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(source): Path<String>,
) -> Result<(Extension<Done>, Json<Replayed>), Problem> {
    let replayed = replay::replay(&state, &source, caller.name(None)).await?;
    Ok((Extension(Done(replayed.summary())), Json(replayed)))
}

async fn on_archive<T: Send + 'static>(
    state: &State,
    source: &str,
    ask: impl FnOnce(&Archive, &Source) -> Result<T, offline::Error> + Send + 'static,
) -> Result<T, Problem> {
    let source = known(state, source)?;
    let archive = Archive::new(state.folder.clone());
    Ok(blocking(move || ask(&archive, &source)).await?)
}

fn known(state: &State, source: &str) -> Result<Arc<Source>, Problem> {
    let known = state.catalogues.current().plan.source(source).cloned();
    known.ok_or_else(|| Problem::not_found("UNKNOWN_SOURCE", format_args!("source `{source}` is not defined")))
}

/// `ends` are those of the replay under the schema of now.
fn view(letter: DeadLetter, source: &Source, ends: &BTreeMap<u32, u64>) -> DeadLetterView {
    let is_replayed = ends.get(&letter.partition).is_some_and(|end| letter.offset < *end);
    let now = match letter.is_taken_by(source) {
        true if is_replayed => "replayed",
        true => "taken",
        false => "rejected",
    };
    let text = String::from_utf8(letter.raw.to_vec()).ok();
    DeadLetterView {
        topic: letter.topic,
        partition: letter.partition,
        offset: letter.offset,
        ingestion_time: letter.ingestion_time.to_string(),
        schema_version: letter.schema_version,
        reason: letter.reason,
        field: letter.field,
        detail: letter.detail,
        now,
        bytes: text.is_none().then(|| BASE64_STANDARD.encode(&letter.raw)),
        text,
    }
}
