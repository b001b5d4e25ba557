//! Files → events, a bounded number at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};

pub(in crate::cli) enum Input {
    /// NDJSON.
    Stdin,
    NdJson(PathBuf),
    Csv(PathBuf),
    Parquet(PathBuf),
    /// Parquet in memory, and its number of rows.
    Bundled(Bytes, u64),
}

/// One event on its way in.
pub(super) enum Row {
    /// As it stands in the file, whatever bytes these are: the service judges each event by itself.
    Line(Vec<u8>),
    Object(Map<String, Value>),
}

type Chunk = anyhow::Result<Vec<Row>>;

impl Input {
    pub fn of_path(path: &Path) -> Input {
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.as_os_str() == "-" => Input::Stdin,
            Some("csv") => Input::Csv(path.to_owned()),
            Some("parquet") => Input::Parquet(path.to_owned()),
            _ => Input::NdJson(path.to_owned()),
        }
    }

    /// Where it is cheap to know.
    pub fn row_count(&self) -> Option<u64> {
        match self {
            Input::Bundled(_, rows) => Some(*rows),
            Input::Parquet(path) => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
                u64::try_from(reader.metadata().file_metadata().num_rows()).ok()
            }
            Input::Stdin | Input::NdJson(_) | Input::Csv(_) => None,
        }
    }
}

impl Row {
    /// Empty where the line is not an object: the service then says what is wrong with it.
    pub fn object(&self) -> Map<String, Value> {
        match self {
            Row::Line(line) => serde_json::from_slice(line).unwrap_or_default(),
            Row::Object(object) => object.clone(),
        }
    }
}

/// The events of an input in chunks. CSV cells become what the source's `definition` declares.
pub(super) fn chunks(
    input: &Input,
    definition: &Value,
    size: usize,
) -> anyhow::Result<Box<dyn Iterator<Item = Chunk>>> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    Ok(match input {
        Input::Stdin => lines(std::io::stdin(), size),
        Input::NdJson(path) => lines(open(path)?, size),
        Input::Csv(path) => csv_chunks(path, open(path)?, definition, size)?,
        Input::Parquet(path) => {
            parquet_chunks(open(path)?, size).with_context(|| format!("cannot read {} as Parquet", path.display()))?
        }
        Input::Bundled(bytes, _) => parquet_chunks(bytes.clone(), size)?,
    })
}

/// Every `step`-th event of an input that is a table.
pub(in crate::cli) fn every(input: &Input, step: usize) -> anyhow::Result<Vec<Value>> {
    let mut events = Vec::new();
    for chunk in chunks(input, &Value::Null, step)? {
        events.extend(chunk?.first().map(|row| Value::Object(row.object())));
    }
    Ok(events)
}

fn lines(input: impl Read + 'static, size: usize) -> Box<dyn Iterator<Item = Chunk>> {
    let mut reader = BufReader::with_capacity(1 << 20, input);
    Box::new(std::iter::from_fn(move || {
        let chunk = next_lines(&mut reader, size);
        chunk.map(|chunk| (!chunk.is_empty()).then_some(chunk)).transpose()
    }))
}

/// The lines that have arrived, at least one and at most `size`: those of a slow producer go on without waiting for
/// more. None at the end.
fn next_lines(reader: &mut BufReader<impl Read>, size: usize) -> Chunk {
    let mut chunk = Vec::new();
    while chunk.is_empty() || (chunk.len() < size && !reader.buffer().is_empty()) {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            chunk.push(Row::Line(line.trim_ascii_end().to_owned()));
        }
    }
    Ok(chunk)
}

fn parquet_chunks(file: impl ChunkReader + 'static, size: usize) -> anyhow::Result<Box<dyn Iterator<Item = Chunk>>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(size).build()?;
    Ok(Box::new(reader.map(|batch| objects(&batch?))))
}

fn csv_chunks(
    path: &Path,
    file: File,
    definition: &Value,
    size: usize,
) -> anyhow::Result<Box<dyn Iterator<Item = Chunk>>> {
    let mut head = String::new();
    let cannot = || format!("cannot read {} as CSV", path.display());
    BufReader::new(File::open(path)?).read_line(&mut head).with_context(cannot)?;
    // Every cell as text: only the source knows whether `007` is a number.
    let format = csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(head.as_bytes(), Some(0)).with_context(cannot)?;
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader =
        csv::ReaderBuilder::new(schema).with_header(true).with_batch_size(size).build(file).with_context(cannot)?;
    let types = field_types(definition);
    let place = path.display().to_string();
    Ok(Box::new(reader.map(move |batch| {
        let batch = batch.with_context(|| format!("cannot read {place} as CSV"))?;
        let typed = |row| match row {
            Row::Object(object) => {
                Row::Object(object.into_iter().map(|(name, cell)| typed_cell(&types, name, cell)).collect())
            }
            line => line,
        };
        Ok(objects(&batch)?.into_iter().map(typed).collect())
    })))
}

fn field_types(definition: &Value) -> Vec<(String, String)> {
    let fields = definition["fields"].as_array().into_iter().flatten();
    fields.filter_map(|field| Some((field["name"].as_str()?.to_owned(), field["type"].as_str()?.to_owned()))).collect()
}

/// Text that is a number or a truth value where the source wants one; other text stays, for the service to judge.
fn typed_cell(types: &[(String, String)], name: String, cell: Value) -> (String, Value) {
    let wanted = types.iter().find(|(field, _)| *field == name).map_or("string", |(_, wanted)| wanted);
    let typed = match (&cell, wanted) {
        (Value::String(text), "int32" | "int64" | "float32" | "float64" | "bool" | "timestamp") => {
            serde_json::from_str(text).ok().filter(|value: &Value| value.is_number() || value.is_boolean())
        }
        _ => None,
    };
    (name, typed.unwrap_or(cell))
}

fn objects(batch: &RecordBatch) -> Chunk {
    let mut bytes = Vec::new();
    let mut writer = arrow_json::LineDelimitedWriter::new(&mut bytes);
    writer.write(batch)?;
    writer.finish()?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(Row::Object(serde_json::from_slice(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one part at each read, as a pipe does.
    struct Pipe(Vec<&'static [u8]>);

    impl Read for Pipe {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let part = self.0.remove(0);
            into[..part.len()].copy_from_slice(part);
            Ok(part.len())
        }
    }

    fn sizes(parts: Vec<&'static [u8]>, size: usize) -> Vec<usize> {
        lines(Pipe(parts), size).map(|chunk| chunk.expect("no read fails").len()).collect()
    }

    #[test]
    fn lines_go_on_as_they_arrive_and_whole() {
        assert_eq!(sizes(vec![b"1\n2\n", b"3\n", b"4", b"5\n\n6"], 100), [2, 1, 2]);
        assert_eq!(sizes(vec![b"1\n2\n3\n"], 2), [2, 1]);
        assert_eq!(sizes(vec![b" \n\n"], 2), Vec::<usize>::new());
    }

    #[test]
    fn bytes_that_are_no_text_are_a_line_like_others() {
        let chunk = lines(Pipe(vec![b"{\xff}\r\n"]), 9).next().expect("a chunk").expect("no read fails");
        assert!(matches!(&chunk[..], [Row::Line(line)] if line == b"{\xff}"));
    }
}
