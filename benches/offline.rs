//! How long a training set takes, and how much memory: a year's shop in small. `benches/peers/run.py` asks others the same.
//! And how long the rows of a new view take that the archive gives.
//!
//! ```text
//! cargo bench --bench offline -- make FOLDER [EVENTS] [ROWS]      writes the archive, the same events as Parquet, the spine
//! cargo bench --bench offline -- cut FOLDER [basic|distinct] [MEMORY_MIB]
//! cargo bench --bench offline -- seed FOLDER [basic|distinct] [MEMORY_MIB]
//! ```
//!
//! `cut` prints wall time, rows and events a second, and the peak of the process's memory, and leaves the training set at
//! `FOLDER/ours.parquet` to be compared; `seed` prints the like of rows in an embedded store. Each run is a process of its
//! own, so that the peak is its own.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use freshet::backfill::seed::{self, Seeded, Seeding};
use freshet::batch::Resources;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::Knowledge;
use freshet::kernel::event::RawRecord;
use freshet::kernel::key::SHARDS;
use freshet::kernel::plan::{Plan, compile};
use freshet::kernel::time::EventTime;
use freshet::offline::{Archive, Folder, Format, ResultWriter, Span};
use freshet::online::{Embedded, EmbeddedOptions, Nonce};
use freshet::telemetry::Watch;
use freshet::training::{Job, Request};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::time::Instant;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: usize = 100_000;
const ITEMS: usize = 20_000;
const DAYS: i64 = 30;
const DAY: i64 = 86_400_000_000;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
const PARTITIONS: usize = 4;
const COMMIT_RECORDS: usize = 100_000;

const DEFINITIONS: &str = r#"
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: shop_events
key: user_id
event_time: { field: at, unit: us }
allowed_lateness: 1d
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: item_id, type: string }
    - { name: amount, type: float64 }
---
kind: feature_view
name: basic
entity: user
source: shop_events
features:
  - { name: n, aggregate: count, windows: [1h, 24h, 7d] }
  - { name: spend, aggregate: sum, column: amount, windows: [1h, 24h, 7d] }
  - { name: dearest, aggregate: max, column: amount, windows: [1h, 24h, 7d] }
---
kind: feature_view
name: distinct
entity: user
source: shop_events
features:
  - { name: n, aggregate: count, windows: [1h, 24h, 7d] }
  - { name: spend, aggregate: sum, column: amount, windows: [1h, 24h, 7d] }
  - { name: dearest, aggregate: max, column: amount, windows: [1h, 24h, 7d] }
  - { name: items, aggregate: count_distinct, column: item_id, limit: 100000, windows: [1h, 24h, 7d] }
---
kind: feature_service
name: basic
features: [basic]
---
kind: feature_service
name: distinct
features: [distinct]
"#;

/// Events of users whose shares fall with their rank (zipf 1.0): the busiest has one in twelve.
struct Shop {
    random: fastrand::Rng,
    cumulated: Vec<f64>,
}

struct Event {
    user: usize,
    at: i64,
    item: usize,
    amount: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let argument = |index: usize, default: &str| arguments.get(index).cloned().unwrap_or_else(|| default.to_owned());
    let number = |index: usize, default: &str| argument(index, default).parse::<usize>().expect("a number");
    let folder = PathBuf::from(argument(1, "/tmp/freshet-offline"));
    match argument(0, "").as_str() {
        "make" => make(&folder, number(2, "1000000"), number(3, "50000")),
        "cut" => cut(&folder, &argument(2, "basic"), number(3, "512")),
        "seed" => seed(&folder, &argument(2, "basic"), number(3, "512")),
        _ => println!(
            "say what: `make FOLDER [EVENTS] [ROWS]`, then `cut` or `seed FOLDER [basic|distinct] [MEMORY_MIB]`"
        ),
    }
}

