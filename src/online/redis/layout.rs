//! Keys and fields in Redis. Numbers are big endian.
//!
//! ```text
//! {project:shard}c version 8           control: g → generation 8 · complete → nothing · p partition 4 → nonce 8, offset 8
//! {project:shard}r version 8 | entity  row: h part 5, generation 8 → head · b part 5, generation 8 → body
//! {project:shard}i version 8 | entity  ids: i part 5, generation 8 → ids
//! {project:}                           store: format · shards
//! ```
//!
//! Head and body are fields of one hash, so that a row is one key: one expiry, one command to read it with all its
//! parts, no list of parts to keep. Ids are a key of their own, for lookups do not want them. The other ways, in
//! thousands of rows for a second of the server's processor (Redis 7.0, flushes of 64 rows, bodies of 1,500 bytes):
//!
//! ```text
//!                                    write a head of 150 B   2 kB   12 kB   read head and body
//! hash: HSET, HGETALL                                  295    148      31                  320
//! a string each: SET, MGET                             256    137      33                  640
//! one string: SETRANGE at its front, GET               375    132      30                  960
//! ```
//!
//! Strings read faster, and need a list of the parts of each row, read first or guessed: views whose entity is not the
//! message key have a part for each partition. In the transaction that a read needs, a hash reads at 274.
//!
//! The **generation** is drawn when an empty shard is claimed. Rows of another generation are not there: so a removal
//! takes effect by dropping the control, however long the rows take to go.

use std::collections::BTreeMap;

use redis::Value;
use redis::cluster_routing::Slot;

use crate::kernel::codec::Image;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::online::{Control, Nonce, Position};

/// Raised when a build writes what the one before cannot read.
pub const FORMAT: u16 = 1;

pub type Generation = [u8; 8];

/// The keys of one project.
pub struct Keys {
    project: String,
    /// By shard: what all its keys start with, and what alone decides about the slot of a cluster.
    tags: Vec<String>,
}

impl Keys {
    pub fn new(project: &Name, shards: u16) -> Keys {
        Keys { project: project.to_string(), tags: (0..shards).map(|shard| format!("{{{project}:{shard}}}")).collect() }
    }

    pub fn shards(&self) -> u16 {
        self.tags.len() as u16
    }

    /// Of each shard, in a cluster.
    pub fn slots(&self) -> Vec<u16> {
        let number =
            |slot: Slot| (0..).find(|number| Slot::new(*number) == Some(slot)).expect("each slot has a number");
        self.tags.iter().map(Slot::for_key).map(number).collect()
    }

    pub fn store(&self) -> String {
        format!("{{{}:}}", self.project)
    }

    pub fn control(&self, version: Fingerprint, shard: Shard) -> Vec<u8> {
        self.key(shard, b'c', version, &[])
    }

    pub fn row(&self, version: Fingerprint, shard: Shard, entity: &EntityKey) -> Vec<u8> {
        self.key(shard, b'r', version, entity.as_bytes())
    }

    pub fn ids(&self, version: Fingerprint, shard: Shard, entity: &EntityKey) -> Vec<u8> {
        self.key(shard, b'i', version, entity.as_bytes())
    }

    /// A pattern of SCAN for all rows and ids of a version. Each byte of the version is escaped, for some of them
    /// would mean more than themselves.
    pub fn pattern(&self, version: Fingerprint) -> Vec<u8> {
        let mut pattern = format!("{{{}:*}}[ri]", self.project).into_bytes();
        pattern.extend(version.0.to_be_bytes().into_iter().flat_map(|byte| [b'\\', byte]));
        pattern.push(b'*');
        pattern
    }

    /// The shard that a key found by [`Keys::pattern`] belongs to.
    pub fn shard_of(&self, key: &[u8]) -> Option<Shard> {
        let rest = key.strip_prefix(format!("{{{}:", self.project).as_bytes())?;
        let digits = rest.split(|byte| *byte == b'}').next()?;
        let shard: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (shard < self.shards()).then_some(Shard(shard))
    }

    fn key(&self, shard: Shard, kind: u8, version: Fingerprint, rest: &[u8]) -> Vec<u8> {
        let tag = self.tags[usize::from(shard.0)].as_bytes();
        let mut key = Vec::with_capacity(tag.len() + 9 + rest.len());
        key.extend(tag);
        key.push(kind);
        key.extend(version.0.to_be_bytes());
        key.extend(rest);
        key
    }
}

pub fn position_field(partition: u32) -> [u8; 5] {
    let [a, b, c, d] = partition.to_be_bytes();
    [b'p', a, b, c, d]
}

pub fn encode_position(position: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&position.nonce.0.to_be_bytes());
    bytes[8..].copy_from_slice(&position.offset.to_be_bytes());
    bytes
}

pub fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (nonce, offset) = bytes.split_first_chunk()?;
    Some(Position { nonce: Nonce(u64::from_be_bytes(*nonce)), offset: decode_offset(offset)? })
}

