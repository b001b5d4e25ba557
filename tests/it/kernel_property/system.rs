//! The system's side: a stream worker with a store, crashes and evictions, and a batch, both on the kernel's fold
//! and read; each answer is held against the oracle's, bit for bit.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use fastrand::Rng;
use freshet::kernel::codec::{Image, encode_values};
use freshet::kernel::definition::Source;
use freshet::kernel::engine::{Counts, Knowledge, Part, Prepared, Read, Reading, RecentIds, prepare_with_late, read};
use freshet::kernel::event::Decoded;
use freshet::kernel::key::{EntityKey, Origin, PartId};
use freshet::kernel::plan::ViewPlan;
use freshet::kernel::time::{EventTime, Micros};
use freshet::kernel::value::Value;

use super::bugs::Bug;
use super::generate::{AT, Case};
use super::walks;
use crate::oracle::{self, Event, Question};

/// How events get into the kernel: as columns, or as JSON.
pub type Feed = fn(&Source, &[&Event]) -> Decoded;

/// What differed first, in words; `None`: all agree.
pub fn difference(case: &Case, plan: &ViewPlan, feed: Feed, bug: Option<Bug>) -> Option<String> {
    let mut broken = plan.clone();
    bug.iter().for_each(|bug| bug.in_plan(&mut broken));
    // Not the case's own numbers again, or schedule and case would be alike.
    let rng = Rng::with_seed(case.seed ^ 0x5eed);
    let mut system = System { case, plan: broken, feed, bug, rng, arrivals: 0 };
    let walks = |system: &mut System| match system.bug {
        Some(_) => Ok(()),
        None => walks::check(case, plan, feed, &mut system.rng),
    };
    system.stream().and_then(|()| system.batch()).and_then(|()| walks(&mut system)).err()
}

struct System<'c> {
    case: &'c Case,
    plan: ViewPlan,
    feed: Feed,
    bug: Option<Bug>,
    rng: Rng,
    arrivals: u64,
}

/// What the worker of one partition has done so far.
struct Worker<'c> {
    part: PartId,
    records: Vec<&'c Event>,
    /// The next record to fold, here and in the store.
    position: usize,
    stored: usize,
    cache: BTreeMap<EntityKey, Part>,
    dirty: BTreeSet<EntityKey>,
}

#[derive(Default)]
struct Store(BTreeMap<(EntityKey, PartId), StoredPart>);

#[derive(Default)]
struct StoredPart {
    image: Image,
    expires_at: Option<EventTime>,
}

/// What is asked of an entity.
#[derive(Clone, Copy)]
pub struct Asked {
    pub question: Question,
    pub as_of: EventTime,
}

/// What differed, in words.
pub type Checked = Result<(), String>;

impl<'c> System<'c> {
    /// Random steps of every worker until all is stored, with lookups between and at the end.
    fn stream(&mut self) -> Checked {
        let mut store = Store::default();
        let mut workers: Vec<Worker> = (0..self.case.partitions).map(|it| Worker::new(self.case, it)).collect();
        let mut crashes = 0;
        while workers.iter().any(|worker| worker.stored < worker.records.len()) {
            let turn = self.rng.usize(..workers.len());
            let worker = &mut workers[turn];
            match self.rng.u8(..16) {
                0..8 => self.fold(worker, &store)?,
                8 if crashes < 4 => {
                    worker.crash();
                    crashes += 1;
                }
                9 => {
                    self.flush(worker, &mut store);
                    worker.cache.clear();
                }
                10 => self.lookups(&workers, &store)?,
                _ => self.flush(worker, &mut store),
            }
        }
        self.lookups(&workers, &store)
    }

