//! What a plan is made of, what changes its fingerprint, and what a diff says of two.

use expect_test::{Expect, expect};

use super::*;
use crate::kernel::definition::{SourceText, parse};

const BASE: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
topic: user-clicks
event_time: { field: at, unit: ms }
schema:
  compatibility: backward
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: event, type: string }
    - { name: price, type: float64 }
    - { name: quantity, type: int32 }
    - { name: note, type: string }
---
kind: feature_view
name: activity
entity: user
source: clicks
where: \"event = 'view'\"
columns:
  spend: price * quantity
max_age: 30d
features:
  - { name: spend, aggregate: sum, column: spend, windows: [1h, 7d] }
  - { name: views, aggregate: count, windows: [1h], default: 0 }
---
kind: feature_service
name: model
features: [activity]
";

fn plan(text: &str) -> Plan {
    let files = [SourceText { path: "defs.yaml".into(), text: text.into() }];
    compile(&parse(&files).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")))
}

/// [`BASE`] with each `from` replaced by its `to`.
fn changed(changes: &[(&str, &str)]) -> Plan {
    let replaced = changes.iter().fold(BASE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} stands in the base");
        text.replace(from, to)
    });
    plan(&replaced)
}

fn features(entries: &str) -> Plan {
    let (head, _) = BASE.split_once("features:\n  - { name: spend").expect("the base has features");
    plan(&format!("{head}features:\n{entries}"))
}

#[test]
fn what_changes_values_changes_the_fingerprint() {
    let base = plan(BASE).views[0].fingerprint;
    for (from, to) in [
        ("topic: user-clicks", "topic: shop-clicks"),
        ("topic: user-clicks", "history: [{ path: a.csv, format: csv, until: 2026-01-01T00:00:00Z }]"),
        ("max_age: 30d", "keys: { user_id: note }"),
        ("name: clicks\n", "allowed_lateness: 1h\nname: clicks\n"),
        ("name: clicks\n", "max_future_skew: 1h\nname: clicks\n"),
        ("name: clicks\n", "event_id: note\nname: clicks\n"),
        ("unit: ms", "unit: us"),
        ("'view'", "'cart'"),
        ("price * quantity", "price * quantity * 2"),
        ("price, type: float64", "price, type: float32"),
        ("event, type: string", "event, type: string, required: true"),
        ("note, type: string", "note, type: string, required: true"),
        ("    - { name: note", "    - { name: more, type: bool, required: true }\n    - { name: note"),
        ("max_age: 30d", "online: false"),
        ("aggregate: sum", "aggregate: mean"),
        ("column: spend", "column: price"),
        ("[1h, 7d]", "[1h, 7d, 30d]"),
        ("[1h, 7d]", "[1h, { length: 7d, hop: 6h }]"),
    ] {
        assert_ne!(changed(&[(from, to)]).views[0].fingerprint, base, "{from} → {to}");
    }
    let renamed = changed(&[("name: activity\n", "name: activity_2\n"), ("[activity]", "[activity_2]")]);
    assert_ne!(renamed.views[0].fingerprint, base);
    let fingerprint = |source: String| changed(&[("name: clicks\n", &source)]).views[0].fingerprint;
    let dedup = |window: &str| fingerprint(format!("event_id: note\ndedup_window: {window}\nname: clicks\n"));
    assert_ne!(dedup("1h"), dedup("2h"));
    let history =
        |until: &str| fingerprint(format!("history: [{{ path: a.csv, format: csv, until: {until} }}]\nname: clicks\n"));
    assert_ne!(history("2026-01-01T00:00:00Z"), history("2026-01-02T00:00:00Z"));
}

/// A fingerprint is the name of stored rows: if this one changes, an upgrade recomputes every view of everyone.
#[test]
fn the_fingerprint_stays_from_release_to_release() {
    expect!["2eb5f00dec0ea4c9"].assert_eq(&plan(BASE).views[0].fingerprint.to_string());
}

#[test]
fn what_changes_no_stored_value_leaves_the_fingerprint() {
    let base = plan(BASE).views[0].fingerprint;
    for (from, to) in [
        ("max_age: 30d", "max_age: 7d\ndescription: What users do\nowner: me@shop.example\ntags: { a: b }"),
        ("default: 0", "default: 1, description: How often"),
        ("name: clicks\n", "key: user_id\ndedup_window: 2h\ndescription: Clicks\nname: clicks\n"),
        ("note, type: string", "note, type: int64"),
        ("    - { name: note", "    - { name: more, type: bool }\n    - { name: note"),
        ("compatibility: backward", "version: 2"),
    ] {
        assert_eq!(changed(&[(from, to)]).views[0].fingerprint, base, "{from} → {to}");
    }
    let (event, price) = ("    - { name: event, type: string }\n", "    - { name: price, type: float64 }\n");
    let swapped = changed(&[(&format!("{event}{price}"), &format!("{price}{event}"))]);
    assert_eq!(swapped.views[0].fingerprint, base, "the order of fields");
}

