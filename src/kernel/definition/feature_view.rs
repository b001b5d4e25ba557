//! `kind: feature_view`: the features of one entity from the events of one source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::kernel::definition::feature::{self, Column};
use crate::kernel::definition::fields::{Entry, Fields, nearest_name};
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::resolve::Known;
use crate::kernel::definition::{Entity, Feature, FeatureView, Source, SourceField, schema_with, suggest};
use crate::kernel::expr::Expression;
use crate::kernel::name::Name;
use crate::kernel::value::ValueType;

const EXPRESSION_HELP: &str = "an SQL expression over fields and columns, as in `event = 'view' and price > 10`";
const FEATURES_EXAMPLE: &str = "[{ name: views, aggregate: count, windows: [1h] }]";

pub(super) fn read(
    fields: &mut Fields,
    name: Name,
    entities: &Known<Entity>,
    sources: &Known<Source>,
    found: &mut Findings,
) -> Option<FeatureView> {
    let about = fields.about(found);
    fields.refuse("join", "put the attributes into the events themselves", found);
    let entity_entry = fields.required("entity", "user");
    let entity = entity_entry.as_ref().and_then(|entry| find(entry, entities, found));
    let source = fields.required("source", "shop_events").and_then(|entry| find(&entry, sources, found));
    let max_age = fields.optional("max_age").and_then(|entry| entry.duration(found));
    let online = fields.optional("online").and_then(|entry| entry.flag(found)).unwrap_or(true);
    let keys_entry = fields.optional("keys");
    let mut key_fields = Vec::new();
    if let (Some(entity), Some(source), Some(entry)) = (&entity, &source, entity_entry) {
        key_fields = Keys { entity, source, place: entry.node.place }.fields(keys_entry.as_ref(), found);
    }
    let derived = Derived::read(fields.optional("columns").as_ref(), source.as_deref(), found);
    let filter = fields.optional("where").and_then(|entry| filter(&entry, source.as_deref(), &derived, found));
    let columns = source.as_deref().map(|source| derived.after(source));
    let features = fields.required("features", FEATURES_EXAMPLE);
    let features = features.map(|entry| features_of(&entry, columns.as_deref(), entity.as_deref(), found));
    Some(FeatureView {
        name,
        entity: entity?,
        source: source?,
        key_fields,
        columns: derived.columns,
        filter,
        max_age,
        online,
        features: features?,
        about,
    })
}

fn find<T>(entry: &Entry, known: &Known<T>, found: &mut Findings) -> Option<Arc<T>> {
    let name = entry.text("a name", found)?;
    known.find(name, entry.node.place, found)
}

/// Which field of the source holds each key of the entity.
struct Keys<'d> {
    entity: &'d Entity,
    source: &'d Source,
    /// Where the view names its entity.
    place: Place,
}

impl Keys<'_> {
    fn fields(&self, entry: Option<&Entry>, found: &mut Findings) -> Vec<usize> {
        let pairs = entry.and_then(|entry| entry.pairs("`keys: { user_id: buyer_id }`", found)).unwrap_or_default();
        let mut renamed = BTreeMap::new();
        for pair in pairs {
            if self.entity.keys.iter().any(|(key, _)| *key == *pair.key) {
                let entry = Entry::of_pair(pair);
                renamed.insert(pair.key.as_str(), (entry.text("the name of a field", found), entry.node.place));
            } else {
                let help = suggest::instead_of(&pair.key, self.entity.keys.iter().map(|(key, _)| key.as_str()));
                let what = format!("the entity `{}` has no key `{}`", self.entity.name, pair.key);
                found.mistake(pair.place, what, help);
            }
        }
        let mut fields = Vec::with_capacity(self.entity.keys.len());
        for (key, value_type) in &self.entity.keys {
            let same_name = (Some(key.as_str()), self.place);
            let (field, place) = renamed.get(key.as_str()).copied().unwrap_or(same_name);
            fields.extend(field.and_then(|field| self.field(key, value_type, field, place, found)));
        }
        fields
    }

    fn field(&self, key: &Name, wanted: &ValueType, name: &str, place: Place, found: &mut Findings) -> Option<usize> {
        let Some(index) = self.source.fields.iter().position(|field| field.name == *name) else {
            let what = format!("the source `{}` has no field `{name}` for the key `{key}`", self.source.name);
            let fits = self.source.fields.iter().filter(|field| holds(&field.value_type, wanted));
            let names: Vec<&str> = fits.map(|field| field.name.as_str()).collect();
            let help = format!("say which field it is, as in `keys: {{ {key}: … }}`; {}", suggest::one_of(&names));
            found.mistake(place, what, help);
            return None;
        };
        let field = &self.source.fields[index];
        if !holds(&field.value_type, wanted) {
            let what = format!(
                "the key `{key}` of entity `{}` is {wanted}, and the field `{}` is {}",
                self.entity.name, field.name, field.value_type
            );
            found.mistake(place, what, "give both the same type, or name another field under `keys`");
        }
        Some(index)
    }
}

