//! `kind: feature_service`: what one model reads, in the order of its columns.

use std::collections::BTreeMap;

use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::{Findings, Place};
use crate::kernel::definition::resolve::Known;
use crate::kernel::definition::{FeatureService, FeatureView, suggest};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::value::ValueType;

const EXAMPLE: &str = "[user_activity, \"item_popularity:views_1h\"]";

pub(super) fn read(
    fields: &mut Fields,
    name: Name,
    views: &Known<FeatureView>,
    found: &mut Findings,
) -> Option<FeatureService> {
    let about = fields.about(found);
    let entry = fields.required("features", EXAMPLE)?;
    let items = entry.items(&format!("`features: {EXAMPLE}`"), found)?;
    let mut chosen = Chosen::default();
    for item in &items {
        chosen.read(item, views, found);
    }
    Some(FeatureService { name, features: chosen.features, about })
}

/// The features so far.
#[derive(Default)]
struct Chosen {
    features: Vec<FeatureRef>,
    places: BTreeMap<FeatureRef, Place>,
    /// The type of each entity key, and a view that has it: a request gives a key once for all its views.
    keys: BTreeMap<Name, (ValueType, Name)>,
}

impl Chosen {
    fn read(&mut self, item: &Entry, views: &Known<FeatureView>, found: &mut Findings) {
        let Some(text) = item.text("a view, or `view:feature`", found) else { return };
        let (view_name, feature_name) = match text.split_once(':') {
            Some((view, feature)) => (view, Some(feature)),
            None => (text, None),
        };
        let Some(view) = views.find(view_name, item.node.place, found) else { return };
        self.keys_agree(item.node.place, &view, found);
        match feature_name {
            None => {
                view.features.iter().for_each(|feature| self.add(item.node.place, &view.name, &feature.name, found))
            }
            Some(wanted) => match view.features.iter().find(|feature| feature.name == *wanted) {
                Some(feature) => self.add(item.node.place, &view.name, &feature.name, found),
                None => {
                    let names = view.features.iter().map(|feature| feature.name.as_str());
                    let what = format!("the feature view `{view_name}` has no feature `{wanted}`");
                    found.mistake(item.node.place, what, suggest::instead_of(wanted, names));
                }
            },
        }
    }

    fn add(&mut self, place: Place, view: &Name, feature: &Name, found: &mut Findings) {
        let feature = FeatureRef { view: view.clone(), feature: feature.clone() };
        match self.places.get(&feature) {
            Some(first) => {
                let help = format!("it came at {}: name the view, or its features one by one", found.describe(*first));
                found.mistake(place, format!("the feature `{feature}` is in the service twice"), help);
            }
            None => {
                self.places.insert(feature.clone(), place);
                self.features.push(feature);
            }
        }
    }

    fn keys_agree(&mut self, place: Place, view: &FeatureView, found: &mut Findings) {
        for (key, value_type) in &view.entity.keys {
            let entry = || (value_type.clone(), view.name.clone());
            let (known, other) = self.keys.entry(key.clone()).or_insert_with(entry);
            if known != value_type {
                let what =
                    format!("the entity key `{key}` is {value_type} in `{}` and {known} in `{other}`", view.name);
                found.mistake(place, what, "give the keys of the two entities the same type, or different names");
            }
        }
    }
}
