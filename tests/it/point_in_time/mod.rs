//! Jobs over archived events: training sets, backfills, parity. They share one small shop, whose events are
//! archived here from JSON as the log would have it.

use std::collections::BTreeMap;

use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use freshet::kernel::definition::{self, SourceText};
use freshet::kernel::event::{self, RawRecord};
use freshet::kernel::plan::{self, Plan};
use freshet::kernel::time::EventTime;
use freshet::offline::{Archive, Committed, Folder, Lookups, Span};
use freshet::telemetry::Watch;
use tempfile::TempDir;

mod backfill;
mod object_storage;
mod operators;
mod parity;
mod property;
mod schema_change;
mod training;

const SHOP: &str = include_str!("shop.yaml");

struct Shop {
    plan: Plan,
    folder: Folder,
    archive: Archive,
    lookups: Lookups,
    _root: Option<TempDir>,
}

/// One record of the log.
struct Record {
    partition: u32,
    ingested: &'static str,
    json: String,
}

impl Shop {
    fn new() -> Shop {
        Shop::of(SHOP)
    }

    /// With other definitions.
    fn of(definitions: &str) -> Shop {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Folder::on_disk(root.path(), &"default".parse().expect("a name"));
        Shop { _root: Some(root), ..Shop::defined_in(folder, definitions) }
    }

    fn archived_in(folder: Folder) -> Shop {
        Shop::defined_in(folder, SHOP)
    }

    fn defined_in(folder: Folder, definitions: &str) -> Shop {
        let file = SourceText { path: "shop.yaml".into(), text: definitions.into() };
        let plan = plan::compile(&definition::parse(&[file]).expect("the definitions are right"));
        let (archive, lookups) = (Archive::new(folder.clone()), Lookups::new(folder.clone()));
        Shop { plan, folder, archive, lookups, _root: None }
    }

    /// Archives records behind those that are there, in one commit a partition.
    fn archive(&self, records: &[Record]) {
        let source = self.plan.source("clicks").expect("it is defined");
        let mut partitions: BTreeMap<u32, Vec<RawRecord>> = BTreeMap::new();
        for record in records {
            let start = self.archive.position(source, record.partition).expect("read").unwrap_or(0);
            let of_partition = partitions.entry(record.partition).or_default();
            of_partition.push(RawRecord {
                partition: record.partition,
                offset: start + of_partition.len() as u64,
                ingestion_time: time(record.ingested),
                value: Bytes::from(record.json.clone()),
            });
        }
        for (partition, records) in partitions {
            assert_eq!(event::decode(source, &records).rejections, []);
            let start = records[0].offset;
            let span = Span { partition, offsets: start..start + records.len() as u64 };
            let outcome = self.archive.commit(source, &span, &records).expect("committed");
            assert_eq!(outcome, Committed::Done);
        }
    }
}

/// `at` and `ingested` are times of one day.
fn click(partition: u32, user: &str, at: &str, ingested: &'static str, item: &str, price: f64) -> Record {
    let at = time(at);
    let json =
        format!(r#"{{"id":"{user}-{item}-{at}","at":"{at}","user_id":{user:?},"item_id":{item:?},"price":{price}}}"#);
    Record { partition, ingested, json }
}

fn time(of_day: &str) -> EventTime {
    format!("2026-11-21T{of_day}Z").parse().expect("a time of day")
}

fn unwatched() -> Watch<'static> {
    Watch::new(&|_| {}, &|| false)
}

fn table(batches: &[arrow::record_batch::RecordBatch]) -> String {
    pretty_format_batches(batches).expect("a table").to_string() + "\n"
}
