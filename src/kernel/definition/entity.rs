//! `kind: entity`: what features are about, and what its key is made of.

use crate::kernel::definition::Entity;
use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::Findings;
use crate::kernel::definition::value_type;
use crate::kernel::name::Name;
use crate::kernel::value::ValueType;

pub(super) const KEYS_EXAMPLE: &str = "[{ name: user_id, type: string }]";

pub(super) fn read(fields: &mut Fields, name: Name, found: &mut Findings) -> Option<Entity> {
    let about = fields.about(found);
    let entry = fields.required("keys", KEYS_EXAMPLE)?;
    let items = entry.items(&format!("`keys: {KEYS_EXAMPLE}`"), found)?;
    let mut keys: Vec<(Name, ValueType)> = Vec::with_capacity(items.len());
    for item in &items {
        let Some((key, value_type)) = key(item, found) else { continue };
        if keys.iter().any(|(earlier, _)| *earlier == key) {
            found.mistake(item.place, format!("the key `{key}` is given twice"), "keep one of them");
        }
        keys.push((key, value_type));
    }
    Some(Entity { name, keys, about })
}

fn key(item: &Entry, found: &mut Findings) -> Option<(Name, ValueType)> {
    let mut fields = Fields::of(item, "a key", "`{ name: user_id, type: string }`", found)?;
    let name = fields.required("name", "user_id").and_then(|entry| entry.name(found));
    let value_type = fields.required("type", "string").and_then(|entry| key_type(&entry, found));
    fields.finish(found);
    Some((name?, value_type?))
}

fn key_type(entry: &Entry, found: &mut Findings) -> Option<ValueType> {
    let value_type = value_type::read(entry, found)?;
    if matches!(value_type, ValueType::String | ValueType::Int64) {
        return Some(value_type);
    }
    let help = match value_type {
        ValueType::Int32 => "use `int64`: an int32 field of a source may be its key all the same",
        _ => "use `string` or `int64`",
    };
    found.mistake(entry.node.place, format!("a key cannot be of type {value_type}"), help);
    None
}
