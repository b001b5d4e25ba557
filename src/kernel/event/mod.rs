//! Log records → events or rejections: one bad record rejects itself and not its batch.
//!
//! ```text
//! bytes ─► json (slices) ─► convert (cells) ─► decode (whole records) ─► value::ColumnBuilder
//!                                                └► admit (what §4 decides)
//! ```

mod admit;
mod convert;
mod decode;
mod decoding;
mod json;
mod message_key;
mod number;

pub use message_key::message_keys;

use std::borrow::Cow;
use std::fmt;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::kernel::definition::Source;
use crate::kernel::key::Origin;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    pub partition: u32,
    pub offset: u64,
    /// The record's timestamp, whole milliseconds.
    pub ingestion_time: EventTime,
    pub value: Bytes,
}

/// Events of one source in columns, in the order that they were given.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The source's fields, in its order and types.
    pub fields: RecordBatch,
    /// One for each row of `fields`.
    pub events: Vec<Envelope>,
}

/// What is known of an event besides its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub origin: Origin,
    /// After clamping (semantics §4, early); the event time field itself stays as it was written.
    pub event_time: EventTime,
    pub ingestion_time: EventTime,
    pub clamped: bool,
}

#[derive(Clone, Debug)]
pub struct Decoded {
    pub events: EventBatch,
    pub rejections: Vec<Rejection>,
}

/// Why a record does not enter any view. A value, not an error: the stream goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Index of the record in what was given to decode.
    pub index: usize,
    pub reason: Reason,
    /// The field at fault, where there is one; a path such as `items[2]` within it.
    pub field: Option<String>,
    /// What is wrong and what would be right, in words.
    pub detail: String,
}

/// The stable code of a rejection, as metrics, dead letters and answers carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not JSON, or not one object.
    Undecodable,
    MissingField,
    WrongType,
    /// A value of the right kind that does not fit its type: a number beyond int32, a decimal with too many digits.
    OutOfRange,
    /// A time outside the years 0001 to 9999.
    TimeOutOfRange,
    /// Ahead of its ingestion time by more than `max_future_skew`.
    TooFarInFuture,
}

/// Decodes JSON records by the source's schema and decides what §4 decides from record and source alone:
/// rejected, clamped, or as it is. Unknown fields are ignored.
pub fn decode(source: &Source, records: &[RawRecord]) -> Decoded {
    decode::decode(source, records)
}

/// The same decisions for events whose fields were decoded before: those of the archive. `positions` gives
/// origin and ingestion time of each row.
pub fn admit(source: &Source, fields: RecordBatch, positions: &[(Origin, EventTime)]) -> Decoded {
    admit::admit(source, fields, positions)
}

/// Tells whether what was decoded by one source is what another would decode: equal marks, equal outcome.
pub fn decoding_mark(source: &Source) -> Fingerprint {
    decoding::decoding_mark(source)
}

impl Reason {
    pub const ALL: [Reason; 6] = [
        Reason::Undecodable,
        Reason::MissingField,
        Reason::WrongType,
        Reason::OutOfRange,
        Reason::TimeOutOfRange,
        Reason::TooFarInFuture,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::MissingField => "missing_field",
            Reason::WrongType => "wrong_type",
            Reason::OutOfRange => "out_of_range",
            Reason::TimeOutOfRange => "time_out_of_range",
            Reason::TooFarInFuture => "too_far_in_future",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As a user sees it: `wrong_type: price: expected a number (float64), found "12,50"`.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{}: {field}: {}", self.reason, self.detail),
            None => write!(f, "{}: {}", self.reason, self.detail),
        }
    }
}

/// The first 40 characters of what stood in a record: messages stay short whatever a producer sends.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
