//! Rows of files → events as JSON, as producers would have sent them: what decodes them is what decodes the log.
//!
//! Of Parquet and CSV the columns are read that the source has a field for. Numbers and truth values of a CSV are what
//! the field's type says; an empty cell is null. Times of Parquet are written in the field's own unit.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::kernel::definition::{HistoryFormat, Source, TimeFormat};
use crate::kernel::value::ValueType;
use crate::offline::inputs::Opened;
use crate::offline::{Error, InputFile, parquet_file};

/// Rows that are read at once.
const CHUNK_ROWS: usize = 50_000;
const CHUNK_BYTES: usize = 32 << 20;

type Chunks = Box<dyn Iterator<Item = Result<Vec<Bytes>, Error>>>;

/// The events of a file in chunks, which are the same each time that the file is.
pub fn events_of(file: &InputFile, format: HistoryFormat, source: &Arc<Source>) -> Result<Chunks, Error> {
    let (name, opened) = (file.name().to_owned(), file.open()?);
    let unreadable = move |error: ArrowError| Error::Input { path: name.clone(), detail: error.to_string() };
    Ok(match format {
        HistoryFormat::NdJson => lines(opened, unreadable),
        HistoryFormat::Csv => {
            let source = source.clone();
            let batches = csv_batches(opened).map_err(&unreadable)?;
            Box::new(batches.map(move |batch| Ok(csv_events(&batch.map_err(&unreadable)?, &source))))
        }
        HistoryFormat::Parquet => {
            let source = source.clone();
            let batches = parquet_batches(opened, &source).map_err(&unreadable)?;
            Box::new(
                batches.map(move |batch| batch.and_then(|batch| parquet_events(&batch, &source)).map_err(&unreadable)),
            )
        }
    })
}

fn lines(opened: Opened, unreadable: impl Fn(ArrowError) -> Error + 'static) -> Chunks {
    let mut reader = BufReader::with_capacity(1 << 20, reader(opened));
    Box::new(std::iter::from_fn(move || match next_lines(&mut reader) {
        Ok(lines) => (!lines.is_empty()).then_some(Ok(lines)),
        Err(error) => Some(Err(unreadable(error.into()))),
    }))
}

fn next_lines(reader: &mut impl BufRead) -> std::io::Result<Vec<Bytes>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        bytes += line.len();
        if !line.trim_ascii().is_empty() {
            lines.push(Bytes::copy_from_slice(line.trim_ascii()));
        }
    }
    Ok(lines)
}

fn reader(opened: Opened) -> Box<dyn Read> {
    match opened {
        Opened::File(file) => Box::new(file),
        Opened::Bytes(bytes) => Box::new(Cursor::new(bytes)),
    }
}

/// Every cell as text: only the source knows whether `007` is a number.
fn csv_batches(opened: Opened) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>>, ArrowError> {
    let mut reader = BufReader::new(reader(opened));
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let (schema, _) = csv::reader::Format::default().with_header(true).infer_schema(head.as_bytes(), Some(0))?;
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    csv::ReaderBuilder::new(schema).with_batch_size(CHUNK_ROWS).build_buffered(reader)
}

fn csv_events(batch: &RecordBatch, source: &Source) -> Vec<Bytes> {
    let schema = batch.schema();
    let column = |(field, cells)| {
        let wanted = source.fields.iter().find(|wanted| wanted.name == *Field::name(field).as_str())?;
        Some((wanted.name.as_str(), is_bare(&wanted.value_type), AsArray::as_string::<i32>(cells)))
    };
    let columns: Vec<_> = schema.fields().iter().map(|it| &**it).zip(batch.columns()).filter_map(column).collect();
    let event = |row: usize| {
        let mut event = String::from("{");
        for (name, bare, cells) in columns.iter().filter(|(_, _, cells)| cells.is_valid(row)) {
            let cell = cells.value(row);
            let comma = if event.len() > 1 { "," } else { "" };
            let is_number = *bare && serde_json::from_str::<serde_json::Value>(cell).is_ok_and(|it| !it.is_string());
            let cell = if is_number { cell.into() } else { serde_json::Value::from(cell).to_string() };
            write!(event, "{comma}\"{name}\":{cell}").expect("a string takes all");
        }
        Bytes::from(event + "}")
    };
    (0..batch.num_rows()).map(event).collect()
}

/// Whether JSON writes such values without quotes.
fn is_bare(value_type: &ValueType) -> bool {
    value_type.is_number() || matches!(value_type, ValueType::Bool | ValueType::Timestamp | ValueType::List(_))
}

fn parquet_batches(opened: Opened, source: &Source) -> Result<parquet_file::Reader, ArrowError> {
    let wanted: Vec<&str> = source.fields.iter().map(|field| field.name.as_str()).collect();
    match opened {
        Opened::File(file) => parquet_file::read_from(file, &wanted, CHUNK_ROWS),
        Opened::Bytes(bytes) => parquet_file::read_from(bytes, &wanted, CHUNK_ROWS),
    }
}

fn parquet_events(batch: &RecordBatch, source: &Source) -> Result<Vec<Bytes>, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(wanted) = source.fields.iter().find(|wanted| wanted.name == *field.name().as_str()) else { continue };
        let column = match (field.data_type(), &wanted.value_type) {
            (DataType::Timestamp(..), ValueType::Timestamp) => time_column(column, wanted.unit)?,
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let mut text = Vec::new();
    let mut writer = arrow_json::LineDelimitedWriter::new(&mut text);
    writer.write(&batch)?;
    writer.finish()?;
    let text = Bytes::from(text);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| text.slice_ref(line)).collect())
}

/// Times as the source's producers write them.
fn time_column(column: &ArrayRef, unit: TimeFormat) -> Result<ArrayRef, ArrowError> {
    let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
    let micros = times.as_primitive::<TimestampMicrosecondType>();
    let micros_in = match unit {
        TimeFormat::Rfc3339 => return Ok(times),
        TimeFormat::Seconds => 1_000_000,
        TimeFormat::Millis => 1_000,
        TimeFormat::Micros => 1,
        TimeFormat::Nanos => {
            return Ok(Arc::new(micros.iter().map(|it| it.map(|it| it * 1_000)).collect::<Int64Array>()));
        }
    };
    // A fraction of a unit is written only where there is one.
    Ok(match micros.iter().flatten().all(|it| it % micros_in == 0) {
        true => Arc::new(micros.iter().map(|it| it.map(|it| it / micros_in)).collect::<Int64Array>()),
        false => Arc::new(micros.iter().map(|it| it.map(|it| it as f64 / micros_in as f64)).collect::<Float64Array>()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::{StringArray, TimestampNanosecondArray};

    use super::*;
    use crate::kernel::definition::{SourceText, parse};
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
        assert_eq!(read("parts.parquet", "ms"), "{\"at\":1.50000000000025e12,\"user\":\"u0\"}\n");
        assert_eq!(read("parts.parquet", "rfc3339"), "{\"at\":\"2017-07-14T02:40:00.000250Z\",\"user\":\"u0\"}\n");
    }
}
