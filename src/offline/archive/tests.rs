//! What the archive promises, with real files, decoded events, and kills between any two operations.

use std::sync::Barrier;

use bytes::Bytes;
use expect_test::expect;

use super::*;
use crate::kernel::definition::{Compatibility, Description, SourceField, TimeFormat};
use crate::kernel::event::{RawRecord, decode};
use crate::kernel::key::Origin;
use crate::offline::folder::tests::project;
use crate::offline::{ArchivedRecords, Filter};

/// A source `clicks` with the time field `at`, and fields of the given names and types.
pub(crate) fn source(fields: &[(&str, &str)]) -> Arc<Source> {
    let field = |(name, value_type): &(&str, &str)| SourceField {
        name: name.parse().expect("a name"),
        value_type: value_type.parse().expect("a type"),
        required: false,
        unit: TimeFormat::Rfc3339,
    };
    Arc::new(Source {
        name: "clicks".parse().expect("a name"),
        topic: "clicks".to_owned(),
        key: None,
        event_time: 0,
        event_id: None,
        dedup_window: Micros::HOUR,
        allowed_lateness: None,
        max_future_skew: Micros::new(5 * 60_000_000),
        schema_version: 1,
        compatibility: Compatibility::Backward,
        fields: [("at", "timestamp")].iter().chain(fields).map(field).collect(),
        history: Vec::new(),
        about: Description::default(),
    })
}

/// Record `offset` of `partition`, ingested at noon of 2026-11-21.
pub(crate) fn record(partition: u32, offset: u64, json: &str) -> RawRecord {
    let ingestion_time = "2026-11-21T12:00:00Z".parse().expect("a time");
    RawRecord { partition, offset, ingestion_time, value: Bytes::copy_from_slice(json.as_bytes()) }
}

fn click(partition: u32, offset: u64, at: &str) -> RawRecord {
    record(partition, offset, &format!(r#"{{"at": "{at}", "user": "u{offset}"}}"#))
}

fn clicks() -> Arc<Source> {
    source(&[("user", "string")])
}

fn commit(archive: &Archive, source: &Source, offsets: Range<u64>, records: &[RawRecord]) -> Result<Committed, Error> {
    let span = Span { partition: records.first().map_or(0, |record| record.partition), offsets };
    archive.commit(source, &span, records)
}

/// Partition and offset of each event, in the order that they are read.
pub(crate) fn archived(archive: &Archive, source: &Arc<Source>, scope: &Scope) -> Vec<(u32, u64)> {
    let pinned = archive.pin(source).expect("pinned");
    let read = archive.read(source, &pinned, scope).collect::<Result<Vec<_>, _>>().expect("read");
    let position = |(origin, _): &(Origin, EventTime)| match origin {
        Origin::Log { partition, offset } => (*partition, *offset),
        Origin::History { .. } => unreachable!("only the log is archived"),
    };
    read.iter().flat_map(|events| events.positions.iter().map(position)).collect()
}

fn text(archive: &Archive, source: &Arc<Source>) -> String {
    let pinned = archive.pin(source).expect("pinned");
    let read: Vec<_> = archive.read(source, &pinned, &Scope::default()).map(|it| it.expect("read").fields).collect();
    arrow::util::pretty::pretty_format_batches(&read).map(|table| table.to_string()).unwrap_or_default()
}

#[test]
fn events_of_several_days_read_back_in_the_order_of_their_offsets() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let days = ["2026-11-21T10:00:00Z", "2026-11-19T23:59:59.999999Z", "2026-11-21T09:00:00Z", "1969-12-31T10:00:00Z"];
    let records: Vec<_> = (0..).zip(days).map(|(offset, at)| click(3, offset, at)).collect();
    assert_eq!(commit(&archive, &clicks(), 0..4, &records).expect("committed"), Committed::Done);
    assert_eq!(archived(&archive, &clicks(), &Scope::default()), [(3, 0), (3, 1), (3, 2), (3, 3)]);
    assert_eq!(archive.folder.list("events/clicks").expect("listed").len(), 4, "three days, and the commits");
    let pinned = archive.pin(&clicks()).expect("pinned");
    let events = archive.read(&clicks(), &pinned, &Scope::default()).next().expect("a batch").expect("read");
    let decoded = decode(&clicks(), &records).events;
    assert_eq!(events.fields, decoded.fields);
    assert_eq!(events.positions, decoded.events.iter().map(|it| (it.origin, it.ingestion_time)).collect::<Vec<_>>());
}

#[test]
fn a_commit_starts_where_the_one_before_ended() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    assert_eq!(archive.position(&clicks(), 0).expect("read"), None);
    commit(&archive, &clicks(), 5..6, &[click(0, 5, "2026-11-21T10:00:00Z")]).expect("committed");
    commit(&archive, &clicks(), 6..900, &[click(0, 17, "2026-11-21T10:00:00Z")]).expect("committed");
    assert_eq!(archive.position(&clicks(), 0).expect("read"), Some(900));
    assert_eq!(archive.position_since(&clicks(), 0, 6).expect("read"), 900);
    assert_eq!(archive.position(&clicks(), 1).expect("read"), None);
}

