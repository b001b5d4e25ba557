//! `GET /v1/explain/{name}`: how each value of a lookup came about.

use std::ops::Range;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::json::Rendered;
use crate::api::online_features::{keys_of, known_keys, refuse_repeated};
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::kernel::engine::{ExplainedTile, Explanation};
use crate::kernel::key::{KeyPart, PartId};
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::{FeaturePlan, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;
use crate::registry::catalogue::Catalogue;
use crate::serving::explain::{Explained, ExplainedPart, ExplainedRow, ExplainedView};
use crate::serving::{Request, Wanted};

/// How the values of one entity came about.
#[derive(Serialize, ToSchema)]
pub(super) struct ExplainAnswer {
    /// The one instant of all values.
    #[schema(example = "2026-11-21T10:00:00.000123Z")]
    as_of: String,
    views: Vec<ViewExplanation>,
}

/// One view, and the row that it was read from.
#[derive(Serialize, ToSchema)]
struct ViewExplanation {
    view: String,
    /// The one that answers.
    version: String,
    /// Of its rows: raised by each rebuild.
    generation: u32,
    /// The newest event that lookups see of the entity; null where it is not found.
    newest_event_time: Option<String>,
    /// Null where a key has no events by its nature: it is too long.
    row: Option<RowExplanation>,
    features: Vec<FeatureExplanation>,
}

#[derive(Serialize, ToSchema)]
struct RowExplanation {
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    entity: serde_json::Map<String, serde_json::Value>,
    shard: u16,
    /// How far the log is in the row.
    partitions: Vec<PartitionExplanation>,
    /// What each origin contributed.
    parts: Vec<PartExplanation>,
}

#[derive(Serialize, ToSchema)]
struct PartitionExplanation {
    partition: u32,
    /// Everything below it is in.
    offset: u64,
}

#[derive(Serialize, ToSchema)]
struct PartExplanation {
    /// `history`, or `partition 3`.
    part: String,
    head_bytes: usize,
    body_bytes: usize,
}

#[derive(Serialize, ToSchema)]
struct FeatureExplanation {
    /// `view:feature`.
    name: String,
    aggregate: &'static str,
    /// Over which column; null for the events themselves.
    column: Option<String>,
    value: serde_json::Value,
    status: &'static str,
    /// Null: a lifetime.
    window: Option<WindowExplanation>,
    /// How many inputs the tiles were made of, where the aggregate knows.
    inputs: Option<u64>,
    /// What was merged, oldest first.
    tiles: Vec<TileExplanation>,
}

#[derive(Serialize, ToSchema)]
struct WindowExplanation {
    length: String,
    hop: String,
    /// In.
    start: String,
    /// Out: the as-of.
    end: String,
}

#[derive(Serialize, ToSchema)]
struct TileExplanation {
    part: String,
    /// `head`, which each flush writes, or `body`.
    place: &'static str,
    /// In; null for a lifetime.
    start: Option<String>,
    /// Out.
    end: Option<String>,
    /// How many inputs it was made of, where the aggregate knows.
    inputs: Option<u64>,
    /// What the feature would be if there were no other tile.
    value: serde_json::Value,
}

/// Explain the values of one entity
#[utoipa::path(
    get, operation_id = "explain", path = "/v1/explain/{name}", tag = "lookup",
    params(
        ("name" = String, Path, description = "A feature service, a feature view, or `view:feature`"),
        ("key" = BTreeMap<String, String>, Query, style = Form, explode, description = "The entity's keys: `?user_id=u1`"),
    ),
    responses(
        (status = 200, description = "Each value with the tiles that it was merged from", body = ExplainAnswer),
        (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service, view or feature", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too many features", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(name): Path<String>,
    keys: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<ExplainAnswer>, Problem> {
    let Query(keys) = keys?;
    refuse_repeated(&keys)?;
    let catalogue = state.catalogues.current();
    let wanted = wanted(&catalogue, &caller, name)?;
    let entities = keys_of(&known_keys(&catalogue, &wanted), keys)?;
    let request = Request { wanted, entities };
    let explained = state.serving.explain(&catalogue, &request).await?;
    Ok(Json(ExplainAnswer::of(&explained)))
}

/// A service comes first: a view of the same name can be asked for by its features.
fn wanted(catalogue: &Catalogue, caller: &Caller, name: String) -> Result<Wanted, Problem> {
    let view = name.split(':').next().unwrap_or_default();
    if catalogue.served.service(&name).is_none() && catalogue.served.view(view).is_some() {
        caller.require_any_feature()?;
        return Ok(Wanted::Features(vec![name]));
    }
    caller.require_service(&name)?;
    Ok(Wanted::Service(name))
}

impl ExplainAnswer {
    fn of(explained: &Explained) -> ExplainAnswer {
        let views = explained.views.iter().map(ViewExplanation::of);
        ExplainAnswer { as_of: explained.as_of.to_string(), views: views.collect() }
    }
}

impl ViewExplanation {
    fn of(view: &ExplainedView) -> ViewExplanation {
        let plan = &view.plan;
        let features = view.features.iter().enumerate();
        ViewExplanation {
            view: plan.name.to_string(),
            version: plan.fingerprint.to_string(),
            generation: view.generation,
            newest_event_time: view.reading.newest.map(text),
            row: view.row.as_ref().map(|row| RowExplanation::of(plan, row)),
            features: features.map(|(at, explanation)| FeatureExplanation::of(view, at, explanation)).collect(),
        }
    }
}

impl RowExplanation {
    fn of(plan: &ViewPlan, row: &ExplainedRow) -> RowExplanation {
        let (names, types): (Vec<_>, Vec<_>) = plan.entity.keys.iter().cloned().unzip();
        let parts = row.entity.decode(&types).expect("a key was encoded by these types");
        let value = |part| match part {
            KeyPart::Text(text) => serde_json::Value::from(text),
            KeyPart::Int(int) => int.into(),
        };
        RowExplanation {
            entity: names.iter().map(ToString::to_string).zip(parts.into_iter().map(value)).collect(),
            shard: row.shard.0,
            partitions: row
                .offsets
                .iter()
                .map(|(partition, offset)| PartitionExplanation { partition: *partition, offset: *offset })
                .collect(),
            parts: row.parts.iter().map(PartExplanation::of).collect(),
        }
    }
}

impl PartExplanation {
    fn of(part: &ExplainedPart) -> PartExplanation {
        PartExplanation { part: part_text(part.part), head_bytes: part.head_bytes, body_bytes: part.body_bytes }
    }
}

impl FeatureExplanation {
    fn of(view: &ExplainedView, at: usize, explanation: &Explanation) -> FeatureExplanation {
        let plan = &view.plan.features[explanation.feature];
        let name = FeatureRef { view: view.plan.name.clone(), feature: plan.name.clone() };
        let window = plan.window.zip(explanation.covered.as_ref());
        let inputs = explanation.tiles.iter().map(|tile| tile.inputs);
        FeatureExplanation {
            name: name.to_string(),
            aggregate: plan.call.function.name,
            column: view.plan.slot(plan).column.map(|column| view.plan.schema.field(column).name().clone()),
            value: rendered(plan, view.reading.values[at].as_ref()),
            status: view.reading.status(at).as_str(),
            window: window.map(|(window, Range { start, end })| WindowExplanation {
                length: window.length.to_string(),
                hop: window.hop.to_string(),
                start: text(*start),
                end: text(*end),
            }),
            inputs: inputs.sum(),
            tiles: explanation.tiles.iter().map(|tile| TileExplanation::of(plan, tile)).collect(),
        }
    }
}

impl TileExplanation {
    fn of(plan: &FeaturePlan, tile: &ExplainedTile) -> TileExplanation {
        TileExplanation {
            part: part_text(tile.part),
            place: tile.place.as_str(),
            start: tile.span.as_ref().map(|span| text(span.start)),
            end: tile.span.as_ref().map(|span| text(span.end)),
            inputs: tile.inputs,
            value: rendered(plan, tile.value.as_ref()),
        }
    }
}

fn rendered(plan: &FeaturePlan, value: Option<&Value>) -> serde_json::Value {
    serde_json::to_value(Rendered(&plan.value_type, value)).expect("a value has a form in JSON")
}

fn text(instant: EventTime) -> String {
    instant.to_string()
}

fn part_text(part: PartId) -> String {
    match part {
        PartId::History => "history".to_owned(),
        PartId::Partition(partition) => format!("partition {partition}"),
    }
}
