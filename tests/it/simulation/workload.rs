//! What the simulated log will hold, the views over it, and what each row has to read after any number of records:
//! computed once by plain folds, and shared by all seeds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use fastrand::Rng;
use freshet::event_log::TopicPartition;
use freshet::kernel::codec::Image;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Counts, Flushed, Part, Reading, prepare, read};
use freshet::kernel::event::{RawRecord, decode};
use freshet::kernel::key::{EntityKey, KeyPart, Origin, PartId};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::PartKey;

/// Every partition ends here, whether with a record or with a gap.
pub const LOG_END: u64 = 36;

pub const TOPICS: [&str; 2] = ["buys", "visits"];

pub struct Workload {
    pub views: Vec<Arc<ViewPlan>>,
    pub places: Vec<Place>,
    pub users: Vec<EntityKey>,
    as_ofs: Vec<EventTime>,
    /// By view, place and user, when folded from the first record on.
    expected: Vec<Vec<Vec<History>>>,
}

/// A partition of a topic.
pub struct Place {
    pub at: TopicPartition,
    pub topic: usize,
    /// Their offsets leave gaps, as transactions do.
    pub records: Vec<RawRecord>,
}

/// What a part reads at each as-of, from each offset on.
struct History(Vec<(u64, Vec<Reading>)>);

/// Lifetime sums of ids that no other set of records adds up to: cheap to fold, to decode and to compare.
const PLAIN: &str = r#"
kind: feature_view
name: spend
entity: user
source: buys
features: [{ name: buys, aggregate: count }, { name: ids, aggregate: sum, column: id }]
---
kind: feature_view
name: again
entity: user
source: buys
features: [{ name: ids, aggregate: sum, column: id }]
---
kind: feature_view
name: seen
entity: user
source: visits
features: [{ name: ids, aggregate: sum, column: id }]
"#;

/// Windows whose tiles fill heads and seal bodies, and ids that drop duplicates.
const RICH: &str = r#"
kind: feature_view
name: spend
entity: user
source: buys
features:
  - { name: ids, aggregate: sum, column: id, windows: [10m, 1h, 6h] }
  - { name: latest, aggregate: last_n, n: 5, column: id }
---
kind: feature_view
name: distinct
entity: user
source: distinct_buys
features: [{ name: ids, aggregate: sum, column: id, windows: [1h] }]
---
kind: feature_view
name: seen
entity: user
source: visits
features: [{ name: ids, aggregate: sum, column: id, windows: [1h] }]
"#;

const PLAIN_WORKLOADS: u64 = 12;
const RICH_WORKLOADS: u64 = 4;

/// Plain ones and rich ones.
struct Pools(Vec<Arc<Workload>>, Vec<Arc<Workload>>);

static POOLS: LazyLock<Pools> = LazyLock::new(|| {
    let plain = |seed| Workload::new(&mut Rng::with_seed(seed), PLAIN, &["ada", "bo", "cy", "di"], &[90]);
    let rich = |seed| Workload::new(&mut Rng::with_seed(seed), RICH, &["ada", "bo"], &[0, 20, 45, 90]);
    Pools(
        (0..PLAIN_WORKLOADS).map(|seed| Arc::new(plain(seed))).collect(),
        (0..RICH_WORKLOADS).map(|seed| Arc::new(rich(seed))).collect(),
    )
});

impl Workload {
    /// One of a few; one in sixteen is a rich one.
    pub fn choose(rng: &mut Rng) -> Arc<Workload> {
        let Pools(plain, rich) = &*POOLS;
        let pool = if rng.u32(..16) == 0 { rich } else { plain };
        pool[rng.usize(..pool.len())].clone()
    }

    fn new(rng: &mut Rng, views: &str, users: &[&str], as_of_minutes: &[i64]) -> Workload {
        let sources = [("buys", "buys", ""), ("distinct_buys", "buys", "event_id: id"), ("visits", "visits", "")];
        let sources: String = sources.iter().map(|(name, topic, more)| source(name, topic, more)).collect();
        let text = format!("kind: entity\nname: user\nkeys: [{{ name: user, type: string }}]\n---\n{sources}{views}");
        let views = compile(&parse(&[SourceText { path: "views.yaml".into(), text }]).expect("they are right")).views;
        let places = [(0, 0), (0, 1), (0, 2), (1, 0)].map(|(topic, number)| Place::new(rng, topic, number, users));
        let mut workload = Workload {
            views,
            places: places.into(),
            users: users.iter().map(|user| EntityKey::encode(&[KeyPart::Text((*user).into())])).collect(),
            as_ofs: as_of_minutes.iter().map(|minutes| start() + Micros::new(minutes * 60_000_000)).collect(),
            expected: Vec::new(),
        };
        let of_place = |view, place: &Place| workload.histories(view, &place.records);
        let of_view = |view| workload.places.iter().map(|place| of_place(view, place)).collect();
        workload.expected = workload.views.iter().map(|view| of_view(view)).collect();
        workload
    }

