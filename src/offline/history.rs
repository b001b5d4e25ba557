//! The archive of events from history files: a chain of commits like a partition's, and whether it is complete.
//!
//! Promises: what jobs read of history is all of it or none, for it counts once its last file has been read; and it is
//! always the same, for it was copied. Files that change afterwards change nothing; files that change while they are
//! read are noticed.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::kernel::definition::Source;
use crate::kernel::plan::Fingerprint;
use crate::offline::{Archive, Error, InputFile};

/// What is said at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Rows that were archived, as events or as dead letters.
    pub rows: u64,
    /// Rows from after their `until`.
    pub left_out: u64,
}

impl Archive {
    /// What history gave, once all of it is archived. `None`: not yet.
    pub fn history(&self, source: &Source) -> Result<Option<History>, Error> {
        let path = path(source, "complete");
        let json = self.folder().get(&path)?;
        json.map(|json| serde_json::from_slice(&json).map_err(|error| Error::damaged(&path, error))).transpose()
    }

    /// Notes which files are read, or compares them with those that were noted when somebody began.
    pub fn begin_history(&self, source: &Source, files: &[InputFile]) -> Result<(), Error> {
        let path = path(source, "files");
        let found: Vec<(String, Option<u64>)> =
            files.iter().map(|file| (file.name().to_owned(), file.size())).collect();
        let json = serde_json::to_vec(&found).expect("names are plain JSON");
        self.folder().create(&path, &json)?;
        match self.folder().read(&path)? == json {
            true => Ok(()),
            false => {
                let detail = "they are others than when it was begun to read them: restore those, or change `history` of \
                              the source, so that all are read anew";
                Err(Error::Input {
                    path: format!("history files of source {}", source.name),
                    detail: detail.to_owned(),
                })
            }
        }
    }

    pub fn finish_history(&self, source: &Source, history: History) -> Result<(), Error> {
        let json = serde_json::to_vec(&history).expect("numbers are plain JSON");
        self.folder().create(&path(source, "complete"), &json).map(drop)
    }
}

fn path(source: &Source, what: &str) -> String {
    format!("events/{}/_history/{}/{what}", source.name, history_mark(source))
}

/// Of what the source says of its history: under another mark other files are read, or up to another instant.
pub(super) fn history_mark(source: &Source) -> Fingerprint {
    let files = source.history.iter();
    let text = files.map(|it| format!("{} {} {}\n", it.path, it.format.as_str(), it.until));
    Fingerprint(xxh3_64(text.collect::<String>().as_bytes()))
}
