//! What `--bench online` measures: the rows, and who else answers for them.

pub mod feast;
pub mod floor;
pub mod rows;

pub const FEATURES: usize = 50;

/// Ten aggregates over five windows.
pub fn definitions(topic: &str) -> String {
    let aggregates = [
        ("events", "count", ""),
        ("spend", "sum", ", column: price"),
        ("usual", "mean", ", column: price"),
        ("cheapest", "min", ", column: price"),
        ("dearest", "max", ", column: price"),
        ("spread", "stddev_pop", ", column: price"),
        ("pieces", "sum", ", column: quantity"),
        ("item", "last", ", column: item_id"),
        ("items", "count_distinct", ", column: item_id"),
        ("idle", "seconds_since_last", ""),
    ];
    let feature = |(name, aggregate, column): &(&str, &str, &str)| {
        format!("  - {{ name: {name}, aggregate: {aggregate}{column}, windows: [1h, 24h, 7d, 14d, 30d] }}\n")
    };
    let features: String = aggregates.iter().map(feature).collect();
    BEFORE_FEATURES.replace("{topic}", topic) + &features + AFTER_FEATURES
}

const BEFORE_FEATURES: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: shop_events
topic: {topic}
format: json
key: user_id
event_time: { field: timestamp, unit: ms }
schema:
  version: 1
  compatibility: backward
  fields:
    - { name: timestamp, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: item_id, type: string }
    - { name: price, type: float64 }
    - { name: quantity, type: int64 }
---
kind: feature_view
name: user_activity
entity: user
source: shop_events
features:
";

const AFTER_FEATURES: &str = "---
kind: feature_service
name: activity
features: [user_activity]
";
