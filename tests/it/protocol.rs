//! The exactly-once protocol as a model: workers fold a log into a store through crashes, zombies, unknown outcomes,
//! calls that arrive late and failovers that lose writes; in the end each record counts once. And each weakening of
//! the protocol is found out, so the model can tell.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use freshet::kernel::engine::Flushed;
use freshet::kernel::key::{EntityKey, PartId, Shard};
use freshet::kernel::plan::Fingerprint;
use freshet::online::{Advance, Applied, Claim, Memory, Nonce, OnlineStore, PartKey, PartWrite};

use faulty::Faulty;
use worker::{Step, Worker, entity, total};

mod faulty;
mod worker;

const RUNS: u64 = 400;
const STEPS: usize = 1_500;
/// Then the log falls silent, so that what a shard loses is not found out by its next rows.
const PRODUCING_STEPS: usize = 1_000;

const VIEW: Fingerprint = Fingerprint(1);
const SHARDS: u16 = 3;
const PARTITIONS: u32 = 3;
const WORKERS: usize = 3;
const ENTITIES: u8 = 5;

/// One rule of the protocol, left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakening {
    NoNonceCheck,
    NoFromCheck,
    NoncePerShard,
    SplitFlush,
    RowsWithoutOffsets,
    NoRewind,
    NoIdleAdvance,
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_is_doubled() {
    for seed in 0..RUNS {
        if let Err(wrong) = run(seed, None).await {
            panic!("seed {seed}: {wrong}");
        }
    }
}

macro_rules! each_weakening_is_found_out {
    ($($name:ident: $weakening:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                check_found_out(Weakening::$weakening).await;
            }
        )*
    };
}

each_weakening_is_found_out! {
    a_store_that_ignores_nonces_is_found_out: NoNonceCheck,
    a_store_that_ignores_offsets_is_found_out: NoFromCheck,
    a_nonce_for_a_shard_as_a_whole_is_found_out: NoncePerShard,
    a_split_flush_is_found_out: SplitFlush,
    rows_ahead_of_their_offsets_are_found_out: RowsWithoutOffsets,
    going_on_after_a_refusal_is_found_out: NoRewind,
    leaving_quiet_shards_alone_is_found_out: NoIdleAdvance,
}

async fn check_found_out(weakening: Weakening) {
    for seed in 0..RUNS {
        if let Err(wrong) = run(seed, Some(weakening)).await {
            println!("{weakening:?}: seed {seed}: {wrong}");
            return;
        }
    }
    panic!("{weakening:?} went unnoticed in {RUNS} runs");
}

/// Too rare for chance: a failover loses a write, the writer loads, and an earlier attempt of that write arrives
/// late. Then the writer's next call fits again, whatever it folded into what it loaded.
#[tokio::test]
async fn only_its_position_tells_an_image_that_a_failover_took_back() {
    let (store, key) = (Memory::new(1), PartKey { version: VIEW, entity: entity(0), part: PartId::Partition(0) });
    let shard = Shard(0);
    let initial = Claim { version: VIEW, partition: 0, initial: 0 };
    store.claim(shard, &[initial], Nonce(1)).await.expect("claimed");
    let before = store.snapshot(shard);
    let step = |from, to| [Advance { version: VIEW, partition: 0, nonce: Nonce(1), from, to }];
    let row = || {
        let flushed = Flushed { head: "ten".into(), body: None, ids: None, expires_at: None };
        [PartWrite { key: key.clone(), flushed }]
    };
    assert_eq!(store.apply(shard, &step(0, 10), &row()).await.expect("answered"), Applied::Done);
    store.restore(shard, before);
    let loaded = store.load(std::slice::from_ref(&key)).await.expect("loaded").remove(0);
    assert_eq!((loaded.image, loaded.position.map(|position| position.offset)), (None, Some(0)));
    assert_eq!(store.apply(shard, &step(0, 10), &row()).await.expect("answered"), Applied::Done);
    assert_eq!(store.apply(shard, &step(10, 11), &[]).await.expect("answered"), Applied::Done);
}

/// Records are known by partition and offset; each is of one entity.
#[derive(Default)]
pub struct Log(BTreeMap<u32, Vec<u8>>);

impl Log {
    fn entity(&self, partition: u32, offset: u64) -> Option<EntityKey> {
        self.0.get(&partition)?.get(offset as usize).map(|number| entity(*number))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    count: u64,
    sum: u64,
}

impl Total {
    fn of_record(partition: u32, offset: u64) -> Total {
        Total { count: 1, sum: u64::from(partition) * 1_000_000 + offset + 1 }
    }

    fn add(&mut self, other: Total) {
        self.count += other.count;
        self.sum += other.sum;
    }

