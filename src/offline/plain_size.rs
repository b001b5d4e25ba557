//! What columns take once they are plain: views, dictionaries and runs share values, and some bytes of them may stand for
//! more than any memory holds. Asked before anything is made plain.
//!
//! What is looked at takes room, and whoever has none left is told so at once: to count takes no longer than to write out
//! as much as there is room for.

use std::ops::Range;

use arrow::array::{AnyDictionaryArray, Array, AsArray, GenericListViewArray, OffsetSizeTrait, RunArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow::record_batch::RecordBatch;

/// Of each value that has no width: for its null bit, its offset or its place in a list.
const LEAST: u64 = 4;

/// Bytes that may still be taken.
#[derive(Clone, Copy)]
pub(super) struct Room(pub u64);

impl Room {
    /// `None` where the columns do not fit.
    pub fn take(&mut self, batch: &RecordBatch) -> Option<()> {
        batch.columns().iter().try_for_each(|column| self.values(column, 0..column.len()))
    }

    fn bytes(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.checked_sub(bytes)?;
        Some(())
    }

    fn values(&mut self, array: &dyn Array, rows: Range<usize>) -> Option<()> {
        let count = rows.len() as u64;
        if let Some(bits) = bits(array.data_type()) {
            return self.bytes(count.saturating_mul(bits).div_ceil(8));
        }
        self.bytes(count.saturating_mul(LEAST))?;
        if rows.is_empty() {
            return Some(());
        }
        match array.data_type() {
            DataType::Utf8 => self.bytes(span(array.as_string::<i32>().offsets(), rows).len() as u64),
            DataType::LargeUtf8 => self.bytes(span(array.as_string::<i64>().offsets(), rows).len() as u64),
            DataType::Binary => self.bytes(span(array.as_binary::<i32>().offsets(), rows).len() as u64),
            DataType::LargeBinary => self.bytes(span(array.as_binary::<i64>().offsets(), rows).len() as u64),
            DataType::Utf8View => self.views(&array.as_string_view().views()[rows]),
            DataType::BinaryView => self.views(&array.as_binary_view().views()[rows]),
            DataType::Dictionary(..) => self.named(array.slice(rows.start, rows.len()).as_any_dictionary()),
            DataType::RunEndEncoded(ends, _) => match ends.data_type() {
                DataType::Int16 => self.runs(&array.as_run::<Int16Type>().slice(rows.start, rows.len())),
                DataType::Int32 => self.runs(&array.as_run::<Int32Type>().slice(rows.start, rows.len())),
                _ => self.runs(&array.as_run::<Int64Type>().slice(rows.start, rows.len())),
            },
            DataType::Struct(_) => {
                array.as_struct().columns().iter().try_for_each(|column| self.values(column, rows.clone()))
            }
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                self.values(lists.values(), span(lists.offsets(), rows))
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                self.values(lists.values(), span(lists.offsets(), rows))
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                self.values(maps.entries(), span(maps.offsets(), rows))
            }
            DataType::FixedSizeList(_, length) => {
                let length = *length as usize;
                self.values(array.as_fixed_size_list().values(), rows.start * length..rows.end * length)
            }
            DataType::ListView(_) => self.list_views(array.as_list_view::<i32>(), rows),
            DataType::LargeListView(_) => self.list_views(array.as_list_view::<i64>(), rows),
            _ => Some(()),
        }
    }

    /// The length is the lower half of a view's first word.
    fn views(&mut self, views: &[u128]) -> Option<()> {
        views.iter().try_for_each(|view| self.bytes(u64::from(*view as u32)))
    }

    /// Lists may overlap, or all be one.
    fn list_views<O: OffsetSizeTrait>(
        &mut self,
        lists: &GenericListViewArray<O>,
        mut rows: Range<usize>,
    ) -> Option<()> {
        rows.try_for_each(|row| {
            let start = lists.value_offset(row).as_usize();
            self.values(lists.values(), start..start + lists.value_size(row).as_usize())
        })
    }

    /// Each value that is named is looked at once, and those that are not never: small batches may share a large
    /// dictionary.
    fn named(&mut self, array: &dyn AnyDictionaryArray) -> Option<()> {
        if array.values().is_empty() {
            return Some(());
        }
        let mut keys = array.normalized_keys();
        keys.sort_unstable();
        keys.chunk_by(|key, next| key == next).try_for_each(|same| self.times(array.values(), same[0], same.len()))
    }

    fn runs<R: RunEndIndexType>(&mut self, array: &RunArray<R>) -> Option<()> {
        let mut start = 0;
        let mut runs = array.run_ends().sliced_values().zip(array.get_start_physical_index()..);
        runs.try_for_each(|(end, value)| {
            let count = end.as_usize() - start;
            start = end.as_usize();
            self.times(array.values(), value, count)
        })
    }

    fn times(&mut self, values: &dyn Array, value: usize, count: usize) -> Option<()> {
        let before = self.0;
        self.values(values, value..value + 1)?;
        let each = before - self.0;
        self.0 = before;
        self.bytes(each.saturating_mul(count as u64))
    }
}

