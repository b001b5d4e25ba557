//! Rows as the stream's worker would have left them: events decoded, folded and flushed in their order, some at a
//! time, and then the last image of each.

use std::sync::Arc;

use freshet::clock::Clock;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Counts, Flushed, Part, prepare};
use freshet::kernel::event::{RawRecord, decode};
use freshet::kernel::key::{EntityKey, KeyPart, PartId, Shard};
use freshet::kernel::plan::{ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::{Advance, Applied, Claim, Nonce, OnlineStore, PartKey, PartWrite};

const EVENTS: usize = 60;
const SPAN: Micros = Micros::new(30 * Micros::DAY.get());
/// Between two flushes of a row.
const EVENTS_AT_ONCE: usize = 3;
/// Users that are folded together.
const BLOCK: usize = 256;
const ITEMS: usize = 5_000;
const SEED: u64 = 7;
const THREADS: usize = 2;
/// Of one call to a store: some megabytes.
const ROWS_AT_ONCE: usize = 256;

pub struct Rows {
    view: Arc<ViewPlan>,
    rows: Vec<(EntityKey, Flushed)>,
}

pub fn user(number: usize) -> String {
    format!("u{number}")
}

/// Of as many users, their last event just now.
pub fn fold(definitions: &str, users: usize) -> Rows {
    let parsed = parse(&[SourceText { path: "bench".to_owned(), text: definitions.to_owned() }]);
    let view = compile(&parsed.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))).views.remove(0);
    let end = Clock::System.now();
    let users: Vec<usize> = (0..users).collect();
    let fold_share = &|share: &[usize]| share.chunks(BLOCK).flat_map(|block| fold_block(&view, block, end)).collect();
    let rows = std::thread::scope(|scope| {
        let shares = users.chunks(users.len().div_ceil(THREADS));
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || -> Vec<_> { fold_share(share) })).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a fold does not panic")).collect()
    });
    Rows { rows, view }
}

fn fold_block(view: &ViewPlan, users: &[usize], end: EventTime) -> Vec<(EntityKey, Flushed)> {
    let mut random = fastrand::Rng::with_seed(SEED + users[0] as u64);
    let mut times: Vec<Vec<EventTime>> = users.iter().map(|_| event_times(&mut random, end)).collect();
    let mut parts: Vec<(Part, Option<Flushed>)> = users.iter().map(|_| (Part::new(view), None)).collect();
    for round in 0..EVENTS / EVENTS_AT_ONCE {
        let mut records = Vec::with_capacity(users.len() * EVENTS_AT_ONCE);
        for (user, times) in users.iter().zip(&mut times) {
            let next = times.drain(..EVENTS_AT_ONCE).collect::<Vec<_>>();
            let first = round * users.len() * EVENTS_AT_ONCE + records.len();
            let next = next.into_iter().zip(first..);
            records.extend(next.map(|(at, offset)| record(*user, offset, at, &mut random)));
        }
        let prepared = prepare(view, &decode(&view.source, &records).events);
        assert_eq!(prepared.entrants.len(), records.len(), "every event counts");
        for (index, entrant) in prepared.entrants.iter().enumerate() {
            let part = &mut parts[entrant.row / EVENTS_AT_ONCE].0;
            part.fold(view, &prepared, index, &mut Counts::default());
        }
        parts.iter_mut().for_each(|(part, flushed)| flush(view, part, flushed));
    }
    let key = |user: usize| EntityKey::encode(&[KeyPart::Text(self::user(user))]);
    let flushed = parts.into_iter().map(|(_, flushed)| flushed.expect("each was flushed"));
    users.iter().map(|user| key(*user)).zip(flushed).collect()
}

fn event_times(random: &mut fastrand::Rng, end: EventTime) -> Vec<EventTime> {
    let mut times: Vec<EventTime> = (0..EVENTS).map(|_| end - Micros::new(random.i64(1_000_000..SPAN.get()))).collect();
    times.sort_unstable();
    times
}

fn record(user: usize, offset: usize, at: EventTime, random: &mut fastrand::Rng) -> RawRecord {
    let (item, whole, cents) = (random.usize(..ITEMS), random.u32(..500), random.u32(..100));
    let (milliseconds, quantity, user) = (at.micros() / 1_000, random.u8(1..5), self::user(user));
    let value = format!(
        r#"{{"timestamp":{milliseconds},"user_id":"{user}","item_id":"i{item}","price":{whole}.{cents:02},"quantity":{quantity}}}"#
    );
    RawRecord { partition: 0, offset: offset as u64, ingestion_time: at, value: value.into() }
}

/// What a store keeps after this flush: the newest head, and the body that was written last.
fn flush(view: &ViewPlan, part: &mut Part, stored: &mut Option<Flushed>) {
    let now = part.newest().expect("it has events");
    let mut flushed = part.flush(view, now);
    let before = stored.take().and_then(|stored| stored.body);
    flushed.body = flushed.body.or(before);
    flushed.expiry_moved = true;
    *stored = Some(flushed);
}

impl Rows {
    /// Of one row, on average.
    pub fn bytes(&self) -> usize {
        let bytes = |it: &Flushed| it.head.len() + it.body.as_ref().map_or(0, |body| body.len());
        self.rows.iter().map(|(_, flushed)| bytes(flushed)).sum::<usize>() / self.rows.len()
    }

    /// Into a store that has the view's version already, at the beginning of its log.
    pub async fn write(&self, store: &dyn OnlineStore) {
        let (version, nonce) = (self.view.rows, Nonce(1));
        let mut by_shard: Vec<Vec<PartWrite>> = (0..store.shards()).map(|_| Vec::new()).collect();
        for (entity, flushed) in &self.rows {
            let key = PartKey { version, entity: entity.clone(), part: PartId::Partition(0) };
            by_shard[usize::from(entity.shard(store.shards()).0)].push(PartWrite { key, flushed: again(flushed) });
        }
        for (shard, rows) in (0..).map(Shard).zip(&by_shard) {
            let claim = Claim { version, partition: 0, initial: 0 };
            let offset = store.claim(shard, &[claim], nonce).await.expect("claimed")[0];
            let advance = Advance { version, partition: 0, nonce, from: offset, to: offset };
            for rows in rows.chunks(ROWS_AT_ONCE) {
                assert_eq!(store.apply(shard, &[advance], rows).await.expect("answered"), Applied::Done);
            }
        }
    }
}

fn again(flushed: &Flushed) -> Flushed {
    let Flushed { head, body, ids, expires_at, expiry_moved } = flushed;
    let (head, body, ids) = (head.clone(), body.clone(), ids.clone());
    Flushed { head, body, ids, expires_at: *expires_at, expiry_moved: *expiry_moved }
}
