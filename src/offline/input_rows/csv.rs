//! Rows of a CSV with a header line → events as JSON. Every cell is text until its field says what it is: only the source
//! knows whether `007` is a number.
//!
//! A row that has too few cells or too many, or is no UTF-8, is handed on as it stands: it decodes to no event.

use std::fmt::Write as _;
use std::io::Read;

use ::csv::{ByteRecord, Reader, ReaderBuilder};
use bytes::Bytes;

use super::{CHUNK_BYTES, CHUNK_ROWS};
use crate::kernel::definition::Source;
use crate::kernel::value::ValueType;

pub(super) struct Rows<R> {
    reader: Reader<R>,
    columns: Vec<Column>,
    /// Cells of a row.
    width: usize,
}

/// One that the source has a field for.
struct Column {
    place: usize,
    name: String,
    /// Whether JSON writes its values without quotes.
    is_bare: bool,
}

impl<R: Read> Rows<R> {
    pub fn new(from: R, source: &Source) -> Result<Rows<R>, ::csv::Error> {
        let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(1 << 20).from_reader(from);
        let header = reader.byte_headers()?.clone();
        let column = |(place, name): (usize, &[u8])| {
            let field = source.fields.iter().find(|field| field.name.as_str().as_bytes() == name)?;
            Some(Column { place, name: field.name.to_string(), is_bare: is_bare(&field.value_type) })
        };
        let columns = header.iter().enumerate().filter_map(column).collect();
        Ok(Rows { reader, columns, width: header.len() })
    }

    /// As many as come at once; none at the end.
    pub fn chunk(&mut self) -> Result<Vec<Bytes>, ::csv::Error> {
        let (mut events, mut bytes, mut row) = (Vec::new(), 0, ByteRecord::new());
        while events.len() < CHUNK_ROWS && bytes < CHUNK_BYTES && self.reader.read_byte_record(&mut row)? {
            let event = self.event(&row).unwrap_or_else(|| as_it_stands(&row));
            bytes += event.len();
            events.push(event);
        }
        Ok(events)
    }

    fn event(&self, row: &ByteRecord) -> Option<Bytes> {
        let cells: Vec<&str> = row.iter().map(|cell| str::from_utf8(cell).ok()).collect::<Option<_>>()?;
        if cells.len() != self.width {
            return None;
        }
        let mut event = String::from("{");
        for column in self.columns.iter().filter(|column| !cells[column.place].is_empty()) {
            let cell = cells[column.place];
            let comma = if event.len() > 1 { "," } else { "" };
            let is_number =
                column.is_bare && serde_json::from_str::<serde_json::Value>(cell).is_ok_and(|it| !it.is_string());
            let cell = if is_number { cell.into() } else { serde_json::Value::from(cell).to_string() };
            write!(event, "{comma}\"{}\":{cell}", column.name).expect("a string takes all");
        }
        Some(Bytes::from(event + "}"))
    }
}

fn as_it_stands(row: &ByteRecord) -> Bytes {
    Bytes::from(row.iter().collect::<Vec<_>>().join(&b","[..]))
}

fn is_bare(value_type: &ValueType) -> bool {
    value_type.is_number() || matches!(value_type, ValueType::Bool | ValueType::Timestamp | ValueType::List(_))
}
