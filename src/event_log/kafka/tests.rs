//! Kafka against the suite of all logs, and what only a group, a transaction or a broker can do. The brokers are
//! those of `KAFKA_BROKERS`; every test has topics and groups of its own.

mod broker;

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::timeout;

use super::*;
use crate::event_log::conformance::{self, Subject, assigned_of, keyed, numbers, read_on};
use crate::event_log::{Delivery, TopicPartition};
use broker::{Broker, free_ports};

pub(super) fn options() -> Options {
    let brokers = std::env::var("KAFKA_BROKERS");
    Options {
        brokers: brokers.expect("KAFKA_BROKERS is not set: run ./test, or tests/servers cargo test ..."),
        options: Vec::new(),
        create_topics: true,
        replication: 1,
        instance_id: String::new(),
        session_timeout: Duration::from_secs(6),
    }
}

fn named(instance_id: &str) -> Options {
    Options { instance_id: instance_id.to_owned(), ..options() }
}

pub(super) async fn connect(options: Options) -> KafkaLog {
    KafkaLog::connect(options).await.expect("brokers answer")
}

fn unique(name: &str) -> String {
    format!("t{:016x}-{name}", fastrand::u64(..))
}

fn at(topic: &str, partitions: impl IntoIterator<Item = u32>) -> BTreeSet<TopicPartition> {
    partitions.into_iter().map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect()
}

/// A topic of one partition with `count` numbered records.
pub(super) async fn topic_of(log: &KafkaLog, name: &str, partitions: u32, count: usize) -> String {
    let topic = unique(name);
    log.create_topic(&topic, partitions).await.expect("created");
    let records = (0..count).map(|number| keyed(&number.to_string(), number)).collect();
    log.append(&topic, records).await.expect("appended");
    topic
}

/// A member, and what it was given.
struct Held {
    consumer: Box<dyn Consumer>,
    partitions: BTreeSet<TopicPartition>,
}

impl Held {
    async fn join(log: &KafkaLog, topic: &str) -> Held {
        let consumer = log.consumer(topic, &[topic.to_owned()]).await.expect("joins");
        Held { consumer, partitions: BTreeSet::new() }
    }

    /// Hears one delivery, whatever was heard before.
    async fn hear(&mut self) {
        match self.consumer.next().await.expect("a delivery") {
            Delivery::Assigned(partitions) => self.partitions.extend(partitions),
            Delivery::Revoked(partitions) => self.partitions.retain(|partition| !partitions.contains(partition)),
            Delivery::Records { .. } => {}
        }
    }

    async fn until(&mut self, count: usize) {
        while self.partitions.len() != count {
            self.hear().await;
        }
    }

    async fn is_member(&mut self) -> bool {
        self.consumer.is_member().await.expect("answers")
    }
}

