//! Seeding: what history files gave of each row, folded in bulk and written to the online store as the row's own part.
//!
//! ```text
//! archived history ─► events by entity, in lanes ─► a part of each entity ─► the store, by shard ─► the shard's offset
//! ```
//!
//! Promises: parts are absolute images, and a shard's offset of history moves to its end in the last write alone. So a
//! seeding that died is simply done again, and nobody takes half a seeding for all of it. Partitions of the log write other
//! parts of the same rows, and neither waits for the other. Of two that seed one version the later one's claim refuses the
//! earlier one's writes.
//!
//! It does not decide when to seed, nor who does.

use std::sync::Arc;

use datafusion_execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use crate::backfill::Error;
use crate::batch::{self, Engine, Resources};
use crate::kernel::engine::entrants::{Entrants, Sorted};
use crate::kernel::engine::{Asked, Knowledge, Part, order};
use crate::kernel::key::{EntityKey, HISTORY, PartId, Shard};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, Scope};
use crate::online::{Advance, Applied, Claim, Nonce, OnlineStore, PartKey, PartWrite};

/// Of one call to the store: every lane holds as much for each shard.
const WRITE_BYTES: usize = 64 << 10;

/// Calls that wait for the store.
const WAITING: usize = 16;

/// What no lookup from now on sees is not written; those of readers whose clock is behind are lookups too.
const SEEN_LONGER: Micros = Micros::HOUR;

#[derive(Clone)]
pub struct Seeding {
    pub archive: Archive,
    pub view: Arc<ViewPlan>,
    /// How many rows its source's history has.
    pub rows: u64,
    pub now: EventTime,
    pub resources: Resources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeded {
    Done,
    /// Somebody else began after us, and goes on.
    TakenOver,
}

struct Write {
    shard: Shard,
    parts: Vec<PartWrite>,
}

/// Writes the part of history of every row. `nonce` is drawn for this call.
pub async fn seed(online: &dyn OnlineStore, seeding: Seeding, nonce: Nonce) -> Result<Seeded, Error> {
    let (version, goal, shards) = (seeding.view.rows, seeding.rows, online.shards());
    let mut open = Vec::with_capacity(usize::from(shards));
    for shard in (0..shards).map(Shard) {
        let claimed = online.claim(shard, &[Claim { version, partition: HISTORY, initial: 0 }], nonce).await?;
        open.push(claimed[0] < goal);
    }
    let advance = |to| Advance { version, partition: HISTORY, nonce, from: 0, to };
    let (writes, mut written) = mpsc::channel(WAITING);
    // Sorting blocks, and its threads end with the call.
    let folded = spawn_blocking(move || fold(&seeding, shards, &writes));
    while let Some(Write { shard, parts }) = written.recv().await {
        if open[usize::from(shard.0)] && online.apply(shard, &[advance(0)], &parts).await? != Applied::Done {
            return Ok(Seeded::TakenOver);
        }
    }
    folded.await.expect("folding history does not panic")?;
    for shard in (0..shards).map(Shard).filter(|shard| open[usize::from(shard.0)]) {
        if online.apply(shard, &[advance(goal)], &[]).await? != Applied::Done {
            return Ok(Seeded::TakenOver);
        }
    }
    Ok(Seeded::Done)
}

fn fold(seeding: &Seeding, shards: u16, writes: &mpsc::Sender<Write>) -> Result<(), Error> {
    let events = wanted(seeding)?.by_time(&seeding.archive, &Arc::default());
    let engine = Engine::start(seeding.resources)?;
    let mut running = JoinSet::new();
    for number in 0..seeding.resources.threads.get() {
        let (events, context) = (events.clone(), engine.context.clone());
        let lane = Lane::new(seeding, shards, writes.clone());
        let task = async move { lane.run(events.execute(number, context).map_err(batch::Error::from)?).await };
        running.spawn_on(task, engine.runtime.handle());
    }
    engine.runtime.block_on(async {
        while let Some(ended) = running.join_next().await {
            ended.expect("a lane does not panic, and is not stopped")?;
        }
        Ok(())
    })
}

/// The events of history that a lookup may still see.
fn wanted(seeding: &Seeding) -> Result<batch::Wanted, Error> {
    let Seeding { archive, view, now, resources, .. } = seeding;
    let lanes = resources.threads.get();
    let seen_for = view.found_for().map(|found_for| found_for + SEEN_LONGER);
    let pinned = archive.pin(&view.source)?.of_history();
    Ok(batch::Wanted {
        entrants: Entrants::new(view.clone(), Knowledge::AsServed),
        scans: pinned.deal(lanes),
        scope: Scope {
            below: None,
            event_time: seen_for.map(|seen_for| *now - seen_for..EventTime::MAX),
            fields: Some(view.fields()),
        },
        asked: Arc::new(Asked::all_from(0, *now, EventTime::MAX, seen_for)),
        partitions: lanes,
    })
}

/// Entities one after another, and what they gave, by shard.
struct Lane {
    view: Arc<ViewPlan>,
    entrants: Entrants,
    now: EventTime,
    entity: Vec<u8>,
    part: Part,
    waiting: Vec<(Vec<PartWrite>, usize)>,
    writes: mpsc::Sender<Write>,
}

impl Lane {
    fn new(seeding: &Seeding, shards: u16, writes: mpsc::Sender<Write>) -> Lane {
        let view = seeding.view.clone();
        Lane {
            entrants: Entrants::new(view.clone(), Knowledge::AsServed),
            now: seeding.now,
            entity: Vec::new(),
            part: Part::new(&view),
            waiting: (0..shards).map(|_| (Vec::new(), 0)).collect(),
            writes,
            view,
        }
    }