#[test]
fn an_unused_required_field_may_widen_and_nothing_else() {
    let fingerprint = |field: &str| {
        let fields = [("    - { name: note", format!("    - {{ name: more, {field} }}\n    - {{ name: note"))];
        changed(&fields.each_ref().map(|(from, to)| (*from, to.as_str()))).views[0].fingerprint
    };
    let before = fingerprint("type: int32, required: true");
    assert_eq!(fingerprint("type: int64, required: true"), before);
    let others = ["type: float64, required: true", "type: string, required: true", "type: int32"];
    assert!(others.iter().all(|other| fingerprint(other) != before));
    let time = |unit: &str| fingerprint(&format!("type: timestamp, unit: {unit}, required: true"));
    assert_ne!(time("ms"), time("s"));
}

#[test]
fn the_order_of_features_decides_neither_fingerprint_nor_layout() {
    let forth = features(
        "  - { name: a, aggregate: sum, column: price, windows: [1h] }\n  - { name: b, aggregate: count, windows: [1h] }\n  - { name: c, aggregate: mean, column: price }",
    );
    let back = features(
        "  - { name: c, aggregate: mean, column: price }\n  - { name: b, aggregate: count, windows: [1h] }\n  - { name: a, aggregate: sum, column: price, windows: [1h] }",
    );
    assert_eq!(forth.views[0].fingerprint, back.views[0].fingerprint);
    let positions = |plan: &Plan| {
        let mut positions: Vec<(String, usize, usize)> =
            plan.views[0].features.iter().map(|it| (it.name.to_string(), it.grid, it.slot)).collect();
        positions.sort();
        positions
    };
    assert_eq!(positions(&forth), positions(&back));
}

#[test]
fn features_that_need_the_same_partial_share_a_slot() {
    let plan = features(
        "
  - { name: total, aggregate: sum, column: price, windows: [1h, 2h] }
  - { name: typical, aggregate: mean, column: price, windows: [1h] }
  - { name: other, aggregate: sum, column: quantity, windows: [1h] }
  - { name: first_three, aggregate: first_n, column: event, n: 3, windows: [1h] }
  - { name: first_four, aggregate: first_n, column: event, n: 4, windows: [1h] }",
    );
    let view = &plan.views[0];
    let place = |name: &str| {
        let feature = view.features.iter().find(|feature| feature.name == *name).expect(name);
        (feature.grid, feature.slot)
    };
    assert_eq!(place("total_1h"), place("typical_1h"));
    assert_eq!(place("total_1h"), place("total_2h"), "both windows have hops of a minute");
    assert_ne!(place("total_1h"), place("other_1h"));
    assert_ne!(place("first_three_1h"), place("first_four_1h"));
    assert_eq!(view.grids.len(), 1);
    assert_eq!(view.grids[0].slots.len(), 4);
    assert_eq!(view.grids[0].reach, Some("121m".parse().expect("a duration")));
}

#[test]
fn grids_are_ordered_by_hop_and_lifetime_comes_last() {
    let plan = features("  - { name: n, aggregate: count }\n  - { name: n, aggregate: count, windows: [30d, 1m, 1h] }");
    let hops: Vec<Option<String>> =
        plan.views[0].grids.iter().map(|grid| grid.hop.map(|hop| hop.to_string())).collect();
    assert_eq!(hops, [Some("1s".into()), Some("1m".into()), Some("6h".into()), None]);
}

#[test]
fn lateness_is_the_reach_unless_the_source_says_otherwise() {
    let lateness = |plan: Plan| plan.views[0].allowed_lateness.map(|lateness| lateness.to_string());
    assert_eq!(lateness(plan(BASE)), Some("169h".into()));
    assert_eq!(lateness(features("  - { name: n, aggregate: count }")), None);
    let limited = BASE.replace("name: clicks\n", "allowed_lateness: 1h\nname: clicks\n");
    assert_eq!(lateness(plan(&limited)), Some("1h".into()));
}

