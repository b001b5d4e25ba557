//! Events a second through the stream worker, in this process: real batches into the real worker, its effects
//! performed on a store in memory. Says where the time goes.
//!
//! ```text
//! cargo bench --bench throughput -- 1000000                   measures
//! cargo bench --bench throughput -- 500000 events.ndjson      writes the events down for others to measure, and stops
//! ```
//!
//! The worker's clock moves on by the records it was given, as if they came at the rate that we aim for, so that two
//! runs flush the same rows; and what is measured is this thread's time on a processor. So runs can be compared, also
//! on a machine that does other things.

mod workload;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use freshet::event_log::TopicPartition;
use freshet::kernel::engine::prepare;
use freshet::kernel::event::{RawRecord, decode};
use freshet::kernel::plan::ViewPlan;
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::{Memory, Nonce, OnlineStore};
use freshet::stream::{Bounds, Effect, Settings, Signal, Ticket, Worker};
use futures::FutureExt;

const PARTITIONS: u32 = 4;
const SHARDS: u16 = 256;
const SEED: u64 = 7;
const USERS: workload::Users = workload::Users::Zipf(100_000);
const RECORDS_A_DELIVERY: usize = 4_000;
/// What the worker's clock believes.
const EVENTS_A_SECOND: i64 = 200_000;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Cargo passes `--bench` along.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let count = arguments.next().map_or(1_000_000, |count| count.parse().expect("the first argument is a number"));
    match arguments.next() {
        Some(path) => write_down(count, &path).expect("the file can be written"),
        None => measure(count),
    }
}

fn write_down(count: usize, path: &str) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    workload::events(count, USERS, end(), SEED).try_for_each(|event| writeln!(file, "{}", event.json))?;
    file.flush()
}

fn measure(count: usize) {
    let view = workload::view("shop");
    let deliveries = deliveries(count);
    stages(&view, &deliveries, count);
    let mut run = Run::new();
    run.start(&view);
    run.deliver(deliveries);
    run.report(count);
}

fn end() -> EventTime {
    EventTime::from_micros(1_795_262_400_000_000).expect("a time of our century")
}

/// Per partition in turns, as a consumer hands them out.
fn deliveries(count: usize) -> Vec<(TopicPartition, Vec<RawRecord>)> {
    let mut offsets = [0_u64; PARTITIONS as usize];
    let mut open: Vec<Vec<RawRecord>> = vec![Vec::new(); PARTITIONS as usize];
    let mut deliveries = Vec::new();
    for event in workload::events(count, USERS, end(), SEED) {
        let number = event.user.bytes().fold(0, |hash: u32, byte| hash.wrapping_mul(31) + u32::from(byte)) % PARTITIONS;
        let place = number as usize;
        let ingestion_time = EventTime::from_micros(event.sent_ms * 1_000).expect("a time of our century");
        open[place].push(RawRecord {
            partition: number,
            offset: offsets[place],
            ingestion_time,
            value: event.json.into(),
        });
        offsets[place] += 1;
        if open[place].len() == RECORDS_A_DELIVERY {
            deliveries.push((partition(number), std::mem::take(&mut open[place])));
        }
    }
    deliveries.extend((0..).map(partition).zip(open).filter(|(_, records)| !records.is_empty()));
    deliveries
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition { topic: "shop".to_owned(), partition: number }
}

/// The pure stages by themselves.
fn stages(view: &ViewPlan, deliveries: &[(TopicPartition, Vec<RawRecord>)], count: usize) {
    let bytes: usize = deliveries.iter().flat_map(|(_, records)| records).map(|record| record.value.len()).sum();
    println!("{count} events of {} bytes", bytes / count);
    let mut decoding = Duration::ZERO;
    let mut preparing = Duration::ZERO;
    for (_, records) in deliveries {
        let start = on_processor();
        let decoded = decode(&view.source, records);
        let between = on_processor();
        assert_eq!(prepare(view, &decoded.events).entrants.len(), records.len());
        decoding += between - start;
        preparing += on_processor() - between;
    }
    say("decode alone", decoding, count);
    say("prepare alone", preparing, count);
}

/// For how long this thread has been on a processor so far.
fn on_processor() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = statistics.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds stand first"))
}

fn say(what: &str, took: Duration, count: usize) {
    let nanos = took.as_nanos() as f64 / count as f64;
    println!("{what:<24}{nanos:>8.0} ns an event{:>12.0} events/s", 1e9 / nanos);
}

