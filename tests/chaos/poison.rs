//! Twenty ways of spoiling a good event. Each has to become one dead letter, and harm no other event.

use crate::events::Event;

/// As `max_future_skew` of the definitions has it.
pub const FUTURE_SKEW_MS: i64 = 5 * 60 * 1_000;

type Spoil = fn(&Event) -> Vec<u8>;

pub const KINDS: [(&str, Spoil); 20] = [
    ("empty", |_| Vec::new()),
    ("not UTF-8", |event| [event.json().as_bytes(), b"\xff\xfe"].concat()),
    ("NUL bytes", |_| vec![0; 64]),
    ("cut off", |event| event.json().as_bytes()[..30].to_vec()),
    ("an array", |event| format!("[{}]", event.json()).into()),
    ("two objects", |event| format!("{} {{}}", event.json()).into()),
    ("a trailing comma", |event| event.json().replace('}', ",}").into()),
    ("a leading zero", |event| event.json().replace(r#""units":"#, r#""units":0"#).into()),
    ("a field twice", |event| event.json().replace('}', r#","id":1}"#).into()),
    ("not a number", |event| with(event, r#""units":NaN,"#)),
    ("no id", |event| event.json().replace(r#""id""#, r#""identity""#).into()),
    ("no user", |event| event.json().replace(r#""user_id""#, r#""user""#).into()),
    ("a null item", |event| event.json().replace(&format!(r#""{}","units""#, event.item), r#"null,"units""#).into()),
    ("an id in quotes", |event| event.json().replace(r#"{"id":"#, r#"{"id":"x","number":"#).into()),
    ("a fraction for an id", |event| event.json().replacen(',', ".5,", 1).into()),
    ("a time in words", |event| event.json().replace(&format!(r#""at":{}"#, event.at), r#""at":"noon""#).into()),
    ("units beyond 32 bits", |event| Event { units: 1 << 31, ..event.clone() }.json().into()),
    ("an id beyond 64 bits", |event| event.json().replace(r#"{"id":"#, r#"{"id":99999999999999999999"#).into()),
    ("a time beyond 9999", |event| Event { at: i64::MAX, ..event.clone() }.json().into()),
    ("a time far ahead", |event| Event { at: event.at + 2 * FUTURE_SKEW_MS, ..event.clone() }.json().into()),
];

/// With another value for `units`.
fn with(event: &Event, units: &str) -> Vec<u8> {
    event.json().replace(&format!(r#""units":{},"#, event.units), units).into()
}