    fn fold(&mut self, worker: &mut Worker<'c>, store: &Store) -> Checked {
        let end = (worker.position + self.rng.usize(1..=8)).min(worker.records.len());
        let mut prepared = self.prepare(&worker.records[worker.position..end]);
        prepared.entrants.retain(|entrant| !entrant.late || self.bug == Some(Bug::LateEventClaimsItsId));
        let mut counts = Counts::default();
        for index in 0..prepared.entrants.len() {
            let key = prepared.entrants[index].key.clone();
            if !worker.cache.contains_key(&key) {
                worker.cache.insert(key.clone(), store.load(&self.plan, &key, worker.part)?);
            }
            let part = worker.cache.get_mut(&key).expect("the part was loaded");
            part.fold(&self.plan, &prepared, index, &mut counts);
            worker.dirty.insert(key);
        }
        worker.position = end;
        Ok(())
    }

    /// One atomic write of all changed rows and the offset.
    fn flush(&mut self, worker: &mut Worker<'c>, store: &mut Store) {
        let now = self.now(worker);
        for key in std::mem::take(&mut worker.dirty) {
            let part = worker.cache.get_mut(&key).expect("a changed part is in memory");
            let flushed = part.flush(&self.plan, now);
            let stored = store.0.entry((key, worker.part)).or_default();
            stored.image.head = flushed.head;
            if self.bug != Some(Bug::BodyNotWritten) {
                stored.image.body = flushed.body.unwrap_or(stored.image.body.clone());
            }
            stored.image.ids = flushed.ids.unwrap_or(stored.image.ids.clone());
            assert!(self.bug.is_some() || stored.expires_at <= flushed.expires_at, "a row's expiry only ever grows");
            stored.expires_at = flushed.expires_at;
        }
        if self.bug == Some(Bug::FlushSplit) && self.rng.bool() {
            worker.crash();
        } else {
            worker.stored = worker.position;
        }
        if self.rng.u8(..4) == 0 {
            store.0.retain(|(_, part), row| *part != worker.part || row.expires_at.is_none_or(|at| now < at));
        }
    }

    /// The smaller of the record times to come and a clock from which no reader is more than an hour behind.
    fn now(&self, worker: &Worker) -> EventTime {
        let clock = *self.case.as_ofs.iter().min().expect("each case asks at some time") + Micros::HOUR;
        worker.records[worker.position..].iter().map(|event| event.ingestion).fold(clock, EventTime::min)
    }