#[test]
fn a_commit_behind_one_that_ends_elsewhere_leaves_no_hole() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    commit(&archive, &clicks(), 4..8, &[click(0, 4, "2026-11-21T10:00:00Z")]).expect("committed");
    let behind = |behind: Option<u64>, from: u64| {
        let span = Span { partition: 0, offsets: from..from + 2 };
        let records = [click(0, from, "2026-11-21T10:00:00Z")];
        archive.commit_behind(&clicks(), behind, &span, &records).expect("answered")
    };
    assert_eq!(behind(Some(4), 10), Committed::AlreadyCommitted { to: 8 });
    assert_eq!(archive.position(&clicks(), 0).expect("whole"), Some(8));
    assert_eq!(behind(Some(4), 8), Committed::Done);
    assert_eq!(behind(None, 10), Committed::Done);
    assert_eq!(archive.position(&clicks(), 0).expect("whole"), Some(12));
}

#[test]
fn of_two_archivers_at_one_offset_the_files_of_the_second_do_not_exist() {
    let root = tempfile::tempdir().expect("a folder");
    let (first, second) = (Archive::new(project(root.path())), Archive::new(project(root.path())));
    let one = [click(0, 0, "2026-11-21T10:00:00Z")];
    let two = [click(0, 0, "2026-11-21T10:00:00Z"), record(0, 1, "broken")];
    commit(&first, &clicks(), 0..1, &one).expect("committed");
    let overtaken = Committed::AlreadyCommitted { to: 1 };
    assert_eq!(commit(&second, &clicks(), 0..2, &two).expect("answered"), overtaken);
    assert_eq!(archived(&second, &clicks(), &Scope::default()), [(0, 0)]);
    assert_eq!(second.dead_letter(&clicks(), 0, 1).expect("read"), None);
}

#[test]
fn of_archivers_that_commit_at_once_exactly_one_wins_and_the_others_leave_no_file() {
    for round in 0..20 {
        let root = tempfile::tempdir().expect("a folder");
        let start = Barrier::new(4);
        let race = |to: u64| {
            let archive = Archive::new(project(root.path()));
            let records: Vec<_> = (0..to).map(|offset| click(0, offset, "2026-11-21T10:00:00Z")).collect();
            start.wait();
            (to, commit(&archive, &clicks(), 0..to, &records).expect("answered"))
        };
        let outcomes = std::thread::scope(|scope| {
            let racers: Vec<_> = (1..5).map(|to| scope.spawn(move || race(to))).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect::<Vec<_>>()
        });
        let winners: Vec<u64> = outcomes.iter().filter(|(_, it)| *it == Committed::Done).map(|(to, _)| *to).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let archive = Archive::new(project(root.path()));
        assert_eq!(archived(&archive, &clicks(), &Scope::default()).len() as u64, winners[0]);
        assert_eq!(archive.folder.list("events/clicks/dt=2026-11-21").expect("listed").len(), 1, "round {round}");
    }
}

