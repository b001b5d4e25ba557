//! What good definitions mean. What is wrong with bad ones stands in `tests/it/broken_definitions.rs`.

use super::*;
use crate::kernel::time::EventTime;

const SOURCE: &str = "
kind: source
name: clicks
event_time: { field: at }
schema:
  fields:
    - { name: at, type: timestamp, required: true, unit: s }
    - { name: user_id, type: int32, required: true }
    - { name: item_id, type: string }
    - { name: price, type: \"decimal(12,2)\" }
    - { name: quantity, type: int64 }
---
kind: entity
name: user
keys: [{ name: user_id, type: int64 }]
";

/// The definitions of [`SOURCE`] and `more`.
fn parsed(more: &str) -> Definitions {
    let files = [SOURCE, more].map(|text| SourceText { path: "defs.yaml".into(), text: text.into() });
    parse(&files).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn view(features: &str) -> Arc<FeatureView> {
    let text = format!("kind: feature_view\nname: activity\nentity: user\nsource: clicks\n{features}");
    parsed(&text).views[0].clone()
}

#[test]
fn settings_that_are_left_out_have_their_defaults() {
    let source = &parsed("").sources[0];
    assert_eq!((source.topic.as_str(), source.key, source.event_id), ("clicks", None, None));
    assert_eq!((source.event_time, source.fields[0].unit), (0, TimeFormat::Seconds));
    assert_eq!((source.dedup_window, source.max_future_skew), (Micros::HOUR, Micros::new(300_000_000)));
    assert_eq!((source.allowed_lateness, source.schema_version), (None, 1));
    assert_eq!(source.compatibility, Compatibility::Backward);
}

#[test]
fn files_and_documents_stand_in_any_order() {
    let service = "kind: feature_service\nname: model\nfeatures: [activity]";
    let view =
        "kind: feature_view\nname: activity\nentity: user\nsource: clicks\nfeatures: [{name: n, aggregate: count}]";
    let texts = [service, view, SOURCE, "", "---\n---\n# nothing\n"];
    let files = texts.map(|text| SourceText { path: "defs.yaml".into(), text: text.into() });
    let definitions = parse(&files).expect("all refer to something");
    assert_eq!(definitions.services[0].features[0].to_string(), "activity:n");
}

#[test]
fn a_feature_has_the_window_as_it_was_written_for_its_suffix() {
    let view = view(
        "features:\n  - { name: n, aggregate: count, windows: [60m, 1h, { length: 90s, hop: 7s }] }\n  - { name: n, aggregate: count }",
    );
    let features: Vec<String> = view
        .features
        .iter()
        .map(|feature| {
            format!("{} {}", feature.name, feature.window.map_or("lifetime".into(), |window| window.to_string()))
        })
        .collect();
    assert_eq!(features, ["n_60m 1h by 1m", "n_1h 1h by 1m", "n_90s 90s by 7s", "n lifetime"]);
}

#[test]
fn an_int32_field_may_be_an_int64_key_under_another_name() {
    let view = view("keys: { user_id: user_id }\nfeatures: [{ name: n, aggregate: count, column: item_id }]");
    assert_eq!((view.key_fields.as_slice(), view.features[0].column), ([1].as_slice(), Some(2)));
}

#[test]
fn where_sees_derived_columns_and_features_count_them_after_the_fields() {
    let view = view(
        "where: spend > 0\ncolumns: { spend: price * quantity }\nfeatures: [{ name: n, aggregate: count, column: spend }]",
    );
    assert_eq!(view.features[0].column, Some(5));
    assert_eq!(view.schema().field(5).name(), "spend");
    assert_eq!(view.filter.as_ref().map(Expression::text), Some("spend > 0"));
}

#[test]
fn parameters_have_their_defaults() {
    let view = view(
        "features:\n  - { name: a, aggregate: last_n, column: item_id, n: 3 }\n  - { name: b, aggregate: count_distinct, column: item_id }",
    );
    let parameters = |index: usize| format!("{:?}", view.features[index].call.parameters);
    assert_eq!(parameters(0), "{\"distinct\": Flag(false), \"n\": Count(3)}");
    assert_eq!(parameters(1), "{\"limit\": Count(1000)}");
}

#[test]
fn defaults_are_of_the_type_of_the_feature() {
    let view = view(
        "features:
  - { name: a, aggregate: sum, column: price, default: 0.5 }
  - { name: b, aggregate: mean, column: price, default: -1 }
  - { name: c, aggregate: last, column: item_id, default: none }
  - { name: d, aggregate: max, column: at, default: 1970-01-01T00:00:01Z }
  - { name: e, aggregate: last_n, column: quantity, n: 2, default: [1, 2] }
  - { name: f, aggregate: first, column: item_id, default: \"\" }",
    );
    let defaults: Vec<Option<Value>> = view.features.iter().map(|feature| feature.default.clone()).collect();
    let expected = [
        Value::Decimal(50),
        Value::Float(-1.0),
        Value::Text("none".into()),
        Value::Time(EventTime::unchecked(1_000_000)),
        Value::List(vec![Value::Int(1), Value::Int(2)]),
        Value::Text("".into()),
    ];
    assert_eq!(defaults, expected.map(Some));
}

#[test]
fn the_default_of_a_date_is_one_that_an_event_may_have() {
    let check = |default: &str| {
        let source = SOURCE.replace("quantity, type: int64", "quantity, type: date");
        let feature = format!("{{ name: a, aggregate: last, column: quantity, default: \"{default}\" }}");
        let text =
            format!("{source}---\nkind: feature_view\nname: v\nentity: user\nsource: clicks\nfeatures: [{feature}]\n");
        parse(&[SourceText { path: "defs.yaml".into(), text }]).map(|_| ()).map_err(|mistakes| mistakes[0].to_string())
    };
    assert_eq!(check("2026-11-21"), Ok(()));
    for wrong in ["0000-01-01", "2026-11-21T23:00[Europe/Berlin]", "20261121"] {
        assert!(check(wrong).expect_err(wrong).contains("must be a day such as `2026-11-21`"));
    }
}

#[test]
fn every_kind_may_be_described() {
    let about = "description: What it is\nowner: me@shop.example\ntags: { domain: shop, year: 2026 }\n";
    let view = view(&format!("{about}features: [{{ name: n, aggregate: count, description: How many }}]"));
    assert_eq!(view.about.description.as_deref(), Some("What it is"));
    assert_eq!(view.about.tags["year"], "2026");
    assert_eq!(view.features[0].description.as_deref(), Some("How many"));
}

#[test]
fn a_service_spells_views_out_in_their_order() {
    let definitions = parsed(
        "
kind: feature_view
name: activity
entity: user
source: clicks
features: [{ name: n, aggregate: count, windows: [1h, 10m] }]
---
kind: feature_view
name: taste
entity: user
source: clicks
features: [{ name: n, aggregate: count, windows: [1h, 10m] }]
---
kind: feature_service
name: model
features: [\"taste:n_10m\", activity, taste:n_1h]
",
    );
    let features: Vec<String> = definitions.services[0].features.iter().map(ToString::to_string).collect();
    assert_eq!(features, ["taste:n_10m", "activity:n_1h", "activity:n_10m", "taste:n_1h"]);
}
