//! Broken definition files, and the exact message that their author sees. The mistakes of a file are also those
//! that it does not make: none of these is reported twice, or in other words for what follows from it.

use expect_test::{Expect, expect};
use freshet::kernel::definition::{SourceText, parse};

/// What the broken files may refer to.
const BASE: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
key: user_id
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: event, type: string }
    - { name: item_id, type: string }
    - { name: price, type: float64 }
    - { name: quantity, type: int64 }
";

fn check(broken: &str, messages: Expect) {
    let file = |path: &str, text: &str| SourceText { path: path.into(), text: text.into() };
    let mistakes = parse(&[file("base.yaml", BASE), file("defs.yaml", broken)]).expect_err("the file is broken");
    let mut seen: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    seen.truncate(seen.trim_end().len());
    messages.assert_eq(&seen);
}

#[test]
fn the_base_alone_has_no_mistake() {
    parse(&[SourceText { path: "base.yaml".into(), text: BASE.into() }]).expect("the base is good");
}

/// Every prefix of good files, and every file with a line left out: whatever is left is refused with a place, or
/// is good and compiles.
#[test]
fn torn_files_are_answered_without_a_panic() {
    let view = "---\nkind: feature_view\nname: activity\nentity: user\nsource: clicks\nwhere: \"event = 'view'\"\n\
                columns: { spend: price * quantity }\nfeatures:\n  - { name: n, aggregate: last_n, column: spend, \
                n: 3, distinct: true, windows: [1h, { length: 7d, hop: 1d }], default: [0.5] }\n---\n\
                kind: feature_service\nname: model\nfeatures: [activity, \"activity:n_1h\"]\n";
    let text = format!("{BASE}{view}");
    let prefixes = text.char_indices().map(|(end, _)| text[..end].to_owned());
    let lines: Vec<&str> = text.lines().collect();
    let gaps = (0..lines.len()).map(|gap| [&lines[..gap], &lines[gap + 1..]].concat().join("\n"));
    for torn in prefixes.chain(gaps) {
        match parse(&[SourceText { path: "defs.yaml".into(), text: torn.clone() }]) {
            Ok(definitions) => drop(freshet::kernel::plan::compile(&definitions)),
            Err(mistakes) => assert!(!mistakes.is_empty() && mistakes.is_sorted(), "{torn}"),
        }
    }
}