    fn lookups(&mut self, workers: &[Worker<'c>], store: &Store) -> Checked {
        let folded: Vec<&Event> = workers.iter().flat_map(|worker| &worker.records[..worker.stored]).copied().collect();
        for entity in self.entities() {
            let mut parts = store.parts(&self.plan, &entity)?;
            if self.bug == Some(Bug::PartForgotten) && parts.len() > 1 {
                parts.pop();
            }
            let parts: Vec<&Part> = parts.iter().collect();
            for as_of in self.case.as_ofs.clone() {
                self.compare("stream", &parts, &folded, &entity, Asked { question: Question::Lookup, as_of })?;
                if self.bug.is_none() {
                    self.compare_stored(&parts, &store.images(&entity), as_of)?;
                }
            }
        }
        Ok(())
    }

    /// Bytes that are not decoded read as parts do; so do features that are read without the others.
    fn compare_stored(&mut self, parts: &[&Part], images: &[&Image], as_of: EventTime) -> Checked {
        let expected = read(&self.plan, parts, as_of);
        let some: Vec<usize> = (0..self.plan.features.len()).filter(|_| self.rng.bool()).rev().collect();
        let of_some =
            |values: &[Option<Value>]| some.iter().map(|feature| values[*feature].clone()).collect::<Vec<_>>();
        let undecoded = |read: Read| read.images(images.iter().copied()).map_err(|error| error.to_string());
        let all = undecoded(Read::all(&self.plan, as_of))?;
        let few = undecoded(Read::of(&self.plan, some.iter().copied(), as_of))?;
        let is_alike = encode_values(&all.values) == encode_values(&expected.values)
            && (all.presence, all.newest, all.overflowed) == (expected.presence, expected.newest, expected.overflowed)
            && encode_values(&few.values) == encode_values(&of_some(&expected.values));
        let difference = || format!("as of {as_of}\n  decoded {expected:?}\n  stored {all:?}\n  {some:?} {few:?}");
        if is_alike { Ok(()) } else { Err(difference()) }
    }

    /// All events at once: copies are dropped in offset order, the others are folded as they become visible.
    fn batch(&mut self) -> Checked {
        let events = self.interleaved();
        let prepared = self.prepare(&events);
        let accepted = self.accepted(&prepared);
        for entity in self.entities() {
            let of_entity = |index: &&usize| prepared.entrants[**index].key == entity;
            let mine: Vec<usize> = accepted.iter().filter(of_entity).copied().collect();
            let on_time: Vec<usize> = mine.iter().filter(|it| !prepared.entrants[**it].late).copied().collect();
            self.training(&prepared, &on_time, &entity, Question::TrainingAsServed)?;
            self.training(&prepared, &mine, &entity, Question::TrainingEventTime)?;
            let parts = self.folded(&prepared, on_time);
            let parts: Vec<&Part> = parts.iter().collect();
            for as_of in self.case.as_ofs.clone() {
                self.compare("batch", &parts, &events, &entity, Asked { question: Question::Lookup, as_of })?;
            }
        }
        Ok(())
    }

    fn training(&mut self, prepared: &Prepared, mine: &[usize], entity: &EntityKey, question: Question) -> Checked {
        let knowledge = match question {
            Question::TrainingEventTime => Knowledge::EventTime,
            _ => Knowledge::AsServed,
        };
        let early = Micros::new(i64::from(self.bug == Some(Bug::AsOfIncluded)));
        let mut mine: Vec<(EventTime, usize)> = mine
            .iter()
            .map(|index| (knowledge.visible_from(&prepared.entrants[*index].event) - early, *index))
            .collect();
        mine.sort();
        let mut as_ofs = self.case.as_ofs.clone();
        as_ofs.sort();
        let (mut part, mut folded) = (Part::new(&self.plan), 0);
        let events: Vec<&Event> = self.case.log.iter().collect();
        for as_of in as_ofs {
            while let Some((_, index)) = mine.get(folded).filter(|(visible_from, _)| *visible_from <= as_of) {
                part.apply(&self.plan, prepared, *index, &mut Counts::default());
                folded += 1;
            }
            if self.rng.bool() {
                part.flush(&self.plan, as_of);
            }
            self.compare("batch", &[&part], &events, entity, Asked { question, as_of })?;
        }
        Ok(())
    }

    /// Entrants that are no copies, in their order.
    fn accepted(&self, prepared: &Prepared) -> Vec<usize> {
        let mut ids: BTreeMap<(EntityKey, PartId), RecentIds> = BTreeMap::new();
        let accept = |index: &usize| {
            let entrant = &prepared.entrants[*index];
            let part = match self.bug {
                Some(Bug::DuplicatesAcrossParts) => PartId::History,
                _ => entrant.event.origin.part(),
            };
            ids.entry((entrant.key.clone(), part)).or_default().accept(&self.plan, entrant)
        };
        (0..prepared.entrants.len()).filter(accept).collect()
    }

    /// In any order, into one part or two.
    fn folded(&mut self, prepared: &Prepared, mut mine: Vec<usize>) -> Vec<Part> {
        self.rng.shuffle(&mut mine);
        let mut parts = vec![Part::new(&self.plan); self.rng.usize(1..=2)];
        for index in mine {
            let part = self.rng.usize(..parts.len());
            parts[part].apply(&self.plan, prepared, index, &mut Counts::default());
        }
        parts
    }

    /// Partitions in any mixture, each in its own order.
    fn interleaved(&mut self) -> Vec<&'c Event> {
        let mut workers: Vec<Worker> = (0..self.case.partitions).map(|it| Worker::new(self.case, it)).collect();
        let mut events = Vec::new();
        while events.len() < self.case.log.len() {
            let turn = self.rng.usize(..workers.len());
            let worker = &mut workers[turn];
            events.extend(worker.records.get(worker.position));
            worker.position += 1;
        }
        events
    }

