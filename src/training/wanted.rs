//! The features that a training set asks for, by view and by source.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernel::definition::Source;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Fingerprint, Plan, ViewPlan};
use crate::kernel::value::ValueType;
use crate::training::Error;

pub(super) struct Wanted {
    views: Vec<WantedView>,
}

pub(super) struct WantedView {
    pub plan: Arc<ViewPlan>,
    /// The position of the feature's column among those asked for, and of the feature in the view.
    pub features: Vec<(usize, usize)>,
}

impl Wanted {
    pub fn resolve(plan: &Plan, features: &[FeatureRef]) -> Result<Wanted, Error> {
        let mut views: Vec<WantedView> = Vec::new();
        for (column, feature) in features.iter().enumerate() {
            if features[..column].contains(feature) {
                return Err(Error::Twice(feature.clone()));
            }
            let unknown = || Error::UnknownFeature(feature.clone());
            let view = plan.view(feature.view.as_str()).ok_or_else(unknown)?;
            let position = view.features.iter().position(|it| it.name == feature.feature).ok_or_else(unknown)?;
            match views.iter_mut().find(|wanted| wanted.plan.name == view.name) {
                Some(wanted) => wanted.features.push((column, position)),
                None => views.push(WantedView { plan: view.clone(), features: vec![(column, position)] }),
            }
        }
        Ok(Wanted { views })
    }

    /// Each source is read once for all of its views.
    pub fn by_source(&self) -> Vec<(Arc<Source>, Vec<&WantedView>)> {
        let mut sources: Vec<(Arc<Source>, Vec<&WantedView>)> = Vec::new();
        for view in &self.views {
            match sources.iter_mut().find(|(source, _)| source.name == view.plan.source.name) {
                Some((_, views)) => views.push(view),
                None => sources.push((view.plan.source.clone(), vec![view])),
            }
        }
        sources
    }

    /// Name and type of every key of every entity.
    pub fn keys(&self) -> Result<Vec<(Name, ValueType)>, Error> {
        let mut keys: Vec<(Name, ValueType)> = Vec::new();
        for (key, other) in self.views.iter().flat_map(|view| &view.plan.entity.keys) {
            match keys.iter().find(|(known, _)| known == key) {
                None => keys.push((key.clone(), other.clone())),
                Some((_, one)) if one == other => {}
                Some((_, one)) => {
                    return Err(Error::KeyTypes { key: key.clone(), one: one.clone(), other: other.clone() });
                }
            }
        }
        Ok(keys)
    }

    pub fn views(&self) -> &[WantedView] {
        &self.views
    }

    /// In the order of the columns.
    pub fn types(&self) -> Vec<ValueType> {
        let types = |view: &WantedView| {
            let plan = view.plan.clone();
            view.features.clone().into_iter().map(move |(column, it)| (column, plan.features[it].value_type.clone()))
        };
        self.views.iter().flat_map(types).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    pub fn fingerprints(&self) -> BTreeMap<Name, Fingerprint> {
        self.views.iter().map(|view| (view.plan.name.clone(), view.plan.fingerprint)).collect()
    }
}
