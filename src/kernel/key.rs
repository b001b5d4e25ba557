//! Entity keys: one canonical byte string for each entity, and the shard that it lives in.

use std::fmt;
use std::sync::Arc;

use crate::kernel::value::{LONGEST_KEPT_BYTES, ValueType};

/// One part of an entity key, in the order of the entity's `keys`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPart {
    Text(String),
    Int(i64),
}

impl KeyPart {
    /// A part that is too long to be kept is as good as null, in events and in questions alike.
    pub fn is_too_long(&self) -> bool {
        matches!(self, KeyPart::Text(text) if text.len() > LONGEST_KEPT_BYTES)
    }
}

/// The canonical bytes of an entity's key. Each part is an int64 (8 bytes, big endian, sign bit flipped) or a
/// string (its length in 4 bytes, big endian, then UTF-8): no two keys of one entity share bytes. A clone shares them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(Arc<[u8]>);

impl EntityKey {
    pub fn encode(parts: &[KeyPart]) -> EntityKey {
        let mut bytes = Vec::with_capacity(16 * parts.len());
        for part in parts {
            match part {
                KeyPart::Text(text) => push_text(&mut bytes, text),
                KeyPart::Int(int) => push_int(&mut bytes, *int),
            }
        }
        EntityKey(bytes.into())
    }

    /// For bytes that [`EntityKey::encode`] or [`push_text`] and [`push_int`] made.
    pub fn from_bytes(bytes: &[u8]) -> EntityKey {
        EntityKey(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parts again, or `None` where the bytes are not a key of these types.
    pub fn decode(&self, types: &[ValueType]) -> Option<Vec<KeyPart>> {
        let mut rest: &[u8] = &self.0;
        let mut parts = Vec::with_capacity(types.len());
        for value_type in types {
            if value_type.is_integer() {
                let (int, tail) = rest.split_first_chunk::<8>()?;
                parts.push(KeyPart::Int((u64::from_be_bytes(*int) ^ SIGN) as i64));
                rest = tail;
            } else {
                let (length, tail) = rest.split_first_chunk::<4>()?;
                let (text, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                parts.push(KeyPart::Text(String::from_utf8(text.to_vec()).ok()?));
                rest = tail;
            }
        }
        rest.is_empty().then_some(parts)
    }

    /// xxh3-64 of the bytes: places the entity in a shard, online and offline alike.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }

    pub fn shard(&self, shards: u16) -> Shard {
        Shard::of_hash(self.hash(), shards)
    }
}

const SIGN: u64 = 1 << 63;

/// Appends a string part to the bytes of a key.
pub fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// Appends an int64 part to the bytes of a key.
pub fn push_int(bytes: &mut Vec<u8>, int: i64) {
    bytes.extend((int as u64 ^ SIGN).to_be_bytes());
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0).replace(|c: char| c.is_control(), "."))
    }
}

/// One cut of the entities of a project: what a flush is atomic over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

impl Shard {
    /// Of an entity whose [`EntityKey::hash`] is known.
    pub fn of_hash(hash: u64, shards: u16) -> Shard {
        Shard((hash % u64::from(shards)) as u16)
    }
}

/// How many shards a project has unless its creation said otherwise.
pub const SHARDS: u16 = 256;

/// Where an event came from within a view's input. History stands before the log in every order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    History { file: u32, row: u64 },
    Log { partition: u32, offset: u64 },
}

/// In the place of a partition's number, that of the events from history files: no log has so many partitions.
pub const HISTORY: u32 = u32::MAX;

impl Origin {
    /// Of a record in one partition of the log, or of a row of history.
    pub fn at(partition: u32, offset: u64) -> Origin {
        match partition {
            HISTORY => Origin::History { file: 0, row: offset },
            partition => Origin::Log { partition, offset },
        }
    }

    /// What [`Origin::at`] was given.
    pub fn place(self) -> (u32, u64) {
        match self {
            Origin::History { row, .. } => (HISTORY, row),
            Origin::Log { partition, offset } => (partition, offset),
        }
    }

    /// Two words in the order of origins.
    pub(crate) fn to_words(self) -> (u64, u64) {
        match self {
            Origin::History { file, row } => (u64::from(file), row),
            Origin::Log { partition, offset } => (LOG | u64::from(partition), offset),
        }
    }

    /// Reads what [`Origin::to_words`] gave.
    pub(crate) fn of_words(place: u64, position: u64) -> Origin {
        match place & LOG {
            0 => Origin::History { file: place as u32, row: position },
            _ => Origin::Log { partition: place as u32, offset: position },
        }
    }

    pub fn part(self) -> PartId {
        match self {
            Origin::History { .. } => PartId::History,
            Origin::Log { partition, .. } => PartId::Partition(partition),
        }
    }
}

const LOG: u64 = 1 << 32;

/// Which part of a row an event belongs to: each has exactly one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartId {
    History,
    Partition(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_do_not_collide() {
        let types = [ValueType::String, ValueType::Int64];
        let parts = |text: &str, int| vec![KeyPart::Text(text.into()), KeyPart::Int(int)];
        for key in [parts("", i64::MIN), parts("ü\0", -1), parts("u1", i64::MAX)] {
            assert_eq!(EntityKey::encode(&key).decode(&types), Some(key));
        }
        let pair = |a: &str, b: &str| EntityKey::encode(&[KeyPart::Text(a.into()), KeyPart::Text(b.into())]);
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_eq!(pair("ab", "c").decode(&types), None);
    }
}
