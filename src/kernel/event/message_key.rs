//! The message keys of events: what decides their partition, and so their order.

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use crate::kernel::definition::Source;
use crate::kernel::event::EventBatch;

/// For each event the text of the source's key field: strings as they are, integers in decimal. `None` without a
/// key field, and where it is null.
pub fn message_keys(source: &Source, batch: &EventBatch) -> Vec<Option<Bytes>> {
    let Some(field) = source.key else { return vec![None; batch.events.len()] };
    let column = batch.fields.column(field);
    let options = FormatOptions::default();
    let texts = ArrayFormatter::try_new(column.as_ref(), &options).expect("every type of a field has a text");
    let key = |row: usize| column.is_valid(row).then(|| texts.value(row).to_string().into());
    (0..batch.events.len()).map(key).collect()
}
