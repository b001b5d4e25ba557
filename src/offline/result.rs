//! Tables that Freshet hands out: written beside their place batch by batch, and put there whole.
//!
//! Promises: at the path stands what was there before or all of the new table, durable once
//! [`ResultWriter::publish`] returns; a writer that is dropped leaves nothing.

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::offline::folder::Output;
use crate::offline::table::Format;
use crate::offline::{Error, Folder, parquet_file};

/// What an encoder writes at once: a write to an object store is a message to its thread.
const BUFFER_BYTES: usize = 1 << 20;

pub struct ResultWriter {
    place: String,
    encoder: Encoder,
}

enum Encoder {
    Parquet(parquet_file::Writer<BufWriter<Output>>),
    Arrow(FileWriter<BufWriter<Output>>),
    Csv(csv::Writer<BufWriter<Output>>),
}

impl ResultWriter {
    /// Begins a table that will stand at `path` of the folder.
    pub fn create(folder: &Folder, path: &str, format: Format, schema: SchemaRef) -> Result<ResultWriter, Error> {
        let output = BufWriter::with_capacity(BUFFER_BYTES, folder.output(path)?);
        let place = folder.place_of(path);
        let encoder = Encoder::new(output, format, schema).map_err(|error| unwritable(&place, error))?;
        Ok(ResultWriter { place, encoder })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.encoder.write(batch).map_err(|error| unwritable(&self.place, error))
    }

    pub fn publish(self) -> Result<(), Error> {
        let output = self.encoder.finish().map_err(|error| unwritable(&self.place, error))?;
        let output = output.into_inner().map_err(|error| unwritable(&self.place, error.into_error().into()))?;
        output.publish()
    }
}

/// Writes the Parquet table at `stored` once more, in another format, to `path`: a batch at a time, however large it is.
pub fn convert(folder: &Folder, stored: &str, path: &str, format: Format) -> Result<(), Error> {
    let damaged = |error: ArrowError| Error::damaged(stored, error);
    let file = folder.local(stored)?.ok_or_else(|| Error::damaged(stored, "it is gone"))?;
    let batches = parquet_file::read(file).map_err(damaged)?;
    let mut writer = ResultWriter::create(folder, path, format, batches.schema())?;
    for batch in batches {
        writer.write(&batch.map_err(damaged)?)?;
    }
    writer.publish()
}

impl Encoder {
    fn new(output: BufWriter<Output>, format: Format, schema: SchemaRef) -> Result<Encoder, ArrowError> {
        Ok(match format {
            Format::Parquet => Encoder::Parquet(parquet_file::Writer::new(output, schema)?),
            Format::Arrow => Encoder::Arrow(FileWriter::try_new(output, &schema)?),
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(output);
                // The header comes with a batch, and a table without rows has one too.
                writer.write(&flat(&RecordBatch::new_empty(schema))?)?;
                Encoder::Csv(writer)
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match self {
            Encoder::Parquet(writer) => writer.write(batch).map_err(ArrowError::from),
            Encoder::Arrow(writer) => writer.write(batch),
            Encoder::Csv(writer) => writer.write(&flat(batch)?),
        }
    }

    fn finish(self) -> Result<BufWriter<Output>, ArrowError> {
        match self {
            Encoder::Parquet(writer) => writer.finish(),
            Encoder::Arrow(writer) => writer.into_inner(),
            Encoder::Csv(writer) => Ok(writer.into_inner()),
        }
    }
}

fn unwritable(place: &str, error: ArrowError) -> Error {
    Error::Io { doing: "write", path: place.into(), source: io::Error::other(error) }
}

/// CSV has no lists: they are written as JSON.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let is_list = matches!(field.data_type(), DataType::List(_));
        columns.push(if is_list { lists_as_json(column)? } else { column.clone() });
        let data_type = if is_list { DataType::Utf8 } else { field.data_type().clone() };
        fields.push(Arc::new(Field::new(field.name(), data_type, true)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn lists_as_json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let lists = column.as_list::<i32>().iter().map(|list| list.map(|items| list_as_json(&items)).transpose());
    Ok(Arc::new(lists.collect::<Result<StringArray, ArrowError>>()?))
}

fn list_as_json(items: &ArrayRef) -> Result<String, ArrowError> {
    let bare = items.data_type().is_integer() || *items.data_type() == DataType::Boolean;
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(items, &options)?;
    let item = |row: usize| {
        let text = formatter.value(row).try_to_string()?;
        let is_number = items.data_type().is_floating() && text.parse().is_ok_and(f64::is_finite);
        Ok(match items.is_null(row) {
            true => "null".to_owned(),
            false if bare || is_number => text,
            false => serde_json::to_string(&text).expect("text is JSON"),
        })
    };
    let items: Result<Vec<String>, ArrowError> = (0..items.len()).map(item).collect();
    Ok(format!("[{}]", items?.join(",")))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, ListArray};
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::offline::folder::tests::project;
    use crate::offline::table::{Limits, decode};

    fn batch() -> RecordBatch {
        let lists = [Some(vec![Some(1.5), None, Some(f64::NAN)]), None, Some(vec![])];
        RecordBatch::try_from_iter_with_nullable([
            ("views", Arc::new(Int64Array::from(vec![Some(3), None, Some(i64::MIN)])) as ArrayRef, true),
            ("spend", Arc::new(Float64Array::from(vec![0.1, -0.0, 1e300])), true),
            ("last", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)), true),
        ])
        .expect("a batch")
    }

    fn write(folder: &Folder, path: &str, format: Format) {
        let mut writer = ResultWriter::create(folder, path, format, batch().schema()).expect("created");
        writer.write(&batch()).expect("written");
        writer.publish().expect("published");
    }

    #[test]
    fn parquet_and_arrow_read_back_as_they_were_written() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        for format in [Format::Parquet, Format::Arrow] {
            write(&folder, "results/out", format);
            let limits = Limits { rows: 3, bytes: 1 << 20 };
            let read = decode(folder.read("results/out").expect("read"), format, &|_| false, limits).expect("decoded");
            assert_eq!(format!("{:?}", read[0].columns()), format!("{:?}", batch().columns()), "{format}");
        }
    }

    #[test]
    fn csv_writes_lists_as_json() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        write(&folder, "out.parquet", Format::Parquet);
        convert(&folder, "out.parquet", "out.csv", Format::Csv).expect("converted");
        let text = folder.read("out.csv").expect("read");
        let expected = "views,spend,last\n3,0.1,\"[1.5,null,\"\"NaN\"\"]\"\n,-0.0,\n-9223372036854775808,1e300,[]\n";
        assert_eq!(std::str::from_utf8(&text).expect("UTF-8"), expected);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_what_was_there() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        folder.create("out.csv", b"before").expect("written");
        let mut writer = ResultWriter::create(&folder, "out.csv", Format::Csv, batch().schema()).expect("created");
        writer.write(&batch()).expect("written");
        drop(writer);
        assert_eq!(folder.get("out.csv").expect("read").as_deref(), Some(&b"before"[..]));
        assert_eq!(std::fs::read_dir(root.path().join("default")).expect("listed").count(), 1);
    }
}
