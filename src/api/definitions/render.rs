//! Definitions as JSON.

use serde_json::{Value, json};

use crate::kernel::definition::{Description, Entity, FeatureService, Source};
use crate::kernel::name::Name;
use crate::kernel::plan::{FeaturePlan, ViewPlan, explain};
use crate::registry::ViewVersion;
use crate::registry::catalogue::Catalogue;

/// Kind, name and description of everything, in the order of kinds that definitions build on each other.
pub(super) fn all(catalogue: &Catalogue) -> Vec<(&'static str, &Name, &Description)> {
    let plan = &catalogue.plan;
    let entities = plan.entities.iter().map(|it| ("entity", &it.name, &it.about));
    let sources = plan.sources.iter().map(|it| ("source", &it.name, &it.about));
    let views = plan.views.iter().map(|it| ("feature_view", &it.name, &it.about));
    let services = plan.services.iter().map(|it| ("feature_service", &it.name, &it.about));
    entities.chain(sources).chain(views).chain(services).collect()
}

/// Whether the newest definition of a view is served yet, or no longer.
pub(super) fn view_state(catalogue: &Catalogue, view: &str) -> &'static str {
    let newest = catalogue.plan.view(view).map(|view| view.fingerprint);
    let served = catalogue.serving(view).map(|view| view.fingerprint);
    match catalogue.rolled_back(view) {
        Some(_) => "rolled_back",
        None if newest == served => "live",
        None => "building",
    }
}

/// All that a view ever had.
pub(super) fn versions(versions: &[ViewVersion]) -> Value {
    let version = |it: &ViewVersion| {
        json!({
            "version": it.fingerprint.to_string(), "state": it.state.as_str(), "since": it.since.to_string(),
            "revision": it.revision,
        })
    };
    versions.iter().map(version).collect()
}

pub(super) fn one(catalogue: &Catalogue, kind: &str, name: &str) -> Option<Value> {
    let plan = &catalogue.plan;
    match kind {
        "entity" => {
            let it = plan.entities.iter().find(|it| it.name == *name)?;
            Some(entity(it, names(plan.views.iter().filter(|view| view.entity.name == it.name).map(|view| &view.name))))
        }
        "source" => {
            let it = plan.source(name)?;
            Some(source(it, names(plan.views.iter().filter(|view| view.source.name == it.name).map(|view| &view.name))))
        }
        "feature_view" => {
            let it = plan.view(name)?;
            let reads = |service: &FeatureService| service.features.iter().any(|feature| feature.view == it.name);
            let services = names(plan.services.iter().filter(|service| reads(service)).map(|service| &service.name));
            Some(view(it, view_state(catalogue, name), services))
        }
        "feature_service" => plan.service(name).map(|it| service(it)),
        _ => None,
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<String> {
    names.map(Name::to_string).collect()
}

fn described(about: &Description, mut rendered: Value) -> Value {
    let object = rendered.as_object_mut().expect("a definition is rendered as an object");
    object.insert("description".to_owned(), json!(about.description));
    object.insert("owner".to_owned(), json!(about.owner));
    object.insert("tags".to_owned(), json!(about.tags));
    object.insert("deprecated".to_owned(), json!(about.deprecated));
    rendered
}

fn entity(entity: &Entity, views: Vec<String>) -> Value {
    let keys =
        entity.keys.iter().map(|(name, value_type)| json!({ "name": name.as_str(), "type": value_type.to_string() }));
    let rendered =
        json!({ "kind": "entity", "name": entity.name.as_str(), "keys": keys.collect::<Vec<_>>(), "views": views });
    described(&entity.about, rendered)
}

fn source(source: &Source, views: Vec<String>) -> Value {
    let field = |index: usize| source.fields[index].name.as_str();
    let fields = source.fields.iter().map(|it| {
        let unit = (it.value_type.to_string() == "timestamp").then(|| it.unit.as_str());
        json!({ "name": it.name.as_str(), "type": it.value_type.to_string(), "required": it.required, "unit": unit })
    });
    let history = source.history.iter();
    let history =
        history.map(|it| json!({ "path": it.path, "format": it.format.as_str(), "until": it.until.to_string() }));
    described(
        &source.about,
        json!({
            "kind": "source", "name": source.name.as_str(), "topic": source.topic, "key": source.key.map(field),
            "event_time": field(source.event_time), "event_id": source.event_id.map(field),
            "dedup_window": source.dedup_window.to_string(),
            "allowed_lateness": source.allowed_lateness.map(|it| it.to_string()),
            "max_future_skew": source.max_future_skew.to_string(),
            "schema_version": source.schema_version, "compatibility": source.compatibility.as_str(),
            "fields": fields.collect::<Vec<_>>(), "history": history.collect::<Vec<_>>(), "views": views,
        }),
    )
}

fn view(view: &ViewPlan, state: &str, services: Vec<String>) -> Value {
    let features: Vec<Value> = view.features.iter().map(|it| feature(view, it)).collect();
    let columns =
        view.columns.iter().map(|(name, expression)| json!({ "name": name.as_str(), "expression": expression.text() }));
    described(
        &view.about,
        json!({
            "kind": "feature_view", "name": view.name.as_str(), "version": view.fingerprint.to_string(), "state": state,
            "entity": view.entity.name.as_str(), "source": view.source.name.as_str(),
            "columns": columns.collect::<Vec<_>>(), "where": view.filter.as_ref().map(|filter| filter.text()),
            "max_age": view.max_age.map(|it| it.to_string()), "features": features, "services": services,
            "plan": explain(view),
        }),
    )
}

fn feature(view: &ViewPlan, feature: &FeaturePlan) -> Value {
    let column = view.slot(feature).column.map(|column| view.schema.field(column).name().clone());
    json!({
        "name": feature.name.as_str(), "type": feature.value_type.to_string(),
        "aggregate": feature.call.function.name, "column": column,
        "window": feature.window.map(|window| window.to_string()), "description": feature.description,
        "deprecated": feature.deprecated,
    })
}

fn service(service: &FeatureService) -> Value {
    let features: Vec<String> = service.features.iter().map(ToString::to_string).collect();
    described(&service.about, json!({ "kind": "feature_service", "name": service.name.as_str(), "features": features }))
}
