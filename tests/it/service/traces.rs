//! The spans of requests, as a collector of OpenTelemetry gets them from the binary.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

use super::{SHOP, until};
use crate::process::Process;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const LOOKUP: &str = "/v1/online-features/shelf?item_id=7";

/// W3C's own example.
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: [u8; 16] = 0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes();
const PARENT: [u8; 8] = 0xb7ad6b7169203331_u64.to_be_bytes();

/// Takes every batch; the tasks end with it.
struct Collector {
    endpoint: String,
    batches: UnboundedReceiver<(String, Bytes)>,
    _server: JoinSet<()>,
}

impl Collector {
    async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (taken, batches) = mpsc::unbounded_channel();
        let take = async move |headers: HeaderMap, body: Bytes| {
            let kind = headers["content-type"].to_str().expect("text").to_owned();
            taken.send((kind, body)).expect("the test waits");
        };
        let router = Router::new().route("/v1/traces", post(take));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Collector { endpoint, batches, _server: server }
    }

    /// All that was taken so far.
    fn taken(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok((kind, batch)) = self.batches.try_recv() {
            assert_eq!(kind, "application/x-protobuf");
            all.extend_from_slice(&batch);
        }
        all
    }
}

fn has(batches: &[u8], part: &[u8]) -> bool {
    batches.windows(part.len()).any(|it| it == part)
}

/// A lookup of a shop in the trace of its caller, answered, and a stop that has to be a clean one.
async fn look_up(environment: &[(&str, &str)], caller: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::spawn_in(environment, folder.path(), &[]);
    let api = process.ready().await;
    api.send("/v1/definitions/apply", "application/yaml", SHOP).await.json();
    let caller = api.with_header("traceparent", caller);
    until("a lookup is answered", async || (caller.get(LOOKUP).await.status == 200).then_some(())).await;
    process.stop().await;
}

#[tokio::test]
async fn a_lookup_is_a_span_in_the_trace_of_its_caller_sent_before_the_service_ends() {
    let mut collector = Collector::start().await;
    look_up(&[(ENDPOINT, &collector.endpoint)], CALLER).await;
    let batches = collector.taken();
    for part in ["freshet", "GET /v1/online-features/{service}", "http.response.status_code", "freshet.request_id"] {
        assert!(has(&batches, part.as_bytes()), "no `{part}` in {}", String::from_utf8_lossy(&batches));
    }
    assert!(has(&batches, &TRACE) && has(&batches, &PARENT));
    assert!(!has(&batches, b"item_id"), "a query was sent");
}

#[tokio::test]
async fn a_request_whose_caller_is_not_sampled_is_not_sent() {
    let mut collector = Collector::start().await;
    look_up(&[(ENDPOINT, &collector.endpoint)], &CALLER.replace("-01", "-00")).await;
    let batches = collector.taken();
    assert!(has(&batches, b"POST /v1/definitions/apply") && !has(&batches, &TRACE));
}

#[tokio::test]
async fn the_service_has_the_name_that_it_is_given() {
    let mut collector = Collector::start().await;
    look_up(&[(ENDPOINT, &collector.endpoint), ("OTEL_SERVICE_NAME", "shop-features")], CALLER).await;
    assert!(has(&collector.taken(), b"shop-features"));
}

#[tokio::test]
async fn a_collector_that_is_away_keeps_no_request_from_its_answer() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it was bound");
    look_up(&[(ENDPOINT, &format!("http://{gone}")), ("OTEL_BSP_SCHEDULE_DELAY", "1")], CALLER).await;
}
