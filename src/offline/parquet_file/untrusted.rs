//! Parquet that somebody handed in. Some kilobytes of it may stand for more than any memory holds: a value that all rows
//! share, pages that pack well, lists of nothing. So its pages are counted before it is decoded, and it is decoded with
//! values shared; what writing them out would take, the caller counts.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::{BATCH_ROWS, Reader};

/// What a file that nobody vouches for comes to, by its pages: its footer may say anything.
pub(in crate::offline) struct Measured {
    pub rows: u64,
    /// So few that values which share beginnings, and are written out for each row, stay small.
    batch_rows: usize,
}

/// Batches in which rows share values, and the columns as the file has them.
pub(in crate::offline) struct Shared {
    pub batches: Reader,
    pub declared: SchemaRef,
}

/// What one batch of values with shared beginnings may take.
const WRITTEN_OUT: usize = 64 << 20;

/// `None` where the pages, or values of fixed width, come to more than `most` bytes. One page is in memory at a time.
pub(in crate::offline) fn measure(file: &Bytes, most: u64) -> Result<Option<Measured>, ArrowError> {
    let file = SerializedFileReader::new(file.clone())?;
    let metadata = file.metadata();
    let said = metadata.row_groups().iter().flat_map(|group| group.columns());
    // A file that tells the truth is refused without a look at its pages.
    if said.map(|column| column.uncompressed_size().max(0) as u64).fold(0, u64::saturating_add) > most {
        return Ok(None);
    }
    let mut sizes = Sizes { pages: 0, values: 0, in_lists: 0, longest: 1 };
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        for column in 0..group.num_columns() {
            let descriptor = group.metadata().column(column).column_descr_ptr();
            let mut pages = group.get_column_page_reader(column)?;
            while let Some(page) = pages.get_next_page()? {
                sizes.add(&page, &descriptor, most)?;
                if sizes.pages.max(sizes.values) > most {
                    return Ok(None);
                }
            }
        }
    }
    let rows = u64::try_from(metadata.file_metadata().num_rows()).map_err(|_| general("a negative count of rows"))?;
    Ok(Some(Measured { rows, batch_rows: (WRITTEN_OUT / sizes.longest).clamp(1, BATCH_ROWS) }))
}

struct Sizes {
    pages: u64,
    /// Without the bytes of text, which rows share until it is known what they come to.
    values: u64,
    /// With those bytes, where lists of texts share beginnings.
    in_lists: u64,
    /// The longest page of which a value may take the beginning of the one before.
    longest: usize,
}

impl Sizes {
    fn add(&mut self, page: &Page, column: &ColumnDescriptor, most: u64) -> Result<(), ArrowError> {
        let bytes = page.buffer().len();
        self.pages = self.pages.saturating_add(bytes as u64);
        if let Page::DictionaryPage { num_values, .. } = page {
            return match *num_values as usize > bytes {
                true => Err(general("a dictionary says that it has more values than bytes")),
                false => Ok(()),
            };
        }
        let is_nested = column.max_rep_level() > 0;
        let levels = if is_nested { 4 } else { 0 };
        self.values = self.values.saturating_add(u64::from(page.num_values()) * (width(column) + levels));
        if !counts_no_more_lengths(page, column) {
            return Err(general("a page of texts is cut off, or counts more of them than it says that it has"));
        }
        if page.encoding() == Encoding::DELTA_BYTE_ARRAY {
            self.longest = self.longest.max(bytes);
            // A row may have any number of them: they are not held in bounds by reading few rows at a time.
            let written_out = if is_nested { u64::from(page.num_values()).saturating_mul(bytes as u64) } else { 0 };
            self.in_lists = self.in_lists.saturating_add(written_out);
            if self.in_lists > most {
                return Err(general(
                    "lists of so many texts that share beginnings are not read: write them with another encoding",
                ));
            }
        }
        Ok(())
    }
}

