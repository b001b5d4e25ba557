//! What applying a plan would change, before it is applied. For `freshet plan`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::kernel::definition::{Entity, FeatureService, Source, SourceField};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::compatibility::{Refusal, broken_rules};
use crate::kernel::plan::fingerprint::{Facts, facts};
use crate::kernel::plan::{FeaturePlan, Fingerprint, Plan, ViewPlan};

/// Changes by kind (entities, sources, views, services), each in the order of the new plan, then what it removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pub changes: Vec<Change>,
    /// Where there is one, nothing may be applied.
    pub refusals: Vec<Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As a definition writes it: `feature_view`.
    pub kind: &'static str,
    pub name: Name,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    New,
    /// Values change: a backfill, side by side with the version that keeps serving. The reasons are in words.
    Recomputed {
        from: Fingerprint,
        to: Fingerprint,
        reasons: Vec<String>,
    },
    /// A view is read otherwise, at once; what is stored stays as it is.
    Changed {
        reasons: Vec<String>,
    },
    /// What has no values of its own: the views that stand on it say what it means for theirs.
    Altered {
        reasons: Vec<String>,
    },
    /// No effect on values.
    Described,
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.effect {
            Effect::New => '+',
            Effect::Removed => '-',
            _ => '~',
        };
        write!(f, "{sign} {} `{}`: ", self.kind.replace('_', " "), self.name)?;
        match &self.effect {
            Effect::New => f.write_str("new"),
            Effect::Recomputed { from, to, reasons } => {
                write!(f, "values change, a new version is built ({from} → {to}): {}", reasons.join(", "))
            }
            Effect::Changed { reasons } => write!(f, "reads change, rows stay as they are: {}", reasons.join(", ")),
            Effect::Altered { reasons } => write!(f, "changes: {}", reasons.join(", ")),
            Effect::Described => f.write_str("only described differently"),
            Effect::Removed => f.write_str("removed"),
        }
    }
}

pub fn diff(old: &Plan, new: &Plan) -> Diff {
    let mut changes = Vec::new();
    changes.extend(compare("entity", &old.entities, &new.entities, |it| &it.name, entity));
    changes.extend(compare("source", &old.sources, &new.sources, |it| &it.name, source));
    changes.extend(compare("feature_view", &old.views, &new.views, |it| &it.name, view));
    changes.extend(compare("feature_service", &old.services, &new.services, |it| &it.name, service));
    let pairs = new.sources.iter().filter_map(|source| Some((old.source(source.name.as_str())?, source)));
    let refusals = pairs.flat_map(|(old, new)| broken_rules(old, new)).collect();
    Diff { changes, refusals }
}

/// The features that a view or a service has in `old` and, changed or removed, no longer in `new`: whoever asks for one
/// gets an error.
pub fn lost_features(old: &Plan, new: &Plan, change: &Change) -> Vec<FeatureRef> {
    let features = |plan: &Plan| features_of(plan, change.kind, change.name.as_str());
    let kept = features(new);
    features(old).into_iter().filter(|feature| !kept.contains(feature)).collect()
}

