//! History files → the archive: each source's files once, from before their `until`, in the order of their names.
//!
//! Every archiver tries: of two that read the same files one commits each chunk, and the other goes on behind it. A
//! restart skips what is committed. What does not decode becomes a dead letter, as in the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::archive::Error;
use crate::kernel::definition::{HistoryFiles, Source};
use crate::kernel::event::{RawRecord, decode};
use crate::kernel::key::HISTORY;
use crate::kernel::time::EventTime;
use crate::offline::{self, Archive, Committed, History, InputFile, Inputs, LAST_MILLI, Span, events_of};

/// Between looks at what the sources are now, and between attempts at files that cannot be read.
const LOOK: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(10);

/// Archives the history of all sources, as they are now and then, until `shutdown`.
pub async fn run_history(
    archive: Archive,
    inputs: Inputs,
    sources: impl Fn() -> Vec<Arc<Source>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let follow = async {
        // What is complete stays so.
        let mut complete: Vec<Arc<Source>> = Vec::new();
        loop {
            let mut wait = LOOK;
            let is_open =
                |source: &Arc<Source>| !source.history.is_empty() && !complete.iter().any(|it| is_read(it, source));
            let open: Vec<Arc<Source>> = sources().into_iter().filter(is_open).collect();
            for source in open {
                match read_once(archive.clone(), inputs.clone(), source.clone()).await {
                    Ok(()) => complete.push(source),
                    Err(error) => {
                        tracing::error!(%error, source = %source.name, "its history cannot be archived; trying again");
                        wait = RETRY;
                    }
                }
            }
            sleep(wait).await;
        }
    };
    tokio::select! { () = shutdown => Ok(()), () = follow => Ok(()) }
}

fn is_read(complete: &Source, source: &Source) -> bool {
    complete.name == source.name && complete.history == source.history
}

async fn read_once(archive: Archive, inputs: Inputs, source: Arc<Source>) -> Result<(), offline::Error> {
    let read = spawn_blocking(move || match archive.history(&source)? {
        Some(_) => Ok(None),
        None => import(&archive, &inputs, &source).map(|history| Some((source.name.clone(), history))),
    });
    // A process that ends does not wait for the thread: what it has committed stays.
    if let Some((source, history)) = read.await.expect("reading history does not panic")? {
        tracing::info!(%source, rows = history.rows, left_out = history.left_out, "its history is archived");
    }
    Ok(())
}

/// All files of the source, and then the word that this was all.
pub(super) fn import(archive: &Archive, inputs: &Inputs, source: &Arc<Source>) -> Result<History, offline::Error> {
    let mut files: Vec<(InputFile, &HistoryFiles)> = Vec::new();
    for said in &source.history {
        files.extend(inputs.files(&said.path)?.into_iter().map(|file| (file, said)));
    }
    archive.begin_history(source, &files.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>())?;
    let committed = archive.position(source, HISTORY)?.unwrap_or(0);
    let mut importer = Importer { archive, source, committed, history: History { rows: 0, left_out: 0 } };
    for (file, said) in &files {
        for events in events_of(file, said.format, source)? {
            importer.take(events?, said.until)?;
        }
    }
    if importer.history.rows < committed {
        return Err(importer.other_rows());
    }
    archive.finish_history(source, importer.history)?;
    Ok(importer.history)
}

struct Importer<'a> {
    archive: &'a Archive,
    source: &'a Source,
    /// Up to where an earlier attempt came.
    committed: u64,
    history: History,
}