/// Texts whose lengths are packed are counted once more with them, and parquet makes room for as many as that says.
fn counts_no_more_lengths(page: &Page, column: &ColumnDescriptor) -> bool {
    let most = u64::from(page.num_values());
    let behind = |values: Option<&[u8]>| values.and_then(|it| behind_lengths(it, most)).is_some();
    match page.encoding() {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => behind(behind_levels(page, column)),
        // What each shares with the one before, and what it has of its own.
        Encoding::DELTA_BYTE_ARRAY => behind(behind_levels(page, column).and_then(|it| behind_lengths(it, most))),
        _ => true,
    }
}

/// Levels that are packed without a length are older than texts whose lengths are packed.
fn behind_levels<'p>(page: &'p Page, column: &ColumnDescriptor) -> Option<&'p [u8]> {
    let buffer: &[u8] = page.buffer();
    if let Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } = page {
        return buffer.get(*rep_levels_byte_len as usize + *def_levels_byte_len as usize..);
    }
    let levels = [column.max_rep_level(), column.max_def_level()].into_iter().filter(|most| *most > 0);
    levels.into_iter().try_fold(buffer, |rest, _| {
        let (length, rest) = rest.split_first_chunk()?;
        rest.get(u32::from_le_bytes(*length) as usize..)
    })
}

/// What follows on packed lengths, of which there are no more than `most`.
fn behind_lengths(mut packed: &[u8], most: u64) -> Option<&[u8]> {
    let (block, parts) = (number(&mut packed)?, number(&mut packed)?);
    let count = number(&mut packed).filter(|count| *count <= most)?;
    let of_part = block.checked_div(parts).filter(|of_part| *of_part > 0)?;
    let _first = number(&mut packed)?;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least_difference = number(&mut packed)?;
        let (widths, mut rest) = packed.split_at_checked(parts as usize)?;
        for width in widths.iter().take(left.div_ceil(of_part) as usize) {
            rest = rest.get(u64::from(*width).checked_mul(of_part)? as usize / 8..)?;
        }
        left = left.saturating_sub(block);
        packed = rest;
    }
    Some(packed)
}

/// Seven bits to a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Of a value; of text, of its offset.
fn width(column: &ColumnDescriptor) -> u64 {
    match column.physical_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => column.type_length().max(0) as u64,
    }
}

fn general(what: &str) -> ArrowError {
    ParquetError::General(what.to_owned()).into()
}

/// All columns; text is a view of its page, or of a dictionary that all rows share.
pub(in crate::offline) fn read_shared(file: Bytes, measured: &Measured) -> Result<Shared, ArrowError> {
    let declared = ParquetRecordBatchReaderBuilder::try_new(file.clone())?.schema().clone();
    let views: Fields = declared.fields().iter().map(viewed).collect();
    let options = ArrowReaderOptions::new().with_schema(Schema::new(views).into());
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    Ok(Shared { batches: builder.with_batch_size(measured.batch_rows).build()?, declared })
}

fn viewed(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(as_views(field.data_type())))
}

fn as_views(data_type: &DataType) -> DataType {
    with_leaves(data_type, &|leaf| match leaf {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => match as_views(values) {
            view @ (DataType::Utf8View | DataType::BinaryView) => view,
            // Values of one width come to no more than their rows, and not all of them could be put back.
            _ => leaf.clone(),
        },
        flat => flat.clone(),
    })
}

/// The same with views of text as views of bytes.
pub(in crate::offline) fn as_bytes(data_type: &DataType) -> DataType {
    with_leaves(data_type, &|leaf| match leaf {
        DataType::Utf8View => DataType::BinaryView,
        flat => flat.clone(),
    })
}

