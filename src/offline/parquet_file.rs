//! Record batches ↔ Parquet: zstd, one file at a time. With `untrusted.rs` the only place that knows the Parquet crate.

use std::io::Write;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;

pub(super) mod untrusted;

/// Rows to a batch when reading.
const BATCH_ROWS: usize = 8_192;

/// The batches of one file, in order. Opening it reads the schema.
pub(super) type Reader = ParquetRecordBatchReader;

/// A file of the rows of `batch`, in memory: for what is bounded by its maker.
pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    encode_sorted(batch, 0)
}

/// The same, of rows that are sorted by their first `columns`, none of which is nested.
pub(super) fn encode_sorted(batch: &RecordBatch, columns: usize) -> Result<Vec<u8>, ArrowError> {
    let mut writer = Writer::sorted(Vec::new(), batch.schema(), columns)?;
    writer.write(batch)?;
    writer.finish()
}

/// All columns, of bytes or of a file on this machine.
pub(super) fn read(file: impl ChunkReader + 'static) -> Result<Reader, ArrowError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()?)
}

/// Decodes no other column; one that is not there is left out.
pub(super) fn read_columns(bytes: Bytes, columns: &[&str]) -> Result<Reader, ArrowError> {
    read_from(bytes, columns, BATCH_ROWS)
}

/// The same of a file that is too large to be read whole, `rows` at a time.
pub(super) fn read_from(file: impl ChunkReader + 'static, columns: &[&str], rows: usize) -> Result<Reader, ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(rows);
    let wanted = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    Ok(builder.with_projection(wanted).build()?)
}

/// Writes a file batch by batch.
pub(super) struct Writer<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> Writer<W> {
    pub fn new(to: W, schema: SchemaRef) -> Result<Writer<W>, ArrowError> {
        Writer::sorted(to, schema, 0)
    }

    fn sorted(to: W, schema: SchemaRef, columns: usize) -> Result<Writer<W>, ArrowError> {
        let sorted =
            (0..columns as i32).map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true });
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_sorting_columns((columns > 0).then(|| sorted.collect()));
        // Raw records hardly repeat: a dictionary of them would be built to be thrown away.
        for field in schema.fields().iter().filter(|field| *field.data_type() == DataType::Binary) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
        Ok(Writer(ArrowWriter::try_new(to, schema, Some(properties.build()))?))
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.0.write(batch)
    }

    /// Ends the file, and gives back what it was written to.
    pub fn finish(self) -> Result<W, ArrowError> {
        Ok(self.0.into_inner()?)
    }
}
