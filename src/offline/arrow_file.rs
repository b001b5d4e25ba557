//! Arrow IPC → record batches, of a table that nobody vouches for.
//!
//! A file is read as the stream that it has within: its footer tells only where places are, and may tell anything. What
//! all buffers come to is counted before any is unpacked or copied: each says for itself how long it is.

use std::io::{self, Read};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{self, CompressionType};
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use bytes::Bytes;
use lz4_flex::frame::FrameDecoder;

const MAGIC: &[u8] = b"ARROW1";

/// The magic, filled up to a multiple of eight.
const HEAD: usize = 8;

/// The length of the footer, and the magic again.
const TAIL: usize = 10;

const CONTINUATION: [u8; 4] = [0xff; 4];

/// A message of no length.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Before the bytes of a compressed buffer: how many they are when unpacked.
const PREFIX: usize = 8;

/// A stream that takes no more memory than it was allowed.
pub(super) struct Batches {
    messages: Messages,
    /// Read ahead, for the schema comes before it.
    first: Option<RecordBatch>,
    schema: SchemaRef,
}

/// `None` where all buffers together are more than `most` bytes.
pub(super) fn batches(bytes: Bytes, most: u64) -> Result<Option<Batches>, ArrowError> {
    let stream = if bytes.starts_with(MAGIC) { within(&bytes)? } else { bytes };
    let Some(length) = measured(&stream, most)? else { return Ok(None) };
    let rest = Buffer::from(stream.slice(..length));
    let mut messages = Messages { decoder: StreamDecoder::new(), rest, end: Buffer::from(END) };
    let first = messages.next()?;
    let schema = messages.decoder.schema().ok_or_else(|| ArrowError::IpcError("it has no schema".to_owned()))?;
    Ok(Some(Batches { messages, first, schema }))
}

struct Messages {
    decoder: StreamDecoder,
    /// Without an end mark, which a stream need not have.
    rest: Buffer,
    end: Buffer,
}

impl Messages {
    /// The decoder takes up a message without a body only when it sees what follows it: the end mark at least.
    fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        match self.decoder.decode(&mut self.rest)? {
            None => self.decoder.decode(&mut self.end),
            batch => Ok(batch),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let next = self.messages.next().transpose();
        next.or_else(|| self.messages.decoder.finish().err().map(Err))
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// What lies between the head and the footer of a file.
fn within(file: &Bytes) -> Result<Bytes, ArrowError> {
    let footer = file.len().checked_sub(TAIL).filter(|_| file.ends_with(MAGIC)).ok_or_else(cut_off)?;
    let length = file[footer..footer + 4].try_into().expect("four bytes were asked for");
    let end = usize::try_from(i32::from_le_bytes(length)).ok().and_then(|length| footer.checked_sub(length));
    let stream = file.slice(HEAD..end.filter(|end| *end >= HEAD).ok_or_else(cut_off)?);
    // Some fill up to more than eight.
    let filled = stream.chunks_exact(HEAD).take_while(|bytes| **bytes == [0; HEAD]).count() * HEAD;
    Ok(stream.slice(filled..))
}

/// The length of a stream up to its end mark.
fn measured(stream: &[u8], most: u64) -> Result<Option<usize>, ArrowError> {
    let (mut rest, mut length, mut size) = (stream, 0, 0_u64);
    while let Some((message, body)) = next_message(&mut rest)? {
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        if let Some(batch) = message.header_as_record_batch().or(dictionary) {
            size = size.saturating_add(unpacked(batch, body, most)?);
        }
        if size > most {
            return Ok(None);
        }
        length = stream.len() - rest.len();
    }
    Ok(Some(length))
}

fn next_message<'s>(stream: &mut &'s [u8]) -> Result<Option<(ipc::Message<'s>, &'s [u8])>, ArrowError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let mut length = take(stream, 4)?;
    if length == CONTINUATION {
        length = take(stream, 4)?;
    }
    match u32::from_le_bytes(length.try_into().expect("four bytes were asked for")) {
        0 => Ok(None),
        length => {
            let message = ipc::root_as_message(take(stream, length as usize)?);
            let message = message.map_err(|error| ArrowError::IpcError(error.to_string()))?;
            let body = take(stream, usize::try_from(message.bodyLength()).map_err(|_| cut_off())?)?;
            Ok(Some((message, body)))
        }
    }
}

fn take<'s>(stream: &mut &'s [u8], length: usize) -> Result<&'s [u8], ArrowError> {
    let (taken, rest) = stream.split_at_checked(length).ok_or_else(cut_off)?;
    *stream = rest;
    Ok(taken)
}

/// What the buffers of a batch come to; beyond `most` it may be more.
fn unpacked(batch: ipc::RecordBatch<'_>, body: &[u8], most: u64) -> Result<u64, ArrowError> {
    let codec = batch.compression().map(|compression| compression.codec());
    let mut size = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let (start, length) = (start.map_err(|_| cut_off())?, length.map_err(|_| cut_off())?);
        let end = start.checked_add(length).ok_or_else(cut_off)?;
        let buffer = body.get(start..end).ok_or_else(cut_off)?;
        size = size.saturating_add(match codec {
            Some(codec) if !buffer.is_empty() => unpacked_buffer(buffer, codec, most)?,
            _ => length as u64,
        });
    }
    Ok(size)
}