    async fn run(mut self, mut events: SendableRecordBatchStream) -> Result<(), Error> {
        while let Some(batch) = events.next().await.transpose().map_err(batch::Error::from)? {
            let events = Sorted::new(&self.entrants, &batch);
            for row in 0..events.rows() {
                if self.entity != order::entity(events.order(row)) {
                    self.end_entity().await;
                    self.entity.extend(order::entity(events.order(row)));
                }
                events.apply(row, &self.view, &mut self.part);
            }
        }
        self.end_entity().await;
        for shard in 0..self.waiting.len() {
            self.hand_on(shard).await;
        }
        Ok(())
    }

    async fn end_entity(&mut self) {
        let entity = std::mem::take(&mut self.entity);
        if entity.is_empty() {
            return;
        }
        let mut part = std::mem::replace(&mut self.part, Part::new(&self.view));
        let entity = EntityKey::from_bytes(order::key(&entity));
        let shard = usize::from(entity.shard(self.waiting.len() as u16).0);
        let bytes = part.unflushed_bytes();
        let key = PartKey { version: self.view.rows, entity, part: PartId::History };
        let (parts, waiting) = &mut self.waiting[shard];
        parts.push(PartWrite { key, flushed: part.flush(&self.view, self.now) });
        *waiting += bytes;
        if *waiting >= WRITE_BYTES {
            self.hand_on(shard).await;
        }
    }

    async fn hand_on(&mut self, shard: usize) {
        let (parts, _) = std::mem::take(&mut self.waiting[shard]);
        if !parts.is_empty() {
            // Nobody takes it where the store refused an earlier one: what is left is folded in vain.
            let _ = self.writes.send(Write { shard: Shard(shard as u16), parts }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::kernel::engine::read;
    use crate::kernel::event::RawRecord;
    use crate::kernel::plan::compile;
    use crate::kernel::value::Value;
    use crate::offline::folder::tests::project;
    use crate::offline::{History, Span};
    use crate::online::Memory;

    const DEFINITIONS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: s }
history: [{ path: past.ndjson, format: ndjson, until: 2026-01-01T00:00:00Z }]
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string }
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [1h] }
  - { name: all, aggregate: count }
";

    const USERS: u64 = 50;

    /// A click a minute, of each user in turn; the newest is from now.
    fn seeding(root: &std::path::Path) -> Seeding {
        let text = DEFINITIONS.to_owned();
        let plan = compile(&parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right"));
        let archive = Archive::new(project(root));
        let now = 1_700_000_000 + 2_000 * 60;
        let record = |offset: u64| {
            let at = now as u64 - offset * 60;
            let json = format!(r#"{{"at":{at},"user_id":"u{}"}}"#, offset % USERS);
            let ingestion_time = EventTime::unchecked(at as i64 * 1_000_000);
            RawRecord { partition: HISTORY, offset, ingestion_time, value: json.into() }
        };
        let records: Vec<RawRecord> = (0..2_000).map(record).collect();
        archive.commit(&plan.sources[0], &Span { partition: HISTORY, offsets: 0..2_000 }, &records).expect("committed");
        archive.finish_history(&plan.sources[0], History { rows: 2_000, left_out: 0 }).expect("written");
        let now = EventTime::unchecked((now + 1) * 1_000_000);
        Seeding { archive, view: plan.views[0].clone(), rows: 2_000, now, resources: Resources::default() }
    }

    async fn counts(store: &Memory, seeding: &Seeding, user: u64) -> Vec<Option<Value>> {
        let view = &seeding.view;
        let entity = EntityKey::encode(&[crate::kernel::key::KeyPart::Text(format!("u{user}"))]);
        let row = store.read(&[(view.rows, entity)]).await.expect("read").remove(0).expect("it is whole");
        let parts = row.parts.iter().map(|(_, image)| Part::decode(view, image).expect("decoded")).collect::<Vec<_>>();
        assert!(row.parts.iter().all(|(part, _)| *part == PartId::History));
        read(view, &parts.iter().collect::<Vec<_>>(), seeding.now).values
    }

    #[tokio::test]
    async fn rows_are_what_history_says_and_seeding_them_twice_changes_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let (seeding, store) = (seeding(root.path()), Memory::new(8));
        for nonce in [1, 2] {
            assert_eq!(seed(&store, seeding.clone(), Nonce(nonce)).await.expect("seeded"), Seeded::Done);
            assert_eq!(counts(&store, &seeding, 0).await, [Some(Value::Int(2)), Some(Value::Int(40))]);
            assert_eq!(counts(&store, &seeding, 49).await, [Some(Value::Int(1)), Some(Value::Int(40))]);
            assert!(store.complete(seeding.view.rows, &[(HISTORY, 2_000)]).await.expect("answered"));
        }
    }

    #[tokio::test]
    async fn a_shard_is_not_complete_before_its_last_write() {
        let root = tempfile::tempdir().expect("a folder");
        let (seeding, store) = (seeding(root.path()), Memory::new(8));
        for shard in (0..8).map(Shard) {
            let claim = Claim { version: seeding.view.rows, partition: HISTORY, initial: 0 };
            store.claim(shard, &[claim], Nonce(9)).await.expect("claimed");
        }
        assert!(!store.complete(seeding.view.rows, &[(HISTORY, 2_000)]).await.expect("answered"));
        assert_eq!(seed(&store, seeding.clone(), Nonce(1)).await.expect("seeded"), Seeded::Done);
        assert!(store.complete(seeding.view.rows, &[(HISTORY, 2_000)]).await.expect("answered"));
    }
}
