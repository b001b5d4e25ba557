//! Tables that Freshet hands out: written beside their place batch by batch, and put there whole.
//!
//! Promises: at the path stands what was there before or all of the new table, durable once
//! [`ResultWriter::publish`] returns; a writer that is dropped leaves nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::offline::table::Format;
use crate::offline::{Error, folder, parquet_file};

pub struct ResultWriter {
    path: PathBuf,
    draft: Draft,
    encoder: Encoder,
}

enum Encoder {
    Parquet(parquet_file::Writer<BufWriter<File>>),
    Arrow(FileWriter<BufWriter<File>>),
    Csv(csv::Writer<BufWriter<File>>),
}

impl ResultWriter {
    /// Begins a table that will stand at `path`, whose folder exists.
    pub fn create(path: &Path, format: Format, schema: SchemaRef) -> Result<ResultWriter, Error> {
        let (draft, file) = Draft::beside(path).map_err(|source| failed("create", path, source))?;
        let encoder = Encoder::new(BufWriter::new(file), format, schema).map_err(|error| unwritable(path, error))?;
        Ok(ResultWriter { path: path.to_owned(), draft, encoder })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.encoder.write(batch).map_err(|error| unwritable(&self.path, error))
    }

    pub fn publish(self) -> Result<(), Error> {
        let file = self.encoder.finish().map_err(|error| unwritable(&self.path, error))?;
        let written = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        written.and_then(|()| self.draft.rename_to(&self.path)).map_err(|source| failed("write", &self.path, source))
    }
}

/// Writes the Parquet table at `stored` once more, in another format, to `path`.
pub fn convert(stored: &Path, path: &Path, format: Format) -> Result<(), Error> {
    let file = File::open(stored).map_err(|source| failed("read", stored, source))?;
    let batches = parquet_file::read(file).map_err(|error| unwritable(stored, error))?;
    let mut writer = ResultWriter::create(path, format, batches.schema())?;
    for batch in batches {
        writer.write(&batch.map_err(|error| unwritable(stored, error))?)?;
    }
    writer.publish()
}

impl Encoder {
    fn new(file: BufWriter<File>, format: Format, schema: SchemaRef) -> Result<Encoder, ArrowError> {
        Ok(match format {
            Format::Parquet => Encoder::Parquet(parquet_file::Writer::new(file, schema)?),
            Format::Arrow => Encoder::Arrow(FileWriter::try_new(file, &schema)?),
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(file);
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

    fn finish(self) -> Result<BufWriter<File>, ArrowError> {
        match self {
            Encoder::Parquet(writer) => writer.finish(),
            Encoder::Arrow(writer) => writer.into_inner(),
            Encoder::Csv(writer) => Ok(writer.into_inner()),
        }
    }
}

/// A file under a hidden name, removed unless it is renamed.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn beside(target: &Path) -> io::Result<(Draft, File)> {
        let name = target.file_name().ok_or_else(|| io::Error::other("the path names no file"))?.to_string_lossy();
        let process = std::process::id();
        for attempt in 0.. {
            let path = target.with_file_name(format!(".{name}.{process}-{attempt}.tmp"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (Draft { path }, file)),
            }
        }
        unreachable!("a folder does not hold every name")
    }

    fn rename_to(&self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder::sync(folder.unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove; a draft that stays is hidden, and harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}

fn unwritable(path: &Path, error: ArrowError) -> Error {
    failed("write", path, io::Error::other(error))
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
    use bytes::Bytes;

    use super::*;
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

    fn write(path: &Path, format: Format) {
        let mut writer = ResultWriter::create(path, format, batch().schema()).expect("created");
        writer.write(&batch()).expect("written");
        writer.publish().expect("published");
    }

    #[test]
    fn parquet_and_arrow_read_back_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        for format in [Format::Parquet, Format::Arrow] {
            let path = folder.path().join("out");
            write(&path, format);
            let bytes = Bytes::from(fs::read(&path).expect("read"));
            let limits = Limits { rows: 3, bytes: 1 << 20 };
            let read = decode(bytes, format, &|_| false, limits).expect("decoded");
            assert_eq!(format!("{:?}", read[0].columns()), format!("{:?}", batch().columns()), "{format}");
        }
    }

    #[test]
    fn csv_writes_lists_as_json() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.csv");
        write(&path, Format::Csv);
        let text = fs::read_to_string(&path).expect("read");
        let expected = "views,spend,last\n3,0.1,\"[1.5,null,\"\"NaN\"\"]\"\n,-0.0,\n-9223372036854775808,1e300,[]\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.csv");
        fs::write(&path, "before").expect("written");
        let mut writer = ResultWriter::create(&path, Format::Csv, batch().schema()).expect("created");
        writer.write(&batch()).expect("written");
        drop(writer);
        assert_eq!(fs::read_to_string(&path).expect("read"), "before");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