fn unpacked_buffer(buffer: &[u8], codec: CompressionType, most: u64) -> Result<u64, ArrowError> {
    let (prefix, packed) = buffer.split_at_checked(PREFIX).ok_or_else(cut_off)?;
    let said = i64::from_le_bytes(prefix.try_into().expect("eight bytes were asked for"));
    // Negative: it is not packed after all.
    let Ok(said) = u64::try_from(said) else { return Ok(packed.len() as u64) };
    // zstd is unpacked into as much room as was said; LZ4 goes on for as long as there is any.
    if codec == CompressionType::LZ4_FRAME && said <= most {
        let found = io::copy(&mut FrameDecoder::new(packed).take(said + 1), &mut io::sink())?;
        if found > said {
            return Err(ArrowError::IpcError("a compressed buffer is longer than it says".to_owned()));
        }
    }
    Ok(said)
}

fn cut_off() -> ArrowError {
    ArrowError::IpcError("a length or a place leads beyond its end".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int64Array, NullArray, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;

    const MOST: u64 = 1 << 20;

    fn zeros() -> RecordBatch {
        let users: DictionaryArray<Int32Type> = ["a", "b"].into_iter().cycle().take(10_000).collect();
        let users: ArrayRef = Arc::new(users);
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 10_000]));
        RecordBatch::try_from_iter([("user", users), ("zero", zeros)]).expect("a batch")
    }

    fn file(codec: Option<CompressionType>) -> Vec<u8> {
        let options = IpcWriteOptions::default().try_with_compression(codec).expect("known");
        let batch = zeros();
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("a writer");
        writer.write(&batch).expect("written");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("ended")
    }

    fn rows(bytes: Vec<u8>, most: u64) -> Result<Option<usize>, String> {
        let batches = batches(Bytes::from(bytes), most).map_err(|error| error.to_string())?;
        let rows = |batches: Batches| batches.map(|batch| batch.map(|batch| batch.num_rows())).sum();
        batches.map(rows).transpose().map_err(|error: ArrowError| error.to_string())
    }

    #[test]
    fn a_file_is_read_whatever_packs_it_and_so_is_a_stream() {
        for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            assert_eq!(rows(file(codec), MOST), Ok(Some(20_000)), "{codec:?}");
        }
        let batch = RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef)]);
        let batch = batch.expect("a batch");
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
        writer.write(&batch).expect("written");
        let stream = writer.into_inner().expect("ended");
        let mut read = batches(Bytes::from(stream.clone()), MOST).expect("read").expect("small");
        assert_eq!(read.next().expect("a batch").expect("read").column(0).as_string::<i32>().value(1), "y");
        assert_eq!(rows([stream, b"and more".to_vec()].concat(), MOST), Ok(Some(2)), "what follows is not its own");
    }

    #[test]
    fn a_stream_may_end_without_a_mark_behind_a_message_without_a_body() {
        let empty = RecordBatch::new_empty(zeros().schema());
        let nulls: ArrayRef = Arc::new(NullArray::new(3));
        let nulls = RecordBatch::try_from_iter([("null", nulls)]).expect("a batch");
        for (batches, expected) in [(vec![], 0), (vec![&empty], 0), (vec![&nulls], 3), (vec![&nulls, &nulls], 6)] {
            let schema = batches.first().unwrap_or(&&empty).schema();
            let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a writer");
            batches.iter().for_each(|batch| writer.write(batch).expect("written"));
            let stream = writer.into_inner().expect("ended");
            assert_eq!(rows(stream[..stream.len() - END.len()].to_vec(), MOST), Ok(Some(expected)));
            assert_eq!(rows(stream, MOST), Ok(Some(expected)));
        }
    }

    #[test]
    fn what_would_be_too_large_is_refused_before_it_is_unpacked() {
        let packed = file(Some(CompressionType::LZ4_FRAME));
        assert!(packed.len() < 10_000, "zeros pack well");
        assert_eq!(rows(packed, 50_000), Ok(None));
        for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            let mut file = file(Some(codec));
            replace(&mut file, 80_000, 1 << 60);
            assert_eq!(rows(file, MOST), Ok(None), "{codec:?}");
        }
    }

    #[test]
    fn a_buffer_that_is_longer_than_it_says_is_refused() {
        let mut file = file(Some(CompressionType::LZ4_FRAME));
        replace(&mut file, 80_000, 8);
        assert_eq!(rows(file, MOST), Err("Ipc error: a compressed buffer is longer than it says".to_owned()));
    }

    #[test]
    fn what_was_cut_off_is_an_error_wherever_it_was() {
        let whole = file(None);
        let short = |length: usize| rows(whole[..length].to_vec(), MOST);
        assert!((6..whole.len()).step_by(97).all(|length| short(length).is_err()));
    }

    /// What a compressed buffer says of its length.
    fn replace(file: &mut [u8], said: i64, instead: i64) {
        let at = file.windows(PREFIX).position(|bytes| bytes == said.to_le_bytes()).expect("it says so");
        file[at..at + PREFIX].copy_from_slice(&instead.to_le_bytes());
    }
}