    fn encode(self) -> Vec<u8> {
        [self.count.to_be_bytes(), self.sum.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Total {
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes.is_empty() { Total::default() } else { Total { count: number(0), sum: number(8) } }
    }
}

struct World {
    rng: Rng,
    weakening: Option<Weakening>,
    store: Faulty,
    log: Log,
    /// Whose each partition is, as the group sees it.
    owners: Vec<usize>,
    workers: Vec<Worker>,
}

async fn run(seed: u64, weakening: Option<Weakening>) -> Result<(), String> {
    let mut world = World::new(seed, weakening);
    for step in 0..STEPS {
        if step < PRODUCING_STEPS && world.rng.u32(..3) == 0 {
            world.produce();
        } else {
            world.step().await;
        }
    }
    world.settle().await?;
    world.check().await
}

impl World {
    fn new(seed: u64, weakening: Option<Weakening>) -> World {
        let mut rng = Rng::with_seed(seed);
        let owners: Vec<usize> = (0..PARTITIONS).map(|_| rng.usize(..WORKERS)).collect();
        let store = Faulty::new(rng.u64(..), weakening);
        let mut world = World { rng, weakening, store, log: Log::default(), owners, workers: Vec::new() };
        world.workers = (0..WORKERS).map(|number| Worker::new(world.owned(number), weakening)).collect();
        world
    }

    fn produce(&mut self) {
        let partition = self.rng.u32(..PARTITIONS);
        self.log.0.entry(partition).or_default().push(self.rng.u8(..ENTITIES));
    }

    async fn step(&mut self) {
        let (number, shard) = (self.rng.usize(..WORKERS), Shard(self.rng.u16(..SHARDS)));
        let partition = self.rng.u32(..PARTITIONS);
        let worker = &mut self.workers[number];
        match self.rng.u32(..1_000) {
            0..500 => {
                if self.rng.bool() {
                    worker.evict(&mut self.rng);
                }
                for shard in (0..SHARDS).map(Shard) {
                    worker.claim(&self.store, shard, &mut self.rng).await;
                }
                for _ in 0..self.rng.u32(..20) {
                    self.fold(number, partition).await;
                }
            }
            500..880 => {
                for _ in 0..self.rng.u32(1..4) {
                    self.flush(number, shard).await;
                }
            }
            880..940 => {
                self.store.deliver_one().await;
            }
            940..970 => self.store.roll_back(shard),
            970..980 => self.workers[number] = Worker::new(self.owned(number), self.weakening),
            980..990 => self.reassign(partition, number),
            _ => self.hand_over(partition, number).await,
        }
    }

    async fn fold(&mut self, number: usize, partition: u32) -> Step {
        let step = self.workers[number].fold(&self.store, &self.log, partition).await;
        self.after(number, step)
    }

    async fn flush(&mut self, number: usize, shard: Shard) -> Step {
        let step = self.workers[number].flush(&self.store, shard).await;
        self.after(number, step)
    }

    /// Only when it is refused does a worker ask the group what it has lost; what it gets it is told at once.
    fn after(&mut self, number: usize, step: Step) -> Step {
        if step == Step::Refused {
            let mine = self.owned(number);
            self.workers[number].keep(&mine);
        }
        step
    }

    fn owned(&self, number: usize) -> BTreeSet<u32> {
        (0..PARTITIONS).filter(|partition| self.owners[*partition as usize] == number).collect()
    }

    /// The old owner is not told: a zombie.
    fn reassign(&mut self, partition: u32, to: usize) {
        self.owners[partition as usize] = to;
        self.workers[to].assigned.insert(partition);
    }

    async fn hand_over(&mut self, partition: u32, to: usize) {
        let from = self.owners[partition as usize];
        for shard in 0..SHARDS {
            self.flush(from, Shard(shard)).await;
        }
        self.owners[partition as usize] = to;
        let left = self.owned(from);
        self.workers[from].keep(&left);
        self.workers[to].assigned.insert(partition);
    }

    /// Without faults all workers, zombies too, go on until nothing changes any more.
    async fn settle(&mut self) -> Result<(), String> {
        self.store.calm();
        while self.store.deliver_one().await {}
        for _ in 0..50 {
            let mut quiet = true;
            for number in 0..WORKERS {
                quiet &= self.work_off(number).await;
            }
            if quiet {
                return Ok(());
            }
        }
        Err("it never settled".into())
    }

    /// One round of a worker. Whether there was nothing to do.
    async fn work_off(&mut self, number: usize) -> bool {
        let mut quiet = true;
        for shard in (0..SHARDS).map(Shard) {
            quiet &= self.workers[number].claim(&self.store, shard, &mut self.rng).await == Step::Idle;
        }
        for partition in 0..PARTITIONS {
            while self.fold(number, partition).await != Step::Idle {
                quiet = false;
            }
        }
        for shard in (0..SHARDS).map(Shard) {
            quiet &= self.flush(number, shard).await == Step::Idle;
        }
        quiet
    }

    async fn check(&self) -> Result<(), String> {
        if self.store.fenced_writes() > 0 {
            return Err(format!("{} writes of a fenced owner were accepted", self.store.fenced_writes()));
        }
        let mut expected: BTreeMap<(u8, u32), Total> = BTreeMap::new();
        for (partition, records) in &self.log.0 {
            for (offset, number) in records.iter().enumerate() {
                let total = expected.entry((*number, *partition)).or_default();
                total.add(Total::of_record(*partition, offset as u64));
            }
        }
        let mut found = BTreeMap::new();
        for number in 0..ENTITIES {
            let row = self.store.read(&[(VIEW, entity(number))]).await.expect("read").remove(0);
            for (part, image) in row.parts {
                let PartId::Partition(partition) = part else { return Err(format!("{part:?} was never written")) };
                found.insert((number, partition), total(&image));
            }
        }
        if found == expected { Ok(()) } else { Err(format!("counted {found:?}, not {expected:?}")) }
    }
}