#[test]
fn a_kill_between_any_two_operations_loses_and_doubles_nothing() {
    let records = [
        click(0, 0, "2026-11-21T10:00:00Z"),
        click(0, 1, "2026-11-20T10:00:00Z"),
        record(0, 2, "broken"),
        click(0, 3, "2026-11-21T11:00:00Z"),
    ];
    for operations in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let dying = project(root.path());
        dying.kill_after(operations);
        let outcome = commit(&Archive::new(dying), &clicks(), 0..4, &records);
        let survivor = Archive::new(project(root.path()));
        let position = survivor.position(&clicks(), 0).expect("read");
        assert!(position == Some(4) || outcome.is_err(), "what was answered is there, after {operations} operations");
        let all = vec![(0, 0), (0, 1), (0, 3)];
        let events = archived(&survivor, &clicks(), &Scope::default());
        assert_eq!(events, if position.is_some() { all.clone() } else { Vec::new() });
        let again = commit(&survivor, &clicks(), 0..4, &records).expect("committed");
        assert_eq!(again == Committed::Done, position.is_none(), "after {operations} operations");
        assert_eq!(archived(&survivor, &clicks(), &Scope::default()), all);
        let letters = survivor.dead_letters(&clicks(), Filter { reason: None, limit: 9 }).expect("listed");
        assert_eq!(letters.len(), 1, "after {operations} operations");
        if outcome.is_ok() {
            assert!(operations > 20, "three files and a commit are many operations");
            return;
        }
    }
}

#[test]
fn a_file_that_no_commit_names_does_not_exist() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let span = Span { partition: 0, offsets: 0..1 };
    let records = [click(0, 0, "2026-11-21T10:00:00Z")];
    archive.write(&clicks(), &Files::committed(&clicks()), &span, &records).expect("written");
    assert_eq!(archived(&archive, &clicks(), &Scope::default()), []);
}

#[test]
fn a_lost_commit_is_reported_and_not_skipped() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    for offset in 0..3 {
        let one = [click(0, offset, "2026-11-21T10:00:00Z")];
        commit(&archive, &clicks(), offset..offset + 1, &one).expect("committed");
    }
    archive.folder.delete(&commit::path(&commit::chain(&clicks(), 0), 1)).expect("deleted");
    let broken = archive.pin(&clicks()).expect_err("the chain has a gap");
    expect![[r#"the archive of source `clicks` is broken in partition 0: a commit ends at offset 1, and the next one starts at 2; restore the missing commits, or move the archive of this source away"#]]
    .assert_eq(&broken.to_string());
    assert!(archive.position(&clicks(), 0).is_err() && !broken.is_transient());
}

#[test]
fn a_damaged_commit_or_file_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    commit(&archive, &clicks(), 0..1, &[click(0, 0, "2026-11-21T10:00:00Z")]).expect("committed");
    let pinned = archive.pin(&clicks()).expect("pinned");
    let file = &pinned.partitions[&0][0].files[0].path;
    std::fs::write(root.path().join("default").join(file), "not Parquet").expect("overwritten");
    let damaged = archive.read(&clicks(), &pinned, &Scope::default()).next().expect("a batch").expect_err("damaged");
    assert!(damaged.to_string().starts_with(&format!("`{file}` is damaged")), "{damaged}");
    std::fs::write(root.path().join("default").join(commit::path(&commit::chain(&clicks(), 0), 0)), "{")
        .expect("overwritten");
    assert!(matches!(archive.pin(&clicks()), Err(Error::Damaged { .. })));
}

#[test]
fn an_archive_is_of_one_topic() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    commit(&archive, &clicks(), 0..1, &[click(0, 0, "2026-11-21T10:00:00Z")]).expect("committed");
    let moved = Source { topic: "clicks-2".to_owned(), ..Source::clone(&clicks()) };
    let refused = archive.pin(&moved).expect_err("another topic");
    expect![[r#"the archive of source `clicks` holds topic `clicks`, not `clicks-2`: offsets of two topics cannot share it; give the source of the new topic another name"#]]
    .assert_eq(&refused.to_string());
    assert!(commit(&archive, &moved, 0..1, &[click(0, 0, "2026-11-21T10:00:00Z")]).is_err());
}

#[test]
fn what_was_pinned_reads_the_same_after_later_commits() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    commit(&archive, &clicks(), 0..1, &[click(0, 0, "2026-11-21T10:00:00Z")]).expect("committed");
    let pinned = archive.pin(&clicks()).expect("pinned");
    commit(&archive, &clicks(), 1..2, &[click(0, 1, "2026-11-21T10:00:00Z")]).expect("committed");
    commit(&archive, &clicks(), 0..1, &[click(1, 0, "2026-11-21T10:00:00Z")]).expect("committed");
    assert_eq!(pinned.offsets(), BTreeMap::from([(0, 1)]));
    let again = archive.pin_at(&clicks(), &pinned.offsets()).expect("pinned");
    let count = |pinned: &Pinned| {
        let read = archive.read(&clicks(), pinned, &Scope::default());
        read.map(|events| events.expect("read").positions.len()).sum::<usize>()
    };
    assert_eq!((count(&pinned), count(&again)), (1, 1));
    assert_eq!(archived(&archive, &clicks(), &Scope::default()), [(0, 0), (0, 1), (1, 0)]);
}

