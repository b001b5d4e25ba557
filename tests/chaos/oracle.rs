//! What every entity's features have to be: the log read again from its start, and folded by a few lines that share
//! nothing with Freshet's kernel. It follows semantics §2, §3 and §4.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Context;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::arguments::Plant;
use crate::events::Event;
use crate::freshness::PARTITIONS;
use crate::traffic::TOPIC;

/// As the definitions have them.
const LATENESS_MS: i64 = 2 * 60 * 1_000;
const DEDUP_WINDOW_MS: i64 = 20 * 1_000;

const SECOND: i64 = 1_000_000;

/// Windows with their hops, in microseconds.
const FIVE_MINUTES: (i64, i64) = (300 * SECOND, 5 * SECOND);
const ONE_MINUTE: (i64, i64) = (60 * SECOND, SECOND);
const DISTINCT_LIMIT: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    User,
    Item,
}

#[derive(Default)]
pub struct Oracle {
    pub rows: BTreeMap<(View, String), Row>,
    /// Partition and offset of every record that must be a dead letter.
    pub poison: BTreeSet<(u32, u64)>,
    /// Of good events, copies included.
    pub ids: Vec<u64>,
    pub records: u64,
    pub late: u64,
    pub copies: u64,
    parts: HashMap<(View, u32, String), Part>,
    /// Still to be planted.
    plant: Option<Plant>,
}

/// What an entity's features come from.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub events: i64,
    pub ids: i64,
    pub hash_a: i64,
    pub hash_b: i64,
    /// Ordered by event time, partition and offset.
    last: Option<(i64, u32, u64, i64)>,
    /// Time, id and hash of the events that a window may still hold.
    recent: Vec<(i64, i64, i64)>,
}

/// Which ids one partition accepted for an entity lately.
#[derive(Default)]
struct Part {
    accepted: HashMap<i64, i64>,
    newest: Option<i64>,
    forget_at: usize,
}

impl Oracle {
    /// Reads all that the broker holds. Windows are asked about at `earliest` or later. Blocks.
    pub fn read(brokers: &str, earliest: i64, plant: Option<Plant>) -> anyhow::Result<Oracle> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "oracle").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut ends = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let timeout = Duration::from_secs(30);
            let (start, end) = consumer.fetch_watermarks(TOPIC, partition.cast_signed(), timeout)?;
            assignment.add_partition_offset(TOPIC, partition.cast_signed(), Offset::Offset(start))?;
            ends.insert(partition, end);
        }
        consumer.assign(&assignment)?;
        let mut oracle = Oracle { plant, ..Oracle::default() };
        while ends.values().any(|end| *end > 0) {
            let record = consumer.poll(Duration::from_secs(30)).context("the broker sends nothing for 30 s")??;
            let (partition, offset) = (record.partition().cast_unsigned(), record.offset());
            let end = ends.get_mut(&partition).context("of no partition that was asked for")?;
            oracle.take(&record, earliest)?;
            if offset + 1 >= *end {
                *end = 0;
            }
        }
        Ok(oracle)
    }

    fn take(&mut self, record: &BorrowedMessage<'_>, earliest: i64) -> anyhow::Result<()> {
        let (partition, offset) = (record.partition().cast_unsigned(), record.offset().cast_unsigned());
        let ingestion = record.timestamp().to_millis().context("the topic has record times")?;
        self.records += 1;
        let Some(event) = Event::parse(record.payload().unwrap_or_default(), ingestion) else {
            self.poison.insert((partition, offset));
            return Ok(());
        };
        self.ids.push(event.id.cast_unsigned());
        if ingestion - event.at > LATENESS_MS {
            self.late += 1;
            return Ok(());
        }
        let times = self.times();
        for (view, entity) in [(View::User, &event.user), (View::Item, &event.item)] {
            let part = self.parts.entry((view, partition, entity.clone())).or_default();
            if part.accepts(event.id, ingestion) {
                let row = self.rows.entry((view, entity.clone())).or_default();
                (0..times).for_each(|_| row.add(&event, ingestion, (partition, offset), earliest));
            } else {
                self.copies += u64::from(view == View::User);
            }
        }
        Ok(())
    }

    /// How often an event counts: once, unless a mistake is planted.
    fn times(&mut self) -> u32 {
        match self.plant.take_if(|_| self.records > 10_000) {
            None => 1,
            Some(Plant::Double) => 0,
            Some(Plant::Lose) => 2,
        }
    }
}

impl Part {
    fn accepts(&mut self, id: i64, ingestion: i64) -> bool {
        let newest = self.newest.map_or(ingestion, |newest| newest.max(ingestion));
        let horizon = newest - DEDUP_WINDOW_MS;
        if self.accepted.get(&id).is_some_and(|at| *at >= horizon) {
            return false;
        }
        self.newest = Some(newest);
        self.accepted.insert(id, ingestion);
        if self.accepted.len() > self.forget_at {
            self.accepted.retain(|_, at| *at >= horizon);
            self.forget_at = 2 * self.accepted.len() + 64;
        }
        true
    }
}

impl Row {
    fn add(&mut self, event: &Event, ingestion: i64, (partition, offset): (u32, u64), earliest: i64) {
        let time = (event.at * 1_000).min(ingestion * 1_000 + 999);
        self.events += 1;
        self.ids += event.id;
        self.hash_a += event.hash_a;
        self.hash_b += event.hash_b;
        self.last = self.last.max(Some((time, partition, offset, event.id)));
        if time >= window_start(earliest, FIVE_MINUTES) {
            self.recent.push((time, event.id, event.hash_a));
        }
    }

    /// Every feature of the view by its name, as of a moment.
    pub fn features(&self, view: View, as_of: i64) -> BTreeMap<&'static str, Option<i64>> {
        let within = |window| move |event: &&(i64, i64, i64)| event.0 >= window_start(as_of, window);
        let recent: Vec<_> = self.recent.iter().filter(within(FIVE_MINUTES)).collect();
        let distinct: BTreeSet<i64> = self.recent.iter().filter(within(ONE_MINUTE)).map(|event| event.1).collect();
        let value = |feature: &str| match feature {
            "events" => Some(self.events),
            "ids" => Some(self.ids),
            "hash_a" => Some(self.hash_a),
            "hash_b" => Some(self.hash_b),
            "last_id" => self.last.map(|last| last.3),
            "recent_5m" => Some(recent.len() as i64),
            "recent_hash_a_5m" => Some(recent.iter().map(|event| event.2).sum()),
            "distinct_1m" => Some(distinct.len().min(DISTINCT_LIMIT) as i64),
            _ => unreachable!("`{feature}` is not in the definitions"),
        };
        view.features().iter().map(|feature| (*feature, value(feature))).collect()
    }
}

/// The first time that a sliding window covers: its start, rounded down to its hop.
fn window_start(as_of: i64, (length, hop): (i64, i64)) -> i64 {
    (as_of - length).div_euclid(hop) * hop
}

impl View {
    pub const ALL: [View; 2] = [View::User, View::Item];

    pub fn name(self) -> &'static str {
        match self {
            View::User => "user_totals",
            View::Item => "item_totals",
        }
    }

    pub fn features(self) -> &'static [&'static str] {
        let all = &["events", "ids", "hash_a", "hash_b", "last_id", "recent_5m", "recent_hash_a_5m", "distinct_1m"];
        match self {
            View::User => all,
            View::Item => &all[..7],
        }
    }

    pub fn key(self) -> &'static str {
        match self {
            View::User => "user_id",
            View::Item => "item_id",
        }
    }
}