/// Whether a field can be a key of type `wanted`: an int32 widens.
fn holds(field: &ValueType, wanted: &ValueType) -> bool {
    field == wanted || (*field == ValueType::Int32 && *wanted == ValueType::Int64)
}

/// Derived columns as they are read.
struct Derived {
    columns: Vec<(Name, Expression)>,
    /// Those whose expression has a mistake: they exist, and their type is not known.
    broken: Vec<Name>,
}

impl Derived {
    fn read(entry: Option<&Entry>, source: Option<&Source>, found: &mut Findings) -> Derived {
        let mut derived = Derived { columns: Vec::new(), broken: Vec::new() };
        let pairs = entry.and_then(|entry| entry.pairs("`columns: { spend: \"price * quantity\" }`", found));
        let schema = source.map(Source::schema);
        for pair in pairs.unwrap_or_default() {
            let name = pair.key.parse::<Name>();
            let wrong = |what| found.mistake(pair.place, what, nearest_name(&pair.key));
            let Ok(name) = name.map_err(wrong) else { continue };
            if source.is_some_and(|source| source.fields.iter().any(|field| field.name == name)) {
                let what = format!("the derived column `{name}` has the name of a field");
                found.mistake(pair.place, what, "choose another name: a column cannot stand in for a field");
            }
            match schema.as_ref().and_then(|schema| compile(&Entry::of_pair(pair), schema, found)) {
                Some(expression) => derived.columns.push((name, expression)),
                None => derived.broken.push(name),
            }
        }
        derived
    }

    /// The source's fields, then these: in the order of a view's schema while none is broken.
    fn after(&self, source: &Source) -> Vec<Column> {
        let field = |field: &SourceField| (field.name.clone(), Some(field.value_type.clone()));
        let column = |(name, it): &(Name, Expression)| (name.clone(), Some(it.value_type().clone()));
        let broken = self.broken.iter().map(|name| (name.clone(), None));
        let all = source.fields.iter().map(field).chain(self.columns.iter().map(column)).chain(broken);
        all.map(|(name, value_type)| Column { name, value_type }).collect()
    }
}

fn filter(entry: &Entry, source: Option<&Source>, derived: &Derived, found: &mut Findings) -> Option<Expression> {
    let Some(source) = source.filter(|_| derived.broken.is_empty()) else {
        entry.text("an SQL expression", found);
        return None;
    };
    let expression = compile(entry, &schema_with(source, &derived.columns), found)?;
    if *expression.value_type() != ValueType::Bool {
        let what = format!("`where` must be true or false, and this is {}", expression.value_type());
        found.mistake(entry.node.place, what, "compare it with something, as in `event = 'view'`");
    }
    Some(expression)
}

fn compile(entry: &Entry, schema: &SchemaRef, found: &mut Findings) -> Option<Expression> {
    let text = entry.text("an SQL expression", found)?;
    match Expression::compile(text, schema) {
        Ok(expression) => Some(expression),
        Err(fault) => {
            let place = entry.node.place_within(fault.offset);
            found.mistake(place, fault.what, fault.help.unwrap_or_else(|| EXPRESSION_HELP.to_owned()));
            None
        }
    }
}

fn features_of(
    entry: &Entry,
    columns: Option<&[Column]>,
    entity: Option<&Entity>,
    found: &mut Findings,
) -> Vec<Feature> {
    let items = entry.items(&format!("`features: {FEATURES_EXAMPLE}`"), found).unwrap_or_default();
    let named: Vec<(Place, Feature)> = items.iter().flat_map(|item| feature::read(item, columns, found)).collect();
    let mut places: BTreeMap<&Name, Place> = BTreeMap::new();
    for (place, feature) in &named {
        if let Some(first) = places.insert(&feature.name, *place) {
            let what = format!("the feature `{}` is declared twice", feature.name);
            found.mistake(*place, what, format!("the first is at {}: rename one of them", found.describe(first)));
        }
        if entity.is_some_and(|entity| entity.keys.iter().any(|(key, _)| *key == feature.name)) {
            let what = format!("the feature `{}` has the name of an entity key", feature.name);
            found.mistake(*place, what, "rename it: keys and features are columns of the same tables");
        }
    }
    named.into_iter().map(|(_, feature)| feature).collect()
}
