//! What stands on what: source → view → services, a row for each view that a definition has to do with.

use serde_json::{Value, json};

use crate::kernel::definition::FeatureService;
use crate::kernel::name::Name;
use crate::kernel::plan::{Plan, ViewPlan};

pub(super) fn of(plan: &Plan, kind: &str, name: &str) -> Value {
    let service = plan.service(name).filter(|_| kind == "feature_service");
    let concerns = |view: &ViewPlan| match kind {
        "entity" => view.entity.name == *name,
        "source" => view.source.name == *name,
        "feature_view" => view.name == *name,
        _ => service.is_some_and(|service| reads(service, &view.name)),
    };
    let row = |view: &ViewPlan| {
        let readers = plan.services.iter().filter(|it| reads(it, &view.name));
        let readers = readers.filter(|it| service.is_none_or(|service| service.name == it.name));
        let readers: Vec<&str> = readers.map(|service| service.name.as_str()).collect();
        json!({ "source": view.source.name.as_str(), "view": view.name.as_str(), "services": readers })
    };
    plan.views.iter().filter(|view| concerns(view)).map(|view| row(view)).collect()
}

fn reads(service: &FeatureService, view: &Name) -> bool {
    service.features.iter().any(|feature| feature.view == *view)
}
