//! A service whose only broker is away: while it starts, while it serves, and while it ends.

use std::ops::Range;

use super::broker::{Broker, free_ports};
use super::{Cluster, ingest, ready, send, served, settle, wanted};
use crate::http::Api;
use crate::process::Process;

/// Of the broker.
const RESTARTS: u64 = 4;
/// Orders in one call.
const CHUNK: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_waits_for_its_broker_at_its_start_and_at_its_end_does_not() {
    let mut broker = Broker::start(1, &free_ports(1));
    broker.kill();
    let cluster = Cluster::on(vec![("kafka", broker.address())]).await;
    let mut process = cluster.spawn("api,stream,archive", "s1");
    broker.restart();
    let api = ready(&mut process).await;
    api.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    ingest(&api, 0..100).await;
    settle(&api).await;
    broker.kill();
    process.stop().await;
}

/// A broker takes longer to start than such a session lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_sessions_end_while_its_broker_starts_again_goes_on() {
    let mut broker = Broker::start(1, &free_ports(1));
    let kafka = vec![("kafka", broker.address()), ("session_timeout_ms", "1000".to_owned())];
    let cluster = Cluster::on(kafka).await;
    let mut process = cluster.spawn("api,stream,archive", "s1");
    let api = ready(&mut process).await;
    api.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();
    for restart in 0..RESTARTS {
        broker.restart();
        ingest_in_the_end(&mut process, &api, restart * CHUNK..(restart + 1) * CHUNK).await;
        settle(&api).await;
    }
    assert_eq!(served(&api).await, wanted(RESTARTS * CHUNK));
    process.stop().await;
}

/// What is not acknowledged is sent again, and may be in the log already.
async fn ingest_in_the_end(process: &mut Process, api: &Api, numbers: Range<u64>) {
    loop {
        match send(api, &numbers).await {
            Ok(answer) if answer.status == 200 => return,
            Ok(answer) => assert_eq!(answer.status, 503, "{answer}"),
            Err(error) => {
                let ended = process.ended();
                panic!("no answer: {error:?}; the service ended: {ended:?}\n{}", process.last_words().await)
            }
        }
    }
}
