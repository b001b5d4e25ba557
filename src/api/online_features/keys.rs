//! Keys as requests give them: a string, an int64, or null, read without a tree in between.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::api::problem::Problem;
use crate::kernel::key::KeyPart;

/// One row of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum GivenKey {
    Null,
    Part(KeyPart),
    /// No key of any type, to be shown to whoever sent it.
    Other(Value),
}

/// The rows of one key, or the first that is none.
pub(super) fn column(name: &str, rows: Vec<GivenKey>) -> Result<Vec<Option<KeyPart>>, Problem> {
    let part = |(row, given)| match given {
        GivenKey::Null => Ok(None),
        GivenKey::Part(part) => Ok(Some(part)),
        GivenKey::Other(other) => Err(Problem::bad_request(
            "WRONG_KEY_TYPE",
            format_args!("row {row} of key `{name}` is {other}: a key is a string, an int64, or null"),
        )),
    };
    rows.into_iter().enumerate().map(part).collect()
}

impl<'de> Deserialize<'de> for GivenKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GivenKey, D::Error> {
        deserializer.deserialize_any(GivenKeyVisitor)
    }
}

struct GivenKeyVisitor;

impl<'de> Visitor<'de> for GivenKeyVisitor {
    type Value = GivenKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_unit<E: Error>(self) -> Result<GivenKey, E> {
        Ok(GivenKey::Null)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GivenKey, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<GivenKey, E> {
        Ok(GivenKey::Part(KeyPart::Text(text)))
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<GivenKey, E> {
        Ok(GivenKey::Part(KeyPart::Int(int)))
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<GivenKey, E> {
        Ok(i64::try_from(int).map_or(GivenKey::Other(int.into()), |int| GivenKey::Part(KeyPart::Int(int))))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<GivenKey, E> {
        Ok(GivenKey::Other(float.into()))
    }

    fn visit_bool<E: Error>(self, bool: bool) -> Result<GivenKey, E> {
        Ok(GivenKey::Other(bool.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<GivenKey, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(items)).map(GivenKey::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<GivenKey, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(fields)).map(GivenKey::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_strings_int64s_and_nulls_and_what_is_none_is_shown_as_it_came() {
        let text =
            r#"["u\"1", 7, -9223372036854775808, null, 9223372036854775808, 7.5, true, [1, {"a": 2}], {"b": []}]"#;
        let given: Vec<GivenKey> = serde_json::from_str(text).expect("it is JSON");
        let ints = [7, i64::MIN].map(|int| GivenKey::Part(KeyPart::Int(int)));
        assert_eq!(given[0], GivenKey::Part(KeyPart::Text("u\"1".to_owned())));
        assert_eq!((&given[1..3], &given[3]), (&ints[..], &GivenKey::Null));
        let whole: Vec<Value> = serde_json::from_str(text).expect("it is JSON");
        for (given, value) in given.into_iter().zip(whole).skip(4) {
            let problem = column("id", vec![GivenKey::Null, given]).expect_err("it is no key");
            assert_eq!(problem.detail, format!("row 1 of key `id` is {value}: a key is a string, an int64, or null"));
        }
    }
}
