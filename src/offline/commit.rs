//! One commit of the archive: what a partition's records `from..to` became. The commits of a partition form a
//! chain, each starting where the one before ended.

use serde::{Deserialize, Serialize};

use crate::kernel::definition::Source;
use crate::offline::Error;

/// Raised when an older release could misread a commit.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commit {
    pub format: u32,
    pub topic: String,
    pub from: u64,
    pub to: u64,
    /// The field whose times `files` tell: a source may take another later.
    pub event_time_field: String,
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

impl Commit {
    pub fn new(source: &Source, from: u64, to: u64) -> Commit {
        Commit {
            format: FORMAT,
            topic: source.topic.clone(),
            from,
            to,
            event_time_field: source.fields[source.event_time].name.to_string(),
            files: Vec::new(),
            dead_letters: None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a commit is plain JSON")
    }

    pub fn decode(path: &str, json: &[u8]) -> Result<Commit, Error> {
        let commit: Commit = serde_json::from_slice(json).map_err(|error| Error::damaged(path, error))?;
        if commit.format != FORMAT || commit.to <= commit.from {
            let found = format!("format {}, offsets {}..{}", commit.format, commit.from, commit.to);
            return Err(Error::damaged(path, found));
        }
        Ok(commit)
    }
}

/// The folder of a source's commits.
pub(super) fn folder(source: &str) -> String {
    format!("events/{source}/_commits")
}

/// Where the commit that starts at `from` stands. Its name sorts as its offset does.
pub(super) fn path(source: &str, partition: u32, from: u64) -> String {
    format!("{}/{partition}/{from:020}", folder(source))
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
