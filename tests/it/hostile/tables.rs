//! Tables that nobody meant, in every format: read or refused.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, ListViewArray, RecordBatch, RunArray, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use freshet::kernel::value::ValueType;
use freshet::offline::{Format, Limits, SpineColumns, SpineFormat, spine};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;

use super::survives;

const CASES: u64 = 4_000;

const LIMITS: Limits = Limits { rows: 10_000, bytes: 1 << 22 };

/// Keys of both kinds, a label time, and what else a table may hold.
fn spine_rows() -> RecordBatch {
    const ROWS: usize = 300;
    let users: DictionaryArray<Int32Type> = ["u1", "u2", "é"].into_iter().cycle().take(ROWS).collect();
    let items: Int64Array = (0..ROWS as i64).collect();
    let times = TimestampMicrosecondArray::from_iter_values((0..ROWS as i64).map(|row| 1_767_225_600_000_000 + row));
    let notes: StringViewArray =
        (0..ROWS).map(|row| (row % 7 > 0).then(|| format!("a note of some length {row}"))).collect();
    let lists = (0..ROWS).map(|row| (row % 5 > 0).then(|| vec![Some(row as i32), None]));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![100, 300]), &StringArray::from(vec!["a", "b"]));
    let columns: [(&str, ArrayRef); 7] = [
        ("user_id", Arc::new(users)),
        ("item_id", Arc::new(items)),
        ("event_timestamp", Arc::new(times)),
        ("note", Arc::new(notes)),
        ("views", Arc::new(ListViewArray::from(lists.clone()))),
        ("lists", Arc::new(lists)),
        ("runs", Arc::new(runs.expect("they end one behind the other"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("a batch")
}

pub fn parquet() -> Vec<Vec<u8>> {
    let plain = || WriterProperties::builder().set_max_row_group_row_count(Some(100));
    let properties = [
        plain(),
        plain().set_compression(Compression::SNAPPY),
        plain().set_dictionary_enabled(false).set_column_encoding("note".into(), Encoding::DELTA_BYTE_ARRAY),
        plain().set_dictionary_enabled(false).set_column_encoding("note".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY),
    ];
    let written = properties.into_iter().map(|properties| {
        let batch = spine_rows();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).expect("a writer");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("ended")
    });
    written.collect()
}

pub fn arrow() -> Vec<Vec<u8>> {
    let batch = spine_rows();
    let file = |codec| {
        let options = IpcWriteOptions::default().try_with_compression(codec).expect("known");
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("a writer");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("ended")
    };
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    stream.write(&batch).expect("written");
    vec![file(None), file(Some(CompressionType::LZ4_FRAME)), stream.into_inner().expect("ended")]
}

fn read(bytes: &[u8], format: SpineFormat) -> Result<usize, String> {
    let keys = [("user_id", ValueType::String), ("item_id", ValueType::Int64)];
    let keys = keys.map(|(name, value_type)| (name.parse().expect("a name"), value_type));
    let columns = SpineColumns { keys: &keys, label_time: "event_timestamp" };
    let read = spine::read(bytes::Bytes::copy_from_slice(bytes), format, columns, LIMITS);
    read.map(|batches| batches.iter().map(RecordBatch::num_rows).sum()).map_err(|error| error.to_string())
}

#[test]
fn a_parquet_file_that_nobody_wrote_is_read_or_refused() {
    let format = SpineFormat::Table(Format::Parquet);
    assert!(parquet().iter().all(|file| read(file, format) == Ok(300)), "the corpus is right");
    survives(CASES, &parquet(), |bytes| drop(read(bytes, format)));
}

#[test]
fn arrow_that_nobody_wrote_is_read_or_refused() {
    let format = SpineFormat::Table(Format::Arrow);
    assert!(arrow().iter().all(|file| read(file, format) == Ok(300)), "the corpus is right");
    survives(CASES, &arrow(), |bytes| drop(read(bytes, format)));
}

#[test]
fn rows_of_text_that_nobody_wrote_are_read_or_refused() {
    let json =
        r#"[{"user_id":"u1","item_id":7,"event_timestamp":"2026-01-01T10:00:00Z","n":1.5,"is":true},{"n":null}]"#;
    survives(CASES, &[json.as_bytes().to_vec()], |bytes| drop(read(bytes, SpineFormat::Json)));
    let csv = "user_id,item_id,event_timestamp,label\nu1,7,2026-01-01T13:00:00Z,1\n\"u,2\",007,2026-01-01 14:00:00,\n";
    survives(CASES, &[csv.as_bytes().to_vec()], |bytes| drop(read(bytes, SpineFormat::Table(Format::Csv))));
}
