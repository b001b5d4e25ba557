//! A request → the live versions that it reads, and the entity keys of its rows.

use std::sync::Arc;

use crate::kernel::definition::Entity;
use crate::kernel::key::{self, EntityKey, KeyPart};
use crate::kernel::name::Name;
use crate::kernel::plan::{FeaturePlan, ViewPlan};
use crate::kernel::value::ValueType;
use crate::registry::catalogue::Catalogue;
use crate::serving::{Error, MOST_FEATURES, MOST_ROWS, MOST_VALUES, Request, Unavailable, Wanted};

pub(super) struct Resolved {
    pub views: Vec<ResolvedView>,
    /// View of each column of the answer, and the position among the features that are read of it.
    pub columns: Vec<(usize, usize)>,
}

pub(super) struct ResolvedView {
    pub plan: Arc<ViewPlan>,
    /// Its first version may still be built: then nothing of it can be told.
    pub is_served: bool,
    /// What is read, by its position in the view.
    pub features: Vec<usize>,
    /// One for each row of the request; `None` where a part of the key is null, or too long for any event's.
    pub keys: Vec<Option<EntityKey>>,
}

/// A feature that is asked for.
type Asked<'c> = (&'c Name, &'c Name);

pub(super) fn resolve(catalogue: &Catalogue, request: &Request) -> Result<Resolved, Error> {
    let rows = row_count(request)?;
    let wanted = wanted_features(catalogue, &request.wanted)?;
    refuse_too_many(rows, wanted.len())?;
    let mut resolved = Resolved { views: Vec::new(), columns: Vec::with_capacity(wanted.len()) };
    for (view, feature) in wanted {
        let known = resolved.views.iter().rposition(|known| known.plan.name == *view);
        let at = match known {
            Some(at) => at,
            None => {
                let (plan, is_served) = version(catalogue, view)?;
                let keys = entity_keys(&plan, request, rows)?;
                resolved.views.push(ResolvedView { plan, is_served, features: Vec::new(), keys });
                resolved.views.len() - 1
            }
        };
        let read = &mut resolved.views[at];
        // A feature that only the version being built has is as good as the view being built.
        let feature = read.position(feature).ok_or_else(|| Unavailable::Rebuilding(view.clone()))?;
        resolved.columns.push((at, read.value_of(feature)));
    }
    refuse_unknown_keys(&resolved, request)?;
    Ok(resolved)
}

impl ResolvedView {
    /// Where the feature's value is found: one that is named twice in the order of the view is read once, and nothing is
    /// searched for where none is.
    fn value_of(&mut self, feature: usize) -> usize {
        let may_be_known = self.features.last().is_some_and(|last| *last >= feature);
        let known = self.features.iter().position(|known| may_be_known && *known == feature);
        known.unwrap_or_else(|| {
            self.features.push(feature);
            self.features.len() - 1
        })
    }

    /// Of a feature in the plan. Most ask in the order of the view: the search begins after the one before.
    fn position(&self, feature: &Name) -> Option<usize> {
        let features = &self.plan.features;
        let (before, after) = features.split_at(self.features.last().map_or(0, |last| last + 1));
        let is_asked = |candidate: &FeaturePlan| candidate.name == *feature;
        let behind = after.iter().position(is_asked).map(|position| before.len() + position);
        behind.or_else(|| before.iter().position(is_asked))
    }
}

fn row_count(request: &Request) -> Result<usize, Error> {
    let Some((first, values)) = request.entities.first() else { return Ok(0) };
    let expected = values.len();
    for (key, values) in &request.entities {
        if values.len() != expected {
            let (key, first) = (key.clone(), first.clone());
            return Err(Error::Length { key, found: values.len(), first, expected });
        }
    }
    if expected > MOST_ROWS {
        return Err(Error::TooManyRows { rows: expected });
    }
    Ok(expected)
}

fn refuse_too_many(rows: usize, features: usize) -> Result<(), Error> {
    refuse_too_many_features(features)?;
    if rows * features > MOST_VALUES {
        return Err(Error::TooManyValues { rows, features });
    }
    Ok(())
}

/// Also for who takes the names apart first.
pub(crate) fn refuse_too_many_features(features: usize) -> Result<(), Error> {
    if features > MOST_FEATURES { Err(Error::TooManyFeatures) } else { Ok(()) }
}

