//! The way to the collector, over the HTTP client that the rest of the binary uses. One line of the log says that the
//! collector takes no spans, another that it takes them again; what becomes of a batch meanwhile is the SDK's to decide.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// Of one call. `OTEL_EXPORTER_OTLP_TIMEOUT`, as long unless it is set, is for a batch with all its repetitions.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    is_refusing: AtomicBool,
}

impl Collector {
    /// Within the runtime that is to send.
    pub(super) fn new() -> Collector {
        let http =
            reqwest::Client::builder().timeout(TIMEOUT).build().expect("the certificates of the system are readable");
        Collector { http, runtime: Handle::current(), is_refusing: AtomicBool::new(false) }
    }

    fn log(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let is_refusing = !answer.as_ref().is_ok_and(|it| it.status().is_success());
        let was_refusing = self.is_refusing.swap(is_refusing, Ordering::Relaxed);
        match answer {
            Ok(_) if was_refusing && !is_refusing => tracing::info!("the collector takes spans again"),
            Ok(answer) if is_refusing && !was_refusing => {
                tracing::warn!(status = answer.status().as_u16(), "spans are lost: the collector refuses them");
            }
            Err(error) if !was_refusing => {
                tracing::warn!(
                    error = &**error as &dyn std::error::Error,
                    "spans are lost: the collector does not answer"
                );
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The SDK's thread, which waits here, is none of the runtime's: the client would find no timer and no socket.
        let sent = self.runtime.spawn(send(self.http.clone(), request)).await;
        let answer = sent.map_err(HttpError::from).and_then(|answer| Ok(answer?));
        self.log(&answer);
        answer
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
    let answer = http.execute(request.try_into()?).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut whole = Response::new(answer.bytes().await?);
    (*whole.status_mut(), *whole.headers_mut()) = (status, headers);
    Ok(whole)
}