#[test]
fn explain_shows_grids_tiles_and_state() {
    let text = explain(&plan(BASE).views[0]);
    let (_, body) = text.split_once('\n').expect("the first line has the version");
    expect![[r#"
          entity            user (user_id = user_id)
          source            clicks, event time at
          column            spend float64 = price * quantity
          where             event = 'view'
          allowed lateness  169h
          reach             169h
          max age           30d
        grid 1, tiles of 1m: at most 61, of 2 slots
          spend_1h float64: sum of spend over 1h by 1m; slot 2, 61 tiles
          views_1h int64: count over 1h by 1m; slot 1, 61 tiles
        grid 2, tiles of 1h: at most 169, of 1 slot
          spend_7d float64: sum of spend over 7d by 1h; slot 1, 169 tiles
        state for a busy entity: 230 tiles, about 3.4 kB
    "#]]
    .assert_eq(body);
}

#[test]
fn explain_names_the_ids_that_are_kept() {
    let text = explain(&changed(&[("name: clicks\n", "event_id: note\ndedup_window: 2h\nname: clicks\n")]).views[0]);
    let last = "  and the ids of its events of 2h, which each flush with a new one writes whole\n";
    assert!(text.ends_with(last), "{text}");
}

fn check_diff(old: &Plan, new: &Plan, expected: Expect) {
    let diff = diff(old, new);
    let lines = diff.changes.iter().map(ToString::to_string).chain(diff.refusals.iter().map(ToString::to_string));
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_same_plan_changes_nothing() {
    check_diff(&plan(BASE), &plan(BASE), expect![[""]]);
}

#[test]
fn everything_is_new_at_first_and_removed_at_last() {
    check_diff(
        &Plan::default(),
        &plan(BASE),
        expect![[r#"
        + entity `user`: new
        + source `clicks`: new
        + feature view `activity`: new
        + feature service `model`: new"#]],
    );
    check_diff(
        &plan(BASE),
        &Plan::default(),
        expect![[r#"
        - entity `user`: removed
        - source `clicks`: removed
        - feature view `activity`: removed
        - feature service `model`: removed"#]],
    );
}

#[test]
fn changed_values_are_told_from_changed_reads_and_changed_words() {
    let values = changed(&[("'view'", "'cart'"), ("[1h, 7d]", "[1h, 30d]"), ("user-clicks", "shop-clicks")]);
    check_diff(
        &plan(BASE),
        &values,
        expect![[r#"
            ~ source `clicks`: changes: topic changed
            ~ feature view `activity`: values change, a new version is built (2eb5f00dec0ea4c9 → 84cdc37fd3b8f624): allowed_lateness changed, feature spend_30d new, feature spend_7d gone, topic changed, where changed
            ~ feature service `model`: changes: feature activity:spend_30d new, feature activity:spend_7d gone"#]],
    );
    let reads = changed(&[("max_age: 30d", "max_age: 7d"), ("default: 0", "default: 1")]);
    check_diff(
        &plan(BASE),
        &reads,
        expect![
            "~ feature view `activity`: reads change, rows stay as they are: default of views_1h changed, max_age changed"
        ],
    );
    let words = changed(&[
        ("max_age: 30d", "max_age: 30d\nowner: me@shop.example"),
        ("name: model", "name: model\ntags: { a: b }"),
    ]);
    check_diff(
        &plan(BASE),
        &words,
        expect![[r#"
        ~ feature view `activity`: only described differently
        ~ feature service `model`: only described differently"#]],
    );
}

#[test]
fn a_change_names_the_features_that_it_takes_away() {
    let lost = |old: &Plan, new: &Plan| -> Vec<String> {
        let diff = diff(old, new);
        let lost = |change: &Change| {
            let lost = lost_features(old, new, change).iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("{}: {}", change.name, lost.join(" "))
        };
        diff.changes.iter().map(lost).collect()
    };
    let shorter = changed(&[("[1h, 7d]", "[7d]")]);
    assert_eq!(lost(&plan(BASE), &shorter), ["activity: activity:spend_1h", "model: activity:spend_1h"]);
    assert_eq!(lost(&shorter, &plan(BASE)), ["activity: ", "model: "], "what is added takes nothing away");
    let without = changed(&[("---\nkind: feature_service\nname: model\nfeatures: [activity]\n", "")]);
    let all = "model: activity:spend_1h activity:spend_7d activity:views_1h";
    assert_eq!(lost(&plan(BASE), &without), [all]);
}

#[test]
fn a_service_is_told_once_of_each_deprecated_thing_that_it_stands_on() {
    let uses = |changes: &[(&str, &str)]| -> Vec<String> {
        deprecated_uses(&changed(changes)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(uses(&[]), Vec::<String>::new());
    let feature = ("default: 0", "default: 0, deprecated: count them yourself");
    let source = ("topic: user-clicks", "topic: user-clicks\ndeprecated: gone in May");
    assert_eq!(
        uses(&[feature, source]),
        [
            "feature service `model` uses the deprecated source `clicks`: gone in May",
            "feature service `model` uses the deprecated feature `activity:views_1h`: count them yourself",
        ]
    );
    let service = ("name: model", "name: model\ndeprecated: ask ranker");
    assert_eq!(uses(&[feature, source, service]), Vec::<String>::new(), "it is on its way out itself");
}

#[test]
fn a_schema_changes_as_its_compatibility_allows() {
    let required = [("note, type: string", "note, type: string, required: true")];
    check_diff(
        &plan(BASE),
        &changed(&required),
        expect![[r#"
            ~ source `clicks`: changes: field note changed
            ~ feature view `activity`: values change, a new version is built (2eb5f00dec0ea4c9 → 298890988529ee1f): field note new
            source `clicks`: the field `note` was optional and is now required, which `compatibility: backward` forbids
              help: leave it optional; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
    let retyped = [("price, type: float64", "price, type: string"), ("price * quantity", "quantity")];
    check_diff(
        &plan(BASE),
        &changed(&retyped),
        expect![[r#"
            ~ source `clicks`: changes: field price changed
            ~ feature view `activity`: values change, a new version is built (2eb5f00dec0ea4c9 → c45cdb404544b5d0): column spend changed, field price gone
            source `clicks`: the field `price` was float64 and is now string, which `compatibility: backward` forbids
              help: keep the field, and add one of another name; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
    let widened = [("quantity, type: int32", "quantity, type: int64")];
    assert_eq!(diff(&plan(BASE), &changed(&widened)).refusals, []);
    let forward = [("backward", "forward"), ("quantity, type: int32", "quantity, type: int64")];
    check_diff(
        &plan(BASE),
        &changed(&forward),
        expect![[r#"
            ~ source `clicks`: changes: compatibility changed, field quantity changed
            ~ feature view `activity`: values change, a new version is built (2eb5f00dec0ea4c9 → fc0c546577cc6f2f): field quantity changed
            source `clicks`: the field `quantity` was int32 and is now int64, which `compatibility: forward` forbids
              help: keep the field, and add one of another name; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
    let free = [("backward", "none"), required[0], retyped[0], retyped[1]];
    assert_eq!(diff(&plan(BASE), &changed(&free)).refusals, []);
}

#[test]
fn fields_come_and_go_as_their_direction_allows() {
    let without = changed(&[("    - { name: note, type: string }\n", "")]);
    assert_eq!(diff(&plan(BASE), &without).refusals, [], "backward: the new schema ignores what it does not know");
    assert_eq!(diff(&without, &plan(BASE)).refusals, [], "backward: an optional field may be absent");
    let full = [
        ("backward", "full"),
        ("    - { name: note", "    - { name: extra, type: bool, required: true }\n    - { name: note"),
    ];
    check_diff(
        &plan(BASE),
        &changed(&full),
        expect![[r#"
            ~ source `clicks`: changes: compatibility changed, field extra new
            ~ feature view `activity`: values change, a new version is built (2eb5f00dec0ea4c9 → 27866e16a658d484): field extra new
            source `clicks`: the field `extra` was absent and is now required, which `compatibility: backward` forbids
              help: make it optional: earlier events lack it; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
    let optional = [full[0], (full[1].0, "    - { name: extra, type: bool }\n    - { name: note")];
    check_diff(
        &changed(&full),
        &changed(&optional),
        expect![[r#"
            ~ source `clicks`: changes: field extra changed
            ~ feature view `activity`: values change, a new version is built (27866e16a658d484 → 2eb5f00dec0ea4c9): field extra gone
            source `clicks`: the field `extra` was required and is now optional, which `compatibility: forward` forbids
              help: leave it required; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
    check_diff(
        &changed(&full),
        &changed(&full[..1]),
        expect![[r#"
            ~ source `clicks`: changes: field extra gone
            ~ feature view `activity`: values change, a new version is built (27866e16a658d484 → 2eb5f00dec0ea4c9): field extra gone
            source `clicks`: the field `extra` was required and is now absent, which `compatibility: forward` forbids
              help: keep it: readers of before require it; or declare `compatibility: none` where no event of the other schema matters any more"#]],
    );
}