fn wanted_features<'c>(catalogue: &'c Catalogue, wanted: &Wanted) -> Result<Vec<Asked<'c>>, Error> {
    let features = match wanted {
        Wanted::Service(name) => {
            let service = catalogue.served.service(name).ok_or_else(|| Error::UnknownService(name.clone()))?;
            return Ok(service.features.iter().map(|it| (&it.view, &it.feature)).collect());
        }
        Wanted::Features(features) => features,
    };
    // Each mention is one feature at the least, and of a view as many as it has: they are counted as they come.
    refuse_too_many_features(features.len())?;
    let mut asked = Vec::with_capacity(features.len());
    for text in features {
        let unknown = || Error::UnknownFeature(text.clone());
        let (view_name, feature) = match text.split_once(':') {
            Some((view, feature)) => (view, Some(feature)),
            None => (text.as_str(), None),
        };
        let view = catalogue.served.view(view_name).ok_or_else(unknown)?;
        let selected = view.features.iter().filter(|candidate| feature.is_none_or(|name| candidate.name == *name));
        let before = asked.len();
        asked.extend(selected.map(|found| (&view.name, &found.name)));
        refuse_too_many_features(asked.len())?;
        if asked.len() == before {
            let is_built = feature.is_some_and(|name| catalogue.is_building(view_name, name));
            return Err(if is_built { Unavailable::Rebuilding(view.name.clone()).into() } else { unknown() });
        }
    }
    if asked.is_empty() { Err(Error::NothingWanted) } else { Ok(asked) }
}

/// The version that lookups read, and whether it is served yet.
fn version(catalogue: &Catalogue, view: &Name) -> Result<(Arc<ViewPlan>, bool), Error> {
    let declared = catalogue.served.view(view.as_str());
    if declared.is_some_and(|view| !view.online) {
        return Err(Error::NotOnline(view.clone()));
    }
    let live = catalogue.serving(view.as_str());
    let plan = live.or(declared).cloned().ok_or_else(|| Unavailable::Rebuilding(view.clone()))?;
    Ok((plan, live.is_some()))
}

fn entity_keys(view: &ViewPlan, request: &Request, rows: usize) -> Result<Vec<Option<EntityKey>>, Error> {
    let columns = view.entity.keys.iter().map(|(key, value_type)| {
        let found = request.entities.iter().find(|(name, _)| *key == **name);
        let (name, values) = found.ok_or_else(|| missing(&view.entity, key, &view.name))?;
        check_types(name, values, value_type)?;
        Ok(values)
    });
    let columns: Vec<&Vec<Option<KeyPart>>> = columns.collect::<Result<_, Error>>()?;
    let mut bytes = Vec::new();
    let mut key = |row: usize| {
        bytes.clear();
        for column in &columns {
            match column[row].as_ref().filter(|part| !part.is_too_long())? {
                KeyPart::Text(text) => key::push_text(&mut bytes, text),
                KeyPart::Int(int) => key::push_int(&mut bytes, *int),
            }
        }
        Some(EntityKey::from_bytes(&bytes))
    };
    Ok((0..rows).map(&mut key).collect())
}

fn missing(entity: &Entity, key: &Name, view: &Name) -> Error {
    Error::MissingKey { key: key.clone(), entity: entity.name.clone(), view: view.clone() }
}

fn check_types(key: &str, values: &[Option<KeyPart>], expected: &ValueType) -> Result<(), Error> {
    for (row, value) in values.iter().enumerate() {
        let found = match value {
            Some(KeyPart::Text(_)) if *expected != ValueType::String => "a string",
            Some(KeyPart::Int(_)) if *expected == ValueType::String => "a number",
            _ => continue,
        };
        return Err(Error::KeyType { key: key.to_owned(), row, found, expected: expected.clone() });
    }
    Ok(())
}

fn refuse_unknown_keys(resolved: &Resolved, request: &Request) -> Result<(), Error> {
    let known =
        |name: &str| resolved.views.iter().any(|view| view.plan.entity.keys.iter().any(|(key, _)| *key == *name));
    match request.entities.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => Err(Error::UnknownKey(name.clone())),
        None => Ok(()),
    }
}
