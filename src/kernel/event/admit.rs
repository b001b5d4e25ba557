//! What semantics §4 decides from one event and its source alone: early, too early, out of range, incomplete.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{filter_record_batch, max, min};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::decode::Refused;
use super::{Decoded, Envelope, EventBatch, Reason, Rejection};
use crate::kernel::definition::Source;
use crate::kernel::key::Origin;
use crate::kernel::time::{EventTime, Micros};

pub(super) fn admit(source: &Source, fields: RecordBatch, positions: &[(Origin, EventTime)]) -> Decoded {
    assert_eq!(fields.num_rows(), positions.len(), "each row has its position");
    if let Some(events) = admit_all(source, &fields, positions) {
        return Decoded { events: EventBatch { fields, events }, rejections: Vec::new() };
    }
    let mut events = Vec::with_capacity(positions.len());
    let mut rejections = Vec::new();
    let mut kept = Vec::with_capacity(positions.len());
    for (row, (origin, ingestion_time)) in positions.iter().enumerate() {
        match row_envelope(source, &fields, row, *origin, *ingestion_time) {
            Ok(envelope) => events.push(envelope),
            Err(Refused { reason, field, detail }) => {
                rejections.push(Rejection { index: row, reason, field, detail });
            }
        }
        kept.push(rejections.last().is_none_or(|rejection| rejection.index != row));
    }
    let fields = match rejections.is_empty() {
        true => fields,
        false => filter_record_batch(&fields, &BooleanArray::from(kept)).expect("the mask has a bit for each row"),
    };
    Decoded { events: EventBatch { fields, events }, rejections }
}

/// The usual batch, where nothing is missing or out of range: looked at column by column. `None`: a row may be wrong.
fn admit_all(source: &Source, fields: &RecordBatch, positions: &[(Origin, EventTime)]) -> Option<Vec<Envelope>> {
    for (position, (field, column)) in source.fields.iter().zip(fields.columns()).enumerate() {
        let lacks = (field.required || position == source.event_time) && column.null_count() > 0;
        if lacks || !times_in_range(column) {
            return None;
        }
    }
    let times = fields.column(source.event_time).as_primitive::<TimestampMicrosecondType>().values();
    let envelope = |(time, (origin, ingestion_time)): (&i64, &(Origin, EventTime))| {
        envelope(source, *origin, EventTime::unchecked(*time), *ingestion_time).ok()
    };
    times.iter().zip(positions).map(envelope).collect()
}

/// False where a time of the column is out of range, or might be.
fn times_in_range(column: &ArrayRef) -> bool {
    let in_range = |micros: i64| EventTime::from_micros(micros).is_some();
    if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        return min(times).is_none_or(in_range) && max(times).is_none_or(in_range);
    }
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        let in_range = |days: i32| in_range(i64::from(days) * Micros::DAY.get());
        return min(days).is_none_or(in_range) && max(days).is_none_or(in_range);
    }
    column.as_list_opt::<i32>().is_none_or(|lists| times_in_range(lists.values()))
}

/// Clamps an event that is early by no more than the source's skew. One within its ingestion millisecond is not
/// early: ingestion times have no finer grain.
pub(super) fn envelope(
    source: &Source,
    origin: Origin,
    event_time: EventTime,
    ingestion_time: EventTime,
) -> Result<Envelope, Refused> {
    let newest = ingestion_time.floor_to_millis() + Micros::new(999);
    if event_time > newest && event_time.since(ingestion_time) > source.max_future_skew {
        let field = source.fields[source.event_time].name.to_string();
        let detail = format!(
            "{event_time} is ahead of its ingestion at {ingestion_time} by more than `max_future_skew` ({})",
            source.max_future_skew
        );
        return Err(Refused { reason: Reason::TooFarInFuture, field: Some(field), detail });
    }
    Ok(Envelope { origin, event_time: event_time.min(newest), ingestion_time, clamped: event_time > newest })
}

fn row_envelope(
    source: &Source,
    fields: &RecordBatch,
    row: usize,
    origin: Origin,
    ingestion_time: EventTime,
) -> Result<Envelope, Refused> {
    for (position, (field, column)) in source.fields.iter().zip(fields.columns()).enumerate() {
        let refused = |reason, detail| Err(Refused { reason, field: Some(field.name.to_string()), detail });
        if (field.required || position == source.event_time) && column.is_null(row) {
            let detail = format!("the field is required ({}) and is null", field.value_type);
            return refused(Reason::MissingField, detail);
        }
        if let Some(found) = time_out_of_range(column, row) {
            return refused(Reason::TimeOutOfRange, format!("{found} is outside the years 0001 to 9999"));
        }
    }
    let times = fields.column(source.event_time).as_primitive::<TimestampMicrosecondType>();
    envelope(source, origin, EventTime::unchecked(times.value(row)), ingestion_time)
}

/// Says what stands in the row, where that is a time (or a list with one) outside the years 0001 to 9999.
fn time_out_of_range(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let micros = times.value(row);
        return EventTime::from_micros(micros).is_none().then(|| format!("{micros}us"));
    }
    if let Some(dates) = column.as_primitive_opt::<Date32Type>() {
        let days = dates.value(row);
        let micros = i64::from(days) * Micros::DAY.get();
        return EventTime::from_micros(micros).is_none().then(|| format!("{days}d"));
    }
    let items = column.as_list_opt::<i32>()?.value(row);
    (0..items.len()).find_map(|item| time_out_of_range(&items, item))
}
