//! Rows of files → events as JSON, as producers would have sent them: what decodes them is what decodes the log.
//!
//! Of Parquet and CSV the columns are read that the source has a field for. Numbers and truth values of a CSV are what
//! the field's type says; an empty cell is null. Values of Parquet come through `as_sent`.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::kernel::definition::{HistoryFormat, Source};
use crate::offline::inputs::Opened;
use crate::offline::{Error, InputFile, parquet_file};

mod as_sent;
mod csv;

/// A chunk ends with the row, or with the batch of Parquet, that makes it so large.
const CHUNK_ROWS: usize = 50_000;
const CHUNK_BYTES: usize = 32 << 20;

/// Rows of Parquet that are in memory as columns. Some of them make a chunk.
const BATCH_ROWS: usize = 1_000;

/// What is longer is no event; of it so much is kept as a dead letter.
const LONGEST_LINE: u64 = 16 << 20;
const KEPT_OF_LONGER: usize = 64 << 10;

type Chunks = Box<dyn Iterator<Item = Result<Vec<Bytes>, Error>>>;

/// The events of a file in chunks, which are the same each time that the file is.
pub fn events_of(file: &InputFile, format: HistoryFormat, source: &Arc<Source>) -> Result<Chunks, Error> {
    let (name, opened) = (file.name().to_owned(), file.open()?);
    let unreadable = move |error: &dyn Display| Error::Input { path: name.clone(), detail: error.to_string() };
    Ok(match format {
        HistoryFormat::NdJson => {
            let mut reader = BufReader::with_capacity(1 << 20, reader(opened));
            chunks(move || next_lines(&mut reader).map_err(|error| unreadable(&error)))
        }
        HistoryFormat::Csv => {
            let mut rows = csv::Rows::new(reader(opened), source).map_err(|error| unreadable(&error))?;
            chunks(move || rows.chunk().map_err(|error| unreadable(&error)))
        }
        HistoryFormat::Parquet => {
            let mut batches = parquet_batches(opened, source).map_err(|error| unreadable(&error))?;
            let source = source.clone();
            chunks(move || next_batches(&mut batches, &source).map_err(|error| unreadable(&error)))
        }
    })
}

/// Until one is empty.
fn chunks(mut next: impl FnMut() -> Result<Vec<Bytes>, Error> + 'static) -> Chunks {
    Box::new(std::iter::from_fn(move || match next() {
        Ok(events) => (!events.is_empty()).then_some(Ok(events)),
        Err(error) => Some(Err(error)),
    }))
}

fn next_lines(reader: &mut impl BufRead) -> std::io::Result<Vec<Bytes>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        let mut line = Vec::new();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            reader.skip_until(b'\n')?;
            line.truncate(KEPT_OF_LONGER);
        }
        if !line.trim_ascii().is_empty() {
            bytes += line.len();
            lines.push(Bytes::copy_from_slice(line.trim_ascii()));
        }
    }
    Ok(lines)
}

fn next_batches(batches: &mut parquet_file::Reader, source: &Source) -> Result<Vec<Bytes>, ArrowError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while events.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        let Some(batch) = batches.next().transpose()? else { break };
        let batch = parquet_events(&batch, source)?;
        bytes += batch.iter().map(Bytes::len).sum::<usize>();
        events.extend(batch);
    }
    Ok(events)
}

fn reader(opened: Opened) -> Box<dyn Read> {
    match opened {
        Opened::File(file) => Box::new(file),
        Opened::Bytes(bytes) => Box::new(Cursor::new(bytes)),
    }
}

fn parquet_batches(opened: Opened, source: &Source) -> Result<parquet_file::Reader, ArrowError> {
    let wanted: Vec<&str> = source.fields.iter().map(|field| field.name.as_str()).collect();
    match opened {
        Opened::File(file) => parquet_file::read_from(file, &wanted, BATCH_ROWS),
        Opened::Bytes(bytes) => parquet_file::read_from(bytes, &wanted, BATCH_ROWS),
    }
}

