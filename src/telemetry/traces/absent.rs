//! A build without the feature `otel`: the same interface, and nothing behind it.

use axum::http::{Request, StatusCode};

#[derive(Clone)]
pub struct Traces;

pub struct RequestSpan;

impl Traces {
    pub fn from_environment() -> Traces {
        Traces
    }

    pub fn begin<B>(&self, _request: &Request<B>, _route: &str, _id: &str) -> RequestSpan {
        RequestSpan
    }

    pub async fn stop(self) {}
}

impl RequestSpan {
    pub fn answered(self, _status: StatusCode) {}
}