fn features_of(plan: &Plan, kind: &str, name: &str) -> Vec<FeatureRef> {
    let of_view = |view: &Arc<ViewPlan>| {
        let of = |it: &FeaturePlan| FeatureRef { view: view.name.clone(), feature: it.name.clone() };
        view.features.iter().map(of).collect()
    };
    match kind {
        "feature_view" => plan.view(name).map(of_view).unwrap_or_default(),
        "feature_service" => plan.service(name).map(|service| service.features.clone()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The changes of one kind. `effect` compares two elements of one name; `None`: nothing changes.
fn compare<T>(
    kind: &'static str,
    old: &[Arc<T>],
    new: &[Arc<T>],
    name: fn(&T) -> &Name,
    effect: fn(&T, &T) -> Option<Effect>,
) -> Vec<Change> {
    let change = |element: &T, effect| Change { kind, name: name(element).clone(), effect };
    let kept = new.iter().filter_map(|element| {
        let before = old.iter().find(|candidate| name(candidate) == name(element));
        let effect = before.map_or(Some(Effect::New), |before| effect(before, element));
        effect.map(|effect| change(element, effect))
    });
    let gone = old.iter().filter(|element| !new.iter().any(|candidate| name(candidate) == name(element)));
    kept.chain(gone.map(|element| change(element, Effect::Removed))).collect()
}

fn entity(old: &Entity, new: &Entity) -> Option<Effect> {
    let reasons = if old.keys == new.keys { vec![] } else { vec!["keys".to_owned()] };
    altered_or_described(reasons, old.about == new.about)
}

fn source(old: &Source, new: &Source) -> Option<Effect> {
    altered_or_described(differences(&settings(old), &settings(new)), old.about == new.about)
}

fn view(old: &ViewPlan, new: &ViewPlan) -> Option<Effect> {
    if old.fingerprint != new.fingerprint {
        let reasons = differences(&facts(old), &facts(new));
        return Some(Effect::Recomputed { from: old.fingerprint, to: new.fingerprint, reasons });
    }
    let words = |view: &ViewPlan| -> Vec<[Option<String>; 2]> {
        view.features.iter().map(|feature| [feature.description.clone(), feature.deprecated.clone()]).collect()
    };
    let same_words = old.about == new.about && words(old) == words(new);
    let reasons = differences(&reading(old), &reading(new));
    let changed = (!reasons.is_empty()).then_some(Effect::Changed { reasons });
    changed.or((!same_words).then_some(Effect::Described))
}

fn service(old: &FeatureService, new: &FeatureService) -> Option<Effect> {
    let set = |service: &FeatureService| -> Facts {
        service.features.iter().map(|feature| (format!("feature {feature}"), String::new())).collect()
    };
    let mut reasons = differences(&set(old), &set(new));
    if reasons.is_empty() && old.features != new.features {
        reasons.push("the order of features".into());
    }
    altered_or_described(reasons, old.about == new.about)
}

fn altered_or_described(reasons: Vec<String>, same_words: bool) -> Option<Effect> {
    let altered = (!reasons.is_empty()).then_some(Effect::Altered { reasons });
    altered.or((!same_words).then_some(Effect::Described))
}

/// "feature views_1h new", "where changed", "field price gone".
fn differences(old: &Facts, new: &Facts) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let difference = |name: &String| match (old.get(name), new.get(name)) {
        (None, Some(_)) => Some(format!("{name} new")),
        (Some(_), None) => Some(format!("{name} gone")),
        (before, after) if before != after => Some(format!("{name} changed")),
        _ => None,
    };
    names.into_iter().filter_map(difference).collect()
}

/// What changes reads, and not what is stored.
fn reading(view: &ViewPlan) -> Facts {
    let default = |feature: &FeaturePlan| {
        feature.default.as_ref().map(|value| (format!("default of {}", feature.name), format!("{value:?}")))
    };
    let mut facts: Facts = view.features.iter().filter_map(default).collect();
    facts.extend(view.max_age.map(|age| ("max_age".to_owned(), age.to_string())));
    let order: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
    facts.insert("the order of features".into(), order.join(" "));
    facts
}

fn settings(source: &Source) -> Facts {
    let field = |index: usize| source.fields[index].name.to_string();
    let lateness = source.allowed_lateness.map_or(String::new(), |lateness| lateness.to_string());
    let mut facts: Facts = [
        ("topic", source.topic.clone()),
        ("key", source.key.map_or(String::new(), field)),
        ("event_time", field(source.event_time)),
        ("event_id", source.event_id.map_or(String::new(), field)),
        ("dedup_window", source.dedup_window.to_string()),
        ("allowed_lateness", lateness),
        ("max_future_skew", source.max_future_skew.to_string()),
        ("schema version", source.schema_version.to_string()),
        ("compatibility", source.compatibility.as_str().to_owned()),
    ]
    .map(|(name, setting)| (name.to_owned(), setting))
    .into();
    let described = |field: &SourceField| {
        let required = if field.required { "required" } else { "optional" };
        (format!("field {}", field.name), format!("{} {} {required}", field.value_type, field.unit.as_str()))
    };
    facts.extend(source.fields.iter().map(described));
    facts
}
