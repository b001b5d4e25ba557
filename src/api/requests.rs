//! Every request: its id, its line in the log, its time among the metrics, its span in the trace of its caller.
//!
//! `X-Request-Id` is taken from the request where it looks like an id, or made, and is in the answer and in every line
//! that is logged meanwhile. A line for each request is logged at `debug` under the target `freshet::request`, at
//! `warn` where the answer is 5xx. Neither queries nor headers are logged: they may hold what is nobody's business.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use crate::api::State;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of an id that a client chose.
const LONGEST_ID: usize = 128;

/// Other ids in each process.
static IDS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static NEXT: AtomicU64 = AtomicU64::new(0);

pub(super) async fn follow(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let id = given(request.headers()).unwrap_or_else(made);
    let id_text = id.to_str().expect("an id is visible ASCII");
    let span = tracing::info_span!("request", id = id_text, method = %request.method(), route, key = Empty);
    let traced = state.traces.begin(&request, route, id_text);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, seconds) = (response.status(), began.elapsed().as_secs_f64());
    traced.answered(status);
    // By the route, and not by the path, so that there are few of them.
    state.metrics.request_seconds.with_label_values(&[route, status.as_str()]).observe(seconds);
    span.in_scope(|| match status.is_server_error() {
        true => tracing::warn!(target: "freshet::request", status = status.as_u16(), seconds, "answered"),
        false => tracing::debug!(target: "freshet::request", status = status.as_u16(), seconds, "answered"),
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's own id, where it is one: short, visible, and without blanks, so that a log line stays one.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let is_id = (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    is_id.then(|| id.clone())
}

fn made() -> HeaderValue {
    let number = IDS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(format!("{number:016x}")).expect("hex digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).expect("a header's value"));
        given(&headers).is_some()
    }

    #[test]
    fn an_id_of_the_client_is_taken_where_it_cannot_break_a_log_line() {
        assert!(taken(b"7f1c-42/a") && taken(&[b'x'; LONGEST_ID]));
        assert!(!taken(b"") && !taken(b"a b") && !taken("é".as_bytes()) && !taken(&[b'x'; LONGEST_ID + 1]));
        assert!(!taken(b"a\tb"));
    }

    #[test]
    fn ids_that_are_made_differ() {
        assert_ne!(made(), made());
    }
}
