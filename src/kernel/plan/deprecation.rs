//! Which services use what is declared as deprecated.

use std::fmt;

use crate::kernel::definition::FeatureService;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Plan, ViewPlan};

/// Something that is deprecated, and a service that uses it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeprecatedUse {
    pub service: Name,
    /// As messages name it: "feature `activity:views`".
    pub what: String,
    /// What its author says: what to use instead, until when.
    pub message: String,
}

impl fmt::Display for DeprecatedUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature service `{}` uses the deprecated {}: {}", self.service, self.what, self.message)
    }
}

/// Each thing once for each service, in the order of the services and their features. A service that is deprecated
/// itself has nothing to be told.
pub fn deprecated_uses(plan: &Plan) -> Vec<DeprecatedUse> {
    let services = plan.services.iter().filter(|service| service.about.deprecated.is_none());
    services.flat_map(|service| uses(plan, service)).collect()
}

fn uses(plan: &Plan, service: &FeatureService) -> Vec<DeprecatedUse> {
    let mut uses: Vec<DeprecatedUse> = Vec::new();
    for (what, message) in service.features.iter().flat_map(|feature| deprecated_behind(plan, feature)) {
        if !uses.iter().any(|known| known.what == what) {
            uses.push(DeprecatedUse { service: service.name.clone(), what, message: message.to_owned() });
        }
    }
    uses
}

/// What is deprecated of all that a feature stands on.
fn deprecated_behind<'p>(plan: &'p Plan, reference: &FeatureRef) -> Vec<(String, &'p str)> {
    let Some((view, feature)) = plan.feature(reference) else { return Vec::new() };
    let ViewPlan { source, entity, name, about, .. } = &**view;
    let all = [
        (format!("feature `{reference}`"), &feature.deprecated),
        (format!("feature view `{name}`"), &about.deprecated),
        (format!("source `{}`", source.name), &source.about.deprecated),
        (format!("entity `{}`", entity.name), &entity.about.deprecated),
    ];
    all.into_iter().filter_map(|(what, message)| Some((what, message.as_deref()?))).collect()
}
