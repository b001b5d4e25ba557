//! The bytes that the embedded store keeps. All numbers are big endian, so that keys sort as what they mean.
//!
//! ```text
//! controls   version 8 | shard 2                                   → complete 1 | (partition 4, nonce 8, offset 8)*, ordered
//! heads      version 8 | shard 2 | length 4, entity | origin 1, 4  → expiry 8 | head
//! bodies ids the same key                                          → the bytes
//! expiries   expiry 8 | the same key                               → nothing
//! ```
//!
//! A shard, an entity and a part are prefixes of each other; the length keeps one entity from being another's.

use bytes::Bytes;

use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::online::{Control, Expiry, Nonce, PartKey, Position};

pub fn shard_key(version: Fingerprint, shard: Shard) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&version.0.to_be_bytes());
    key[8..].copy_from_slice(&shard.0.to_be_bytes());
    key
}

/// The shard that any key but that of an expiry starts with.
pub fn shard_of(key: &[u8]) -> Option<Shard> {
    Some(Shard(u16::from_be_bytes(*key.get(8..)?.first_chunk()?)))
}

/// What the keys of all parts of a row start with.
pub fn row_key(version: Fingerprint, shard: Shard, entity: &EntityKey) -> Vec<u8> {
    let entity = entity.as_bytes();
    let mut key = Vec::with_capacity(10 + 4 + entity.len() + ORIGIN);
    key.extend(shard_key(version, shard));
    key.extend((entity.len() as u32).to_be_bytes());
    key.extend(entity);
    key
}

pub fn part_key(shard: Shard, part: &PartKey) -> Vec<u8> {
    let mut key = row_key(part.version, shard, &part.entity);
    let (kind, partition) = match part.part {
        PartId::History => (HISTORY, 0),
        PartId::Partition(partition) => (PARTITION, partition),
    };
    key.push(kind);
    key.extend(partition.to_be_bytes());
    key
}

/// The part that a key ends with.
pub fn part_of(key: &[u8]) -> Option<PartId> {
    match key.last_chunk::<ORIGIN>()? {
        [HISTORY, 0, 0, 0, 0] => Some(PartId::History),
        [PARTITION, partition @ ..] => Some(PartId::Partition(u32::from_be_bytes(*partition))),
        _ => None,
    }
}

const ORIGIN: usize = 5;
const HISTORY: u8 = 0;
const PARTITION: u8 = 1;

pub fn encode_control(control: &Control) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + POSITION * control.positions.len());
    bytes.push(u8::from(control.complete));
    for (partition, position) in &control.positions {
        bytes.extend(partition.to_be_bytes());
        bytes.extend(position.nonce.0.to_be_bytes());
        bytes.extend(position.offset.to_be_bytes());
    }
    bytes
}

pub fn decode_control(bytes: &[u8]) -> Option<Control> {
    let (complete, positions) = bytes.split_first()?;
    let (positions, rest) = positions.as_chunks::<POSITION>();
    let position = |bytes: &[u8; POSITION]| {
        let (partition, rest) = bytes.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let offset = u64::from_be_bytes(*rest.first_chunk()?);
        Some((u32::from_be_bytes(*partition), Position { nonce: Nonce(u64::from_be_bytes(*nonce)), offset }))
    };
    let positions = rest.is_empty().then(|| positions.iter().map(position).collect::<Option<_>>())??;
    Some(Control { positions, complete: *complete != 0 })
}

const POSITION: usize = 20;

pub fn encode_head(expiry: Expiry, head: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + head.len());
    bytes.extend(expiry_bytes(expiry));
    bytes.extend(head);
    bytes
}

pub fn decode_head(bytes: &Bytes) -> Option<(Expiry, Bytes)> {
    let expiry = match u64::from_be_bytes(*bytes.first_chunk::<8>()?) {
        NEVER => Expiry::Never,
        micros => Expiry::At(EventTime::unchecked((micros ^ SIGN) as i64)),
    };
    Some((expiry, bytes.slice(8..)))
}

/// The key under which the expiry of `part_key` is noted.
pub fn expiry_key(expiry: Expiry, part_key: &[u8]) -> Vec<u8> {
    [&expiry_bytes(expiry), part_key].concat()
}

/// The part's key that an expiry was noted for.
pub fn expiring(expiry_key: &[u8]) -> &[u8] {
    expiry_key.get(8..).unwrap_or_default()
}

/// Sorts as the instants do, for they lie far from the ends of their type.
pub fn expiry_bytes(expiry: Expiry) -> [u8; 8] {
    match expiry {
        Expiry::At(instant) => (instant.micros() as u64 ^ SIGN).to_be_bytes(),
        Expiry::Never => NEVER.to_be_bytes(),
    }
}

const SIGN: u64 = 1 << 63;
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_read_back_and_damage_is_noticed() {
        let position = |nonce, offset| Position { nonce: Nonce(nonce), offset };
        let positions = [(0, position(u64::MAX, 0)), (u32::MAX, position(1, u64::MAX))].into();
        let incomplete = Control { positions, complete: false };
        for control in [Control { complete: true, ..incomplete.clone() }, incomplete, Control::default()] {
            let bytes = encode_control(&control);
            assert_eq!(decode_control(&bytes[..bytes.len() - 1]), None);
            assert_eq!(decode_control(&bytes), Some(control));
        }
        assert_eq!(decode_control(&[]), None);
    }

    #[test]
    fn expiries_sort_as_instants_and_read_back() {
        let ordered = [Expiry::At(EventTime::MIN), Expiry::At(EventTime::unchecked(0)), Expiry::At(EventTime::MAX)];
        assert!(ordered.map(expiry_bytes).is_sorted() && expiry_bytes(ordered[2]) < expiry_bytes(Expiry::Never));
        for expiry in ordered.into_iter().chain([Expiry::Never]) {
            let bytes = Bytes::from(encode_head(expiry, b"head"));
            assert_eq!(decode_head(&bytes), Some((expiry, Bytes::from_static(b"head"))));
        }
        assert_eq!(decode_head(&Bytes::from_static(b"short")), None);
    }

    #[test]
    fn no_row_is_a_prefix_of_another_and_parts_read_back() {
        let row = |entity: &[u8]| row_key(Fingerprint(7), Shard(300), &EntityKey::from_bytes(entity));
        assert!(!row(b"ab").starts_with(&row(b"a")));
        for part in [PartId::History, PartId::Partition(0), PartId::Partition(u32::MAX)] {
            let entity = EntityKey::from_bytes(b"a");
            let key = part_key(Shard(300), &PartKey { version: Fingerprint(7), entity, part });
            assert!(key.starts_with(&row(b"a")) && key.starts_with(&shard_key(Fingerprint(7), Shard(300))));
            assert_eq!((part_of(&key), shard_of(&key)), (Some(part), Some(Shard(300))));
        }
        assert_eq!((part_of(b"abcde"), shard_of(b"abc")), (None, None));
    }
}
