//! `POST /v1/rollbacks`: the version of a view that was served before, at once, while it is written still.
//!
//! Lookups and training sets of every process read it within a second, from one snapshot of the catalogue to the next.
//! What was served stays written in its place, so a second rollback is the way forth. The definitions stay as they are
//! applied; until they define the view otherwise, further applies leave it rolled back.

use axum::extract::Query;
use axum::extract::State as Shared;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::audit::Done;
use crate::api::object::Object;
use crate::api::problem::Problem;
use crate::kernel::name::Name;
use crate::registry::catalogue::Version;
use crate::registry::{self, VersionState, ViewVersion};

/// What to serve as before.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackBody {
    /// A feature view.
    view: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RollbackQuery {
    /// Who does it, for the history; beside the name of the key, where there is one.
    by: Option<String>,
}

/// A view that was rolled back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RollbackView {
    view: String,
    /// The version that was served; it stays written, and another rollback serves it again.
    from: String,
    /// The version that is served now.
    to: String,
    at: String,
    by: String,
}

impl From<registry::Rollback> for RollbackView {
    fn from(done: registry::Rollback) -> RollbackView {
        RollbackView {
            view: done.view.to_string(),
            from: done.from.to_string(),
            to: done.to.to_string(),
            at: done.at.to_string(),
            by: done.by,
        }
    }
}

/// Serve the version of a view that was served before
#[utoipa::path(post, operation_id = "create_rollback", path = "/v1/rollbacks", tag = "definitions", params(RollbackQuery), request_body = RollbackBody, responses(
    (status = 200, description = "It is served; other processes switch within a second", body = RollbackView),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such view", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is no version before that could be served, and why", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<RollbackQuery>, QueryRejection>,
    body: Result<Json<Object<RollbackBody>>, JsonRejection>,
) -> Result<(Extension<Done>, Json<RollbackView>), Problem> {
    let (Query(query), Json(Object(body))) = (query?, body?);
    let catalogue = state.catalogues.current();
    let view = catalogue.plan.view(&body.view).map(|view| view.name.clone());
    let view = view.ok_or_else(|| {
        Problem::not_found("UNKNOWN_VIEW", format_args!("feature view `{}` is not defined", body.view))
    })?;
    let retained = |it: &&Version| it.state == VersionState::Retained && it.view.name == view;
    if let Some(before) = catalogue.versions.iter().find(retained) {
        refuse_incomplete(&state, before).await?;
    }
    let by = caller.name(query.by.as_deref());
    let Some(done) = state.registry.roll_back(&view, &by, state.clock.now()).await? else {
        return Err(refusal(&view, &state.registry.versions_of(&view).await?));
    };
    state.follow_definitions().await;
    let said = format!("view {view} from version {} to {}", done.from, done.to);
    Ok((Extension(Done(said)), Json(done.into())))
}

/// Its lookups would be refused: what is served is better.
async fn refuse_incomplete(state: &State, before: &Version) -> Result<(), Problem> {
    if !before.view.online || state.online.is_complete(before.view.rows).await? {
        return Ok(());
    }
    let (view, version) = (&before.view.name, before.view.fingerprint);
    let detail =
        format!("the rows of version {version}, the one before of view `{view}`, are being built anew: try again");
    Err(Problem::new(StatusCode::CONFLICT, "VERSION_INCOMPLETE", detail))
}

/// Why a view stays as it is. `versions` are all that it ever had, the newest first.
fn refusal(view: &Name, versions: &[ViewVersion]) -> Problem {
    let in_state = |state: VersionState| versions.iter().find(|it| it.state == state);
    let building = in_state(VersionState::Building);
    let detail = match (in_state(VersionState::Live), building, in_state(VersionState::Dropped)) {
        (None, ..) => format!("no version of view `{view}` is served yet"),
        (Some(live), Some(building), _) => format!(
            "version {} of view `{view}` is still being built, and {} is served: apply the definitions of revision {} \
             again to give it up",
            building.fingerprint, live.fingerprint, live.revision
        ),
        (Some(_), None, Some(dropped)) => format!(
            "version {}, the one before of view `{view}`, was retired at {}, its `rollback_window` over: apply the \
             definitions of revision {} again, and it is built anew",
            dropped.fingerprint, dropped.since, dropped.revision
        ),
        (Some(live), None, None) => format!("view `{view}` has had no version before {}", live.fingerprint),
    };
    Problem::new(StatusCode::CONFLICT, "NO_VERSION_BEFORE", detail)
}
