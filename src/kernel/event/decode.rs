//! JSON records → columns. A record is read whole before any column sees it, so a rejected one leaves no trace.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::admit::envelope;
use super::convert::{Cell, Wrong, convert};
use super::json::{Broken, Json, Scanner, Text};
use super::{Decoded, Envelope, EventBatch, RawRecord, Reason, Rejection, shortened};
use crate::kernel::definition::Source;
use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::kernel::value::ColumnBuilder;

pub(super) fn decode(source: &Source, records: &[RawRecord]) -> Decoded {
    let mut decoder = Decoder::new(source, records.len());
    let mut events = Vec::with_capacity(records.len());
    let mut rejections = Vec::new();
    for (index, record) in records.iter().enumerate() {
        match decoder.record(record) {
            Ok(envelope) => events.push(envelope),
            Err(Refused { reason, field, detail }) => rejections.push(Rejection { index, reason, field, detail }),
        }
    }
    Decoded { events: EventBatch { fields: decoder.finish(events.len()), events }, rejections }
}

/// A rejection that does not know the record's index.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) field: Option<String>,
    pub(super) detail: String,
}

impl From<Broken> for Refused {
    fn from(Broken { byte, what }: Broken) -> Refused {
        Refused { reason: Reason::Undecodable, field: None, detail: format!("not JSON: {what} at byte {byte}") }
    }
}

struct Decoder<'a> {
    source: &'a Source,
    positions: HashMap<&'a str, usize>,
    columns: Vec<ColumnBuilder>,
    /// The record that is being read: a cell for each field, `None` where it has not come up.
    cells: Vec<Option<Cell<'a>>>,
    unknown: Vec<Text<'a>>,
}

impl<'a> Decoder<'a> {
    fn new(source: &'a Source, rows: usize) -> Decoder<'a> {
        let names = source.fields.iter().enumerate();
        Decoder {
            source,
            positions: names.map(|(position, field)| (field.name.as_str(), position)).collect(),
            columns: source.fields.iter().map(|field| ColumnBuilder::with_capacity(&field.value_type, rows)).collect(),
            cells: source.fields.iter().map(|_| None).collect(),
            unknown: Vec::new(),
        }
    }

    fn record(&mut self, record: &'a RawRecord) -> Result<Envelope, Refused> {
        self.cells.fill_with(|| None);
        self.unknown.clear();
        let text = std::str::from_utf8(&record.value).map_err(|error| Refused {
            reason: Reason::Undecodable,
            field: None,
            detail: format!("not UTF-8 at byte {}", error.valid_up_to()),
        })?;
        // Records mostly have their fields in the schema's order: the next one is tried first.
        let mut next = 0;
        Scanner::new(text).object(|name, json| self.field(name, json, &mut next))?;
        self.check_unknown()?;
        self.check_required()?;
        let origin = Origin::at(record.partition, record.offset);
        let envelope = envelope(self.source, origin, self.event_time(), record.ingestion_time)?;
        for (column, cell) in self.columns.iter_mut().zip(&self.cells) {
            match cell {
                Some(Cell::List(items)) => column.append_list(items.iter().map(Cell::scalar)),
                cell => column.append(cell.as_ref().and_then(Cell::scalar)),
            }
        }
        Ok(envelope)
    }

    fn field(&mut self, name: Text<'a>, json: Json<'a>, next: &mut usize) -> Result<(), Refused> {
        let Some(position) = self.position(name, *next)? else {
            self.unknown.push(name);
            return Ok(());
        };
        *next = position + 1;
        let field = &self.source.fields[position];
        if self.cells[position].is_some() {
            return Err(twice(field.name.as_str()));
        }
        let cell = convert(json, &field.value_type, field.unit).map_err(|Wrong { reason, path, detail }| Refused {
            reason,
            field: Some(format!("{}{path}", field.name)),
            detail,
        })?;
        self.cells[position] = Some(cell);
        Ok(())
    }

    fn position(&self, name: Text<'a>, next: usize) -> Result<Option<usize>, Refused> {
        if self.source.fields.get(next).is_some_and(|field| field.name == *name.raw()) {
            return Ok(Some(next));
        }
        let said = name.unescape().ok_or_else(|| Refused {
            reason: Reason::Undecodable,
            field: None,
            detail: format!("the field name \"{}\" holds half of a surrogate pair", shortened(name.raw())),
        })?;
        Ok(self.positions.get(said.as_ref()).copied())
    }

    /// A name that stands twice makes the record ambiguous, also where we do not read it.
    fn check_unknown(&mut self) -> Result<(), Refused> {
        if self.unknown.len() < 2 {
            return Ok(());
        }
        let mut names: Vec<_> = self.unknown.iter().filter_map(|name| name.unescape()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(twice(&shortened(&pair[0]))),
            None => Ok(()),
        }
    }

    fn check_required(&self) -> Result<(), Refused> {
        for (position, (field, cell)) in self.source.fields.iter().zip(&self.cells).enumerate() {
            let what = match cell {
                _ if !field.required && position != self.source.event_time => continue,
                None => "is not there",
                Some(Cell::Null) => "is null",
                Some(_) => continue,
            };
            let detail = format!("the field is required ({}) and {what}", field.value_type);
            return Err(Refused { reason: Reason::MissingField, field: Some(field.name.to_string()), detail });
        }
        Ok(())
    }

    fn event_time(&self) -> EventTime {
        match self.cells[self.source.event_time] {
            Some(Cell::Time(event_time)) => event_time,
            ref cell => unreachable!("the event time is a required timestamp, yet {cell:?}"),
        }
    }

    fn finish(self, rows: usize) -> RecordBatch {
        let columns: Vec<ArrayRef> = self.columns.into_iter().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.source.schema(), columns, &options)
            .expect("the columns were made from the schema's types, and every record entered each of them")
    }
}

fn twice(name: &str) -> Refused {
    let detail = "the field stands twice in the record".to_owned();
    Refused { reason: Reason::Undecodable, field: Some(name.to_owned()), detail }
}