/// Both go on asking, which is what lets partitions go.
async fn share(first: &mut Held, second: &mut Held, count: usize) {
    while (first.partitions.len(), second.partitions.len()) != (count, count) {
        tokio::select! {
            () = first.hear() => {}
            () = second.hear() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_conforms() {
    let log = Arc::new(connect(options()).await);
    conformance::conforms(&Subject { log, prefix: unique(""), earliest_ms: 1, large: None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_survives_reopening() {
    let open = async || Arc::new(connect(options()).await) as Arc<dyn EventLog>;
    conformance::survives_reopening(&unique(""), open).await;
}

fn transactional() -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", options().brokers).set("transactional.id", unique("writer"));
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(Duration::from_secs(30)).expect("transactions");
    producer
}

fn in_transaction(producer: &BaseProducer, topic: &str, numbers: &[usize], commits: bool) {
    producer.begin_transaction().expect("begun");
    for number in numbers {
        let value = number.to_string();
        let record = BaseRecord::<str, str>::to(topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(Duration::from_secs(30)).expect("flushed");
    let ended = match commits {
        true => producer.commit_transaction(Duration::from_secs(30)),
        false => producer.abort_transaction(Duration::from_secs(30)),
    };
    ended.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_reaches_the_end_of_a_log_that_ends_in_a_gap() {
    let log = connect(options()).await;
    let topic = topic_of(&log, "gaps", 1, 0).await;
    let producer = transactional();
    // Offsets: 0 1 and a mark, 3 4 aborted and a mark, 6 and a mark, 8 aborted and a mark.
    in_transaction(&producer, &topic, &[0, 1], true);
    in_transaction(&producer, &topic, &[90, 91], false);
    in_transaction(&producer, &topic, &[2], true);
    in_transaction(&producer, &topic, &[92], false);
    // The mark of a transaction is written a moment after it has ended.
    let marked = async { while log.bounds(&topic).await.expect("known").first() != Some(&(0..10)) {} };
    timeout(Duration::from_secs(60), marked).await.expect("ten offsets");

    let mut consumer = log.consumer(&topic, from_ref(&topic)).await.expect("joins");
    let place = assigned_of(consumer.next().await).pop_first().expect("its only partition");
    consumer.seek(&place, 0);
    let (mut read, mut reached) = (Vec::new(), 0);
    while reached < 10 {
        let Delivery::Records { records, next, .. } = consumer.next().await.expect("a delivery") else {
            panic!("expected records")
        };
        assert!(next > reached && records.iter().all(|record| (reached..next).contains(&record.offset)));
        read.extend(numbers(&records));
        reached = next;
    }
    assert_eq!((read, reached), (vec![0, 1, 2], 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_added_is_assigned_while_running() {
    let log = connect(options()).await;
    let topic = topic_of(&log, "grows", 1, 3).await;
    let mut consumer = log.consumer(&topic, from_ref(&topic)).await.expect("joins");
    let place = assigned_of(consumer.next().await).pop_first().expect("its only partition");
    consumer.seek(&place, 0);
    assert_eq!(read_on(&mut *consumer, 3).await, [0, 1, 2]);
    let admin: AdminClient<_> = options().admin().create().expect("an admin client");
    admin.create_partitions([&NewPartitions::new(&topic, 2)], &AdminOptions::new()).await.expect("added");
    assert_eq!(assigned_of(consumer.next().await), at(&topic, [1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_and_the_one_that_leaves_hands_over_at_once() {
    let patient = |name: &str| Options { session_timeout: Duration::from_secs(300), ..named(name) };
    let (log, other) = (connect(patient("a")).await, connect(patient("b")).await);
    let topic = topic_of(&log, "shared", 4, 40).await;
    let mut first = Held::join(&log, &topic).await;
    first.until(4).await;
    let mut second = Held::join(&other, &topic).await;
    share(&mut first, &mut second, 2).await;
    assert_eq!(&first.partitions | &second.partitions, at(&topic, 0..4));
    // Who has not heard yet of the generation that has just begun is none for a moment.
    let both_are = async { while !(first.is_member().await && second.is_member().await) {} };
    timeout(Duration::from_secs(60), both_are).await.expect("both are members");

    // Its session lasts longer than anybody waits for this test: it is the farewell that frees the partitions.
    first.consumer.leave().await;
    second.until(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_is_given_away_when_the_next_delivery_is_asked_for() {
    let (log, other) = (connect(named("a")).await, connect(named("b")).await);
    let topic = topic_of(&log, "waits", 2, 10).await;
    let mut first = Held::join(&log, &topic).await;
    first.until(2).await;
    let mut second = Held::join(&other, &topic).await;
    first.until(1).await;
    assert!(first.is_member().await, "who is asked to let go is still a member");
    assert!(second.partitions.is_empty());
    share(&mut first, &mut second, 1).await;
    assert_eq!(&first.partitions | &second.partitions, at(&topic, 0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_a_member_was_to_give_up_when_it_died_finds_an_owner() {
    let patient = |name: &str| Options { session_timeout: Duration::from_secs(300), ..named(name) };
    let (log, other) = (connect(patient("a")).await, connect(patient("b")).await);
    let topic = topic_of(&log, "orphan", 2, 20).await;
    let mut first = Held::join(&log, &topic).await;
    first.until(2).await;
    let mut second = Held::join(&other, &topic).await;
    first.until(1).await;
    // It has not let go yet, and says no farewell: what it was to give up is nobody's when it is back.
    drop(first.consumer);
    let mut first = Held::join(&log, &topic).await;
    // Much longer than it takes, and much shorter than a session: without an owner by then it has none for good.
    let shared = timeout(Duration::from_secs(60), share(&mut first, &mut second, 1)).await;
    let owned = &first.partitions | &second.partitions;
    assert!(shared.is_ok(), "only {owned:?} has an owner");
    assert_eq!(owned, at(&topic, 0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_member_has_its_partitions_again_after_a_restart_and_the_others_hear_nothing() {
    let (log, other) = (connect(named("a")).await, connect(named("b")).await);
    let topic = topic_of(&log, "restarts", 4, 40).await;
    let mut first = Held::join(&log, &topic).await;
    first.until(4).await;
    let mut second = Held::join(&other, &topic).await;
    share(&mut first, &mut second, 2).await;
    let before = second.partitions;
    drop(second.consumer);
    let mut second = Held::join(&other, &topic).await;
    second.until(2).await;
    assert_eq!(second.partitions, before);
    assert!(first.is_member().await, "its generation is still the group's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_member_that_comes_back_with_more_topics_is_assigned_them() {
    let log = connect(named("a")).await;
    let (topic, added) = (topic_of(&log, "before", 2, 1).await, topic_of(&log, "after", 2, 1).await);
    let mut before = Held::join(&log, &topic).await;
    before.until(2).await;
    before.consumer.leave().await;
    let consumer = log.consumer(&topic, &[added.clone(), topic.clone()]).await.expect("joins");
    let mut after = Held { consumer, partitions: BTreeSet::new() };
    after.until(4).await;
    assert_eq!(after.partitions, &at(&topic, 0..2) | &at(&added, 0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_where_a_java_producer_puts_them() {
    let log = connect(options()).await;
    let topic = topic_of(&log, "java", 7, 0).await;
    // Kafka's own vectors: the key's murmur2 without its sign, modulo seven partitions.
    let keys = ["21", "foobar", "a-little-bit-long-string", "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"];
    let hashes = [-973_932_308_i32, -790_332_482, -985_981_536, -58_897_971];
    let places = log.append(&topic, keys.iter().map(|key| keyed(key, 0)).collect()).await.expect("appended");
    for ((key, hash), (partition, _)) in keys.iter().zip(hashes).zip(places) {
        assert_eq!(partition, (hash as u32 & 0x7fff_ffff) % 7, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_name_was_taken_hears_so() {
    let (log, twin) = (connect(named("same")).await, connect(named("same")).await);
    let topic = topic_of(&log, "twins", 1, 1).await;
    let mut first = log.consumer(&topic, from_ref(&topic)).await.expect("joins");
    assert_eq!(assigned_of(first.next().await), at(&topic, [0]));
    let mut second = twin.consumer(&topic, from_ref(&topic)).await.expect("joins");
    assert_eq!(assigned_of(second.next().await), at(&topic, [0]));
    let fenced = loop {
        match first.next().await {
            Err(error) => break error,
            Ok(delivery) => assert!(matches!(delivery, Delivery::Revoked(_)), "{delivery:?}"),
        }
    };
    assert!(matches!(&fenced, Error::Fenced { .. }) && !fenced.is_transient(), "{fenced}");
    assert!(!first.is_member().await.expect("answers"));
    assert!(second.is_member().await.expect("answers"));
}

async fn configured(name: &str, settings: &[(&str, &str)]) -> String {
    let topic = unique(name);
    let mut new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    for (setting, value) in settings {
        new = new.set(setting, value);
    }
    let admin: AdminClient<_> = options().admin().create().expect("an admin client");
    let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("answered");
    made[0].as_ref().expect("created");
    topic
}

fn why(outcome: Result<(), Error>) -> String {
    match outcome {
        Err(error @ Error::Refused { .. }) => error.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_refused() {
    let log = connect(options()).await;
    let topic = configured("compacted", &[("cleanup.policy", "compact")]).await;
    for refused in [
        why(log.create_topic(&topic, 1).await),
        why(log.consumer(&topic, from_ref(&topic)).await.map(drop)),
        why(log.append(&topic, vec![keyed("k", 0)]).await.map(drop)),
    ] {
        assert!(refused.contains("compacted") && refused.contains("`delete`"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_refused_by_a_topic_that_stamps_or_deletes_it() {
    let log = connect(options()).await;
    let stamps = configured("stamps", &[("message.timestamp.type", "LogAppendTime"), ("retention.ms", "-1")]).await;
    let deletes = configured("deletes", &[("retention.ms", "86400000")]).await;
    let refused = why(log.takes_replay(&stamps).await);
    assert!(refused.contains("message.timestamp.type=CreateTime"), "{refused}");
    let refused = why(log.takes_replay(&deletes).await);
    assert!(refused.contains("retention.ms=-1"), "{refused}");
    assert!(log.create_topic(&stamps, 1).await.is_ok(), "what happens now may be stamped by the broker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_an_error_that_says_how_to_make_it() {
    let log = connect(Options { create_topics: false, ..options() }).await;
    let topic = unique("missing");
    let refused = why(log.create_topic(&topic, 3).await);
    let command = format!("--create --topic {topic} --partitions 3");
    assert!(refused.contains("kafka-topics.sh") && refused.contains(&command), "{refused}");
    assert!(matches!(log.bounds(&topic).await, Err(Error::UnknownTopic(_))));
}

/// What a topic bounds is the size of a compressed batch.
fn incompressible(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_too_old_is_refused_with_a_reason() {
    let log = connect(options()).await;
    let topic = topic_of(&log, "refusals", 1, 0).await;
    let large = NewRecord { value: incompressible(2 << 20).into(), ..keyed("k", 0) };
    assert!(why(log.append(&topic, vec![large]).await.map(drop)).contains("max.message.bytes"));
    let early = crate::kernel::time::EventTime::from_micros(-1_000).expect("in range");
    let old = NewRecord { ingestion_time: early, ..keyed("k", 0) };
    assert!(why(log.append(&topic, vec![old]).await.map(drop)).contains("1970"));
    assert_eq!(log.append(&topic, vec![keyed("k", 0)]).await.expect("the next one is taken"), [(0, 0)]);
}

#[tokio::test]
async fn no_broker_is_an_error_that_passes() {
    let away = Options { brokers: "127.0.0.1:1".to_owned(), ..options() };
    let error = KafkaLog::connect(away).await.err().expect("nobody is there");
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_and_comes_back_is_read_and_written_on() {
    let mut broker = Broker::start(1, &free_ports(1));
    let settings = Options { brokers: broker.address(), session_timeout: Duration::from_secs(60), ..named("a") };
    let log = loop {
        match KafkaLog::connect(settings.clone()).await {
            Ok(log) => break log,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    let topic = topic_of(&log, "killed", 1, 3).await;
    let mut consumer = log.consumer(&topic, from_ref(&topic)).await.expect("joins");
    let place = assigned_of(consumer.next().await).pop_first().expect("its only partition");
    consumer.seek(&place, 0);
    assert_eq!(read_on(&mut *consumer, 3).await, [0, 1, 2]);

    broker.kill();
    let append = async {
        // An append whose outcome is unknown may have happened: then the record is there twice, which is for those
        // who number their records to find.
        while let Err(error) = log.append(&topic, vec![keyed("k", 3)]).await {
            assert!(error.is_transient(), "{error}");
        }
    };
    let read = async {
        loop {
            match consumer.next().await {
                Ok(Delivery::Records { records, .. }) if !records.is_empty() => break numbers(&records),
                Ok(Delivery::Assigned(_)) => consumer.seek(&place, 3),
                Ok(_) => {}
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let (read, (), ()) = tokio::join!(read, append, async { broker.restart() });
    assert!(read.iter().all(|number| *number == 3), "{read:?}");
    assert!(consumer.is_member().await.expect("answers"));
}