struct Run {
    worker: Worker,
    store: Memory,
    waiting: VecDeque<Signal>,
    tickets: [Ticket; PARTITIONS as usize],
    /// Time in the worker, by what it was told.
    spent: [(&'static str, Duration); 5],
    store_spent: Duration,
    rows: usize,
    row_bytes: usize,
    bodies: usize,
    loads: usize,
    calls: usize,
}

impl Run {
    fn new() -> Run {
        Run {
            worker: Worker::new(SHARDS, Settings::default()),
            store: Memory::new(SHARDS),
            waiting: VecDeque::new(),
            tickets: [Ticket(0); PARTITIONS as usize],
            spent: ["records", "loaded", "tick", "applied", "other"].map(|name| (name, Duration::ZERO)),
            store_spent: Duration::ZERO,
            rows: 0,
            row_bytes: 0,
            bodies: 0,
            loads: 0,
            calls: 0,
        }
    }

    fn start(&mut self, view: &Arc<ViewPlan>) {
        self.take(tick(0));
        self.take(Signal::Versions { versions: vec![view.clone()], bounds: Vec::new() });
        let bounds = |number| Bounds { partition: partition(number), held: 0..0 };
        self.take(Signal::Assigned((0..PARTITIONS).map(bounds).collect()));
    }

    fn deliver(&mut self, deliveries: Vec<(TopicPartition, Vec<RawRecord>)>) {
        let mut delivered = 0;
        for (partition, records) in deliveries {
            delivered += records.len() as i64;
            let next = records.last().expect("a delivery has records").offset + 1;
            let ticket = self.tickets[partition.partition as usize];
            self.take(Signal::Records { ticket, partition, records, next, log_end: u64::MAX });
            self.take(tick(delivered * 1_000_000 / EVENTS_A_SECOND));
        }
        self.take(Signal::ReleaseAll);
        assert!(self.worker.is_idle(), "all that was folded is flushed");
    }

    /// One signal, and all that follows from it.
    fn take(&mut self, signal: Signal) {
        self.waiting.push_back(signal);
        while let Some(signal) = self.waiting.pop_front() {
            let kind = kind_of(&signal);
            let start = on_processor();
            let effects = self.worker.handle(signal);
            let between = on_processor();
            effects.into_iter().for_each(|effect| self.perform(effect));
            self.spent[kind].1 += between - start;
            self.store_spent += on_processor() - between;
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Claim { ticket, shard, claims } => {
                let nonce = Nonce(1);
                let offsets = at_once(self.store.claim(shard, &claims, nonce));
                self.waiting.push_back(Signal::Claimed { ticket, nonce, offsets });
            }
            Effect::Seek { ticket, partition, .. } => self.tickets[partition.partition as usize] = ticket,
            Effect::Load { ticket, keys } => {
                self.loads += keys.len();
                let loaded = at_once(self.store.load(&keys)).into_iter().map(Ok).collect();
                self.waiting.push_back(Signal::Loaded { ticket, loaded });
            }
            Effect::Apply { shard, advances, rows } => {
                self.calls += 1;
                self.rows += rows.len();
                for row in rows.iter() {
                    let body = row.flushed.body.as_ref().map_or(0, |body| body.len());
                    self.row_bytes += row.flushed.head.len() + body;
                    self.bodies += usize::from(body > 0);
                }
                let outcome = at_once(self.store.apply(shard, &advances, &rows));
                self.waiting.push_back(Signal::Applied { shard, outcome });
            }
            Effect::ProveMembership | Effect::Look { .. } | Effect::Stopped { .. } => {
                unreachable!("nothing is refused, damaged or lost here")
            }
            Effect::Pause(_) | Effect::Resume(_) | Effect::Released(_) => {}
        }
    }

    fn report(&self, count: usize) {
        let total = self.spent.iter().map(|(_, took)| *took).sum();
        for (name, took) in self.spent {
            say(&format!("worker: {name}"), took, count);
        }
        say("worker", total, count);
        say("store in memory", self.store_spent, count);
        let progress = self.worker.progress();
        println!(
            "{} calls, {} rows of {} bytes, {} bodies, {} parts loaded, {} MB cached",
            self.calls,
            self.rows,
            self.row_bytes / self.rows,
            self.bodies,
            self.loads,
            progress.cached_bytes >> 20
        );
    }
}

fn tick(micros: i64) -> Signal {
    Signal::Tick { now: EventTime::from_micros(micros).expect("a time"), passed: Micros::new(micros) }
}

fn kind_of(signal: &Signal) -> usize {
    match signal {
        Signal::Records { .. } => 0,
        Signal::Loaded { .. } => 1,
        Signal::Tick { .. } => 2,
        Signal::Applied { .. } => 3,
        _ => 4,
    }
}

/// A store in memory answers without waiting.
fn at_once<T>(call: impl Future<Output = Result<T, freshet::online::Error>>) -> T {
    call.now_or_never().expect("memory does not wait").expect("memory does not fail")
}
