//! A body that has to be an object. Serde reads the fields of a struct from an array too, by their order, so that `[]`
//! would be a request with every field left out.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Fields {
        #[serde(default)]
        count: u32,
    }

    fn read(text: &str) -> Result<u32, String> {
        let read: Result<Object<Fields>, _> = serde_json::from_str(text);
        read.map(|it| it.0.count).map_err(|error| error.to_string())
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!((read("{}"), read(r#"{"count": 2}"#)), (Ok(0), Ok(2)));
        assert_eq!(read("[]"), Err("invalid type: sequence, expected an object at line 1 column 0".to_owned()));
        assert_eq!(read("[2]"), Err("invalid type: sequence, expected an object at line 1 column 0".to_owned()));
        assert!(read("2").is_err());
    }
}
