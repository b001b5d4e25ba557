//! The values of a reading ↔ bytes, so that a lookup can be logged and compared bit for bit later.
//!
//! ```text
//! values = version 1 B · { 0 for null, or 1 and the value }
//! ```

use crate::kernel::aggregate::bytes::{put_value, take_byte, take_value};
use crate::kernel::codec::Error;
use crate::kernel::value::Value;

const VERSION: u8 = 1;

pub fn encode_values(values: &[Option<Value>]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for value in values {
        out.push(u8::from(value.is_some()));
        value.iter().for_each(|value| put_value(&mut out, value));
    }
    out
}

pub fn decode_values(bytes: &[u8]) -> Result<Vec<Option<Value>>, Error> {
    let mut rest = bytes;
    match take_byte(&mut rest) {
        Some(VERSION) => take_values(rest).ok_or(Error::Damaged { what: "the values do not read" }),
        Some(found) => Err(Error::Version { found, newest: VERSION }),
        None => Err(Error::Damaged { what: "nothing is there" }),
    }
}

fn take_values(mut rest: &[u8]) -> Option<Vec<Option<Value>>> {
    let mut values = Vec::new();
    while !rest.is_empty() {
        values.push(match take_byte(&mut rest)? {
            0 => None,
            1 => Some(take_value(&mut rest)?),
            _ => return None,
        });
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<Option<Value>> {
        let list = Value::List(vec![Value::Text("a".into()), Value::Text("".into())]);
        vec![None, Some(Value::Int(-3)), Some(Value::Float(-0.0)), Some(Value::Float(f64::NAN)), Some(list)]
    }

    #[test]
    fn values_read_back_to_the_same_bits() {
        let bytes = encode_values(&values());
        assert_eq!(decode_values(&bytes), Ok(values()));
        assert_ne!(bytes, encode_values(&[Some(Value::Float(0.0))]));
    }

    #[test]
    fn what_is_no_list_of_values_is_refused() {
        assert_eq!(decode_values(&[]), Err(Error::Damaged { what: "nothing is there" }));
        assert_eq!(decode_values(&[9]), Err(Error::Version { found: 9, newest: 1 }));
        let bytes = encode_values(&values());
        assert!(decode_values(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode_values(&[VERSION, 7]).is_err());
    }
}
