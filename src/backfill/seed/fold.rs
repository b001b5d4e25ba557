//! The fold of a seeding: the archive's events by entity, partition and offset, and a part of each stretch of them. It
//! blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Seeding, Write};
use crate::backfill::Error;
use crate::batch::{self, Engine};
use crate::kernel::engine::entrants::{Entrants, Recorded};
use crate::kernel::engine::{Asked, Flushed, Knowledge, Part, order};
use crate::kernel::key::{EntityKey, HISTORY, Origin, PartId, Shard};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{self, Scope};
use crate::online::{PartKey, PartWrite};

/// Of one call to the store: every lane holds as much for each shard.
const WRITE_BYTES: usize = 64 << 10;

/// A part that takes more is made bytes of, in between: an entity may have any number of events.
const PART_BYTES: usize = 1 << 20;

/// Readers whose clock is behind may look so much longer.
const SEEN_LONGER: Micros = Micros::HOUR;

/// Returns how many events the parts have, or early if nobody takes them any more.
pub(super) fn fold(seeding: &Seeding, shards: u16, writes: &mpsc::Sender<Write>) -> Result<u64, Error> {
    let ages = Arc::new(ages(seeding)?);
    let events = wanted(seeding, &ages)?.by_origin(&seeding.archive, &Arc::default());
    let engine = Engine::start(seeding.resources)?;
    let mut running = JoinSet::new();
    for number in 0..seeding.resources.threads.get() {
        let (events, context) = (events.clone(), engine.context.clone());
        let lane = Lane::new(&seeding.view, &ages, shards, writes.clone());
        let task = async move { lane.run(events.execute(number, context).map_err(batch::Error::from)?).await };
        running.spawn_on(task, engine.runtime.handle());
    }
    let all = async {
        let mut folded = 0;
        while let Some(ended) = running.join_next().await {
            folded += ended.expect("a lane does not panic, and is not stopped")?;
        }
        Ok(folded)
    };
    engine.runtime.block_on(async {
        tokio::select! { folded = all => folded, () = writes.closed() => Ok(0) }
    })
}

/// For each part the time by which its tiles and rows are out of reach: as for the stream the smaller of the clock and
/// the records' own time, for what is folded behind the cut is compared with them. History has nothing behind it.
pub(super) fn ages(seeding: &Seeding) -> Result<BTreeMap<PartId, EventTime>, offline::Error> {
    let Seeding { archive, view, cut, now, .. } = seeding;
    let mut ages = BTreeMap::from([(PartId::History, *now)]);
    for (&partition, &end) in cut.iter().filter(|(partition, _)| **partition != HISTORY) {
        let last = archive.last_record(&view.source, partition, end)?;
        let last = last.map_or(EventTime::MIN, |record| record.ingestion_time);
        ages.insert(PartId::Partition(partition), last.min(*now));
    }
    Ok(ages)
}

/// The events below the cut that a lookup may still see, or that tell which of those are copies.
fn wanted(seeding: &Seeding, ages: &BTreeMap<PartId, EventTime>) -> Result<batch::Wanted, Error> {
    let Seeding { archive, view, cut, resources, .. } = seeding;
    let lanes = resources.threads.get();
    let oldest = ages.values().min().expect("history has its age");
    let seen_for = view.found_for().map(|found_for| found_for + SEEN_LONGER);
    let pinned = archive.pin_at(&view.source, cut)?;
    Ok(batch::Wanted {
        entrants: Entrants::new(view.clone(), Knowledge::AsServed),
        scans: pinned.deal(lanes),
        scope: Scope {
            below: None,
            event_time: seen_for.map(|seen_for| *oldest - seen_for..EventTime::MAX),
            fields: Some(view.fields()),
        },
        asked: Arc::new(Asked::all_from(0, *oldest, EventTime::MAX, seen_for)),
        partitions: lanes,
    })
}