fn make(folder: &Path, events: usize, rows: usize) {
    std::fs::create_dir_all(folder).expect("a folder");
    let (plan, archive) = (plan(), archive(folder));
    let source = plan.source("shop_events").expect("it is defined");
    let mut shop = Shop::new();
    let mut table = table_writer(&folder.join("events.parquet"), &as_table(&[]));
    let mut starts = [0_u64; PARTITIONS];
    for first in (0..events).step_by(COMMIT_RECORDS * PARTITIONS) {
        let count = (COMMIT_RECORDS * PARTITIONS).min(events - first);
        let batch: Vec<Event> = (first..first + count).map(|index| shop.event(index, events)).collect();
        table.write(&as_table(&batch)).expect("written");
        for (partition, start) in starts.iter_mut().enumerate() {
            let of_partition = batch.iter().filter(|event| event.user % PARTITIONS == partition);
            let records: Vec<RawRecord> = of_partition.zip(*start..).map(|(it, at)| it.record(partition, at)).collect();
            let span = Span { partition: partition as u32, offsets: *start..*start + records.len() as u64 };
            *start = span.offsets.end;
            archive.commit(source, &span, &records).expect("committed");
        }
    }
    table.close().expect("written");
    let spine = shop.spine(rows);
    let mut writer = table_writer(&folder.join("spine.parquet"), &spine);
    writer.write(&spine).expect("written");
    writer.close().expect("written");
    println!("{events} events and {rows} rows of a spine in {}", folder.display());
}

fn cut(folder: &Path, service: &str, memory_mib: usize) {
    let (plan, archive) = (plan(), archive(folder));
    let spine = File::open(folder.join("spine.parquet")).expect("a spine: run `make` first");
    let spine = ParquetRecordBatchReaderBuilder::try_new(spine).and_then(|it| it.build()).expect("Parquet");
    let spine: Vec<RecordBatch> = spine.map(|batch| batch.expect("rows")).collect();
    let features = &plan.service(service).expect("`basic` or `distinct`").features;
    let request = Request { features, spine: &spine, label_time: "event_timestamp", knowledge: Knowledge::AsServed };
    let resources = Resources { memory_bytes: memory_mib << 20, threads: NonZeroUsize::new(2).expect("two") };
    let started = Instant::now();
    let job = Job::begin(&archive, &plan, &request, resources).expect("begun");
    let out = Folder::on_disk(folder, &"out".parse().expect("a name"));
    let mut writer = ResultWriter::create(&out, "ours.parquet", Format::Parquet, job.schema.clone()).expect("created");
    job.run(Watch::new(&|_| {}, &|| false), &mut |batch| writer.write(&batch)).expect("computed");
    writer.publish().expect("published");
    let seconds = started.elapsed().as_secs_f64();
    let events: u64 = job.pins.values().flat_map(|partitions| partitions.values()).sum();
    println!(
        "{service}: {seconds:.2} s, {:.0} rows/s, {:.0} events/s, peak {} MiB",
        job.rows as f64 / seconds,
        events as f64 / seconds,
        peak_mib()
    );
}

/// As of the newest event.
fn seed(folder: &Path, view: &str, memory_mib: usize) {
    let (plan, archive) = (plan(), archive(folder));
    let view = plan.view(view).expect("`basic` or `distinct`").clone();
    let held = [const { 0..u64::MAX }; PARTITIONS];
    let cut = seed::cut(&archive, &view.source, &held, 1).expect("an archive: run `make` first");
    let records: u64 = cut.values().sum();
    let resources = Resources { memory_bytes: memory_mib << 20, threads: NonZeroUsize::new(2).expect("two") };
    let now = EventTime::from_micros(START + DAYS * DAY).expect("a time of this year");
    let seeding = Seeding { archive, view: view.clone(), cut, now, resources };
    let online = tempfile::tempdir_in(folder).expect("a folder");
    let options = EmbeddedOptions { shards: SHARDS, cache_bytes: 256 << 20 };
    let online = Embedded::open(online.path(), options).expect("a new store");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let started = Instant::now();
    let outcome = runtime.block_on(seed::seed(&online, seeding, Nonce(1))).expect("seeded");
    let seconds = started.elapsed().as_secs_f64();
    let Seeded::Done { events } = outcome else { panic!("nobody else seeds: {outcome:?}") };
    println!(
        "{}: {seconds:.2} s, {:.0} records/s, {events} events of {records} within reach, peak {} MiB",
        view.name,
        records as f64 / seconds,
        peak_mib()
    );
}

