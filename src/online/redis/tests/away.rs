//! A node of a cluster that is away: what the others have is read as if nothing were.

use std::cell::Cell;
use std::slice;

use futures::future::join_all;
use tokio::time::timeout;

use super::*;

const SHARDS: u16 = 32;
const OF_MANY: Options = Options { shards: SHARDS, ..OPTIONS };

/// An answer is there within milliseconds, or a client looks for the node that is away.
const HELD_UP: Duration = Duration::from_secs(5);

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

/// Without replicas, and with slots dealt evenly. What is left goes on when a node goes.
struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    async fn start() -> Cluster {
        let nodes: Vec<(Server, u16)> = (0..NODES).map(|_| start_node()).collect();
        for (number, (node, _)) in (0..).zip(&nodes) {
            let first = SLOTS * number / NODES;
            let last = SLOTS * (number + 1) / NODES - 1;
            node.ask(cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last)).await;
            node.ask(cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(number + 1)).await;
            for (other, bus) in &nodes[..usize::from(number)] {
                node.ask(cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(other.port()).arg(*bus)).await;
            }
        }
        let nodes = nodes.into_iter().map(|(node, _)| node).collect();
        let cluster = Cluster { nodes };
        for node in &cluster.nodes {
            while !knows_all(&node.ask(cmd("CLUSTER").arg("INFO")).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        cluster
    }

    fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// A node that knows no other yet, and the port that nodes talk to it by.
fn start_node() -> (Server, u16) {
    let bus = server::free_port();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()];
    let tolerance = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"];
    (Server::start(&[options, tolerance].concat()), bus)
}

fn knows_all(info: &Value) -> bool {
    let info: String = redis::from_redis_value(info.clone()).expect("text");
    ["cluster_state:ok", "cluster_slots_assigned:16384"].iter().all(|line| info.contains(line))
}

/// Of a store with rows on every node: all shards, and those that the first node has.
async fn shards_of(store: &Redis) -> (Vec<(Fingerprint, EntityKey)>, Vec<bool>) {
    let keys = || (0..=u16::MAX).map(|id| EntityKey::from_bytes(&id.to_be_bytes()));
    let of = |shard| keys().find(|key| key.shard(SHARDS) == Shard(shard)).expect("a shard has many entities");
    let rows: Vec<_> = (0..SHARDS).map(|shard| (VERSION, of(shard))).collect();
    store.read(&rows).await.expect("all nodes are well");
    (rows, store.keys.slots().into_iter().map(|slot| slot < SLOTS / NODES).collect())
}

/// Reads of the others' rows, as often as it takes until reads of the lost ones have failed several times, while the whole
/// cluster is asked too.
async fn the_others_answer(store: &Redis, rows: &[(Fingerprint, EntityKey)], is_lost: &[bool]) {
    let of = |lost: bool| rows.iter().zip(is_lost).filter(move |(_, is_lost)| **is_lost == lost).map(|(row, _)| row);
    let failed = Cell::new(0);
    let lookups = async {
        let mut rounds = 0;
        while failed.get() < 3 || rounds < 300 {
            for read in join_all(of(false).map(|row| timeout(HELD_UP, store.read(slice::from_ref(row))))).await {
                read.unwrap_or_else(|_| panic!("held up in round {rounds}")).expect("its node is well");
            }
            rounds += 1;
        }
    };
    let lost = async {
        loop {
            let read = join_all(of(true).map(|row| store.read(slice::from_ref(row)))).await;
            assert!(read.iter().all(|read| read.as_ref().is_err_and(Error::is_transient)), "{read:?}");
            failed.set(failed.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let everything = async {
        loop {
            drop(store.offsets(VERSION).await);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = lookups => {}
        () = lost => unreachable!("it has no end"),
        () = everything => unreachable!("it has no end"),
    }
}

async fn until_all_are_read(store: &Redis, rows: &[(Fingerprint, EntityKey)]) {
    while let Err(away) = store.read(rows).await {
        assert!(away.is_transient(), "{away}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_that_is_gone_holds_up_nobody_who_reads_from_the_others() {
    let mut cluster = Cluster::start().await;
    let store = Redis::open(&cluster.url(), &project(), OF_MANY).await.expect("a cluster");
    let (rows, is_lost) = shards_of(&store).await;
    cluster.nodes[0].kill();
    the_others_answer(&store, &rows, &is_lost).await;
    // Somebody else has its slots now.
    let last = SLOTS / NODES - 1;
    for node in &cluster.nodes[1..] {
        node.ask(cmd("CLUSTER").arg("DELSLOTSRANGE").arg(0).arg(last)).await;
    }
    cluster.nodes[1].ask(cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(last)).await;
    until_all_are_read(&store, &rows).await;
}

#[tokio::test]
async fn a_node_that_is_silent_holds_up_nobody_who_reads_from_the_others() {
    let cluster = Cluster::start().await;
    let store = Redis::open(&cluster.url(), &project(), OF_MANY).await.expect("a cluster");
    let (rows, is_lost) = shards_of(&store).await;
    cluster.nodes[0].fall_silent();
    the_others_answer(&store, &rows, &is_lost).await;
    cluster.nodes[0].speak_again();
    until_all_are_read(&store, &rows).await;
}