/// Parts one after another, and what was made of them, by shard.
struct Lane {
    view: Arc<ViewPlan>,
    ages: Arc<BTreeMap<PartId, EventTime>>,
    entity: Vec<u8>,
    /// Of the entity; whose it is once it has events.
    part: Part,
    place: Option<PartId>,
    folded: u64,
    waiting: Vec<(Vec<PartWrite>, usize)>,
    writes: mpsc::Sender<Write>,
}

/// Nobody takes what is folded.
struct Unwanted;

impl Lane {
    fn new(
        view: &Arc<ViewPlan>,
        ages: &Arc<BTreeMap<PartId, EventTime>>,
        shards: u16,
        writes: mpsc::Sender<Write>,
    ) -> Lane {
        Lane {
            view: view.clone(),
            ages: ages.clone(),
            entity: Vec::new(),
            part: Part::new(view),
            place: None,
            folded: 0,
            waiting: (0..shards).map(|_| (Vec::new(), 0)).collect(),
            writes,
        }
    }

    async fn run(mut self, mut events: SendableRecordBatchStream) -> Result<u64, Error> {
        let entrants = Entrants::new(self.view.clone(), Knowledge::AsServed);
        while let Some(batch) = events.next().await.transpose().map_err(batch::Error::from)? {
            if self.take(&Recorded::new(&entrants, &batch)).await.is_err() {
                return Ok(self.folded);
            }
        }
        // Whoever hears of the end looks at why by himself.
        let _ = self.end().await;
        Ok(self.folded)
    }

    async fn take(&mut self, events: &Recorded) -> Result<(), Unwanted> {
        for row in 0..events.rows() {
            let (entity, origin) = events.place(row);
            self.go_on_to(entity, origin).await?;
            self.folded += u64::from(events.fold(row, &self.view, &mut self.part));
        }
        if let Some(place) = self.place.filter(|_| self.part.bytes() > PART_BYTES) {
            self.part.flush(&self.view, self.ages[&place]);
        }
        Ok(())
    }

    async fn go_on_to(&mut self, entity: &[u8], origin: Origin) -> Result<(), Unwanted> {
        let place = origin.part();
        if self.place == Some(place) && self.entity == entity {
            return Ok(());
        }
        self.end_part().await?;
        self.entity.clear();
        self.entity.extend(entity);
        self.place = Some(place);
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Unwanted> {
        self.end_part().await?;
        for shard in 0..self.waiting.len() {
            self.hand_on(shard).await?;
        }
        Ok(())
    }

    /// One that nobody can find any more is not written.
    async fn end_part(&mut self) -> Result<(), Unwanted> {
        let Some(place) = self.place.take() else { return Ok(()) };
        let mut part = std::mem::replace(&mut self.part, Part::new(&self.view));
        let flushed = part.flush_whole(&self.view, self.ages[&place]);
        if flushed.expires_at.is_some_and(|expires_at| expires_at <= self.ages[&place]) {
            return Ok(());
        }
        let entity = EntityKey::from_bytes(order::key(&self.entity));
        let shard = usize::from(entity.shard(self.waiting.len() as u16).0);
        let (parts, bytes) = &mut self.waiting[shard];
        *bytes += bytes_of(&flushed);
        parts.push(PartWrite { key: PartKey { version: self.view.rows, entity, part: place }, flushed });
        if *bytes >= WRITE_BYTES { self.hand_on(shard).await } else { Ok(()) }
    }

    async fn hand_on(&mut self, shard: usize) -> Result<(), Unwanted> {
        let (parts, _) = std::mem::take(&mut self.waiting[shard]);
        if parts.is_empty() {
            return Ok(());
        }
        self.writes.send(Write { shard: Shard(shard as u16), parts }).await.map_err(|_| Unwanted)
    }
}

fn bytes_of(flushed: &Flushed) -> usize {
    let rest = [&flushed.body, &flushed.ids].into_iter().flatten().map(|bytes| bytes.len()).sum::<usize>();
    flushed.head.len() + rest
}
