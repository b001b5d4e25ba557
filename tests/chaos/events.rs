//! What is sent. Everything about an event but its time follows from the seed and its id.

use crate::poison;

pub const USERS: u64 = 1_500;
pub const ITEMS: u64 = 500;

/// Of a hash, so that sums of millions fit 64 bits.
const HASH_BITS: u32 = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: i64,
    /// Milliseconds since 1970.
    pub at: i64,
    pub user: String,
    pub item: String,
    pub units: i64,
    pub hash_a: i64,
    pub hash_b: i64,
}

impl Event {
    pub fn new(seed: u64, id: u64, at: i64) -> Event {
        let mut random = fastrand::Rng::with_seed(mix(seed) ^ id);
        Event {
            id: i64::try_from(id).expect("fewer events than 2^63"),
            at,
            user: format!("u{}", skewed(&mut random, USERS)),
            item: format!("i{}", skewed(&mut random, ITEMS)),
            units: random.i64(1..100),
            hash_a: (mix(id) >> (64 - HASH_BITS)).cast_signed(),
            hash_b: (mix(!id) >> (64 - HASH_BITS)).cast_signed(),
        }
    }

    /// The only spelling of a good event: whatever reads differently is poison.
    pub fn json(&self) -> String {
        let Event { id, at, user, item, units, hash_a, hash_b } = self;
        format!(
            r#"{{"id":{id},"at":{at},"user_id":"{user}","item_id":"{item}","units":{units},"hash_a":{hash_a},"hash_b":{hash_b}}}"#
        )
    }

    /// `None`: poison. `ingestion` in milliseconds.
    pub fn parse(value: &[u8], ingestion: i64) -> Option<Event> {
        let text = std::str::from_utf8(value).ok()?;
        let mut rest = text;
        let mut field = |name: &str, end: &str| {
            let (field, after) = rest.strip_prefix(name)?.split_once(end)?;
            rest = after;
            Some(field)
        };
        let event = Event {
            id: field(r#"{"id":"#, ",")?.parse().ok()?,
            at: field(r#""at":"#, ",")?.parse().ok()?,
            user: field(r#""user_id":""#, "\",")?.to_owned(),
            item: field(r#""item_id":""#, "\",")?.to_owned(),
            units: field(r#""units":"#, ",")?.parse().ok()?,
            hash_a: field(r#""hash_a":"#, ",")?.parse().ok()?,
            hash_b: field(r#""hash_b":"#, "}")?.parse().ok()?,
        };
        let is_early = event.at > ingestion + poison::FUTURE_SKEW_MS;
        let fits = i32::try_from(event.units).is_ok() && !is_early;
        (fits && event.json() == text).then_some(event)
    }
}

/// A number below `end`; the smaller the likelier: the first one of 1,500 is drawn once in forty times.
fn skewed(random: &mut fastrand::Rng, end: u64) -> u64 {
    let uniform = random.f64();
    (uniform * uniform * end as f64) as u64
}

/// SplitMix64: every bit of the answer depends on every bit of `number`.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
