//! The contract on real servers, and what only a real server does: restart, fail over, expire, evict, refuse.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::{Cmd, Value, cmd};

use super::*;
use crate::kernel::engine::Flushed;
use crate::online::Position;
use crate::online::conformance::{self, Expiring};
use cutting::{Cut, CuttingProxy};
use server::Server;

mod away;
mod cutting;
mod failover;
mod server;

const VERSION: Fingerprint = Fingerprint(1);
const OPTIONS: Options = Options { shards: 4, wait: 0, wait_limit: Duration::from_millis(100) };

/// Of its own for each test, so that they run side by side on one server.
fn project() -> Name {
    let random = getrandom::u64().expect("random bytes");
    format!("test_{random:x}").parse().expect("a name")
}

async fn open(url: &str) -> Redis {
    Redis::open(url, &project(), OPTIONS).await.expect("a server for tests")
}

async fn refusal(url: &str, project: &Name, options: Options) -> String {
    let refused = Redis::open(url, project, options).await.map(|_| ()).expect_err("it is refused");
    assert!(matches!(refused, Error::Unusable { .. }) && !refused.is_transient(), "{refused:?}");
    refused.to_string()
}

fn entity() -> EntityKey {
    EntityKey::from_bytes(b"a")
}

fn shard() -> Shard {
    entity().shard(OPTIONS.shards)
}

fn row(head: &str, expires_at: Option<EventTime>) -> PartWrite {
    let flushed =
        Flushed { head: head.to_owned().into(), body: None, ids: Some("ids".into()), expires_at, expiry_moved: true };
    PartWrite { key: PartKey { version: VERSION, entity: entity(), part: PartId::Partition(0) }, flushed }
}

/// With the expiry of the write before it.
fn again(expires_at: Option<EventTime>) -> PartWrite {
    let mut row = row("head", expires_at);
    row.flushed.expiry_moved = false;
    row
}

fn step(from: u64, to: u64) -> [Advance; 1] {
    [Advance { version: VERSION, partition: 0, nonce: Nonce(1), from, to }]
}

async fn claim(store: &Redis) -> u64 {
    let claims = [Claim { version: VERSION, partition: 0, initial: 0 }];
    store.claim(shard(), &claims, Nonce(1)).await.expect("claimed")[0]
}

async fn read(store: &Redis) -> Result<StoredRow, Error> {
    Ok(store.read(&[(VERSION, entity())]).await?.remove(0).expect("it is whole"))
}

/// What a read tells: the heads, and the offsets.
async fn heads(store: &Redis) -> (Vec<String>, Vec<(u32, u64)>) {
    let row = read(store).await.expect("read");
    let text = |(_, image): &(PartId, Image)| String::from_utf8(image.head.to_vec()).expect("text");
    (row.parts.iter().map(text).collect(), row.offsets)
}

