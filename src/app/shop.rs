//! For tests of what a service does on its own: a project of one view, applied a moment ago.

use std::path::Path;

use crate::kernel::definition::SourceText;
use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::registry::catalogue::{self, Catalogues};
use crate::registry::sqlite::SqliteRegistry;

const DEFINITIONS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: buys
event_time: { field: at, unit: s }
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }, { name: user_id, type: string }] }
---
kind: feature_view
name: tally
entity: user
source: buys
features: [{ name: buys, aggregate: count }]
";

pub(super) fn project() -> Name {
    "shop".parse().expect("a name")
}

pub(super) async fn applied(folder: &Path, at: EventTime) -> (SqliteRegistry, Catalogues) {
    let registry = SqliteRegistry::open(&folder.join("registry.db"), &project()).await.expect("opens");
    let files = [SourceText { path: "shop.yaml".to_owned(), text: DEFINITIONS.to_owned() }];
    let catalogues = Catalogues::load(&registry).await.expect("loads");
    let planned = catalogue::plan(&catalogues.current(), &files).expect("no mistakes");
    catalogue::apply(&registry, &planned, 0, &files, "ada", at).await.expect("applies");
    catalogues.refresh(&registry).await.expect("refreshes");
    (registry, catalogues)
}