impl Importer<'_> {
    fn take(&mut self, events: Vec<Bytes>, until: EventTime) -> Result<(), offline::Error> {
        let given = events.len() as u64;
        let records = self.kept(events, until);
        let offsets = self.history.rows..self.history.rows + records.len() as u64;
        self.history.left_out += given - records.len() as u64;
        self.history.rows = offsets.end;
        if records.is_empty() || offsets.end <= self.committed {
            return Ok(());
        }
        let (start, end) = (offsets.start, offsets.end);
        let committed = match start < self.committed {
            true => Committed::AlreadyCommitted { to: self.committed },
            false => self.archive.commit(self.source, &Span { partition: HISTORY, offsets }, &records)?,
        };
        match committed {
            // Of one that another archiver committed first the same rows are in it.
            Committed::AlreadyCommitted { to } if to != end => Err(self.other_rows()),
            _ => Ok(()),
        }
    }

    /// Which rows are from before their `until` is told by their decoding.
    fn other_rows(&self) -> offline::Error {
        let detail = "other rows of them are kept than when it was begun to read them, for the source decodes otherwise \
                      now: apply the schema of then, or change `history` of the source, so that all are read anew";
        let path = format!("history files of source {}", self.source.name);
        offline::Error::Input { path, detail: detail.to_owned() }
    }

    /// Numbered, and stamped with their own times. No event of the past is ahead of its ingestion.
    fn kept(&self, events: Vec<Bytes>, until: EventTime) -> Vec<RawRecord> {
        let newest = EventTime::MAX.floor_to_millis();
        let record = |value| RawRecord { partition: HISTORY, offset: 0, ingestion_time: newest, value };
        let mut records: Vec<RawRecord> = events.into_iter().map(record).collect();
        let decoded = decode(self.source, &records);
        let mut rejected = decoded.rejections.iter().map(|rejection| rejection.index).peekable();
        let mut times = decoded.events.events.iter().map(|event| event.event_time);
        for (index, record) in records.iter_mut().enumerate() {
            record.ingestion_time = match rejected.next_if_eq(&index) {
                Some(_) => until - LAST_MILLI,
                None => times.next().expect("what is not rejected is an event"),
            };
        }
        records.retain(|record| record.ingestion_time < until);
        for (offset, record) in (self.history.rows..).zip(&mut records) {
            record.offset = offset;
            record.ingestion_time = record.ingestion_time.floor_to_millis();
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::AsArray;

    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::kernel::key::Origin;
    use crate::offline::folder::tests::project;
    use crate::offline::{Filter, Redecoded, Scope};

    const SOURCE: &str = "
kind: source
name: clicks
event_time: { field: at, unit: ms }
history:
  - { path: \"past/*.csv\", format: csv, until: 2026-01-01T00:00:00Z }
  - { path: past/last.ndjson, format: ndjson, until: 2026-01-02T00:00:00Z }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user, type: string }
    - { name: price, type: float64 }
";

    fn source() -> Arc<Source> {
        let text = SOURCE.to_owned();
        parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right").sources[0].clone()
    }

    fn write(root: &Path) -> Inputs {
        std::fs::create_dir_all(root.join("past")).expect("made");
        let write = |name: &str, text: &str| std::fs::write(root.join("past").join(name), text).expect("written");
        // 1767225600000 is the first of January 2026.
        write("b.csv", "user,at,price,other\nu2,1767225599999,7,x\nu3,1767225600000,1,x\n");
        write("a.csv", "at,user,price\n1767225598000,007,\n");
        write("last.ndjson", "{\"at\":1767225600000,\"user\":\"u4\"}\n\nnothing\n{\"at\":1767312000000}\n");
        Inputs::new([root.display().to_string()])
    }

    /// Rows of a file that are events once `price` is a float64, where it was an int64.
    fn mended(rows: &str) -> (tempfile::TempDir, Inputs, [Arc<Source>; 2]) {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("past")).expect("made");
        std::fs::write(root.path().join("past/a.csv"), rows).expect("written");
        let inputs = Inputs::new([root.path().display().to_string()]);
        let source = |price: &str| {
            let text =
                SOURCE.replace("  - { path: past/last.ndjson, format: ndjson, until: 2026-01-02T00:00:00Z }\n", "");
            let text = text.replace("price, type: float64", price);
            parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right").sources[0].clone()
        };
        (root, inputs, [source("price, type: int64"), source("price, type: float64")])
    }

    #[test]
    fn a_row_that_the_schema_takes_by_now_is_ingested_when_it_happened_and_none_from_after_the_until() {
        let rows =
            "at,user,price\n1767225500000,u1,2.5\n1767225600000,u2,2.5\n1767225599999,u3,1\n1767225500500,u4,1\n";
        let (root, inputs, [before, after]) = mended(rows);
        let archive = Archive::new(project(root.path()));
        assert_eq!(import(&archive, &inputs, &before).expect("imported"), History { rows: 4, left_out: 0 });
        assert_eq!(users(&archive, &before), ["u3 2 2025-12-31T23:59:59.999Z", "u4 3 2025-12-31T23:58:20.500Z"]);
        let expected = ["u1 0 2025-12-31T23:58:20Z", "u3 2 2025-12-31T23:59:59.999Z", "u4 3 2025-12-31T23:58:20.500Z"];
        assert_eq!(users(&archive, &after), expected);
    }

    #[test]
    fn dead_letters_of_history_that_were_decoded_again_are_not_a_second_time() {
        let (root, inputs, [before, after]) = mended("at,user,price\n1767225500000,u1,2.5\n1767225500000,u2,x\n");
        let archive = Archive::new(project(root.path()));
        import(&archive, &inputs, &before).expect("imported");
        let again =
            |done: &[(u32, u64)]| archive.decode_again(&after, &done.iter().copied().collect()).expect("decoded");
        assert_eq!(again(&[(0, 9)]), Redecoded { taken: 1, rejected: 1 });
        assert_eq!(again(&[(0, 9), (HISTORY, 2)]), Redecoded::default());
    }

    #[test]
    fn an_import_that_a_change_of_the_schema_meets_says_so_and_leaves_the_chain_whole() {
        let rows = "at,user,price\n1767225500000,u1,1\n1767225600000,u2,2.5\n";
        let (root, inputs, [before, after]) = mended(rows);
        let archive = Archive::new(project(root.path()));
        import(&archive, &inputs, &before).expect("imported, and all but the word that this was all is lost");
        let complete = root.path().join("default/events/clicks/_history");
        for mark in std::fs::read_dir(complete).expect("there") {
            std::fs::remove_file(mark.expect("an entry").path().join("complete")).expect("removed");
        }
        let refused = import(&archive, &inputs, &after).expect_err("a row less is kept").to_string();
        assert!(refused.contains("the source decodes otherwise now"), "{refused}");
        assert_eq!(users(&archive, &after), ["u1 0 2025-12-31T23:58:20Z"]);
        import(&archive, &inputs, &before).expect("imported by the schema of then");
    }

    fn users(archive: &Archive, source: &Arc<Source>) -> Vec<String> {
        let pinned = archive.pin(source).expect("pinned");
        let mut users = Vec::new();
        for events in archive.read(source, &pinned, &Scope::default()) {
            let events = events.expect("read");
            let names = events.fields.column(1).as_string::<i32>().iter().map(|it| it.unwrap_or("-").to_owned());
            users.extend(names.zip(&events.positions).map(|(user, (origin, ingested))| {
                assert!(matches!(origin, Origin::History { .. }), "{origin:?}");
                format!("{user} {} {ingested}", origin.place().1)
            }));
        }
        users
    }

    #[test]
    fn events_from_before_each_until_are_archived_and_bad_rows_are_dead_letters() {
        let root = tempfile::tempdir().expect("a folder");
        let (source, archive) = (source(), Archive::new(project(root.path())));
        let inputs = write(root.path());
        assert_eq!(archive.history(&source).expect("read"), None);
        let history = import(&archive, &inputs, &source).expect("imported");
        assert_eq!(history, History { rows: 4, left_out: 2 });
        assert_eq!(archive.history(&source).expect("read"), Some(history));
        let expected = ["007 0 2025-12-31T23:59:58Z", "u2 1 2025-12-31T23:59:59.999Z", "u4 2 2026-01-01T00:00:00Z"];
        assert_eq!(users(&archive, &source), expected);
        let letters = archive.dead_letters(&source, Filter { reason: None, limit: 9 }).expect("read");
        assert_eq!(letters.iter().map(|it| (&it.raw[..], it.offset)).collect::<Vec<_>>(), [(&b"nothing"[..], 3)]);
    }

    #[test]
    fn a_kill_anywhere_and_another_start_archive_each_row_once() {
        for operations in 0.. {
            let root = tempfile::tempdir().expect("a folder");
            let (source, inputs) = (source(), write(root.path()));
            let dying = project(root.path());
            dying.kill_after(operations);
            let died = import(&Archive::new(dying), &inputs, &source).is_err();
            let archive = Archive::new(project(root.path()));
            import(&archive, &inputs, &source).expect("imported");
            assert_eq!(users(&archive, &source).len(), 3, "after {operations} operations");
            if !died {
                return;
            }
        }
    }

    #[test]
    fn files_that_change_while_they_are_read_are_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let (source, inputs, archive) = (source(), write(root.path()), Archive::new(project(root.path())));
        let files: Vec<InputFile> = inputs.files("past/*.csv").expect("found");
        archive.begin_history(&source, &files).expect("begun");
        let refused = import(&archive, &inputs, &source).expect_err("the third file is new");
        assert!(refused.to_string().contains("they are others than when it was begun"), "{refused}");
    }
}
