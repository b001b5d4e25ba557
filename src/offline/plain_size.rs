//! What columns take once they are plain: views and dictionaries share values, and some bytes of them may stand for more
//! than any memory holds. Asked before anything is made plain.

use arrow::array::{AnyDictionaryArray, Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

/// Of each value, for its null bit, its offset or its place in a list.
const LEAST: u64 = 4;

pub(super) fn of_batch(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|column| of(column)).sum()
}

fn of(array: &dyn Array) -> u64 {
    let values = match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => lengths(array.as_string_view().views()),
        DataType::BinaryView => lengths(array.as_binary_view().views()),
        DataType::Dictionary(..) => of_dictionary(array.as_any_dictionary()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| of(column)).sum(),
        DataType::List(_) => of(array.as_list::<i32>().values()),
        DataType::LargeList(_) => of(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => of(array.as_fixed_size_list().values()),
        DataType::Map(..) => of(array.as_map().entries()),
        DataType::FixedSizeBinary(width) => array.len() as u64 * *width as u64,
        flat => array.len() as u64 * flat.primitive_width().unwrap_or(0) as u64,
    };
    array.len() as u64 * LEAST + values
}

fn span<O: Into<i64> + Copy>(offsets: &[O]) -> u64 {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return 0 };
    let (first, last): (i64, i64) = ((*first).into(), (*last).into());
    (last - first) as u64
}

/// The length is the lower half of a view's first word.
fn lengths(views: &[u128]) -> u64 {
    views.iter().map(|view| u64::from(*view as u32)).sum()
}

fn of_dictionary(array: &dyn AnyDictionaryArray) -> u64 {
    let values = array.values();
    if values.is_empty() {
        return 0;
    }
    let sizes: Vec<u64> = (0..values.len()).map(|value| of(&*values.slice(value, 1))).collect();
    let keys = array.normalized_keys();
    keys.iter().map(|key| sizes[*key]).sum()
}

/// Whether a training set can have such a column: what stands for more than it holds in other ways has no place in Parquet
/// either.
pub(super) fn is_known(data_type: &DataType) -> bool {
    match data_type {
        DataType::RunEndEncoded(..) | DataType::Union(..) | DataType::ListView(_) | DataType::LargeListView(_) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => is_known(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_known(field.data_type())),
        DataType::Dictionary(_, values) => is_known(values),
        _ => true,
    }
}
