//! One commit of the archive: what a partition's records `from..to` became. The commits of a partition form a
//! chain, each starting where the one before ended.

use serde::{Deserialize, Serialize};

use crate::kernel::definition::Source;
use crate::kernel::event::decoding_mark;
use crate::kernel::key::HISTORY;
use crate::offline::Error;
use crate::offline::history::history_mark;

/// Raised when an older release could misread a commit. Format 1 kept no raw bytes; no release wrote it.
const FORMAT: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commit {
    pub format: u32,
    pub topic: String,
    pub from: u64,
    pub to: u64,
    /// The mark that the records were decoded under. To a source with another mark the columns and times of `files`
    /// mean nothing: their raw bytes do, and those of the dead letters.
    pub decoded_under: String,
    pub files: Vec<EventFile>,
    pub dead_letters: Option<DeadLetterFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventFile {
    pub path: String,
    pub rows: usize,
    /// Oldest and newest event time, after clamping, in microseconds.
    pub event_times: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeadLetterFile {
    pub path: String,
    pub rows: usize,
    /// Oldest and newest ingestion time, in microseconds.
    pub ingestion_times: (i64, i64),
}

impl EventFile {
    /// A file is as its commit says, or damaged.
    pub fn check_rows(&self, found: usize) -> Result<(), Error> {
        match found == self.rows {
            true => Ok(()),
            false => {
                Err(Error::damaged(&self.path, format!("it has {found} rows, and its commit names {}", self.rows)))
            }
        }
    }
}

impl Commit {
    pub fn new(source: &Source, from: u64, to: u64) -> Commit {
        Commit {
            format: FORMAT,
            topic: source.topic.clone(),
            from,
            to,
            decoded_under: decoding_mark(source).to_string(),
            files: Vec::new(),
            dead_letters: None,
        }
    }

    /// Events and dead letters.
    pub fn records(&self) -> usize {
        let letters = self.dead_letters.as_ref().map_or(0, |file| file.rows);
        self.files.iter().map(|file| file.rows).sum::<usize>() + letters
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a commit is plain JSON")
    }

    pub fn decode(path: &str, json: &[u8]) -> Result<Commit, Error> {
        let damaged = |error| Error::damaged(path, error);
        let Format { format } = serde_json::from_slice(json).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::OtherFormat { path: path.to_owned(), found: format, read: FORMAT });
        }
        let commit: Commit = serde_json::from_slice(json).map_err(damaged)?;
        match commit.from < commit.to {
            true => Ok(commit),
            false => Err(Error::damaged(path, format!("it spans offsets {}..{}", commit.from, commit.to))),
        }
    }
}

/// What is read of a commit before anything else, for another format may lack all else.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The folder of a source's commits.
pub(super) fn folder(source: &Source) -> String {
    format!("events/{}/_commits", source.name)
}

/// How the chain of history is called, before the mark of the files that it was read from: with other files it is
/// another one.
pub(super) const HISTORY_CHAIN: &str = "history-";

/// The folder of a chain.
pub(super) fn chain(source: &Source, partition: u32) -> String {
    match partition {
        HISTORY => format!("{}/{HISTORY_CHAIN}{}", folder(source), history_mark(source)),
        partition => format!("{}/{partition}", folder(source)),
    }
}

/// The folder of what was compacted of a source.
pub(super) fn compacted_folder(source: &Source) -> String {
    format!("compacted/{}", source.name)
}

/// The folder of the commits that stand for those of a chain.
pub(super) fn compacted_chain(source: &Source, partition: u32) -> String {
    format!("{}/_commits/{partition}", compacted_folder(source))
}

/// Both, the larger commits first.
pub(super) fn chains(source: &Source, partition: u32) -> [String; 2] {
    [compacted_chain(source, partition), chain(source, partition)]
}

/// Where the commit of a chain that starts at `from` stands.
pub(super) fn path(chain: &str, from: u64) -> String {
    format!("{chain}/{}", name(from))
}

/// Of a commit; it sorts as its offset does.
pub(super) fn name(from: u64) -> String {
    format!("{from:020}")
}

/// That each commit starts where the one before ended, and that all are of the source's topic.
pub(super) fn verify(source: &Source, partition: u32, chain: &[Commit]) -> Result<(), Error> {
    if let Some(other) = chain.iter().find(|commit| commit.topic != source.topic) {
        let (held, wanted) = (other.topic.clone(), source.topic.clone());
        return Err(Error::OtherTopic { dataset: source.name.to_string(), held, wanted });
    }
    match chain.windows(2).find(|pair| pair[0].to != pair[1].from) {
        Some(pair) => {
            let (end, start) = (pair[0].to, pair[1].from);
            Err(Error::BrokenChain { dataset: source.name.to_string(), partition, end, start })
        }
        None => Ok(()),
    }
}