pub fn decode_offset(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub fn part_name(part: PartId) -> [u8; 5] {
    let (kind, partition) = match part {
        PartId::History => (HISTORY, 0),
        PartId::Partition(partition) => (PARTITION, partition),
    };
    let [a, b, c, d] = partition.to_be_bytes();
    [kind, a, b, c, d]
}

const HISTORY: u8 = 0;
const PARTITION: u8 = 1;

fn part_of(name: &[u8]) -> Option<PartId> {
    match name {
        [HISTORY, 0, 0, 0, 0] => Some(PartId::History),
        [PARTITION, partition @ ..] => Some(PartId::Partition(u32::from_be_bytes(partition.try_into().ok()?))),
        _ => None,
    }
}

/// A control as HGETALL tells it; `None` where it cannot be read. One that does not exist has no generation.
pub fn decode_control(fields: Value) -> Option<(Control, Option<Generation>)> {
    let (mut control, mut generation) = (Control::default(), None);
    for (field, value) in pairs(fields)? {
        match &field[..] {
            b"g" => generation = Some(Generation::try_from(&value[..]).ok()?),
            b"complete" => control.complete = true,
            [b'p', partition @ ..] => {
                let partition = u32::from_be_bytes(partition.try_into().ok()?);
                control.positions.insert(partition, decode_position(&value)?);
            }
            _ => return None,
        }
    }
    Some((control, generation))
}

/// The parts of a row that are of this generation, ordered, from HGETALL of the row and of its ids. A part is there
/// when its head is: ids may outlive it.
pub fn decode_parts(fields: Vec<Value>, generation: Option<Generation>) -> Option<Vec<(PartId, Image)>> {
    let Some(generation) = generation else { return Some(Vec::new()) };
    let hashes: Vec<_> = fields.into_iter().map(pairs).collect::<Option<_>>()?;
    let mut parts: BTreeMap<PartId, (bool, Image)> = BTreeMap::new();
    for (field, value) in hashes.into_iter().flatten() {
        let (kind, name) = field.split_first()?;
        let Some(name) = name.strip_suffix(&generation) else { continue };
        let (has_head, image) = parts.entry(part_of(name)?).or_default();
        match kind {
            b'h' => (*has_head, image.head) = (true, value.into()),
            b'b' => image.body = value.into(),
            b'i' => image.ids = value.into(),
            _ => return None,
        }
    }
    Some(parts.into_iter().filter(|(_, (has_head, _))| *has_head).map(|(part, (_, image))| (part, image)).collect())
}

fn pairs(fields: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    redis::from_redis_value(fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    fn hash(fields: &[(&[&[u8]], &[u8])]) -> Value {
        let pair = |(field, value): &(&[&[u8]], &[u8])| [bulk(&field.concat()), bulk(value)];
        Value::Array(fields.iter().flat_map(pair).collect())
    }

    fn keys() -> Keys {
        Keys::new(&"shop".parse().expect("a name"), 300)
    }

    #[test]
    fn controls_read_back_and_damage_is_noticed() {
        let position = Position { nonce: Nonce(u64::MAX), offset: 7 };
        let (partition, stored) = (position_field(258), encode_position(position));
        let fields: [(&[&[u8]], &[u8]); 3] = [(&[b"g"], b"12345678"), (&[b"complete"], b""), (&[&partition], &stored)];
        let control = Control { positions: [(258, position)].into(), complete: true };
        assert_eq!(decode_control(hash(&fields)), Some((control, Some(*b"12345678"))));
        assert_eq!(decode_control(hash(&[])), Some((Control::default(), None)));
        assert_eq!(decode_control(hash(&[(&[b"g"], b"short")])), None);
        assert_eq!(decode_control(hash(&[(&[&partition], &stored[1..])])), None);
        assert_eq!(decode_control(hash(&[(&[b"another"], b"")])), None);
    }

    #[test]
    fn parts_are_ordered_and_those_of_another_generation_are_not_there() {
        let (history, first) = (part_name(PartId::History), part_name(PartId::Partition(1)));
        let row = hash(&[
            (&[b"h", &first, b"generati"], b"one"),
            (&[b"b", &first, b"generati"], b"body"),
            (&[b"h", &history, b"generati"], b"old"),
            (&[b"h", &part_name(PartId::Partition(3)), b"another."], b"gone"),
        ]);
        let second = part_name(PartId::Partition(2));
        let ids = hash(&[(&[b"i", &first, b"generati"], b"ids"), (&[b"i", &second, b"generati"], b"outlived")]);
        let parts = decode_parts(vec![row.clone(), ids], Some(*b"generati")).expect("a row");
        let old = Image { head: "old".into(), ..Image::default() };
        let one = Image { head: "one".into(), body: "body".into(), ids: "ids".into() };
        assert_eq!(parts, [(PartId::History, old), (PartId::Partition(1), one)]);
        assert_eq!(decode_parts(vec![row], None), Some(vec![]));
        assert_eq!(decode_parts(vec![hash(&[(&[b"x", &first, b"generati"], b"")])], Some(*b"generati")), None);
        assert_eq!(decode_parts(vec![hash(&[(&[b"h", b"generati"], b"")])], Some(*b"generati")), None);
    }

    #[test]
    fn all_keys_of_a_shard_have_its_tag_and_tell_their_shard() {
        let (version, entity) = (Fingerprint(7), EntityKey::from_bytes(b"}{"));
        for key in [keys().row(version, Shard(299), &entity), keys().ids(version, Shard(299), &entity)] {
            assert!(key.starts_with(b"{shop:299}"));
            assert_eq!(keys().shard_of(&key), Some(Shard(299)));
        }
        assert_eq!(keys().shard_of(b"{shop:300}r"), None);
        assert_eq!(keys().shard_of(b"{shopping:1}r"), None);
    }

    #[test]
    fn a_pattern_escapes_every_byte_of_the_version() {
        let pattern = keys().pattern(Fingerprint(u64::from_be_bytes(*br"*?[]^-\a")));
        assert_eq!(pattern, br"{shop:*}[ri]\*\?\[\]\^\-\\\a*".to_vec());
    }
}