    /// Whether a stored part is what a fold of the records at `folded` makes of it.
    pub fn check(&self, key: &PartKey, image: Option<&Image>, folded: Range<u64>) -> Result<(), String> {
        let (view, user) = (self.view(key.version), self.user(&key.entity));
        let PartId::Partition(number) = key.part else { return Err(format!("{key:?} is of no partition")) };
        let (place, plan) = (self.place(view, number), &self.views[view]);
        let part = image.map_or_else(|| Ok(Part::new(plan)), |image| Part::decode(plan, image));
        let found = part.map(|part| self.readings(plan, &part)).map_err(|error| error.to_string())?;
        let later;
        let history = if folded.start == 0 {
            &self.expected[view][place][user]
        } else {
            let records = &self.places[place].records;
            let from = records.partition_point(|record| record.offset < folded.start);
            later = self.histories(plan, &records[from..]);
            &later[user]
        };
        match found.iter().zip(history.until(folded.end)).find(|(found, right)| found != right) {
            None => Ok(()),
            Some((found, right)) => Err(format!(
                "{}({:?}) holds of {} {folded:?}: {:?}, and should {:?}",
                plan.name,
                key.entity,
                name_of(&self.places[place].at),
                found.values,
                right.values
            )),
        }
    }

    /// What a seeding writes of a partition: of each user a fold of the records below `end`.
    pub fn seeded(&self, view: usize, number: u32, end: u64) -> impl Iterator<Item = (EntityKey, Flushed)> {
        let (plan, records) = (&self.views[view], &self.places[self.place(view, number)].records);
        let below = &records[..records.partition_point(|record| record.offset < end)];
        let prepared = prepare(plan, &decode(&plan.source, below).events);
        let mut parts: BTreeMap<EntityKey, Part> = BTreeMap::new();
        for (index, entrant) in prepared.entrants.iter().enumerate() {
            let part = parts.entry(entrant.key.clone()).or_insert_with(|| Part::new(plan));
            part.fold(plan, &prepared, index, &mut Counts::default());
        }
        parts.into_iter().map(|(user, mut part)| (user, part.flush_whole(plan, EventTime::MIN)))
    }

    pub fn view(&self, version: Fingerprint) -> usize {
        self.views.iter().position(|view| view.fingerprint == version).expect("no other version is written")
    }

    pub fn place(&self, view: usize, number: u32) -> usize {
        let is_it = |place: &Place| place.at.topic == self.views[view].source.topic && place.at.partition == number;
        self.places.iter().position(is_it).expect("no other partition is read")
    }

    pub fn place_at(&self, at: &TopicPartition) -> usize {
        self.places.iter().position(|place| place.at == *at).expect("no other partition is read")
    }

    fn user(&self, entity: &EntityKey) -> usize {
        self.users.iter().position(|user| user == entity).expect("no record is of anybody else")
    }

    /// By user.
    fn histories(&self, view: &ViewPlan, records: &[RawRecord]) -> Vec<History> {
        let empty = || (Part::new(view), History(vec![(0, self.readings(view, &Part::new(view)))]));
        let mut parts: Vec<(Part, History)> = self.users.iter().map(|_| empty()).collect();
        let prepared = prepare(view, &decode(&view.source, records).events);
        for (index, entrant) in prepared.entrants.iter().enumerate() {
            let Origin::Log { offset, .. } = entrant.event.origin else { unreachable!("it came out of a log record") };
            let (part, history) = &mut parts[self.user(&entrant.key)];
            part.fold(view, &prepared, index, &mut Counts::default());
            history.0.push((offset + 1, self.readings(view, part)));
        }
        parts.into_iter().map(|(_, history)| history).collect()
    }

    fn readings(&self, view: &ViewPlan, part: &Part) -> Vec<Reading> {
        self.as_ofs.iter().map(|as_of| read(view, &[part], *as_of)).collect()
    }
}

impl Place {
    fn new(rng: &mut Rng, topic: usize, number: u32, users: &[&str]) -> Place {
        let gaps = rng.choice([0.0, 0.1, 0.5]).expect("one of three");
        let offsets: Vec<u64> = (0..LOG_END).filter(|_| rng.f64() >= gaps).collect();
        let records = offsets.into_iter().map(|offset| record(rng, number, offset, users)).collect();
        Place { at: TopicPartition { topic: TOPICS[topic].into(), partition: number }, topic, records }
    }
}

impl History {
    fn until(&self, offset: u64) -> &Vec<Reading> {
        &self.0[self.0.partition_point(|(from, _)| *from <= offset) - 1].1
    }
}

pub fn start() -> EventTime {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

pub fn name_of(at: &TopicPartition) -> String {
    format!("{}[{}]", at.topic, at.partition)
}

fn source(name: &str, topic: &str, more: &str) -> String {
    format!(
        "kind: source\nname: {name}\ntopic: {topic}\nevent_time: {{ field: at, unit: ms }}\n{more}\nschema:\n  \
         version: 1\n  fields: [{{ name: at, type: timestamp, required: true }}, {{ name: user, type: string }}, \
         {{ name: id, type: int64 }}]\n---\n"
    )
}

/// Out of order, some broken, some of nobody, some sent twice.
fn record(rng: &mut Rng, partition: u32, offset: u64, users: &[&str]) -> RawRecord {
    let ingested = start().micros() / 1_000 + offset as i64 * 60_000;
    let at = ingested - rng.i64(0..40 * 60_000);
    let user = rng.choice(users).expect("there are users");
    let id = if rng.u32(..8) == 0 { 7 } else { rng.u64(..1 << 40) };
    let value = match rng.u32(..16) {
        0 => format!(r#"{{"at":{at},"id":{id}"#),
        1 => format!(r#"{{"at":{at},"id":{id},"user":null}}"#),
        _ => format!(r#"{{"at":{at},"id":{id},"user":"{user}"}}"#),
    };
    let ingestion_time = EventTime::from_micros(ingested * 1_000).expect("a time of this century");
    RawRecord { partition, offset, ingestion_time, value: value.into() }
}