fn parquet_events(batch: &RecordBatch, source: &Source) -> Result<Vec<Bytes>, ArrowError> {
    let schema = batch.schema();
    let field = |name: &str| source.fields.iter().find(|wanted| wanted.name == *name);
    let columns = schema.fields().iter().zip(batch.columns());
    let wanted: Vec<_> = columns.filter_map(|(it, column)| Some((field(it.name())?, column))).collect();
    as_sent::events(&wanted, batch.num_rows())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::{
        ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
        ListArray, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::{Float64Type, TimestampMicrosecondType};

    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::kernel::event::{Decoded, RawRecord, decode};
    use crate::kernel::time::EventTime;
    use crate::offline::Inputs;

    fn source(unit: &str) -> Arc<Source> {
        let text = format!(
            "kind: source\nname: clicks\nevent_time: {{ field: at, unit: {unit} }}\nschema:\n  version: 1\n  fields:\n    \
             - {{ name: at, type: timestamp, required: true }}\n    - {{ name: user, type: string }}\n    \
             - {{ name: price, type: float64 }}\n"
        );
        parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right").sources[0].clone()
    }

    fn events(root: &Path, name: &str, format: HistoryFormat, unit: &str) -> String {
        let inputs = Inputs::new([root.display().to_string()]);
        let file = inputs.files(name).expect("found").remove(0);
        let chunks = events_of(&file, format, &source(unit)).expect("opened");
        let lines = chunks.flat_map(|chunk| chunk.expect("read"));
        lines.map(|line| String::from_utf8(line.to_vec()).expect("text") + "\n").collect()
    }

    #[test]
    fn cells_of_csv_are_what_their_fields_are() {
        let root = tempfile::tempdir().expect("a folder");
        let text = "user,note,at,price\r\n007,x,1767225600000,2.50\r\n\"a \"\"b\"\"\",,soon,\r\n";
        std::fs::write(root.path().join("a.csv"), text).expect("written");
        expect_test::expect![[r#"
            {"user":"007","at":1767225600000,"price":2.50}
            {"user":"a \"b\"","at":"soon"}
        "#]]
        .assert_eq(&events(root.path(), "a.csv", HistoryFormat::Csv, "ms"));
    }

    #[test]
    fn a_broken_row_of_csv_is_handed_on_as_it_stands() {
        let root = tempfile::tempdir().expect("a folder");
        let text = b"user,at,price\nu1,1,2\nu2,2\nu3,3,4,5\nu\xff,4,6\n\nu5,5,7\n";
        std::fs::write(root.path().join("a.csv"), text).expect("written");
        let file = Inputs::new([root.path().display().to_string()]).files("a.csv").expect("found").remove(0);
        let chunks = events_of(&file, HistoryFormat::Csv, &source("s")).expect("opened");
        let events: Vec<Bytes> = chunks.flat_map(|chunk| chunk.expect("read")).collect();
        assert_eq!(events[1..4], [&b"u2,2"[..], b"u3,3,4,5", b"u\xff,4,6"]);
        let decoded = decode_all(&source("s"), events);
        assert_eq!(decoded.rejections.iter().map(|it| it.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(decoded.events.events.len(), 2);
    }

    #[test]
    fn chunks_are_bounded_and_a_line_without_end_is_cut_off() {
        let line = |bytes: usize| format!("{{\"user\":\"{}\"}}\n", "u".repeat(bytes));
        let mut text = line(20 << 20) + &line(10);
        (0..5).for_each(|_| text.push_str(&line(15 << 20)));
        let mut reader = Cursor::new(text);
        let first = next_lines(&mut reader).expect("read");
        let lengths: Vec<usize> = first.iter().map(Bytes::len).collect();
        assert_eq!(
            lengths,
            [
                KEPT_OF_LONGER,
                line(10).len() - 1,
                line(15 << 20).len() - 1,
                line(15 << 20).len() - 1,
                line(15 << 20).len() - 1
            ]
        );
        assert_eq!(next_lines(&mut reader).expect("read").len(), 2);
        assert_eq!(next_lines(&mut reader).expect("read").len(), 0);
    }

    #[test]
    fn times_of_parquet_are_written_in_the_fields_unit() {
        let root = tempfile::tempdir().expect("a folder");
        let batch = |nanos: Vec<Option<i64>>| {
            let users = StringArray::from_iter_values((0..nanos.len()).map(|row| format!("u{row}")));
            let columns: [(&str, ArrayRef); 3] = [
                ("at", Arc::new(TimestampNanosecondArray::from(nanos))),
                ("note", Arc::new(users.clone())),
                ("user", Arc::new(users)),
            ];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
                .expect("a batch")
        };
        let write = |name: &str, nanos| {
            let bytes = parquet_file::encode(&batch(nanos)).expect("encoded");
            std::fs::write(root.path().join(name), bytes).expect("written");
        };
        write("whole.parquet", vec![Some(1_500_000_000_000_000_000), None]);
        write("parts.parquet", vec![Some(1_500_000_000_000_250_000)]);
        let read = |name: &str, unit: &str| events(root.path(), name, HistoryFormat::Parquet, unit);
        assert_eq!(read("whole.parquet", "ms"), "{\"at\":1500000000000,\"user\":\"u0\"}\n{\"user\":\"u1\"}\n");
        assert_eq!(read("whole.parquet", "ns"), "{\"at\":1500000000000000000,\"user\":\"u0\"}\n{\"user\":\"u1\"}\n");
        assert_eq!(read("parts.parquet", "ms"), "{\"at\":1500000000000.250000,\"user\":\"u0\"}\n");
        assert_eq!(read("parts.parquet", "rfc3339"), "{\"at\":\"2017-07-14T02:40:00.000250Z\",\"user\":\"u0\"}\n");
    }

    #[test]
    fn each_type_of_parquet_decodes_to_the_values_of_the_file() {
        let text = "kind: source\nname: all\nevent_time: { field: at, unit: ns }\nschema:\n  fields:\n    \
                    - { name: at, type: timestamp, required: true }\n    - { name: raw, type: bytes }\n    \
                    - { name: price, type: float64 }\n    - { name: ratio, type: float32 }\n    \
                    - { name: prices, type: list<float64> }\n    - { name: paid, type: \"decimal(38,2)\" }\n    \
                    - { name: day, type: date }\n    - { name: count, type: int32 }\n    - { name: note, type: string }\n    \
                    - { name: seen, type: timestamp, unit: us }\n    - { name: due, type: timestamp, unit: s }\n";
        let files = [SourceText { path: "all.yaml".to_owned(), text: text.to_owned() }];
        let source = parse(&files).expect("right").sources[0].clone();
        let prices = vec![Some(1.5), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::NAN)];
        let last_day = 253_402_214_400_000_000;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![last_day, 0, -1, 1]).with_timezone("UTC"))),
            ("raw", Arc::new(BinaryArray::from(vec![Some(&[0xde, 0xad][..]), Some(b""), Some(&[0]), None]))),
            ("price", Arc::new(Float64Array::from(prices.clone()))),
            ("ratio", Arc::new(Float32Array::from(vec![0.1, f32::NAN, -0.0, f32::MIN_POSITIVE]))),
            (
                "prices",
                Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
                    Some(prices),
                    None,
                    Some(vec![]),
                    Some(vec![None]),
                ])),
            ),
            (
                "paid",
                Arc::new(
                    Decimal128Array::from(vec![Some(i128::MAX / 10), Some(-1), None, Some(0)])
                        .with_precision_and_scale(38, 2)
                        .expect("a decimal"),
                ),
            ),
            ("day", Arc::new(Date32Array::from(vec![Some(0), Some(-1), None, Some(20_000)]))),
            ("count", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(0), Some(i32::MAX)]))),
            ("note", Arc::new(StringArray::from(vec![Some("a \"b\"\n"), Some(""), None, Some("ü")]))),
            (
                "seen",
                Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(0), Some(1)]).with_timezone("UTC")),
            ),
            ("due", Arc::new(TimestampMicrosecondArray::from(vec![-1, 1_500_000, 0, 1]).with_timezone("UTC"))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, it)| (name, it, true)));
        let batch = batch.expect("a batch");
        let events = parquet_events(&batch, &source).expect("written");
        let decoded = decode_all(&source, events);
        assert_eq!(decoded.rejections, []);
        let fields = source.schema();
        for (index, field) in fields.fields().iter().enumerate() {
            // Equal as printed: NaN is no equal of itself.
            let (held, read) = (batch.column(index), decoded.events.fields.column(index));
            assert_eq!(format!("{read:?}"), format!("{held:?}"), "{}", field.name());
        }
    }

    fn decode_all(source: &Source, events: Vec<Bytes>) -> Decoded {
        let newest = EventTime::MAX.floor_to_millis();
        let record = |value| RawRecord { partition: 0, offset: 0, ingestion_time: newest, value };
        decode(source, &events.into_iter().map(record).collect::<Vec<_>>())
    }

    #[test]
    fn a_time_before_1970_that_no_microsecond_holds_is_floored() {
        let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999]));
        for unit in ["s", "ms", "us", "ns", "rfc3339"] {
            let batch = RecordBatch::try_from_iter_with_nullable([("at", at.clone(), true)]).expect("a batch");
            let source = source(unit);
            let decoded = decode_all(&source, parquet_events(&batch, &source).expect("written"));
            let times = decoded.events.fields.column(0).as_primitive::<TimestampMicrosecondType>().values();
            assert_eq!(times, &[-1, 1], "{unit}");
        }
    }

    #[test]
    fn bytes_of_a_text_field_are_text_or_rejected() {
        let user: ArrayRef = Arc::new(BinaryArray::from(vec![&b"u1"[..], &[0xff]]));
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 0]));
        let batch = RecordBatch::try_from_iter([("at", at), ("user", user)]).expect("a batch");
        let decoded = decode_all(&source("us"), parquet_events(&batch, &source("us")).expect("written"));
        assert_eq!(decoded.events.fields.column(1).as_string::<i32>().value(0), "u1");
        assert_eq!(decoded.rejections.iter().map(|it| it.index).collect::<Vec<_>>(), [1]);
    }
}
