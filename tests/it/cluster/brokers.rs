//! Three brokers that are killed one after the other.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use super::broker::{Broker, free_ports};
use super::{Cluster, PARTITIONS, ingest, ready, send, served, settle, until, wanted};
use crate::http::Api;
use crate::process::Process;

const BROKERS: usize = 3;
/// Orders in one call.
const CHUNK: u64 = 20;
/// More calls than were under way when a broker was killed.
const CALLS: u64 = 5;
/// For one question to a broker.
const ANSWER: Duration = Duration::from_secs(5);

struct Brokers {
    /// Number `id` at `id - 1`.
    all: Vec<Broker>,
    client: Arc<BaseConsumer>,
}

/// How a partition stands: who leads it, and how many hold all of it.
#[derive(Clone, Copy, Debug)]
struct Standing {
    leader: i32,
    in_sync: usize,
}

impl Brokers {
    /// Returns once all of them are there.
    async fn start(count: usize) -> Brokers {
        let ports = free_ports(count);
        let all: Vec<Broker> = (1..=count).map(|id| Broker::start(id, &ports)).collect();
        let client = ClientConfig::new().set("bootstrap.servers", addresses(&all)).create();
        let brokers = Brokers { client: Arc::new(client.expect("a client")), all };
        until("all brokers answer", async || {
            let client = brokers.client.clone();
            let ask = move || client.fetch_metadata(None, ANSWER).map_or(0, |metadata| metadata.brokers().len());
            let there = tokio::task::spawn_blocking(ask).await.expect("it does not panic");
            if there == count { Ok(()) } else { Err(format!("{there} do")) }
        })
        .await;
        brokers
    }

    /// Waits until every partition of `topic` stands as it should.
    async fn stand(&self, topic: &str, should: impl Fn(&Standing) -> bool) -> Vec<Standing> {
        until("the partitions stand as they should", async || {
            let found = self.partitions(topic).await;
            if found.len() == PARTITIONS && found.iter().all(&should) { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await
    }

    /// Nothing where no broker answers now.
    async fn partitions(&self, topic: &str) -> Vec<Standing> {
        let (client, topic) = (self.client.clone(), topic.to_owned());
        let ask = move || {
            let Ok(metadata) = client.fetch_metadata(Some(&topic), ANSWER) else { return Vec::new() };
            let mut partitions: Vec<_> = metadata.topics().iter().flat_map(|topic| topic.partitions()).collect();
            partitions.sort_by_key(|it| it.id());
            partitions.iter().map(|it| Standing { leader: it.leader(), in_sync: it.isr().len() }).collect()
        };
        tokio::task::spawn_blocking(ask).await.expect("it does not panic")
    }
}

fn addresses(brokers: &[Broker]) -> String {
    brokers.iter().map(Broker::address).collect::<Vec<_>>().join(",")
}

/// Each is killed in the middle of ingest, stays away until others lead and more is acknowledged, and is back in sync
/// before the next one: so all that one of them does alone is taken from it once, which is to control the others, to
/// coordinate a group, and to lead a partition.
async fn kill_each(brokers: &mut Brokers, topic: &str, acknowledged: &Cell<u64>) {
    for victim in 1..=BROKERS {
        brokers.stand(topic, |it| it.in_sync == BROKERS).await;
        brokers.all[victim - 1].kill();
        brokers.stand(topic, |it| it.leader > 0 && it.leader != victim as i32).await;
        let before = acknowledged.get();
        until("more is acknowledged", async || {
            let more = acknowledged.get() - before;
            if more > CALLS * CHUNK { Ok(()) } else { Err(format!("{more} orders are, with broker {victim} away")) }
        })
        .await;
        brokers.all[victim - 1].restart();
    }
    brokers.stand(topic, |it| it.in_sync == BROKERS).await;
}

/// One call. What was not acknowledged is to be sent again, and may be in the log already.
async fn ingest_some(process: &mut Process, api: &Api, acknowledged: &Cell<u64>, sent_again: &Cell<u64>) {
    let chunk = acknowledged.get()..acknowledged.get() + CHUNK;
    match send(api, &chunk).await {
        Ok(answer) if answer.status == 200 => acknowledged.set(chunk.end),
        Ok(answer) => {
            assert_eq!(answer.status, 503, "{answer}");
            sent_again.set(sent_again.get() + 1);
        }
        Err(error) => {
            let ended = process.ended();
            panic!("no answer: {error:?}; the service ended: {ended:?}\n{}", process.last_words().await)
        }
    }
}

async fn ingest_on(process: &mut Process, api: &Api, acknowledged: &Cell<u64>, sent_again: &Cell<u64>) -> ! {
    loop {
        ingest_some(process, api, acknowledged, sent_again).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_while_brokers_are_killed_is_counted_once_on_three_brokers() {
    let mut brokers = Brokers::start(BROKERS).await;
    let kafka = vec![("kafka", addresses(&brokers.all)), ("kafka_replication", BROKERS.to_string())];
    let cluster = Cluster::on(kafka).await;
    let mut process = cluster.spawn("api,stream,archive", "s1");
    let api = ready(&mut process).await;
    api.send("/v1/definitions/apply", "application/yaml", cluster.definitions()).await.json();

    let (topic, acknowledged, sent_again) = (cluster.topic(), Cell::new(0), Cell::new(0));
    tokio::select! {
        () = kill_each(&mut brokers, &topic, &acknowledged) => {}
        never = ingest_on(&mut process, &api, &acknowledged, &sent_again) => never,
    }
    // The call that was cut off may have been taken.
    ingest(&api, acknowledged.get()..acknowledged.get() + CHUNK).await;
    let orders = acknowledged.get() + CHUNK;
    println!("{orders} orders; {} calls were sent again", sent_again.get());
    settle(&api).await;
    assert_eq!(served(&api).await, wanted(orders));
    let report = api.post("/v1/parity", &Value::Null).await.json();
    assert_eq!((&report["different"], &report["unchecked"]), (&0.into(), &0.into()), "{report:#}");
    process.stop().await;
}