/// Of a value with its null bit, where all are of one width.
fn bits(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Boolean => Some(2),
        DataType::FixedSizeBinary(width) if *width > 0 => Some(8 * *width as u64 + 1),
        other => other.primitive_width().map(|width| 8 * width as u64 + 1),
    }
}

fn span<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, rows: Range<usize>) -> Range<usize> {
    offsets[rows.start].as_usize()..offsets[rows.end].as_usize()
}

/// Whether a training set can have such a column: Parquet has no unions.
pub(super) fn is_known(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::RunEndEncoded(_, item)
        | DataType::Map(item, _) => is_known(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_known(field.data_type())),
        DataType::Dictionary(_, values) => is_known(values),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Int32Array, Int64Array, LargeListArray, ListViewArray, NullArray, StringArray,
    };
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::{Field, Fields};

    use super::*;

    fn taken(column: ArrayRef) -> Option<u64> {
        let mut room = Room(1 << 40);
        room.take(&RecordBatch::try_from_iter([("column", column)]).expect("a batch")).map(|()| (1 << 40) - room.0)
    }

    fn item(data_type: DataType) -> Arc<Field> {
        Arc::new(Field::new_list_field(data_type, true))
    }

    #[test]
    fn values_of_one_width_take_it_and_a_bit() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0; 10_000_000]));
        assert_eq!(taken(numbers.clone()), Some(81_250_000));
        let columns = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| (name, numbers.clone()));
        let nine = RecordBatch::try_from_iter(columns).expect("a batch");
        assert_eq!(Room(1 << 30).take(&nine), Some(()), "they are 720 MB");
    }

    #[test]
    fn a_list_of_more_nothings_than_can_be_counted_fits_nowhere() {
        let nothings = 1_usize << 62;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, nothings as i64]));
        let nothings = Arc::new(NullArray::new(nothings));
        assert_eq!(taken(Arc::new(LargeListArray::new(item(DataType::Null), offsets, nothings, None))), None);
    }

    #[test]
    fn a_shared_value_counts_for_each_that_names_it_and_one_that_nobody_names_for_none() {
        let values = || Arc::new(StringArray::from(vec!["x".repeat(1_000), "y".repeat(100), String::new()]));
        let keys = Int32Array::from(vec![1, 0, 1]);
        let dictionary = DictionaryArray::<Int32Type>::try_new(keys, values()).expect("a dictionary");
        assert_eq!(taken(Arc::new(dictionary)), Some(3 * 2 * LEAST + 1_200));
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3, 10]), &*values()).expect("runs");
        assert_eq!(taken(Arc::new(runs.slice(1, 8))), Some(8 * 2 * LEAST + 1_100));
        let (offsets, sizes) = (ScalarBuffer::from(vec![0, 0, 1]), ScalarBuffer::from(vec![2, 2, 0]));
        let lists = ListViewArray::new(item(DataType::Utf8), offsets, sizes, values(), None);
        assert_eq!(taken(Arc::new(lists)), Some(3 * LEAST + 2 * (2 * LEAST + 1_100)));
    }

    #[test]
    fn of_a_dictionary_only_what_is_named_is_looked_at() {
        let keys = Int64Array::from(vec![7]);
        let nothings = Arc::new(NullArray::new(1 << 60));
        let dictionary = DictionaryArray::<Int64Type>::try_new(keys, nothings).expect("a dictionary");
        assert_eq!(taken(Arc::new(dictionary)), Some(2 * LEAST));
    }

    #[test]
    fn lists_that_are_all_one_are_left_as_soon_as_there_is_no_room() {
        let mut shared: ArrayRef = Arc::new(StringArray::from(vec!["x"; 1_000]));
        for _ in 0..6 {
            let (offsets, sizes) = (ScalarBuffer::from(vec![0; 1_000]), ScalarBuffer::from(vec![1_000; 1_000]));
            let data_type = shared.data_type().clone();
            shared = Arc::new(ListViewArray::new(item(data_type), offsets, sizes, shared, None));
        }
        let batch = RecordBatch::try_from_iter([("column", shared)]).expect("a batch");
        assert_eq!(Room(1 << 20).take(&batch), None);
    }

    #[test]
    fn unions_are_not_known_however_deep() {
        let union =
            DataType::Union(std::iter::empty::<(i8, Arc<Field>)>().collect(), arrow::datatypes::UnionMode::Sparse);
        assert!(!is_known(&DataType::Struct(Fields::from(vec![Field::new("union", union, true)]))));
    }
}