fn plan() -> Plan {
    let parsed = parse(&[SourceText { path: "bench".to_owned(), text: DEFINITIONS.to_owned() }]);
    compile(&parsed.unwrap_or_else(|mistakes| panic!("{mistakes:#?}")))
}

fn archive(folder: &Path) -> Archive {
    Archive::new(Folder::on_disk(folder, &"archive".parse().expect("a name")))
}

impl Shop {
    fn new() -> Shop {
        let weight = |rank: usize| 1.0 / rank as f64;
        let total: f64 = (1..=USERS).map(weight).sum();
        let sum = |sum: &mut f64, rank: usize| {
            *sum += weight(rank) / total;
            Some(*sum)
        };
        Shop { random: fastrand::Rng::with_seed(4), cumulated: (1..=USERS).scan(0.0, sum).collect() }
    }

    fn user(&mut self) -> usize {
        let point = self.random.f64();
        self.cumulated.partition_point(|share| *share < point).min(USERS - 1)
    }

    /// Whole milliseconds, so that the log's stamp is the event's time.
    fn event(&mut self, index: usize, events: usize) -> Event {
        let at = START + (DAYS * DAY / 1_000) * index as i64 / events as i64 * 1_000;
        let (user, item) = (self.user(), self.random.usize(..ITEMS));
        Event { user, at, item, amount: f64::from(self.random.u32(99..50_000)) / 100.0 }
    }

    /// Label times of the last three weeks, in no order.
    fn spine(&mut self, rows: usize) -> RecordBatch {
        let users: StringArray = (0..rows).map(|_| Some(format!("u{}", self.user()))).collect();
        let at = |random: &mut fastrand::Rng| START + random.i64(9 * DAY / 1_000..DAYS * DAY / 1_000) * 1_000;
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|_| at(&mut self.random)));
        let rows: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..rows as i64));
        RecordBatch::try_from_iter([
            ("id", rows),
            ("user_id", Arc::new(users) as ArrayRef),
            ("event_timestamp", Arc::new(times.with_timezone("UTC"))),
        ])
        .expect("a batch")
    }
}

impl Event {
    fn record(&self, partition: usize, offset: u64) -> RawRecord {
        let Event { user, at, item, amount } = self;
        let json = format!(r#"{{"at":{at},"user_id":"u{user}","item_id":"i{item}","amount":{amount}}}"#);
        let ingestion_time = EventTime::from_micros(*at).expect("a time of this year");
        RawRecord { partition: partition as u32, offset, ingestion_time, value: json.into() }
    }
}

fn as_table(events: &[Event]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.at));
    let users = StringArray::from_iter_values(events.iter().map(|event| format!("u{}", event.user)));
    let items = StringArray::from_iter_values(events.iter().map(|event| format!("i{}", event.item)));
    let amounts = Float64Array::from_iter_values(events.iter().map(|event| event.amount));
    RecordBatch::try_from_iter([
        ("at", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("user_id", Arc::new(users)),
        ("item_id", Arc::new(items)),
        ("amount", Arc::new(amounts)),
    ])
    .expect("a batch")
}

fn table_writer(path: &Path, example: &RecordBatch) -> ArrowWriter<File> {
    let file = File::create(path).expect("a file");
    ArrowWriter::try_new(file, example.schema(), None).expect("a writer")
}

/// The most memory that this process ever had.
fn peak_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0) / 1_024
}
