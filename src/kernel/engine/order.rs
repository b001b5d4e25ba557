//! The order in which events and questions meet, as bytes: entities by their hash, then an entity by its key, and within
//! it by time. Comparing bytes is comparing all of that, and an entity's rows stand together.
//!
//! ```text
//! hash of the key (8, big endian) │ key │ time (8, big endian, sign bit flipped)
//! ```
//!
//! No key of an entity is the beginning of another, so no time is ever compared with a piece of a key.

use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;

const HASH: usize = 8;
const TIME: usize = 8;
const ORIGIN: usize = 16;
const SIGN: u64 = 1 << 63;

/// Bytes being put together, to be used again for the next row.
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// `push` appends the key, and says whether there is one. Gives back its hash.
    pub fn entity(&mut self, push: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<u64> {
        self.0.clear();
        self.0.extend([0; HASH]);
        push(&mut self.0)?;
        let hash = xxhash_rust::xxh3::xxh3_64(&self.0[HASH..]);
        self.0[..HASH].copy_from_slice(&hash.to_be_bytes());
        Some(hash)
    }

    /// In place of a key, where there is none.
    pub fn nobody(&mut self) {
        self.0.clear();
        self.0.extend([0; HASH]);
    }

    pub fn at(&mut self, time: EventTime) -> &[u8] {
        self.0.extend((time.micros() as u64 ^ SIGN).to_be_bytes());
        &self.0
    }

    pub fn from(&mut self, origin: Origin) -> &[u8] {
        let (place, position) = origin.to_words();
        self.0.extend(place.to_be_bytes());
        self.0.extend(position.to_be_bytes());
        &self.0
    }

    /// The entity of an order by origin.
    pub fn entity_of(&mut self, by_origin: &[u8]) {
        self.0.clear();
        self.0.extend(&by_origin[..by_origin.len() - ORIGIN]);
    }
}

/// The order of an entity (as [`entity`] gives it) at an instant.
pub fn at(entity: &[u8], time: EventTime) -> Vec<u8> {
    let mut scratch = Scratch(entity.to_vec());
    scratch.at(time);
    scratch.0
}

/// The bytes of the key of an entity (as [`entity`] gives it).
pub fn key(entity: &[u8]) -> &[u8] {
    &entity[HASH..]
}

/// What rows of one entity have in common.
pub fn entity(order: &[u8]) -> &[u8] {
    &order[..order.len() - TIME]
}

pub fn hash(order: &[u8]) -> u64 {
    u64::from_be_bytes(*order.first_chunk().expect("an order begins with a hash"))
}

pub fn time(order: &[u8]) -> EventTime {
    let bytes = *order.last_chunk().expect("an order ends with a time");
    EventTime::unchecked((u64::from_be_bytes(bytes) ^ SIGN) as i64)
}

/// Of an order by origin: the entity and where its event came from.
pub(super) fn origin(by_origin: &[u8]) -> (&[u8], Origin) {
    let (entity, rest) = by_origin.split_at(by_origin.len() - ORIGIN);
    let word = |at: usize| u64::from_be_bytes(rest[at..at + 8].try_into().expect("eight bytes"));
    (entity, Origin::of_words(word(0), word(8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key;

    fn order(user: &str, micros: i64) -> Vec<u8> {
        let mut scratch = Scratch::default();
        scratch.entity(|bytes| {
            key::push_text(bytes, user);
            Some(())
        });
        scratch.at(EventTime::unchecked(micros)).to_vec()
    }

    #[test]
    fn rows_of_an_entity_stand_together_by_time_before_1970_too() {
        let mut orders: Vec<Vec<u8>> = (-2..3).flat_map(|at| ["a", "ab", "b"].map(|user| order(user, at))).collect();
        orders.sort();
        let of_one = orders.chunks(5).all(|rows| rows.iter().all(|row| entity(row) == entity(&rows[0])));
        let times: Vec<i64> = orders.iter().map(|row| time(row).micros()).collect();
        assert!(of_one && times.chunks(5).all(|times| times == [-2, -1, 0, 1, 2]), "{times:?}");
        assert_eq!(hash(&orders[0]), xxhash_rust::xxh3::xxh3_64(key(entity(&orders[0]))));
        assert!(orders.iter().all(|order| at(entity(order), time(order)) == *order));
    }

    #[test]
    fn an_origin_reads_back_and_history_stands_before_the_log() {
        let origins = [
            Origin::History { file: u32::MAX, row: u64::MAX },
            Origin::Log { partition: 0, offset: 0 },
            Origin::Log { partition: 0, offset: 256 },
            Origin::Log { partition: u32::MAX, offset: 1 },
        ];
        let rows = origins.map(|it| {
            let mut scratch = Scratch::default();
            scratch.nobody();
            scratch.from(it).to_vec()
        });
        assert!(rows.is_sorted());
        assert_eq!(rows.each_ref().map(|row| origin(row).1), origins);
    }
}
