//! Questions in the order in which they meet events: who, and as of when.

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, UInt16Array, UInt16Builder};

use crate::kernel::engine::column::Column;
use crate::kernel::engine::order::Scratch;
use crate::kernel::engine::prepare::push_key;
use crate::kernel::key::{SHARDS, Shard};
use crate::kernel::time::EventTime;

/// Order and shard of each question, from the columns of the key in the entity's order and types. Who has a null part
/// in the key, or one too long to be kept, is nobody: no event is theirs.
pub fn questions(keys: &[ArrayRef], as_ofs: &[EventTime]) -> (BinaryArray, UInt16Array) {
    assert!(keys.iter().all(|column| column.len() == as_ofs.len()), "each question has its instant");
    let keys: Vec<Column> = keys.iter().map(Column::of).collect();
    let (mut orders, mut shards, mut scratch) = (BinaryBuilder::new(), UInt16Builder::new(), Scratch::default());
    for (row, as_of) in as_ofs.iter().enumerate() {
        let hash = scratch.entity(|bytes| push_key(&keys, row, bytes));
        if hash.is_none() {
            scratch.nobody();
        }
        shards.append_value(Shard::of_hash(hash.unwrap_or(0), SHARDS).0);
        orders.append_value(scratch.at(*as_of));
    }
    (orders.finish(), shards.finish())
}