#[test]
fn a_scope_stays_below_its_offsets() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    for partition in 0..2 {
        let records: Vec<_> = (0..3).map(|offset| click(partition, offset, "2026-11-21T10:00:00Z")).collect();
        commit(&archive, &clicks(), 0..3, &records).expect("committed");
    }
    let scope = Scope { below: Some(BTreeMap::from([(1, 2)])), ..Scope::default() };
    assert_eq!(archived(&archive, &clicks(), &scope), [(1, 0), (1, 1)]);
}

#[test]
fn a_time_range_leaves_out_days_unless_copies_must_be_recognised() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let records = [click(0, 0, "2026-11-19T10:00:00Z"), click(0, 1, "2026-11-20T10:00:00Z")];
    commit(&archive, &clicks(), 0..2, &records).expect("committed");
    let time = |text: &str| text.parse::<EventTime>().expect("a time");
    let range = |from: &str, to: &str| Scope { event_time: Some(time(from)..time(to)), ..Scope::default() };
    let scope = range("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000001Z");
    assert_eq!(archived(&archive, &clicks(), &scope), [(0, 1)]);
    let before = range("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z");
    assert_eq!(archived(&archive, &clicks(), &before), []);
    let with_id = Arc::new(Source { event_id: Some(1), ..Source::clone(&clicks()) });
    assert_eq!(archived(&archive, &with_id, &scope), [(0, 0), (0, 1)]);
}

