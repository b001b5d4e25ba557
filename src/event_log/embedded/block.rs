//! Records ↔ bytes. A partition is kept in blocks of consecutive records: one entry of the store for many records,
//! written once and never changed.
//!
//! ```text
//! block   version u8 · count u32 · count records
//! record  ingestion time i64 (ms) · key length u32 (none: u32::MAX) · value length u32 · key · value
//! ```
//!
//! Numbers are little endian. Keys are kept although readers do not see them: a log that dropped them could never be
//! partitioned anew.

use bytes::{Buf, BufMut, Bytes};

use crate::event_log::NewRecord;
use crate::kernel::event::RawRecord;
use crate::kernel::time::{EventTime, Micros};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;
const RECORD_HEADER_BYTES: usize = 16;
const NO_KEY: u32 = u32::MAX;

/// Where a block is cut: a reader that starts within one decodes all that stands before.
const LARGEST_BYTES: usize = 256 * 1_024;
const MOST_RECORDS: usize = 2_000;

/// What a record takes in a block.
pub fn bytes_of(record: &NewRecord) -> usize {
    RECORD_HEADER_BYTES + record.key.as_ref().map_or(0, Bytes::len) + record.value.len()
}

/// Cuts consecutive records into blocks; each comes with the index of its first record.
pub fn encode(records: &[NewRecord]) -> Vec<(usize, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut first = 0;
    while first < records.len() {
        let sizes = records[first..].iter().map(bytes_of).scan(HEADER_BYTES, |bytes, record| {
            *bytes += record;
            Some(*bytes)
        });
        // A record that is too large for any block has one to itself.
        let count = sizes.take(MOST_RECORDS).take_while(|bytes| *bytes <= LARGEST_BYTES).count().max(1);
        blocks.push((first, encode_one(&records[first..first + count])));
        first += count;
    }
    blocks
}

fn encode_one(records: &[NewRecord]) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER_BYTES + records.iter().map(bytes_of).sum::<usize>());
    block.put_u8(VERSION);
    block.put_u32_le(records.len() as u32);
    for record in records {
        block.put_i64_le(record.ingestion_time.micros().div_euclid(1_000));
        block.put_u32_le(record.key.as_ref().map_or(NO_KEY, |key| key.len() as u32));
        block.put_u32_le(record.value.len() as u32);
        block.put_slice(record.key.as_deref().unwrap_or_default());
        block.put_slice(&record.value);
    }
    block
}

/// How many records a block holds, or what is wrong with it.
pub fn count(mut block: &[u8]) -> Result<u32, String> {
    match block.try_get_u8() {
        Ok(VERSION) => block.try_get_u32_le().map_err(|_| cut_short()),
        Ok(version) => Err(format!("a block has version {version}, this build reads {VERSION}")),
        Err(_) => Err(cut_short()),
    }
}

/// The records of a block in order, without copying their values. The last item may say that the block is damaged.
pub struct Records {
    partition: u32,
    offset: u64,
    left: u32,
    rest: Bytes,
}

impl Records {
    /// `offset` is that of the block's first record.
    pub fn new(partition: u32, offset: u64, block: Bytes) -> Result<Records, String> {
        let left = count(&block)?;
        Ok(Records { partition, offset, left, rest: block.slice(HEADER_BYTES..) })
    }

    fn decode_one(&mut self) -> Option<RawRecord> {
        let millis = self.rest.try_get_i64_le().ok()?;
        let key_bytes = self.rest.try_get_u32_le().ok().map(|length| if length == NO_KEY { 0 } else { length })?;
        let value_bytes = self.rest.try_get_u32_le().ok()? as usize;
        let bytes = (key_bytes as usize).checked_add(value_bytes).filter(|bytes| *bytes <= self.rest.len())?;
        let value = self.rest.split_to(bytes).slice(key_bytes as usize..);
        let ingestion_time = EventTime::unchecked(0) + Micros::from_millis(millis);
        Some(RawRecord { partition: self.partition, offset: self.offset, ingestion_time, value })
    }
}

impl Iterator for Records {
    type Item = Result<RawRecord, String>;

    fn next(&mut self) -> Option<Result<RawRecord, String>> {
        self.left = self.left.checked_sub(1)?;
        let record = self.decode_one();
        self.offset += 1;
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or_else(cut_short))
    }
}

fn cut_short() -> String {
    "a block ends before its records do".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static str>, value: Vec<u8>, millis: i64) -> NewRecord {
        let ingestion_time = EventTime::from_micros(millis * 1_000).expect("in range");
        NewRecord { key: key.map(Bytes::from), value: value.into(), ingestion_time }
    }

    fn decoded(offset: u64, block: Vec<u8>) -> Result<Vec<RawRecord>, String> {
        Records::new(3, offset, block.into())?.collect()
    }

    #[test]
    fn records_read_back_with_their_offsets() {
        let written = [record(None, vec![], -1), record(Some(""), vec![1], 0), record(Some("key"), vec![2; 300], 7)];
        let blocks = encode(&written);
        assert_eq!((blocks.len(), blocks[0].0), (1, 0));
        let read = decoded(40, blocks[0].1.clone()).expect("whole");
        for (index, (read, written)) in read.iter().zip(&written).enumerate() {
            assert_eq!((read.partition, read.offset), (3, 40 + index as u64));
            assert_eq!((&read.value, read.ingestion_time), (&written.value, written.ingestion_time));
        }
        assert_eq!(read.len(), written.len());
    }

    #[test]
    fn blocks_are_cut_by_bytes_and_by_records_and_lose_nothing() {
        let large: Vec<_> = (0..5).map(|_| record(None, vec![0; LARGEST_BYTES / 2], 0)).collect();
        assert_eq!(encode(&large).iter().map(|(first, _)| *first).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let beyond = [record(None, vec![0; 2 * LARGEST_BYTES], 0)];
        assert_eq!(encode(&beyond).len(), 1);
        let many: Vec<_> = (0..MOST_RECORDS + 1).map(|_| record(None, vec![0], 0)).collect();
        let counts: Vec<_> = encode(&many).iter().map(|(_, block)| count(block).expect("whole")).collect();
        assert_eq!(counts, [MOST_RECORDS as u32, 1]);
    }

    #[test]
    fn a_damaged_block_is_said_to_be_damaged_at_any_cut() {
        let (_, block) = encode(&[record(Some("k"), vec![9; 10], 5)]).remove(0);
        for cut in 0..block.len() {
            assert!(decoded(0, block[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        let mut later = block;
        later[0] = 9;
        assert!(decoded(0, later).expect_err("another version").contains("version 9"));
    }
}
