//! What goes wrong → `application/problem+json` (RFC 9457), with a stable `code` and the place of each mistake.

use std::any::Any;
use std::fmt::Display;

use axum::body::Body;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::paced::TooSlow;
use crate::event_log;
use crate::kernel::definition::Diagnostic;
use crate::offline;
use crate::online;
use crate::parity;
use crate::registry;
use crate::serving;

/// An error answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code says what happened.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs: `UNKNOWN_FEATURE`.
    pub code: &'static str,
    /// For people: what is wrong, and what would be right.
    pub detail: String,
    /// One for each mistake, where there can be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

/// One mistake in what was sent, or one thing that is missing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Mistake {
    /// The file, the path within the body, the view, or the part of the service.
    pub place: String,
    /// Stable, for programs, where it may be another than the problem's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Display) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            code,
            detail: detail.to_string(),
            errors: Vec::new(),
        }
    }

    pub fn bad_request(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn not_found(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Worth trying again.
    pub fn unavailable(code: &'static str, detail: impl Display) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Ours, or the disk's: logged here, with what caused it.
    pub fn internal(error: &dyn std::error::Error) -> Problem {
        let detail = chain(error);
        tracing::error!(detail, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
    }

    /// Definitions that were refused, every mistake with its place.
    pub fn definitions(diagnostics: Vec<Diagnostic>) -> Problem {
        let count = diagnostics.len();
        let detail = format!("the definitions have {count} mistake{}", if count == 1 { "" } else { "s" });
        let mut problem = Problem::bad_request("INVALID_DEFINITIONS", detail);
        problem.errors = diagnostics.into_iter().map(Mistake::from).collect();
        problem
    }
}

impl From<Diagnostic> for Mistake {
    fn from(diagnostic: Diagnostic) -> Mistake {
        Mistake {
            place: diagnostic.path,
            code: None,
            line: Some(diagnostic.line),
            column: Some(diagnostic.column),
            detail: diagnostic.what,
            help: diagnostic.help,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made from a status");
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<serving::Error> for Problem {
    fn from(error: serving::Error) -> Problem {
        match &error {
            serving::Error::UnknownService(_) => Problem::not_found("UNKNOWN_SERVICE", error),
            serving::Error::UnknownFeature(_) => Problem::not_found("UNKNOWN_FEATURE", error),
            serving::Error::NothingWanted => Problem::bad_request("NO_FEATURES", error),
            serving::Error::MissingKey { .. } => Problem::bad_request("MISSING_KEY", error),
            serving::Error::UnknownKey(_) => Problem::bad_request("UNKNOWN_KEY", error),
            serving::Error::Length { .. } => Problem::bad_request("LENGTH_MISMATCH", error),
            serving::Error::KeyType { .. } => Problem::bad_request("WRONG_KEY_TYPE", error),
            serving::Error::TooManyRows { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_ROWS", error),
            serving::Error::TooManyFeatures => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_FEATURES", error),
            serving::Error::TooManyValues { .. } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_VALUES", error)
            }
            serving::Error::TooManyBytes => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "ANSWER_TOO_LARGE", error),
            serving::Error::NotOnline(_) => Problem::bad_request("NOT_ONLINE", error),
            serving::Error::Unavailable(views) => Problem::unavailable_views(views, &error),
        }
    }
}

impl From<event_log::Error> for Problem {
    fn from(error: event_log::Error) -> Problem {
        match &error {
            event_log::Error::Refused { .. } => Problem::new(StatusCode::CONFLICT, "TOPIC_REFUSED", error),
            _ if error.may_pass() => Problem::unavailable("LOG_UNAVAILABLE", error),
            _ => Problem::internal(&error),
        }
    }
}

impl From<online::Error> for Problem {
    fn from(error: online::Error) -> Problem {
        if error.is_transient() { Problem::unavailable("STORE_UNAVAILABLE", error) } else { Problem::internal(&error) }
    }
}

impl From<offline::Error> for Problem {
    fn from(error: offline::Error) -> Problem {
        match error.is_transient() {
            true => Problem::unavailable("OFFLINE_UNAVAILABLE", chain(&error)),
            false => Problem::internal(&error),
        }
    }
}

impl From<parity::Error> for Problem {
    fn from(error: parity::Error) -> Problem {
        match error {
            parity::Error::Files(error) => error.into(),
            error @ parity::Error::Cancelled(_) => Problem::internal(&error),
        }
    }
}

impl From<registry::Error> for Problem {
    fn from(error: registry::Error) -> Problem {
        match &error {
            registry::Error::Conflict { .. } => Problem::new(StatusCode::CONFLICT, "CONFLICT", error),
            _ if error.is_transient() => Problem::unavailable("REGISTRY_UNAVAILABLE", error),
            _ => Problem::internal(&error),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        match rejection {
            // JSON of another shape is as wrong as text that is no JSON.
            JsonRejection::JsonDataError(error) => Problem::bad_request("INVALID_BODY", error.body_text()),
            JsonRejection::BytesRejection(rejection) => rejection.into(),
            rejection => Problem::new(rejection.status(), "INVALID_BODY", rejection.body_text()),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "the body is larger than `max_body_mb` of the service, or, of a training set, than 256 MB: send \
                          it in parts, or have `spine` name a file of the service";
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail);
        }
        if is_caused_by::<TooSlow>(&rejection) {
            let detail = "the body came too slowly, and the call was given up";
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", detail);
        }
        Problem::new(rejection.status(), "INVALID_BODY", rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::new(rejection.status(), "INVALID_PATH", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request("INVALID_QUERY", rejection.body_text())
    }
}

pub async fn not_found(uri: Uri) -> Problem {
    Problem::not_found("NO_SUCH_PATH", format_args!("nothing is served at `{}`; see /docs", uri.path()))
}

pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{method}` is not offered at `{}`; see /docs", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
}

fn is_caused_by<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<E>())
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A handler panicked: that is ours, and one request's alone.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    tracing::error!(panic = text, "a request handler panicked");
    let detail = "the request met a mistake in Freshet itself; the log of the service has it";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail).into_response()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn answer(problem: impl Into<Problem>) -> (u16, &'static str, bool) {
        let problem = problem.into();
        let (status, code) = (problem.status, problem.code);
        (status, code, problem.into_response().headers().contains_key(header::RETRY_AFTER))
    }

    #[test]
    fn what_may_pass_is_worth_another_try_and_what_does_not_read_is_not() {
        let full = || offline::Error::Io {
            doing: "write",
            path: "a.parquet".into(),
            source: io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(answer(full()), (503, "OFFLINE_UNAVAILABLE", true));
        assert!(Problem::from(full()).detail.ends_with(": no storage space"), "{:?}", Problem::from(full()));
        let damaged = offline::Error::Damaged { path: "a.parquet".to_owned(), detail: "cut off".to_owned() };
        assert_eq!(answer(damaged), (500, "INTERNAL", false));
        assert_eq!(answer(event_log::Error::UnknownTopic("clicks".to_owned())), (503, "LOG_UNAVAILABLE", true));
        assert_eq!(answer(parity::Error::Files(full())), (503, "OFFLINE_UNAVAILABLE", true));
    }
}