#[test]
fn fields_that_nobody_looks_at_are_blank() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let source = source(&[("count", "int32"), ("user", "string")]);
    let records = [record(0, 0, r#"{"at": "2026-11-21T10:00:00Z", "count": 7, "user": "u"}"#)];
    commit(&archive, &source, 0..1, &records).expect("committed");
    let pinned = archive.pin(&source).expect("pinned");
    let read = |fields: [usize; 2]| {
        let scope = Scope { fields: Some(fields.into()), ..Scope::default() };
        let events = archive.read(&source, &pinned, &scope).next().expect("a batch").expect("read").admit(&source);
        assert_eq!(events.fields.schema(), source.schema());
        format!("{:?} {:?}", events.fields.column(1), events.fields.column(2))
    };
    let (users, counts) = (read([0, 2]), read([0, 1]));
    assert!(users.contains("\"u\"") && !users.contains('7'), "{users}");
    assert!(counts.contains('7') && !counts.contains("\"u\""), "{counts}");
}

#[test]
fn events_are_what_the_source_decodes_now_and_not_what_it_decoded_then() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let old = source(&[("count", "int32")]);
    let record =
        |offset: u64, fields: &str| record(0, offset, &format!(r#"{{"at": "2026-11-21T10:00:00Z", {fields}}}"#));
    let records = [
        record(0, r#""count": 7, "price": 0.25"#),
        record(1, r#""count": 5000000000"#),
        record(2, r#""count": "x""#),
        record(3, r#""price": 4.5"#),
    ];
    commit(&archive, &old, 0..4, &records).expect("committed");
    assert_eq!(archived(&archive, &old, &Scope::default()), [(0, 0), (0, 3)]);
    let new = source(&[("price", "float64"), ("count", "int64")]);
    expect![[r#"
        +----------------------+-------+------------+
        | at                   | price | count      |
        +----------------------+-------+------------+
        | 2026-11-21T10:00:00Z | 0.25  | 7          |
        | 2026-11-21T10:00:00Z |       | 5000000000 |
        | 2026-11-21T10:00:00Z | 4.5   |            |
        +----------------------+-------+------------+"#]]
    .assert_eq(&text(&archive, &new));
    assert_eq!(archived(&archive, &source(&[("count", "string")]), &Scope::default()), [(0, 2), (0, 3)]);
    let below = Scope { below: Some(BTreeMap::from([(0, 1)])), ..Scope::default() };
    assert_eq!(archived(&archive, &new, &below), [(0, 0)]);
}

#[test]
fn fields_in_another_order_are_read_as_columns() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let json = r#"{"at": "2026-11-21T10:00:00Z", "count": 7, "price": 0.25}"#;
    commit(&archive, &source(&[("price", "float64"), ("count", "int32")]), 0..1, &[record(0, 0, json)])
        .expect("committed");
    expect![[r#"
        +----------------------+-------+-------+
        | at                   | count | price |
        +----------------------+-------+-------+
        | 2026-11-21T10:00:00Z | 7     | 0.25  |
        +----------------------+-------+-------+"#]]
    .assert_eq(&text(&archive, &source(&[("count", "int32"), ("price", "float64")])));
}

#[test]
fn the_records_are_a_copy_of_the_log_dead_letters_among_them() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let days = ["2026-11-21", "2026-11-20", "2026-11-21", "2026-11-20", "2026-11-21"];
    let text = |(offset, day): (u64, &str)| match offset {
        1 => record(2, 1, "broken"),
        _ => click(2, offset, &format!("{day}T10:00:00Z")),
    };
    let all: Vec<RawRecord> = (0..).zip(days).map(text).collect();
    commit(&archive, &clicks(), 0..3, &all[..3]).expect("committed");
    // Offsets 5..9 are a gap.
    commit(&archive, &clicks(), 3..9, &all[3..]).expect("committed");
    let read = |from| archive.records(&clicks(), 2, from).expect("read");
    let archived = |records: &[RawRecord], next| Some(ArchivedRecords { records: records.to_vec(), next });
    assert_eq!(read(0), archived(&all[..3], 3));
    assert_eq!(read(1), archived(&all[1..3], 3));
    assert_eq!(read(3), archived(&all[3..], 9));
    assert_eq!(read(7), archived(&[], 9));
    assert_eq!((read(9), archive.records(&clicks(), 0, 0).expect("read")), (None, None));
}

#[test]
fn a_commit_of_a_format_without_raw_bytes_says_what_to_do() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let old = br#"{"format": 1, "topic": "clicks", "from": 0, "to": 1, "event_time_field": "at", "files": []}"#;
    archive.folder.create(&commit::path(&commit::chain(&clicks(), 0), 0), old).expect("written");
    let refused = archive.pin(&clicks()).expect_err("an old format");
    assert!(!refused.is_transient());
    expect![[r#"`events/clicks/_commits/0/00000000000000000000` is in format 1, and this release reads format 2: move the source's folder under `events/` away, and it is archived again from what the log holds; one of a later release needs that release"#]]
    .assert_eq(&refused.to_string());
}

#[test]
fn dead_letters_are_listed_newest_first_by_reason_and_shown_whole() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    let record = |offset: u64, ingested_micros: i64, json: &str| {
        let record = record(0, offset, json);
        RawRecord { ingestion_time: record.ingestion_time + Micros::new(ingested_micros), ..record }
    };
    let records = [record(0, 0, "broken"), record(1, 1_000, r#"{"at": 7}"#), record(2, 2_000, "{")];
    commit(&archive, &clicks(), 0..3, &records).expect("committed");
    commit(&archive, &clicks(), 3..4, &[record(3, 0, "[]")]).expect("committed");
    let list = |reason: Option<&str>, limit: usize| {
        let letters = archive.dead_letters(&clicks(), Filter { reason, limit }).expect("listed");
        letters.iter().map(|letter| letter.offset).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 9), [2, 1, 3, 0]);
    assert_eq!(list(None, 1), [2]);
    assert_eq!(list(Some("wrong_type"), 9), [1]);
    assert_eq!(list(Some("missing_field"), 9), [0; 0]);
    let shown = archive.dead_letter(&clicks(), 0, 1).expect("read").expect("rejected");
    assert_eq!((shown.raw.as_ref(), shown.field.as_deref()), (&br#"{"at": 7}"#[..], Some("at")));
    assert_eq!(archive.dead_letter(&clicks(), 0, 9).expect("read"), None);
}
