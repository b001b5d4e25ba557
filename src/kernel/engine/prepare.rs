//! From a batch of events to those that enter a view: derived columns, `where`, entity key, lateness. Each event
//! is judged by itself and the plan alone, never by its neighbours or by what came before.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::record_batch::RecordBatch;

use crate::kernel::engine::Counts;
use crate::kernel::engine::column::{Column, Inputs};
use crate::kernel::event::{Envelope, EventBatch};
use crate::kernel::key::{self, EntityKey, Origin};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::kernel::value::{LONGEST_KEPT_BYTES, ValueRef};

/// The rows of a batch that enter one view, with the columns that its slots read.
pub struct Prepared {
    /// In the order of the batch.
    pub entrants: Vec<Entrant>,
    /// Why the others did not enter, and what failed on the way.
    pub counts: Counts,
    pub(super) inputs: Inputs,
}

/// One event that enters a view.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Row of the batch.
    pub row: usize,
    pub key: EntityKey,
    pub event: Envelope,
    /// Canonical bytes of the event id, where the source names one and the event has one that can be kept.
    pub event_id: Option<Box<[u8]>>,
    /// Beyond the view's allowed lateness: only ever here by [`prepare_with_late`].
    pub late: bool,
}

/// Which events of a batch enter the view, and with which values. Late events stay out and are counted.
pub fn prepare(view: &ViewPlan, batch: &EventBatch) -> Prepared {
    let mut prepared = prepare_with_late(view, batch);
    prepared.entrants.retain(|entrant| !entrant.late);
    prepared
}

/// The same with late events among the entrants, and marked: what really happened, for training sets that ask for
/// it. They are counted as late nonetheless.
pub fn prepare_with_late(view: &ViewPlan, batch: &EventBatch) -> Prepared {
    let mut counts = Counts::default();
    let columns = derive(view, batch, &mut counts);
    let selected = selected(view, &columns, &mut counts);
    let keys: Vec<Column> = view.key_fields.iter().map(|field| Column::of(columns.column(*field))).collect();
    let ids = view.source.event_id.map(|field| Column::of(columns.column(field)));

    let log_from = view.source.log_from();
    let mut entrants = Vec::with_capacity(batch.events.len());
    let mut key_bytes = Vec::new();
    for (row, event) in batch.events.iter().enumerate() {
        if is_before_log(log_from, event) {
            counts.before_log += 1;
        } else if !selected.as_ref().is_none_or(|selected| selects(selected, row)) {
            counts.filtered += 1;
        } else if let Some(key) = entity_key(&keys, row, &mut key_bytes) {
            let late = is_late(view, event);
            counts.late += u64::from(late);
            let event_id = ids.as_ref().and_then(|ids| id_bytes(ids, row, &mut counts));
            entrants.push(Entrant { row, key, event: *event, event_id, late });
        } else {
            counts.null_key += 1;
        }
    }
    Prepared { entrants, counts, inputs: Inputs::new(view, |column| columns.column(column).clone()) }
}

/// The entity of each row, from the columns of its key in the entity's order and types; `None` where a part is null
/// or too long to be kept.
pub fn entity_keys(columns: &[ArrayRef]) -> Vec<Option<EntityKey>> {
    let rows = columns.first().map_or(0, |column| column.len());
    let columns: Vec<Column> = columns.iter().map(Column::of).collect();
    let mut bytes = Vec::new();
    (0..rows).map(|row| entity_key(&columns, row, &mut bytes)).collect()
}

/// The source's columns, then the derived ones.
pub(super) fn derive(view: &ViewPlan, batch: &EventBatch, counts: &mut Counts) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = batch.fields.columns().to_vec();
    for (_, expression) in &view.columns {
        let evaluated = expression.evaluate(&batch.fields);
        counts.expression_failed += evaluated.failed as u64;
        arrays.push(evaluated.values);
    }
    RecordBatch::try_new(view.schema.clone(), arrays).expect("the plan's schema is that of the fields and expressions")
}

/// One bool for each row; `None`: the view takes all.
pub(super) fn selected(view: &ViewPlan, columns: &RecordBatch, counts: &mut Counts) -> Option<ArrayRef> {
    let evaluated = view.filter.as_ref()?.evaluate(columns);
    counts.expression_failed += evaluated.failed as u64;
    Some(evaluated.values)
}

/// Null is not true: such an event stays out.
pub(super) fn selects(selected: &ArrayRef, row: usize) -> bool {
    let selected = selected.as_boolean();
    selected.is_valid(row) && selected.value(row)
}

/// `bytes` is scratch space.
fn entity_key(keys: &[Column], row: usize, bytes: &mut Vec<u8>) -> Option<EntityKey> {
    bytes.clear();
    push_key(keys, row, bytes).map(|()| EntityKey::from_bytes(bytes))
}

/// `None` where a part is null or too long to be kept.
pub(super) fn push_key(keys: &[Column], row: usize, bytes: &mut Vec<u8>) -> Option<()> {
    for column in keys {
        match column.value(row)? {
            ValueRef::Text(text) if text.len() > LONGEST_KEPT_BYTES => return None,
            ValueRef::Text(text) => key::push_text(bytes, text),
            ValueRef::Int(int) => key::push_int(bytes, int),
            other => unreachable!("definitions let no key have the value {other:?}"),
        }
    }
    Some(())
}

pub(super) fn id_bytes(ids: &Column, row: usize, counts: &mut Counts) -> Option<Box<[u8]>> {
    Some(match ids.value(row)? {
        ValueRef::Text(text) if text.len() > LONGEST_KEPT_BYTES => {
            counts.too_long_skipped += 1;
            return None;
        }
        ValueRef::Text(text) => text.as_bytes().into(),
        ValueRef::Int(int) => int.to_be_bytes().into(),
        other => unreachable!("definitions let no event id have the value {other:?}"),
    })
}

/// Whether the log has an event from a time of which history has the events. `log_from`: the source's own.
pub(super) fn is_before_log(log_from: Option<EventTime>, event: &Envelope) -> bool {
    log_from.is_some_and(|from| event.event_time < from && matches!(event.origin, Origin::Log { .. }))
}

pub(super) fn is_late(view: &ViewPlan, event: &Envelope) -> bool {
    view.allowed_lateness.is_some_and(|allowed| event.ingestion_time.since(event.event_time) > allowed)
}
