//! Whether this process does now what its roles promise: what `/readyz` answers.
//!
//! | role | is ready when |
//! | --- | --- |
//! | all | the process is neither starting nor shutting down, and the registry answers |
//! | `api` | the online store answers; of a cluster, one node at least |
//! | `stream` | the same, and the worker is in its group with every partition of its own claimed, and its flushes get through |
//! | `archive` | the archiver is in its group |
//!
//! A view that is being rebuilt does not count: lookups of it say so, and others are answered.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::State;
use crate::api::problem::{Mistake, Problem};
use crate::api::system::healthz;
use crate::config::{Role, Roles};
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::plan::Fingerprint;
use crate::stream;

/// How far the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Starting,
    Running,
    /// Not ready any more; requests are answered still.
    Leaving,
    /// No new requests.
    Draining,
    /// Drivers flush and let go.
    Closing,
}

/// How long a part may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rows that are asked for in a store of several nodes: each has some of them.
const PROBES: i64 = 16;

/// What is answered before there is a service: that the process lives, and what it waits for. No connection is kept
/// for the next question, which the service itself may answer.
pub fn starting(waiting_for: watch::Receiver<String>) -> Router {
    let router = Router::new().route("/healthz", get(healthz)).fallback(not_yet).with_state(waiting_for);
    router.layer(map_response(async |mut response: Response| {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }))
}

async fn not_yet(Shared(waiting_for): Shared<watch::Receiver<String>>) -> Problem {
    Problem::unavailable("STARTING", waiting_for.borrow().as_str())
}

/// Names everything that is missing.
pub(super) async fn check(state: &State) -> Result<(), Problem> {
    if *state.phase.borrow() > Phase::Running {
        return Err(Problem::unavailable("DRAINING", "the process is shutting down"));
    }
    let (registry, store) = tokio::join!(registry(state), store(state));
    let stream = stream(&state.roles, &state.stream.serving.borrow());
    let missing = [registry, store, stream, archive(state)];
    let missing: Vec<Mistake> = missing.into_iter().filter_map(Result::err).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let details: Vec<&str> = missing.iter().map(|missing| missing.detail.as_str()).collect();
    let mut problem = Problem::unavailable("NOT_READY", details.join("; "));
    problem.errors = missing;
    Err(problem)
}

async fn registry(state: &State) -> Result<(), Mistake> {
    let answer = answered("registry", state.registry.changes()).await?;
    answer.map(drop).map_err(|error| missing("registry", error.to_string()))
}

/// Asks for rows that no view has: the least that the store has to answer. Who has several nodes is there while one of
/// them is, for what the others have is answered in part.
async fn store(state: &State) -> Result<(), Mistake> {
    if !state.roles.has(Role::Api) && !state.roles.has(Role::Stream) {
        return Ok(());
    }
    let asked = if state.online.fails_by_shard() { PROBES } else { 1 };
    let mut answers: FuturesUnordered<_> = (0..asked).map(|row| probe(state, row)).collect();
    let mut last = Ok(());
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => return Ok(()),
            away => last = away,
        }
    }
    last
}

async fn probe(state: &State, row: i64) -> Result<(), Mistake> {
    let nothing = [(Fingerprint(0), EntityKey::encode(&[KeyPart::Int(row)]))];
    let answer = answered("online store", state.online.read(&nothing)).await?;
    answer.map(drop).map_err(|error| missing("online store", error.to_string()))
}

fn stream(roles: &Roles, progress: &stream::Progress) -> Result<(), Mistake> {
    if !roles.has(Role::Stream) {
        return Ok(());
    }
    let what = match (progress.standing, &progress.blocked) {
        (stream::Standing::Joining, _) => "the worker has not joined its group".to_owned(),
        (stream::Standing::Claiming, _) => "the worker is taking its partitions up".to_owned(),
        (stream::Standing::Reading, Some(reason)) => format!("no flush gets through: {reason}"),
        (stream::Standing::Reading, None) => return Ok(()),
    };
    Err(missing("stream", what))
}

fn archive(state: &State) -> Result<(), Mistake> {
    if !state.roles.has(Role::Archive) || state.archived.is_listening() {
        return Ok(());
    }
    Err(missing("archive", "the archiver has not joined its group".to_owned()))
}

async fn answered<T>(part: &str, answer: impl Future<Output = T>) -> Result<T, Mistake> {
    timeout(PATIENCE, answer).await.map_err(|_| missing(part, format!("the {part} has not answered for {PATIENCE:?}")))
}

fn missing(place: &str, detail: String) -> Mistake {
    Mistake { place: place.to_owned(), code: None, line: None, column: None, detail, help: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Progress, Standing};

    fn said(roles: &str, standing: Standing, blocked: Option<&str>) -> Option<String> {
        let progress = Progress { standing, blocked: blocked.map(str::to_owned), ..Progress::default() };
        stream(&roles.parse().expect("roles"), &progress).err().map(|missing| missing.detail)
    }

    #[test]
    fn a_worker_is_ready_once_it_folds_what_is_its_own_and_the_store_takes_it() {
        assert_eq!(said("stream", Standing::Reading, None), None);
        let joining = said("stream", Standing::Joining, None);
        assert_eq!(joining.as_deref(), Some("the worker has not joined its group"));
        let claiming = said("api,stream", Standing::Claiming, None);
        assert_eq!(claiming.as_deref(), Some("the worker is taking its partitions up"));
        let full = "the online store is not available: r1: it has reached `maxmemory`";
        let blocked = said("stream", Standing::Reading, Some(full));
        assert_eq!(blocked, Some(format!("no flush gets through: {full}")));
        assert_eq!(said("api", Standing::Joining, Some(full)), None, "it has no worker");
    }
}
