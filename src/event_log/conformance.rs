//! What any event log must do, whatever its backend: the contract of the module as tests.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::event_log::partitioner::partition_of;
use crate::event_log::{Consumer, Delivery, Error, EventLog, NewRecord, TopicPartition};
use crate::kernel::event::RawRecord;
use crate::kernel::time::EventTime;

/// A log to test, and what it can do.
#[derive(Clone)]
pub struct Subject {
    pub log: Arc<dyn EventLog>,
    /// In front of every topic and group, for a log that others use too.
    pub prefix: String,
    /// The earliest stamp that a record may have, in milliseconds.
    pub earliest_ms: i64,
    /// The size of a record that is larger than what one delivery holds, if the log takes such.
    pub large: Option<usize>,
}

impl Subject {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Everything but a restart. The log has none of the topics that are named here.
pub async fn conforms(subject: &Subject) {
    an_unknown_topic_is_an_error_everywhere(subject).await;
    creating_a_topic_again_changes_nothing(subject).await;
    records_read_back_as_they_were_appended(subject).await;
    records_of_any_size_are_delivered(subject).await;
    a_key_stays_in_its_partition_and_records_without_one_take_turns(subject).await;
    appends_at_the_same_time_lose_nothing_and_keep_their_order(subject).await;
    a_consumer_delivers_each_partition_in_order_from_where_it_was_sought(subject).await;
    a_paused_partition_is_silent_until_it_is_resumed_or_sought(subject).await;
    groups_do_not_see_each_other(subject).await;
    a_dropped_wait_loses_nothing_and_an_append_wakes_it(subject).await;
    an_offset_out_of_range_stops_its_partition_and_no_other(subject).await;
    a_topic_that_the_log_made_takes_history(subject).await;
}

/// What was acknowledged, and the topics, are there after the log is opened again.
pub async fn survives_reopening(prefix: &str, open: impl AsyncFn() -> Arc<dyn EventLog>) {
    let (kept, empty) = (format!("{prefix}kept"), format!("{prefix}kept_empty"));
    let log = open().await;
    log.create_topic(&kept, 2).await.expect("created");
    log.create_topic(&empty, 3).await.expect("created");
    let places = log.append(&kept, (0..10).map(|n| keyed("same", n)).collect()).await.expect("appended");
    let partition = places[0].0;
    drop(log);

    let log = open().await;
    assert_eq!(log.bounds(&kept).await.expect("known")[partition as usize], 0..10);
    assert_eq!(log.bounds(&empty).await.expect("known"), [0..0, 0..0, 0..0]);
    let places = log.append(&kept, vec![keyed("same", 10)]).await.expect("appended");
    assert_eq!(places, [(partition, 10)]);
    assert_eq!(numbers(&held_from(&*log, &kept, partition, 0).await), (0..11).collect::<Vec<_>>());
}

async fn an_unknown_topic_is_an_error_everywhere(subject: &Subject) {
    let log = &*subject.log;
    let no = subject.name("no");
    let unknown = |outcome: Result<(), Error>| match outcome {
        Err(Error::UnknownTopic(name)) => assert_eq!(name, no),
        other => panic!("expected an unknown topic, got {other:?}"),
    };
    unknown(log.bounds(&no).await.map(drop));
    unknown(log.append(&no, vec![keyed("k", 0)]).await.map(drop));
    unknown(log.consumer(&no, std::slice::from_ref(&no)).await.map(drop));
    unknown(log.takes_replay(&no).await);
}

async fn creating_a_topic_again_changes_nothing(subject: &Subject) {
    let log = &*subject.log;
    let topic = subject.name("again");
    log.create_topic(&topic, 2).await.expect("created");
    let places = log.append(&topic, vec![keyed("k", 1)]).await.expect("appended");
    log.create_topic(&topic, 5).await.expect("exists");
    let bounds = log.bounds(&topic).await.expect("known");
    assert_eq!((bounds.len(), held(&bounds)), (2, 1));
    assert_eq!(numbers(&held_from(log, &topic, places[0].0, 0).await), [1]);
}

async fn records_read_back_as_they_were_appended(subject: &Subject) {
    let log = &*subject.log;
    let topic = subject.name("same");
    log.create_topic(&topic, 1).await.expect("created");
    assert_eq!(log.append(&topic, Vec::new()).await.expect("nothing to do"), []);
    let values =
        [Bytes::new(), Bytes::from_static(b"\0\xff"), Bytes::from(vec![7; 600_000]), Bytes::from_static(b"{}")];
    let at = |index: usize| stamp(subject.earliest_ms + index as i64);
    let records = values.iter().enumerate().map(|(index, value)| {
        let key = (index % 2 == 0).then(|| Bytes::from_static(b"k"));
        NewRecord { key, value: value.clone(), ingestion_time: at(index) }
    });
    assert_eq!(log.append(&topic, records.collect()).await.expect("appended"), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    let expected = values.into_iter().enumerate().map(|(index, value)| RawRecord {
        partition: 0,
        offset: index as u64,
        ingestion_time: at(index),
        value,
    });
    assert_eq!(held_from(log, &topic, 0, 0).await, expected.collect::<Vec<_>>());
}

async fn records_of_any_size_are_delivered(subject: &Subject) {
    let log = &*subject.log;
    let topic = subject.name("sizes");
    log.create_topic(&topic, 1).await.expect("created");
    for batch in 0..3 {
        log.append(&topic, (0..10).map(|n| keyed("k", batch * 10 + n)).collect()).await.expect("appended");
    }
    assert_eq!(numbers(&held_from(log, &topic, 0, 7).await), (7..30).collect::<Vec<_>>());
    if let Some(bytes) = subject.large {
        let large = NewRecord { value: vec![0; bytes].into(), ..keyed("k", 0) };
        log.append(&topic, vec![large.clone(), large]).await.expect("appended");
        let sizes: Vec<usize> = held_from(log, &topic, 0, 30).await.iter().map(|it| it.value.len()).collect();
        assert_eq!(sizes, [bytes, bytes]);
    }
}

async fn a_key_stays_in_its_partition_and_records_without_one_take_turns(subject: &Subject) {
    let log = &*subject.log;
    let topic = subject.name("keys");
    log.create_topic(&topic, 4).await.expect("created");
    let keys: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let places = log.append(&topic, keys.iter().map(|key| keyed(key, 0)).collect()).await.expect("appended");
    for (key, (partition, _)) in keys.iter().zip(places) {
        assert_eq!(partition, partition_of(key.as_bytes(), 4), "{key}");
    }
    let keyless = (0..400).map(|n| NewRecord { key: None, ..keyed("", n) });
    let places = log.append(&topic, keyless.collect()).await.expect("appended");
    for partition in 0..4 {
        assert!(places.iter().any(|place| place.0 == partition), "partition {partition} had no turn");
    }
}

async fn appends_at_the_same_time_lose_nothing_and_keep_their_order(subject: &Subject) {
    let topic = subject.name("crowd");
    let log = &*subject.log;
    log.create_topic(&topic, 1).await.expect("created");
    let one = async |writer: usize| {
        let mut offsets = Vec::new();
        for step in 0..20 {
            let places = log.append(&topic, vec![keyed("k", writer * 100 + step)]).await.expect("appended");
            offsets.push((writer * 100 + step, places[0].1));
        }
        offsets
    };
    let places: Vec<(usize, u64)> = futures::future::join_all((0..25).map(one)).await.concat();
    let read = numbers(&held_from(log, &topic, 0, 0).await);
    assert_eq!(read.len(), 500);
    assert!(places.iter().all(|(number, offset)| read[*offset as usize] == *number));
}

async fn a_consumer_delivers_each_partition_in_order_from_where_it_was_sought(subject: &Subject) {
    let log = &*subject.log;
    let (mut consumer, at) = consumer_of(subject, "order", 2, 10_000).await;
    consumer.seek(&at[0], 3);
    consumer.seek(&at[1], 0);
    assert!(consumer.is_member().await.expect("answers"));
    let bounds = log.bounds(&at[0].topic).await.expect("known");
    let mut next = [3, 0];
    while next.iter().zip(&bounds).any(|(next, held)| *next < held.end) {
        let (partition, records, log_end) = records_of(consumer.next().await);
        assert_eq!(log_end, bounds[partition as usize].end);
        for record in records {
            assert_eq!((record.partition, record.offset), (partition, next[partition as usize]));
            next[partition as usize] += 1;
        }
    }
    stays_silent(subject, &mut *consumer, "everything is delivered").await;
}

async fn a_paused_partition_is_silent_until_it_is_resumed_or_sought(subject: &Subject) {
    let (mut consumer, at) = consumer_of(subject, "pauses", 1, 4).await;
    stays_silent(subject, &mut *consumer, "silent until it is sought").await;
    consumer.seek(&at[0], 2);
    consumer.pause(&at[0]);
    stays_silent(subject, &mut *consumer, "paused").await;
    consumer.resume(&at[0]);
    assert_eq!(read_on(&mut *consumer, 2).await, [2, 3]);
    consumer.pause(&at[0]);
    consumer.seek(&at[0], 1);
    assert_eq!(read_on(&mut *consumer, 3).await, [1, 2, 3], "a seek goes back, and ends a pause");
    consumer.seek(&TopicPartition { partition: 9, ..at[0].clone() }, 0);
    stays_silent(subject, &mut *consumer, "a partition that is not ours is nothing to us").await;
}

async fn groups_do_not_see_each_other(subject: &Subject) {
    let log = &*subject.log;
    let (mut first, at) = consumer_of(subject, "groups", 1, 4).await;
    first.seek(&at[0], 0);
    assert_eq!(read_on(&mut *first, 4).await, [0, 1, 2, 3]);
    let mut second = log.consumer(&subject.name("another"), &[at[0].topic.clone()]).await.expect("joins");
    assigned_of(second.next().await);
    second.seek(&at[0], 1);
    assert_eq!(read_on(&mut *second, 3).await, [1, 2, 3]);
    stays_silent(subject, &mut *first, "another group moves nothing here").await;
}

async fn a_dropped_wait_loses_nothing_and_an_append_wakes_it(subject: &Subject) {
    let log = &*subject.log;
    let (mut consumer, at) = consumer_of(subject, "drops", 1, 3).await;
    consumer.seek(&at[0], 0);
    for _ in 0..5 {
        assert!(poll_once(consumer.next()).is_none_or(|delivery| !records_of(delivery).1.is_empty()));
        consumer.seek(&at[0], 0);
    }
    assert_eq!(read_on(&mut *consumer, 3).await, [0, 1, 2]);
    let (delivery, appended) = tokio::join!(consumer.next(), log.append(&at[0].topic, vec![keyed("k", 3)]));
    appended.expect("appended");
    assert_eq!(numbers(&records_of(delivery).1), [3]);
}

async fn an_offset_out_of_range_stops_its_partition_and_no_other(subject: &Subject) {
    let log = &*subject.log;
    let (mut consumer, at) = consumer_of(subject, "range", 2, 40).await;
    let end = log.bounds(&at[0].topic).await.expect("known")[0].end;
    consumer.seek(&at[0], end + 1);
    let refused = consumer.next().await;
    assert!(matches!(refused, Err(Error::OutOfRange { partition: 0, offset, .. }) if offset == end + 1));
    log.append(&at[0].topic, (0..40).map(|n| keyed(&n.to_string(), n)).collect()).await.expect("appended");
    stays_silent(subject, &mut *consumer, "records that came later are no reason to go on").await;
    consumer.seek(&at[1], 0);
    assert_eq!(records_of(consumer.next().await).0, 1);
    consumer.seek(&at[0], end);
    assert_eq!(records_of(consumer.next().await).1[0].offset, end);
}

async fn a_topic_that_the_log_made_takes_history(subject: &Subject) {
    let topic = subject.name("history");
    subject.log.create_topic(&topic, 1).await.expect("created");
    subject.log.takes_replay(&topic).await.expect("it keeps stamps and records");
    let old = NewRecord { ingestion_time: stamp(subject.earliest_ms), ..keyed("k", 0) };
    subject.log.append(&topic, vec![old.clone()]).await.expect("appended");
    let read = held_from(&*subject.log, &topic, 0, 0).await;
    assert_eq!(read[0].ingestion_time, old.ingestion_time);
}

pub fn keyed(key: &str, number: usize) -> NewRecord {
    NewRecord { key: Some(key.to_owned().into()), value: number.to_string().into(), ingestion_time: stamp(1_000) }
}

fn stamp(milliseconds: i64) -> EventTime {
    EventTime::from_micros(milliseconds * 1_000).expect("in range")
}

/// The numbers of the next `count` records, however many deliveries they come in.
pub async fn read_on(consumer: &mut dyn Consumer, count: usize) -> Vec<usize> {
    let mut read = Vec::new();
    while read.len() < count {
        read.extend(numbers(&records_of(consumer.next().await).1));
    }
    read
}

/// All records of a partition from `from` on.
pub async fn held_from(log: &dyn EventLog, topic: &str, partition: u32, from: u64) -> Vec<RawRecord> {
    let end = log.bounds(topic).await.expect("known")[partition as usize].end;
    let group = format!("{topic}_{partition}_{from}");
    let mut consumer = log.consumer(&group, &[topic.to_owned()]).await.expect("joins");
    assigned_of(consumer.next().await);
    consumer.seek(&TopicPartition { topic: topic.to_owned(), partition }, from);
    let mut held = Vec::new();
    while held.last().is_none_or(|last: &RawRecord| last.offset + 1 < end) {
        held.extend(records_of(consumer.next().await).1);
    }
    consumer.leave().await;
    held
}

pub fn numbers(records: &[RawRecord]) -> Vec<usize> {
    let number = |record: &RawRecord| String::from_utf8_lossy(&record.value).parse().expect("a number");
    records.iter().map(number).collect()
}

fn held(bounds: &[Range<u64>]) -> u64 {
    bounds.iter().map(|held| held.end - held.start).sum()
}

/// What `stays_silent` appends to.
const MARKER: &str = "marker";

/// A new topic with numbered records under many keys, and a consumer that has been assigned all of it.
async fn consumer_of(
    subject: &Subject,
    topic: &str,
    partitions: u32,
    records: usize,
) -> (Box<dyn Consumer>, Vec<TopicPartition>) {
    let (log, topic, marker) = (&*subject.log, subject.name(topic), subject.name(MARKER));
    log.create_topic(&topic, partitions).await.expect("created");
    log.create_topic(&marker, 1).await.expect("created");
    log.append(&topic, (0..records).map(|n| keyed(&n.to_string(), n)).collect()).await.expect("appended");
    // Each test has a group of its own: the member of the one before may still be on its way out.
    let mut consumer = log.consumer(&topic, &[topic.clone(), marker.clone()]).await.expect("joins");
    let mut assigned = assigned_of(consumer.next().await);
    let at = |topic: &str, partition| TopicPartition { topic: topic.to_owned(), partition };
    let all = (0..partitions).map(|partition| at(&topic, partition)).chain([at(&marker, 0)]);
    assert_eq!(assigned, BTreeSet::from_iter(all));
    let end = log.bounds(&marker).await.expect("known")[0].end;
    let marker = at(&marker, 0);
    consumer.seek(&marker, end);
    assigned.remove(&marker);
    (consumer, assigned.into_iter().collect())
}

/// A consumer with nothing to say waits, which no test can see without a clock. So it gets something to say twice: were
/// there anything else, it would have had its turn in between.
async fn stays_silent(subject: &Subject, consumer: &mut dyn Consumer, why: &str) {
    let marker = subject.name(MARKER);
    for number in 0..2 {
        subject.log.append(&marker, vec![keyed("marker", number)]).await.expect("appended");
        match consumer.next().await.expect("a delivery") {
            Delivery::Records { partition, .. } => assert_eq!(partition.topic, marker, "{why}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

pub fn assigned_of(delivery: Result<Delivery, Error>) -> BTreeSet<TopicPartition> {
    match delivery.expect("a delivery") {
        Delivery::Assigned(partitions) => partitions.into_iter().collect(),
        other => panic!("expected an assignment, got {other:?}"),
    }
}

fn records_of(delivery: Result<Delivery, Error>) -> (u32, Vec<RawRecord>, u64) {
    match delivery.expect("a delivery") {
        Delivery::Records { partition, records, next, log_end } => {
            assert!(
                records.last().is_none_or(|last| last.offset < next) && next <= log_end,
                "next {next} of {log_end}"
            );
            (partition.partition, records, log_end)
        }
        other => panic!("expected records, got {other:?}"),
    }
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