fn with_leaves(data_type: &DataType, leaf: &dyn Fn(&DataType) -> DataType) -> DataType {
    let within = |field: &FieldRef| {
        let data_type = with_leaves(field.data_type(), leaf);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::List(item) => DataType::List(within(item)),
        DataType::LargeList(item) => DataType::LargeList(within(item)),
        DataType::ListView(item) => DataType::ListView(within(item)),
        DataType::LargeListView(item) => DataType::LargeListView(within(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(within(item), *length),
        DataType::Map(entries, is_sorted) => DataType::Map(within(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        flat => leaf(flat),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, DurationMicrosecondArray, Int32Array, Int64Array,
        LargeStringArray, ListArray, ListViewArray, StringArray,
    };
    use arrow::datatypes::Int32Type;
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::arrow_writer::ArrowWriterOptions;
    use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter, encode_arrow_schema};
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

    use super::*;
    use crate::offline::parquet_file::encode;
    use crate::offline::table::{self, Format, Limits};

    const LIMITS: Limits = Limits { rows: 100_000, bytes: 1 << 20 };

    fn decode(file: Vec<u8>, limits: Limits) -> Result<Vec<RecordBatch>, String> {
        let decoded = table::decode(Bytes::from(file), Format::Parquet, &|_| false, limits);
        decoded.map_err(|error| error.to_string())
    }

    /// As other programs write them: without a word on Arrow.
    fn written(column: ArrayRef, properties: WriterProperties) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("column", column)]).expect("a batch");
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).expect("a writer");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("ended")
    }

    fn zstd() -> WriterProperties {
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build()
    }

    fn packed(encoding: Encoding) -> WriterPropertiesBuilder {
        WriterProperties::builder().set_dictionary_enabled(false).set_encoding(encoding)
    }

    /// Text of so many bytes, the same in each row.
    fn same(bytes: usize, rows: usize) -> ArrayRef {
        let keys = Int32Array::from(vec![0; rows]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, text).expect("a dictionary"))
    }

    #[test]
    fn a_text_that_many_rows_share_is_counted_for_each_before_it_is_written_out() {
        // Written out they are more than any column of text can hold.
        let file = written(same(300_000, BATCH_ROWS), zstd());
        assert!(file.len() < 10_000, "{} bytes", file.len());
        let refused = decode(file, LIMITS).expect_err("it is 2 GB");
        assert!(refused.starts_with("the table has more than"), "{refused}");
        let few = decode(written(same(1_000, 100), zstd()), LIMITS).expect("small enough");
        assert_eq!(few[0].column(0).as_string::<i32>().value(99), "x".repeat(1_000));
    }

    #[test]
    fn texts_that_share_their_beginnings_are_read_a_few_at_a_time() {
        let properties = packed(Encoding::DELTA_BYTE_ARRAY).set_compression(Compression::ZSTD(ZstdLevel::default()));
        let texts = (0..100).map(|row| format!("{}{row}", "x".repeat(1 << 20)));
        let file = written(Arc::new(StringArray::from_iter_values(texts)), properties.build());
        let measured = measure(&Bytes::from(file.clone()), 1 << 24).expect("read").expect("small pages");
        assert!((1..=64).contains(&measured.batch_rows), "{} rows at once", measured.batch_rows);
        let roomy = Limits { bytes: 1 << 28, ..LIMITS };
        let read = decode(file.clone(), roomy).expect("read");
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 100);
        assert!(decode(file, LIMITS).expect_err("100 MB").starts_with("the table has more than"));
    }

    #[test]
    fn texts_with_packed_lengths_are_read_whatever_writes_them() {
        let texts = (0..1_000).map(|row| (row % 3 > 0).then(|| "x".repeat(row % 200)));
        let texts = StringArray::from_iter(texts);
        for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                let file = written(Arc::new(texts.clone()), packed(encoding).set_writer_version(version).build());
                let read = decode(file, LIMITS).expect("read");
                assert_eq!(read[0].column(0).as_string::<i32>(), &texts, "{encoding} {version:?}");
            }
        }
    }

    #[test]
    fn a_page_that_packs_more_lengths_than_it_has_texts_is_refused() {
        // A block of 128 lengths in four parts, and one of them is there.
        const ONE: [u8; 4] = [0x80, 0x01, 4, 1];
        for (encoding, lists) in [(Encoding::DELTA_LENGTH_BYTE_ARRAY, 1), (Encoding::DELTA_BYTE_ARRAY, 2)] {
            let file = written(Arc::new(StringArray::from(vec!["a text"])), packed(encoding).build());
            let places = file.windows(ONE.len()).enumerate().filter(|(_, bytes)| **bytes == ONE);
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            assert_eq!(places.len(), lists, "{encoding}");
            for place in places {
                let mut file = file.clone();
                file[place + 3] = 127;
                let refused = decode(file, LIMITS).expect_err("there is one");
                assert!(refused.ends_with("counts more of them than it says that it has"), "{refused}");
            }
        }
    }

    #[test]
    fn lists_of_texts_that_share_beginnings_are_read_if_they_are_small_however_they_are_written_out() {
        let lists = |rows: usize| {
            let texts = StringArray::from_iter_values((0..rows).map(|row| format!("{}{row}", "x".repeat(100))));
            let item = Arc::new(arrow::datatypes::Field::new_list_field(DataType::Utf8, true));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(vec![2; rows / 2]);
            Arc::new(ListArray::new(item, offsets, Arc::new(texts), None)) as ArrayRef
        };
        let file = |rows| written(lists(rows), packed(Encoding::DELTA_BYTE_ARRAY).build());
        let read = decode(file(100), LIMITS).expect("read");
        assert_eq!(read[0].column(0).as_list::<i32>().values(), lists(100).as_list::<i32>().values());
        let refused = decode(file(10_000), LIMITS).expect_err("too many");
        assert!(refused.contains("lists of so many texts that share beginnings are not read"), "{refused}");
    }

    #[test]
    fn bytes_that_the_file_calls_text_are_text_or_refused() {
        let said = Schema::new(vec![arrow::datatypes::Field::new("column", DataType::Utf8, false)]);
        let said = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&said));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![said])).build();
        let file = |bytes: &[u8]| written(Arc::new(BinaryArray::from(vec![bytes])), properties.clone());
        let read = decode(file("é".as_bytes()), LIMITS).expect("read");
        assert_eq!(read[0].column(0).as_string::<i32>().value(0), "é");
        let refused = decode(file(b"\xff\xfe"), LIMITS).expect_err("no text");
        assert!(refused.starts_with("column `column`: it cannot be read as Utf8: "), "{refused}");
    }

    #[test]
    fn rows_and_values_are_refused_by_what_the_file_says_of_itself() {
        let numbers = |rows| written(Arc::new(Int64Array::from(vec![7; rows])), zstd());
        assert!(decode(numbers(100_001), LIMITS).expect_err("rows").starts_with("the table has more than 100000 rows"));
        let limits = Limits { rows: 1 << 20, ..LIMITS };
        assert!(decode(numbers(200_000), limits).expect_err("1.6 MB").starts_with("the table has more than"));
        assert_eq!(measure(&Bytes::from(numbers(200_000)), 1 << 20).expect("read").map(|it| it.rows), None);
    }

    #[test]
    fn columns_keep_the_types_that_the_file_declares() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let texts = ListArray::new(
            Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true)),
            lists.offsets().clone(),
            Arc::new(StringArray::from(vec![Some("a"), None])),
            lists.nulls().cloned(),
        );
        let durations = Int32Array::from(vec![Some(0), None]);
        let durations =
            DictionaryArray::<Int32Type>::try_new(durations, Arc::new(DurationMicrosecondArray::from(vec![7])));
        let columns: [(&str, ArrayRef); 7] = [
            ("durations", Arc::new(durations.expect("a dictionary"))),
            ("views", Arc::new(ListViewArray::from(texts.clone()))),
            ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None]))),
            ("shared", same(3, 2)),
            ("lists", Arc::new(lists)),
            ("texts", Arc::new(texts)),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        let batch = batch.expect("a batch");
        let read = decode(encode(&batch).expect("encoded"), LIMITS).expect("read");
        let types = |batch: &RecordBatch| batch.columns().iter().map(|it| it.data_type().clone()).collect::<Vec<_>>();
        assert_eq!(types(&read[0]), types(&batch));
        assert_eq!(read[0].columns(), batch.columns());
    }

    #[test]
    fn what_is_no_parquet_is_an_error() {
        let whole = written(same(10, 1_000), zstd());
        assert!((0..whole.len()).step_by(7).all(|end| decode(whole[..end].to_vec(), LIMITS).is_err()));
    }
}
