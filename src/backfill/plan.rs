//! What a run stands on from its first moment to its last, whoever goes on with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backfill::Request;
use crate::batch::Resources;
use crate::kernel::event::decoding_mark;
use crate::kernel::plan::ViewPlan;
use crate::offline::{Archive, Error};

/// Plain data, kept with the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    from: String,
    to: String,
    every: String,
    knowledge: String,
    source: String,
    /// What rows show beyond their version, which the run's table has: the order and the defaults of features, for how long
    /// an entity is found, and which records are events.
    #[serde(default)]
    definition: [String; 3],
    /// Partition → the offset that its events are read up to.
    pub archived_to: BTreeMap<u32, u64>,
    /// Into how many lanes entities are dealt by their shards.
    pub lanes: usize,
    /// How large the rows of a step may be in memory.
    pub step_bytes: usize,
}

/// Of what a job may use, the share of rows that wait to be written.
const ROWS_SHARE: usize = 8;

impl Plan {
    /// Pins what is archived now.
    pub fn new(archive: &Archive, request: &Request, resources: Resources) -> Result<Plan, Error> {
        let lanes = resources.threads.get();
        Ok(Plan {
            from: request.interval.start.to_string(),
            to: request.interval.end.to_string(),
            every: request.every.to_string(),
            knowledge: request.knowledge.as_str().to_owned(),
            source: request.view.source.name.to_string(),
            definition: definition(&request.view),
            archived_to: archive.pin(&request.view.source)?.offsets(),
            lanes,
            step_bytes: resources.memory_bytes / ROWS_SHARE / lanes,
        })
    }

    pub fn is_of(&self, request: &Request) -> bool {
        let asked = [request.interval.start.to_string(), request.interval.end.to_string(), request.every.to_string()];
        asked == [self.from.as_str(), &self.to, &self.every]
            && request.knowledge.as_str() == self.knowledge
            && definition(&request.view) == self.definition
    }

    /// What was asked, and what it was computed from.
    pub fn details(&self) -> serde_json::Value {
        serde_json::json!({
            "from": self.from,
            "to": self.to,
            "every": self.every,
            "knowledge": self.knowledge,
            "source": self.source,
            "archived_to": self.archived_to,
        })
    }
}

fn definition(view: &ViewPlan) -> [String; 3] {
    let found_for = view.found_for().map_or_else(|| "ever".to_owned(), |duration| duration.to_string());
    [view.answers().to_string(), found_for, decoding_mark(&view.source).to_string()]
}