#[test]
fn yaml_that_does_not_parse_is_placed() {
    check(
        r#"
kind: entity
name: shop
keys: [{ name: shop_id, type: string }
description: A shop
"#,
        expect![[r#"
            defs.yaml:5:1: this is not YAML: invalid indentation in flow construct
              help: look at indentation, brackets and quotes here and on the line before; quote text that holds `: ` or ` #`"#]],
    );
}

#[test]
fn tabs_are_not_indentation() {
    check(
        r#"
kind: entity
name: shop
keys:
	- { name: shop_id, type: string }
"#,
        expect![[r#"
            defs.yaml:5:2: this is not YAML: tabs disallowed within this context (block indentation)
              help: indent with spaces"#]],
    );
}

#[test]
fn anchors_and_aliases_are_refused() {
    check(
        r#"
kind: entity
name: shop
keys: &keys [{ name: shop_id, type: string }]
---
kind: entity
name: till
keys: *keys
"#,
        expect![[r#"
            defs.yaml:4:7: anchors such as `&name` are not allowed
              help: write the value out where it is needed
            defs.yaml:8:7: aliases such as `*name` are not allowed
              help: write the value out where it is needed"#]],
    );
}

#[test]
fn an_alias_within_its_document_is_refused_once() {
    check(
        r#"
kind: entity
name: shop
description: &text A shop
owner: *text
keys: [{ name: shop_id, type: !!str string }]
"#,
        expect![[r#"
            defs.yaml:4:14: anchors such as `&name` are not allowed
              help: write the value out where it is needed
            defs.yaml:5:8: aliases such as `*name` are not allowed
              help: write the value out where it is needed
            defs.yaml:6:31: the tag `!str` is not allowed
              help: leave it out: each key has its type already"#]],
    );
}

#[test]
fn a_key_given_twice_is_a_mistake() {
    check(
        r#"
kind: entity
name: shop
name: till
keys: [{ name: shop_id, type: string }]
"#,
        expect![[r#"
            defs.yaml:4:1: the key `name` is given twice
              help: the first is on line 3: keep one of them"#]],
    );
}

#[test]
fn a_document_without_a_kind_is_a_mistake() {
    check(
        r#"
name: shop
keys: [{ name: shop_id, type: string }]
"#,
        expect![[r#"
            defs.yaml:2:1: a document needs `kind`
              help: add `kind: feature_view`"#]],
    );
}

#[test]
fn a_misspelt_kind_is_named_once_and_what_refers_to_it_is_not() {
    check(
        r#"
kind: entitty
name: shop
keys: [{ name: shop_id, type: string }]
---
kind: feature_view
name: sales
entity: shop
source: clicks
features: [{ name: sales, aggregate: count }]
"#,
        expect![[r#"
            defs.yaml:2:7: unknown kind `entitty`
              help: did you mean `entity`?"#]],
    );
}

#[test]
fn a_document_that_is_no_mapping_is_a_mistake() {
    check(
        r#"
- kind: entity
- name: shop
"#,
        expect![[r#"
            defs.yaml:2:1: a document must be a mapping, not a list
              help: write `kind: entity`, `name: user` and so on"#]],
    );
}

#[test]
fn unknown_keys_are_mistakes() {
    check(
        r#"
kind: entity
name: shop
key: [{ name: shop_id, type: string }]
onwer: me@shop.example
ttl: 7d
"#,
        expect![[r#"
            defs.yaml:4:1: an entity has no key `key`
              help: did you mean `keys`?
            defs.yaml:5:1: an entity has no key `onwer`
              help: did you mean `owner`?
            defs.yaml:6:1: an entity has no key `ttl`
              help: one of `kind`, `name`, `description`, `owner`, `tags`, `deprecated`, `keys`"#]],
    );
}

#[test]
fn names_are_checked() {
    check(
        r#"
kind: entity
name: User Profile
keys: [{ name: 7th, type: string }, { name: UserId, type: string }]
"#,
        expect![[r#"
            defs.yaml:3:7: `User Profile` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`
              help: `user_profile` would do
            defs.yaml:4:16: `7th` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`
              help: `th` would do
            defs.yaml:4:45: `UserId` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`
              help: `userid` would do"#]],
    );
}

#[test]
fn a_name_declared_twice_is_a_mistake() {
    check(
        r#"
kind: entity
name: user
keys: [{ name: user_id, type: string }]
"#,
        expect![[r#"
            defs.yaml:3:7: the entity `user` is declared twice
              help: the first is at base.yaml:3:7: rename or remove one of them"#]],
    );
}

#[test]
fn key_types_are_strings_and_integers() {
    check(
        r#"
kind: entity
name: shop
keys:
  - { name: a, type: int32 }
  - { name: b, type: float64 }
  - { name: c, type: varchar }
  - { name: c2, type: strng }
"#,
        expect![[r#"
            defs.yaml:5:22: a key cannot be of type int32
              help: use `int64`: an int32 field of a source may be its key all the same
            defs.yaml:6:22: a key cannot be of type float64
              help: use `string` or `int64`
            defs.yaml:7:22: unknown type `varchar`
              help: one of `bool`, `int32`, `int64`, `float32`, `float64`, `string`, `bytes`, `timestamp`, `date`, `decimal(p,s)`, `list<T>`
            defs.yaml:8:23: unknown type `strng`
              help: did you mean `string`?"#]],
    );
}

#[test]
fn kinds_of_later_releases_are_told_apart() {
    check(
        r#"
kind: table
name: items
keys: [{ name: item_id, type: string }]
---
kind: derived_view
name: ratios
---
kind: feature_service
name: model
features: ["ratios:a"]
"#,
        expect![[r#"
            defs.yaml:2:1: the kind `table` is not in this release
              help: remove the document, and what refers to it
            defs.yaml:6:1: the kind `derived_view` is not in this release
              help: remove the document, and what refers to it"#]],
    );
}

#[test]
fn the_event_time_must_be_there() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: time, type: timestamp, required: true }
"#,
        expect![[r#"
            defs.yaml:4:22: the schema has no field `at`
              help: there is `time`"#]],
    );
}

#[test]
fn the_event_time_must_be_a_timestamp() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: int64, required: true }
"#,
        expect![[r#"
            defs.yaml:4:22: the event time `at` is of type int64, not timestamp
              help: declare it as `{ name: at, type: timestamp, required: true }`"#]],
    );
}

#[test]
fn the_event_time_must_be_required() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: timestamp }
"#,
        expect![[r#"
            defs.yaml:4:22: the event time `at` is not required
              help: add `required: true` to the field `at`: an event without it has no place in time"#]],
    );
}

#[test]
fn units_must_agree_and_belong_to_timestamps() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: timestamp, required: true, unit: s }
    - { name: price, type: float64, unit: ms }
"#,
        expect![[r#"
            defs.yaml:4:32: the unit of `at` is `ms` here and `s` in the schema
              help: leave one of them out
            defs.yaml:8:37: a field of type float64 has no unit
              help: leave `unit` out, or make the field a `timestamp`"#]],
    );
}

#[test]
fn an_unknown_unit_lists_the_units() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: millis }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
"#,
        expect![[r#"
            defs.yaml:4:32: `unit` cannot be `millis`
              help: one of `s`, `ms`, `us`, `ns`, `rfc3339`"#]],
    );
}

#[test]
fn key_and_event_id_must_be_fields() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
key: user_id
event_id: order_id
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: order_id, type: float64 }
"#,
        expect![[r#"
            defs.yaml:5:6: the schema has no field `user_id`
              help: one of `at`, `order_id`
            defs.yaml:6:11: an event id cannot be of type float64
              help: name a field of type `string` or `int64`"#]],
    );
}

#[test]
fn formats_of_later_releases_and_history_without_its_parts_are_told_apart() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
format: avro
history: [{ path: x.parquet }]
schema:
  fields:
    - { name: at, type: timestamp, required: true }
"#,
        expect![[r#"
            defs.yaml:5:9: the format `avro` is not in this release
              help: send JSON: `format: json`
            defs.yaml:6:11: `history` needs `format`
              help: add `format: parquet`
            defs.yaml:6:11: `history` needs `until`
              help: add `until: 2026-01-01T00:00:00Z`"#]],
    );
}

#[test]
fn an_unknown_format_is_a_mistake() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
format: csv
topic: orders of today
max_future_skew: 5 minutes
schema:
  fields:
    - { name: at, type: timestamp, required: true }
"#,
        expect![[r#"
            defs.yaml:5:9: unknown format `csv`
              help: there is `json`
            defs.yaml:6:8: `orders of today` is not the name of a topic
              help: a topic has letters, digits, `.`, `_` and `-`, at most 249 of them
            defs.yaml:7:18: `5 minutes` is not a duration such as `10s`, `5m`, `1h` or `7d`
              help: `max_future_skew` is a duration: a whole number with `s`, `m`, `h` or `d`"#]],
    );
}

#[test]
fn a_decimal_in_braces_wants_quotes() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: price, type: decimal(12,2) }
    - { name: tax, type: "decimal(40,2)" }
"#,
        expect![[r#"
            defs.yaml:8:28: `decimal(12` is cut off at its comma
              help: put it in quotes: `"decimal(12,2)"`
            defs.yaml:9:26: `decimal(40,2)` is out of range: precision is 1 to 38, scale is 0 to the precision
              help: write for example `decimal(12,2)`"#]],
    );
}

#[test]
fn a_field_given_twice_is_a_mistake() {
    check(
        r#"
kind: source
name: orders
event_time: { field: at, unit: ms }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: a, type: string }
    - { name: a, type: int64, requird: yes }
"#,
        expect![[r#"
            defs.yaml:9:7: the field `a` is given twice
              help: keep one of them
            defs.yaml:9:31: a field has no key `requird`
              help: did you mean `required`?"#]],
    );
}

#[test]
fn a_source_without_its_schema_gives_no_second_mistake() {
    check(
        r#"
kind: source
name: orders
key: user_id
event_time: { field: at }
schema: { version: one, compatibility: backwards }
---
kind: feature_view
name: spending
entity: user
source: orders
where: "price > 0"
features: [{ name: spend, aggregate: count, column: price }]
"#,
        expect![[r#"
            defs.yaml:6:9: a schema needs `fields`
              help: add `fields: [{ name: user_id, type: string, required: true }]`
            defs.yaml:6:20: `version` must be a whole number from 1 to 4294967295, not `one`
            defs.yaml:6:40: `compatibility` cannot be `backwards`
              help: did you mean `backward`?"#]],
    );
}

#[test]
fn unknown_entities_and_sources_are_mistakes() {
    check(
        r#"
kind: feature_view
name: activity
entity: usr
source: orders
features: [{ name: views, aggregate: count }]
"#,
        expect![[r#"
            defs.yaml:4:9: unknown entity `usr`
              help: did you mean `user`?
            defs.yaml:5:9: unknown source `orders`
              help: there is `clicks`"#]],
    );
}

#[test]
fn a_view_needs_its_parts() {
    check(
        r#"
kind: feature_view
name: activity
"#,
        expect![[r#"
            defs.yaml:2:1: a feature view needs `entity`
              help: add `entity: user`
            defs.yaml:2:1: a feature view needs `features`
              help: add `features: [{ name: views, aggregate: count, windows: [1h] }]`
            defs.yaml:2:1: a feature view needs `source`
              help: add `source: shop_events`"#]],
    );
}

#[test]
fn the_source_must_hold_the_entity_key() {
    check(
        r#"
kind: entity
name: shop
keys: [{ name: shop_id, type: string }]
---
kind: feature_view
name: sales
entity: shop
source: clicks
features: [{ name: sales, aggregate: count }]
"#,
        expect![[r#"
            defs.yaml:8:9: the source `clicks` has no field `shop_id` for the key `shop_id`
              help: say which field it is, as in `keys: { shop_id: … }`; one of `user_id`, `event`, `item_id`"#]],
    );
}

#[test]
fn keys_name_keys_and_fields_of_the_right_type() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
keys: { user: user_id, user_id: quantity }
features:
  - { name: views, aggregate: count, windows: [1h] }
"#,
        expect![[r#"
            defs.yaml:6:9: the entity `user` has no key `user`
              help: did you mean `user_id`?
            defs.yaml:6:33: the key `user_id` of entity `user` is string, and the field `quantity` is int64
              help: give both the same type, or name another field under `keys`"#]],
    );
}

#[test]
fn an_unknown_column_in_where_is_placed_within_the_expression() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
where: "event = 'view' and prise > 10"
features:
  - { name: views, aggregate: count, windows: [1h] }
"#,
        expect![[r#"
            defs.yaml:6:28: `prise` is not a column here
              help: did you mean `price`? the columns are at, user_id, event, item_id, price, quantity"#]],
    );
}

#[test]
fn where_must_be_true_or_false() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
where: price * quantity
features:
  - { name: views, aggregate: count, windows: [1h] }
"#,
        expect![[r#"
            defs.yaml:6:8: `where` must be true or false, and this is float64
              help: compare it with something, as in `event = 'view'`"#]],
    );
}

#[test]
fn an_expression_that_does_not_parse_is_placed() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
where: 'event = ''view'' and'
features:
  - { name: views, aggregate: count, windows: [1h] }
"#,
        expect![[r#"
            defs.yaml:6:29: expected: an expression, found: the end
              help: an SQL expression over fields and columns, as in `event = 'view' and price > 10`"#]],
    );
}

#[test]
fn a_broken_column_is_reported_once() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
where: spend > 0
columns:
  spend: price * quantty
  price: price * 2
  Net: price
features:
  - { name: spend, aggregate: count, column: spend }
"#,
        expect![[r#"
            defs.yaml:8:18: `quantty` is not a column here
              help: did you mean `quantity`? the columns are at, user_id, event, item_id, price, quantity
            defs.yaml:9:3: the derived column `price` has the name of a field
              help: choose another name: a column cannot stand in for a field
            defs.yaml:10:3: `Net` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`
              help: `net` would do"#]],
    );
}

#[test]
fn joins_of_a_later_release_are_told_apart() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
join: [{ table: items, on: item_id, columns: [category] }]
max_age: soon
online: maybe
features:
  - { name: views, aggregate: count, windows: [1h] }
"#,
        expect![[r#"
            defs.yaml:6:1: `join` of a feature view is not in this release
              help: put the attributes into the events themselves
            defs.yaml:7:10: `soon` is not a duration such as `10s`, `5m`, `1h` or `7d`
              help: `max_age` is a duration: a whole number with `s`, `m`, `h` or `d`
            defs.yaml:8:9: `online` must be `true` or `false`, not `maybe`"#]],
    );
}

#[test]
fn aggregates_are_checked() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: cuont }
  - { name: b, aggregate: top_k, column: item_id, k: 5 }
  - { name: c, aggregate: median, column: price }
  - { name: d, column: price }
"#,
        expect![[r#"
            defs.yaml:7:27: unknown aggregate `cuont`
              help: did you mean `count`?
            defs.yaml:8:27: the aggregate `top_k` is not in this release
              help: one of `count`, `sum`, `mean`, `var_pop`, `var_samp`, `stddev_pop`, `stddev_samp`, `min`, `max`, `first`, `last`, `first_n`, `last_n`, `count_distinct`, `seconds_since_last`
            defs.yaml:9:27: unknown aggregate `median`
              help: did you mean `mean`?
            defs.yaml:10:5: a feature needs `aggregate`
              help: add `aggregate: count`"#]],
    );
}

#[test]
fn columns_are_checked() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: sum }
  - { name: b, aggregate: sum, column: event }
  - { name: c, aggregate: sum, column: pric }
  - { name: d, aggregate: seconds_since_last, column: price }
"#,
        expect![[r#"
            defs.yaml:7:27: the aggregate `sum` needs a column
              help: add `column: …`, a number: `price`, `quantity`
            defs.yaml:8:40: the aggregate `sum` takes a number, and the column `event` is string
              help: columns that would do: `price`, `quantity`
            defs.yaml:9:40: unknown column `pric`
              help: did you mean `price`?
            defs.yaml:10:47: the aggregate `seconds_since_last` takes no column
              help: leave `column` out"#]],
    );
}

#[test]
fn parameters_are_checked() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: last_n, column: item_id }
  - { name: b, aggregate: last_n, column: item_id, n: 5000 }
  - { name: c, aggregate: last_n, column: item_id, n: 5, distinct: 1 }
  - { name: d, aggregate: sum, column: price, n: 5 }
  - { name: e, aggregate: sum, column: price, nn: 5 }
"#,
        expect![[r#"
            defs.yaml:7:5: the aggregate `last_n` needs `n`
              help: add `n`, a whole number from 1 to 1000
            defs.yaml:8:55: `n` must be a whole number from 1 to 1000, not `5000`
            defs.yaml:9:68: `distinct` must be `true` or `false`, not `1`
            defs.yaml:10:47: the aggregate `sum` takes no `n`
              help: leave it out; it belongs to `first_n`, `last_n`
            defs.yaml:11:47: a feature has no key `nn`
              help: one of `name`, `description`, `deprecated`, `windows`, `tumbling`, `session`, `by`, `aggregate`, `column`, `default`"#]],
    );
}

#[test]
fn windows_are_checked() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: count, windows: 1h }
  - { name: b, aggregate: count, windows: [0s, 1w, 90] }
  - { name: c, aggregate: count, windows: [{ length: 1h, hop: 2h }, { hop: 1m }, { length: 30d, hop: 1s }] }
  - { name: d, aggregate: count, windows: [] }
  - { name: e, aggregate: count, window: 1h }
"#,
        expect![[r#"
            defs.yaml:7:43: `windows` must be a list, not one value
              help: write `windows: [1h, 7d]`
            defs.yaml:8:44: a window must be at least `1s` long
              help: for all time leave `windows` out
            defs.yaml:8:48: `1w` is not a duration such as `10s`, `5m`, `1h` or `7d`
              help: an item of `windows` is a duration: a whole number with `s`, `m`, `h` or `d`
            defs.yaml:8:52: `90` is not a duration such as `10s`, `5m`, `1h` or `7d`
              help: an item of `windows` is a duration: a whole number with `s`, `m`, `h` or `d`
            defs.yaml:9:63: the hop `2h` does not suit a window of `1h`
              help: choose one from `1s` to `1h`, or leave it out
            defs.yaml:9:69: a window needs `length`
              help: add `length: 1h`
            defs.yaml:9:82: the hop `1s` cuts the window `30d` into 2592000 tiles
              help: at most 10000 are kept: choose a hop of at least `260s`
            defs.yaml:10:43: `windows` is empty
              help: write `windows: [1h, 7d]`
            defs.yaml:11:34: a feature has no key `window`
              help: did you mean `windows`?"#]],
    );
}

#[test]
fn windows_of_later_releases_are_told_apart() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: count, tumbling: 1h }
  - { name: b, aggregate: count, session: 30m }
  - { name: c, aggregate: count, by: event, limit: 50 }
"#,
        expect![[r#"
            defs.yaml:7:34: `tumbling` of a feature is not in this release
              help: use sliding windows: `windows: [1h]`
            defs.yaml:8:34: `session` of a feature is not in this release
              help: use sliding windows: `windows: [1h]`
            defs.yaml:9:34: `by` of a feature is not in this release
              help: declare one feature view for each value, selected by `where`"#]],
    );
}

#[test]
fn feature_names_must_not_collide() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: views, aggregate: count, windows: [1h] }
  - { name: views_1h, aggregate: count }
  - { name: n, aggregate: count, windows: [1h, 60m, 1h] }
  - { name: user_id, aggregate: count }
  - { name: a23456789012345678901234567890123456789012345678901234567890, aggregate: count, windows: [10m] }
"#,
        expect![[r#"
            defs.yaml:8:13: the feature `views_1h` is declared twice
              help: the first is at defs.yaml:7:48: rename one of them
            defs.yaml:9:53: the feature `n_1h` is declared twice
              help: the first is at defs.yaml:9:44: rename one of them
            defs.yaml:10:13: the feature `user_id` has the name of an entity key
              help: rename it: keys and features are columns of the same tables
            defs.yaml:11:103: `a23456789012345678901234567890123456789012345678901234567890_10m` is longer than 63 characters
              help: shorten the feature's name: the window becomes its suffix"#]],
    );
}

#[test]
fn a_default_must_fit_the_type() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: a, aggregate: count, default: 0.5 }
  - { name: b, aggregate: sum, column: price, default: none }
  - { name: c, aggregate: last, column: event, default: [x] }
  - { name: d, aggregate: max, column: at, default: yesterday }
  - { name: e, aggregate: sum, column: price, default: }
"#,
        expect![[r#"
            defs.yaml:7:43: `default` must be a whole number, not `0.5`
              help: the type here is int64
            defs.yaml:8:56: `default` must be a number, not `none`
              help: the type here is float64
            defs.yaml:9:57: `default` must be text, not a list
              help: write one value
            defs.yaml:10:53: `default` must be a time such as `2026-11-21T10:00:00Z`, not `yesterday`
              help: the type here is timestamp
            defs.yaml:11:47: `default` has no value
              help: give it a number"#]],
    );
}

#[test]
fn services_are_checked() {
    check(
        r#"
kind: feature_view
name: activity
entity: user
source: clicks
features: [{ name: views, aggregate: count, windows: [10m, 1h] }]
---
kind: feature_service
name: model
features:
  - activity
  - activity:views_1h
  - activity:views
  - activity:clicks
  - activty
  - { view: activity }
---
kind: feature_service
name: other
features: []
"#,
        expect![[r#"
            defs.yaml:12:5: the feature `activity:views_1h` is in the service twice
              help: it came at defs.yaml:11:5: name the view, or its features one by one
            defs.yaml:13:5: the feature view `activity` has no feature `views`
              help: did you mean `views_10m`?
            defs.yaml:14:5: the feature view `activity` has no feature `clicks`
              help: one of `views_10m`, `views_1h`
            defs.yaml:15:5: unknown feature view `activty`
              help: did you mean `activity`?
            defs.yaml:16:5: an item of `features` must be a view, or `view:feature`, not a mapping
              help: write one value
            defs.yaml:20:11: `features` is empty
              help: write `features: [user_activity, "item_popularity:views_1h"]`"#]],
    );
}

#[test]
fn entity_keys_of_a_service_must_agree() {
    check(
        r#"
kind: entity
name: customer
keys: [{ name: user_id, type: int64 }]
---
kind: feature_view
name: spending
entity: customer
source: clicks
keys: { user_id: quantity }
features: [{ name: n, aggregate: count }]
---
kind: feature_view
name: activity
entity: user
source: clicks
features: [{ name: n, aggregate: count }]
---
kind: feature_service
name: model
features: [spending, activity]
"#,
        expect![[r#"
            defs.yaml:21:22: the entity key `user_id` is string in `activity` and int64 in `spending`
              help: give the keys of the two entities the same type, or different names"#]],
    );
}