    fn prepare(&mut self, events: &[&Event]) -> Prepared {
        let mut batch = (self.feed)(&self.plan.source, events).events;
        let Some(bug) = self.bug else { return prepare_with_late(&self.plan, &batch) };
        let written = batch.fields.column(AT).as_primitive::<TimestampMicrosecondType>();
        for (event, written) in batch.events.iter_mut().zip(written.values()) {
            let written = EventTime::from_micros(*written).expect("an admitted time is in range");
            bug.in_envelope(&self.plan, event, written, self.arrivals);
            self.arrivals += 1;
        }
        let mut prepared = prepare_with_late(&self.plan, &batch);
        bug.in_entrants(&mut prepared.entrants);
        prepared
    }

    fn compare(&self, driver: &str, parts: &[&Part], events: &[&Event], entity: &EntityKey, asked: Asked) -> Checked {
        let mut found = read(&self.plan, parts, asked.as_of);
        self.bug.iter().for_each(|bug| bug.in_values(&self.plan, &mut found.values));
        compare(self.case, driver, &found, events, entity, asked, self.bug)
    }

    fn entities(&self) -> BTreeSet<EntityKey> {
        self.case.log.iter().filter_map(|event| event.entity.clone()).collect()
    }
}

/// Holds a reading against the oracle's answer from `events`.
pub fn compare(
    case: &Case,
    driver: &str,
    found: &Reading,
    events: &[&Event],
    entity: &EntityKey,
    asked: Asked,
    bug: Option<Bug>,
) -> Checked {
    let expected = oracle::row(&case.view, events, entity, asked.question, asked.as_of);
    if agree(&expected, found, bug) {
        return Ok(());
    }
    Err(format!(
        "{driver} and oracle differ: {:?} of {entity:?} as of {}\n  oracle {expected:?}\n  system {found:?}",
        asked.question, asked.as_of
    ))
}

/// Values by their bits. A planted bug has to show in them, for that is where a user would meet it.
fn agree(expected: &oracle::Row, found: &Reading, bug: Option<Bug>) -> bool {
    let same_values = encode_values(&expected.values) == encode_values(&found.values);
    let same_rest =
        (expected.presence, expected.newest, expected.overflowed) == (found.presence, found.newest, found.overflowed);
    same_values && (same_rest || bug.is_some())
}

impl<'c> Worker<'c> {
    fn new(case: &'c Case, partition: u32) -> Worker<'c> {
        let mine = |event: &&Event| matches!(event.origin, Origin::Log { partition: it, .. } if it == partition);
        Worker {
            part: PartId::Partition(partition),
            records: case.log.iter().filter(mine).collect(),
            position: 0,
            stored: 0,
            cache: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// What was not stored is gone, and folded again.
    fn crash(&mut self) {
        self.cache.clear();
        self.dirty.clear();
        self.position = self.stored;
    }
}

impl Store {
    fn load(&self, plan: &ViewPlan, key: &EntityKey, part: PartId) -> Result<Part, String> {
        self.0.get(&(key.clone(), part)).map_or_else(|| Ok(Part::new(plan)), |stored| stored.decode(plan))
    }

    fn images(&self, entity: &EntityKey) -> Vec<&Image> {
        self.0.iter().filter(|((key, _), _)| key == entity).map(|(_, stored)| &stored.image).collect()
    }

    fn parts(&self, plan: &ViewPlan, entity: &EntityKey) -> Result<Vec<Part>, String> {
        self.0.iter().filter(|((key, _), _)| key == entity).map(|(_, stored)| stored.decode(plan)).collect()
    }
}

impl StoredPart {
    fn decode(&self, plan: &ViewPlan) -> Result<Part, String> {
        Part::decode(plan, &self.image).map_err(|error| format!("what was stored does not read back: {error}"))
    }
}