async fn raw(store: &Redis, command: &Cmd) -> Value {
    store.reads.command(command).await.expect("answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    let store = open(&server::shared("REDIS_URL")).await;
    assert!(!store.fails_by_shard(), "it is one server");
    conformance::conforms(&store, Expiring::ByItself).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms_while_a_replica_acknowledges() {
    let options = Options { wait: 1, wait_limit: Duration::from_millis(5_000), ..OPTIONS };
    let store = Redis::open(&server::shared("REDIS_URL"), &project(), options).await.expect("a server for tests");
    conformance::conforms(&store, Expiring::ByItself).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms_on_a_cluster() {
    let store = open(&server::shared("REDIS_CLUSTER_URL")).await;
    assert!(store.fails_by_shard(), "each has a node");
    conformance::conforms(&store, Expiring::ByItself).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_told_by_itself() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    assert_eq!(store.apply(shard(), &step(0, 5), &[row("head", None)]).await.expect("written"), Applied::Done);
    let control = store.keys.control(VERSION, shard());
    let generation = raw(&store, cmd("HGET").arg(control).arg("g")).await;
    let generation: Vec<u8> = redis::from_redis_value(generation).expect("bytes");
    let field = [b"?", &layout::part_name(PartId::Partition(0))[..], &generation].concat();
    raw(&store, cmd("HSET").arg(store.keys.row(VERSION, shard(), &entity())).arg(field).arg("")).await;
    let rows = [(VERSION, EntityKey::from_bytes(b"b")), (VERSION, entity())];
    let read = store.read(&rows).await.expect("the server answers");
    assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    let key = PartKey { version: VERSION, entity: entity(), part: PartId::Partition(0) };
    let damaged = store.load(&[key]).await.expect_err("a writer has to know what it writes over");
    assert!(matches!(damaged, Error::Damaged { .. }), "{damaged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_made_anew_on_a_cluster() {
    let store = open(&server::shared("REDIS_CLUSTER_URL")).await;
    let entities: Vec<_> = (0..64_u8).map(|id| (VERSION, EntityKey::from_bytes(&[id]))).collect();
    store.read(&entities).await.expect("all nodes are well");
    let nodes = store.reads.each_primary(&cmd("PING")).await.expect("all answer");
    for (node, _) in &nodes {
        // It may be ours that is killed, before it is answered.
        drop(store.reads.at(node, cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("no")).await);
        let claims = [Claim { version: VERSION, partition: 0, initial: 0 }];
        let mut calls = 0;
        let answered = async || {
            store.read(&entities).await?;
            store.claim(shard(), &claims, Nonce(1)).await
        };
        while let Err(away) = answered().await {
            assert!(away.is_transient() && calls < 100, "{node}: still {away}");
            calls += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_that_are_told_is_enough_and_one_with_fewer_is_refused() {
    let server = Server::start(&[]);
    let (project, admin) = (project(), open(&server.url()).await);
    let user = async |name: &str, rights: &str| {
        let mut command =
            cmd("ACL").arg("SETUSER").arg(name).arg("on").arg(">secret").arg(format!("~{{{project}*")).to_owned();
        for right in rights.split(' ') {
            command.arg(right);
        }
        raw(&admin, &command).await;
        server.url().replace("redis://", &format!("redis://{name}:secret@"))
    };
    let enough = user("enough", failure::RIGHTS).await;
    let store = Redis::open(&enough, &project, OPTIONS).await.expect("it may do all of it");
    conformance::conforms(&store, Expiring::ByItself).await;
    for right in ["+@read", "+@write", "+@scripting", "+@transaction", "+info", "+time"] {
        let rights: Vec<&str> = failure::RIGHTS.split(' ').filter(|other| *other != right).collect();
        let fewer = user(&format!("without_{}", &right[1..]), &rights.join(" ")).await;
        let refusal = refusal(&fewer, &project, OPTIONS).await;
        assert!(refusal.contains("may not do what a store needs") && refusal.contains("+time"), "{right}: {refusal}");
    }
}

#[tokio::test]
async fn another_number_of_shards_is_refused() {
    let (url, project) = (server::shared("REDIS_URL"), project());
    Redis::open(&url, &project, OPTIONS).await.expect("created");
    Redis::open(&url, &project, OPTIONS).await.expect("opened again");
    let refusal = refusal(&url, &project, Options { shards: 8, ..OPTIONS }).await;
    assert!(refusal.contains("4 shards, not 8"), "{refusal}");
}

#[tokio::test]
async fn a_replica_tells_where_its_primary_is_and_may_become_one() {
    let (url, primary) = (server::shared("REDIS_REPLICA_URL"), server::shared("REDIS_URL"));
    let refused = Redis::open(&url, &project(), OPTIONS).await.map(drop).expect_err("nothing can be written to it");
    let (port, told) = (primary.rsplit(':').next().expect("a port"), refused.to_string());
    assert!(refused.is_transient() && told.contains("is a replica") && told.contains(port), "{told}");
}

#[tokio::test]
async fn a_server_that_is_away_is_worth_another_try() {
    let away = Redis::open("redis://127.0.0.1:1", &project(), OPTIONS).await.map(|_| ()).expect_err("nobody listens");
    assert!(away.is_transient() && away.to_string().contains("127.0.0.1:1"), "{away}");
}

#[tokio::test]
async fn a_single_server_is_no_cluster() {
    let url = server::shared("REDIS_URL").replace("redis://", "redis+cluster://");
    let refusal = refusal(&url, &project(), OPTIONS).await;
    assert!(refusal.contains("begins with `redis://`"), "{refusal}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_plain_words_and_not_repeated() {
    let server = Server::start(&["--requirepass", "right"]);
    for login in ["", ":wrong@", "nobody:wrong@"] {
        let url = server.url().replace("redis://", &format!("redis://{login}"));
        let refusal = refusal(&url, &project(), OPTIONS).await;
        assert!(refusal.contains("user or password") && !refusal.contains("wrong"), "{refusal}");
    }
    let store = open(&server.url().replace("redis://", "redis://:right@")).await;
    assert_eq!(claim(&store).await, 0);
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_also_when_it_is_connected_to_again() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let evicts = refusal(&server.url(), &project(), OPTIONS).await;
    assert!(evicts.contains("allkeys-lru") && evicts.contains("CONFIG SET maxmemory-policy noeviction"), "{evicts}");

    let server = Server::start(&[]);
    let store = open(&server.url()).await;
    claim(&store).await;
    raw(&store, cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("volatile-lru")).await;
    drop(store.reads.command(cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("no")).await);
    let mut refused = read(&store).await.expect_err("the connection is gone, or the server is refused");
    if !refused.to_string().contains("volatile-lru") {
        refused = read(&store).await.expect_err("the server is refused");
    }
    assert!(refused.is_transient() && refused.to_string().contains("volatile-lru"), "{refused}");
}

fn in_hours(hours: i64) -> EventTime {
    #[expect(clippy::disallowed_methods, reason = "the server expires by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros() as i64;
    EventTime::unchecked(now + hours * 3_600_000_000)
}

/// Of the row and of its ids; -1: never.
async fn expiries(store: &Redis) -> [i64; 2] {
    let of = async |key: Vec<u8>| match raw(store, cmd("PEXPIRETIME").arg(key)).await {
        Value::Int(instant) => instant,
        other => panic!("not an instant: {other:?}"),
    };
    [of(store.keys.row(VERSION, shard(), &entity())).await, of(store.keys.ids(VERSION, shard(), &entity())).await]
}

#[tokio::test]
async fn an_expiry_is_that_of_the_server_and_only_grows() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    let millis = |instant: EventTime| (instant.micros() + 999) / 1_000;
    let [near, far] = [in_hours(5), in_hours(50)];
    for (from, written, expected) in
        [(0, Some(near), millis(near)), (1, Some(far), millis(far)), (2, Some(near), millis(far)), (3, None, -1)]
    {
        store.apply(shard(), &step(from, from + 1), &[row("head", written)]).await.expect("answered");
        assert_eq!(expiries(&store).await, [expected; 2], "after write {from}");
    }
    store.apply(shard(), &step(4, 5), &[row("head", Some(far))]).await.expect("answered");
    assert_eq!(expiries(&store).await, [-1; 2], "what never expires stays so");
}

#[tokio::test]
async fn an_expiry_that_did_not_move_is_left_alone_unless_its_key_is_new() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    let millis = |instant: EventTime| (instant.micros() + 999) / 1_000;
    let [near, far, moved] = [in_hours(5), in_hours(50), in_hours(70)];
    store.apply(shard(), &step(0, 1), &[row("head", Some(far))]).await.expect("answered");
    for key in [store.keys.row(VERSION, shard(), &entity()), store.keys.ids(VERSION, shard(), &entity())] {
        raw(&store, cmd("PEXPIREAT").arg(key).arg(millis(near))).await;
    }
    store.apply(shard(), &step(1, 2), &[again(Some(far))]).await.expect("answered");
    assert_eq!(expiries(&store).await, [millis(near); 2], "nobody looked at it");
    raw(&store, cmd("UNLINK").arg(store.keys.ids(VERSION, shard(), &entity()))).await;
    store.apply(shard(), &step(2, 3), &[again(Some(far))]).await.expect("answered");
    assert_eq!(expiries(&store).await, [millis(near), millis(far)], "ids that are new have an expiry of their own");
    store.apply(shard(), &step(3, 4), &[row("head", Some(moved))]).await.expect("answered");
    assert_eq!(expiries(&store).await, [millis(moved); 2]);
    store.apply(shard(), &step(4, 5), &[again(None)]).await.expect("answered");
    assert_eq!(expiries(&store).await, [millis(moved); 2], "one that never expires is not looked at either");
}

#[tokio::test]
async fn what_is_written_behind_time_stays_for_a_day_after_its_last_write() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    let [soon, before, after] = [in_hours(2), in_hours(23), in_hours(25)].map(|instant| instant.micros() / 1_000);
    let old = Some(in_hours(-700));
    for (step, row) in [(step(0, 1), row("old", old)), (step(1, 2), again(old))] {
        store.apply(shard(), &step, &[row]).await.expect("answered");
        assert!(expiries(&store).await.iter().all(|expiry| (before..after).contains(expiry)));
        for key in [store.keys.row(VERSION, shard(), &entity()), store.keys.ids(VERSION, shard(), &entity())] {
            raw(&store, cmd("PEXPIREAT").arg(key).arg(soon)).await;
        }
    }
    assert_eq!(store.load(&[row("", None).key]).await.expect("loaded")[0].image.as_ref().expect("there").ids, "ids");
}

#[tokio::test]
async fn a_removal_unlinks_every_key_of_the_version_and_no_other() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    store.apply(shard(), &step(0, 1), &[row("head", None)]).await.expect("answered");
    let kept = store.keys.row(Fingerprint(2), shard(), &entity());
    raw(&store, cmd("HSET").arg(&kept).arg("of").arg("another version")).await;
    store.remove(VERSION).await.expect("removed");
    for key in [store.keys.row(VERSION, shard(), &entity()), store.keys.ids(VERSION, shard(), &entity())] {
        assert_eq!(raw(&store, cmd("EXISTS").arg(key)).await, Value::Int(0));
    }
    assert_eq!(raw(&store, cmd("EXISTS").arg(&kept)).await, Value::Int(1));
    raw(&store, cmd("UNLINK").arg(&kept)).await;
}

#[tokio::test]
async fn rows_that_a_removal_left_behind_are_not_there_and_go_with_the_next() {
    let store = open(&server::shared("REDIS_URL")).await;
    claim(&store).await;
    let mut whole = row("left", None);
    whole.flushed.body = Some("body".into());
    store.apply(shard(), &step(0, 1), &[whole]).await.expect("answered");
    raw(&store, cmd("UNLINK").arg(store.keys.control(VERSION, shard()))).await;
    assert_eq!(read(&store).await.expect("read"), StoredRow::default());

    assert_eq!(claim(&store).await, 0);
    store.complete(VERSION, &[]).await.expect("answered");
    assert_eq!(heads(&store).await, (vec![], vec![(0, 0)]));
    store.apply(shard(), &step(0, 1), &[row("new", None)]).await.expect("answered");
    let image = Image { head: "new".into(), body: "".into(), ids: "ids".into() };
    assert_eq!(store.load(&[row("", None).key]).await.expect("loaded")[0].image, Some(image));

    store.remove(VERSION).await.expect("removed");
    let key = store.keys.row(VERSION, shard(), &entity());
    assert_eq!(raw(&store, cmd("EXISTS").arg(key)).await, Value::Int(0));
}

#[tokio::test]
async fn a_flush_that_too_few_replicas_have_is_of_unknown_outcome_also_when_it_is_sent_again() {
    let server = Server::start(&[]);
    let options = Options { wait: 1, wait_limit: Duration::from_millis(20), ..OPTIONS };
    let store = Redis::open(&server.url(), &project(), options).await.expect("a server");
    claim(&store).await;
    for _ in 0..2 {
        let unknown = store.apply(shard(), &step(0, 1), &[row("head", None)]).await.expect_err("there is no replica");
        assert!(unknown.is_transient() && unknown.to_string().contains("0 replicas"), "{unknown}");
    }
    let replica = Server::replica_of(&server);
    replica.until_it_follows().await;
    let done = Applied::Refused(vec![Some(Position { nonce: Nonce(1), offset: 1 })]);
    // A busy replica may take longer than the limit: then the outcome is unknown once more.
    for _ in 0..1_000 {
        match store.apply(shard(), &step(0, 1), &[row("head", None)]).await {
            Ok(outcome) => return assert_eq!(outcome, done),
            Err(unknown) => assert!(unknown.is_transient(), "{unknown}"),
        }
    }
    panic!("a replica that follows has never acknowledged the flush");
}
