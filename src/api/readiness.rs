//! Whether this process does now what its roles promise: what `/readyz` answers.
//!
//! | role | is ready when |
//! | --- | --- |
//! | all | the process is neither starting nor shutting down, and the registry answers |
//! | `api` | the online store answers |
//! | `stream` | the online store answers, and the worker is in its group with every partition of its own claimed |
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
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::State;
use crate::api::problem::{Mistake, Problem};
use crate::api::system::healthz;
use crate::config::Role;
use crate::kernel::key::EntityKey;
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
    let missing = [registry, store, stream(state), archive(state)];
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

/// Asks for a row that no view has: the least that the store has to answer.
async fn store(state: &State) -> Result<(), Mistake> {
    if !state.roles.has(Role::Api) && !state.roles.has(Role::Stream) {
        return Ok(());
    }
    let nothing = [(Fingerprint(0), EntityKey::encode(&[]))];
    let answer = answered("online store", state.online.read(&nothing)).await?;
    answer.map(drop).map_err(|error| missing("online store", error.to_string()))
}

fn stream(state: &State) -> Result<(), Mistake> {
    if !state.roles.has(Role::Stream) {
        return Ok(());
    }
    match state.stream.serving.borrow().standing {
        stream::Standing::Joining => Err(missing("stream", "the worker has not joined its group".to_owned())),
        stream::Standing::Claiming => Err(missing("stream", "the worker is taking its partitions up".to_owned())),
        stream::Standing::Reading => Ok(()),
    }
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
