//! What is kept in files: the archive of events, dead letters, logged lookups, feature tables and training sets.
//!
//! ```text
//! <root>/<project>/events/<source>/dt=<event day>/*.parquet        what commits name, and nothing else
//!                  events/<source>/_commits/<partition>/<from>     a chain for each partition of the log
//!                  events/<source>/_commits/history-<mark>/<from>  and one of the events from history files
//!                  compacted/<source>/…                            the same records in larger commits, made anew if lost
//!                  dead_letters/<source>/dt=<ingestion day>/*.parquet
//!                  lookups/dt=<as-of day>/*.parquet
//!                  features/<view>/v=<version>/dt=<day>/*.parquet  with `_manifests/<run>.json` beside the days (`feature_table.rs`)
//!                  training_sets/<job>.parquet                     and in other formats once asked for; `_spines/<job>` until it is cut
//! ```
//!
//! Everything is Parquet that other tools read as it is; a file appears whole or not at all, and is never changed.
//! Only what an object store can do as well is used: put if absent, get, list, delete. It knows no features and no
//! clock; it blocks, and async callers hand it to a blocking thread.

use std::io;
use std::path::PathBuf;

pub use archive::{Archive, Committed, Compaction, Pinned, Span};
pub use dead_letters::{DeadLetter, Filter, Redecoded};
pub use events::{ArchivedEvents, Events, Scope};
pub use feature_table::{AS_OF, FeatureTable, Manifest, Run, Step};
pub use folder::Folder;
pub use history::{History, LAST_MILLI};
pub use input_rows::events_of;
pub use inputs::{InputFile, Inputs};
pub use kept_spine::KeptSpine;
pub use lookups::{LoggedLookup, LookupFiles, Lookups};
pub use records::ArchivedRecords;
pub use result::{ResultWriter, convert};
pub use spine::{SpineColumns, SpineFormat};
pub use table::{Format, Limits, TableError};

pub(crate) mod archive;
mod arrow_file;
mod commit;
mod csv;
mod dead_letters;
mod events;
mod feature_table;
pub(crate) mod folder;
mod history;
mod input_rows;
mod inputs;
mod json_rows;
mod kept_spine;
mod lookups;
mod parquet_file;
mod plain_size;
mod records;
mod result;
pub mod spine;
pub mod table;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} `{}`", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {doing} `{url}`: {mend}")]
    Remote {
        doing: &'static str,
        url: String,
        mend: &'static str,
        transient: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot use `{url}` for the offline store: {detail}")]
    Url { url: String, detail: String },
    #[error(
        "cannot use `{url}` for the offline store: it overwrites what it is asked to create only where nothing is; \
         take a store with conditional puts, or a release of it that has them"
    )]
    NoConditionalPut { url: String },
    #[error("cannot read `{path}`: {detail}")]
    Input { path: String, detail: String },
    #[error("`{path}` is damaged or of a later release: {detail}")]
    Damaged { path: String, detail: String },
    #[error(
        "the archive of source `{dataset}` is broken in partition {partition}: a commit ends at offset {end}, and the \
         next one starts at {start}; restore the missing commits, or move the archive of this source away"
    )]
    BrokenChain { dataset: String, partition: u32, end: u64, start: u64 },
    #[error(
        "the archive of source `{dataset}` has no commit that ends at offset {wanted} of partition {partition}, where it was \
         read up to before: restore the archive of then"
    )]
    PinGone { dataset: String, partition: u32, wanted: u64 },
    #[error(
        "the archive of source `{dataset}` holds topic `{held}`, not `{wanted}`: offsets of two topics cannot share it; \
         give the source of the new topic another name"
    )]
    OtherTopic { dataset: String, held: String, wanted: String },
    #[error(
        "`{path}` is in format {found}, and this release reads format {read}: move the source's folder under `events/` \
         away, and it is archived again from what the log holds; one of a later release needs that release"
    )]
    OtherFormat { path: String, found: u32, read: u32 },
}

impl Error {
    /// Whether the same call may succeed later: the disk may have been full, the folder not mounted, the store away.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Remote { transient: true, .. })
    }

    /// What the disk or the store said, where the error itself does not.
    pub fn cause(&self) -> Option<String> {
        std::error::Error::source(self).map(ToString::to_string)
    }

    fn damaged(path: impl Into<String>, detail: impl ToString) -> Error {
        Error::Damaged { path: path.into(), detail: detail.to_string() }
    }
}
