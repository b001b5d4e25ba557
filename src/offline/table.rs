//! Tables that people hand in and take away: Parquet, Arrow IPC or CSV, read whole under a bound.

use std::fmt;
use std::io::Cursor;

use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use bytes::Bytes;

use crate::offline::{csv, parquet_file};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    /// IPC, as a file or as a stream.
    Arrow,
    /// With a header line.
    Csv,
}

/// What one table may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: usize,
    /// Of the file, and again of its decoded columns.
    pub bytes: usize,
}

/// What is wrong with a table that someone handed in, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// From 1, not counting a header.
    pub row: Option<usize>,
    pub column: Option<String>,
    pub what: String,
    pub help: Option<String>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row, &self.column) {
            (Some(row), Some(column)) => write!(f, "row {row}, column `{column}`: {}", self.what)?,
            (Some(row), None) => write!(f, "row {row}: {}", self.what)?,
            (None, Some(column)) => write!(f, "column `{column}`: {}", self.what)?,
            (None, None) => f.write_str(&self.what)?,
        }
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl TableError {
    pub(super) fn new(what: impl Into<String>) -> TableError {
        TableError { what: what.into(), ..TableError::default() }
    }

    pub(super) fn in_column(column: &str, what: impl Into<String>) -> TableError {
        TableError { column: Some(column.to_owned()), ..TableError::new(what) }
    }

    pub(super) fn at(row: usize, column: &str, what: impl Into<String>) -> TableError {
        TableError { row: Some(row + 1), ..TableError::in_column(column, what) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> TableError {
        self.help = Some(help.into());
        self
    }
}

/// All batches of a table. A CSV's columns are typed by what is in them, but those that `as_text` names stay text.
pub(super) fn decode(
    bytes: Bytes,
    format: Format,
    as_text: &dyn Fn(&str) -> bool,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let unreadable = |error: ArrowError| TableError::new(format!("not a {format} table: {error}"));
    match format {
        Format::Csv => csv::decode(&bytes, as_text, limits),
        Format::Parquet => whole(parquet_file::read(bytes).map_err(unreadable)?, format, limits),
        Format::Arrow if bytes.starts_with(b"ARROW1") => {
            whole(FileReader::try_new(Cursor::new(bytes), None).map_err(unreadable)?, format, limits)
        }
        Format::Arrow => whole(StreamReader::try_new(Cursor::new(bytes), None).map_err(unreadable)?, format, limits),
    }
}

/// All of it: one without rows has its columns in a batch without rows.
pub(super) fn whole(
    reader: impl RecordBatchReader,
    format: Format,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let schema = reader.schema();
    let mut batches = bounded(reader, format, limits)?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

/// Refuses a table before all of it is in memory: a small file may hold a great many equal rows.
fn bounded(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    format: Format,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let (mut kept, mut rows, mut bytes) = (Vec::new(), 0, 0);
    for batch in batches {
        let batch = batch.map_err(|error| TableError::new(format!("not a {format} table: {error}")))?;
        rows += batch.num_rows();
        bytes += batch.get_array_memory_size();
        if rows > limits.rows || bytes > limits.bytes {
            return Err(too_large(limits));
        }
        kept.push(batch);
    }
    Ok(kept)
}

pub(super) fn too_large(limits: Limits) -> TableError {
    TableError::new(format!("the table has more than {} rows or {} bytes", limits.rows, limits.bytes))
        .help("hand it in as several tables")
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Parquet => "Parquet",
            Format::Arrow => "Arrow",
            Format::Csv => "CSV",
        })
    }
}

/// Enough of what stood there to find it again.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
