//! `/v1/keys`: API keys. The text of a key is in the answer that makes it, and nowhere else.

use std::str::FromStr;

use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::audit::Done;
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::registry::access::{ApiKey, KeyText, Scope};
use crate::registry::{Registry, Revocation};

/// What a new key is for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// Who or what will call with it, for people.
    #[schema(example = "ranker")]
    pub name: String,
    pub scopes: Vec<ScopeName>,
    /// The feature services that it may read; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The sources that it may send events to; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeName {
    /// Look features up, cut training sets, see definitions and status.
    Read,
    /// Send events, and see those that were rejected.
    Ingest,
    /// Everything: apply, replay history, backfill, rebuild, make and revoke keys.
    Admin,
}

impl FromStr for ScopeName {
    type Err = String;

    fn from_str(text: &str) -> Result<ScopeName, String> {
        match text {
            "read" => Ok(ScopeName::Read),
            "ingest" => Ok(ScopeName::Ingest),
            "admin" => Ok(ScopeName::Admin),
            _ => Err(format!("`{text}` is not a scope: `read`, `ingest` and `admin` are")),
        }
    }
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Scope {
        match name {
            ScopeName::Read => Scope::Read,
            ScopeName::Ingest => Scope::Ingest,
            ScopeName::Admin => Scope::Admin,
        }
    }
}

/// A key without its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyView {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    /// None: all.
    services: Vec<String>,
    /// None: all.
    sources: Vec<String>,
    created_at: String,
    created_by: String,
    /// Null while it is valid.
    revoked_at: Option<String>,
    revoked_by: Option<String>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    /// To be sent as `Authorization: Bearer KEY`. It is not shown again.
    #[schema(example = "freshet_0123456789ab_…")]
    key: String,
    #[serde(flatten)]
    about: KeyView,
}

#[derive(Serialize, ToSchema)]
pub struct Keys {
    /// The newest first.
    keys: Vec<KeyView>,
}

/// Make an API key
#[utoipa::path(post, operation_id = "create_key", path = "/v1/keys", tag = "access", request_body = KeyBody, responses(
    (status = 201, description = "The key, this once", body = NewKey),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The first key has to be an administrator's", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Json<Object<KeyBody>>, JsonRejection>,
) -> Result<(StatusCode, Extension<Done>, Json<NewKey>), Problem> {
    let Json(Object(body)) = body?;
    let made = add(&*state.registry, &body, caller.name(None), state.clock.now()).await?;
    state.follow_keys().await;
    let KeyView { id, name, scopes, .. } = &made.about;
    let done = Done(format!("key {id} ({name}) with {}", scopes.join(", ")));
    Ok((StatusCode::CREATED, Extension(done), Json(made)))
}

/// List the API keys, without their texts
#[utoipa::path(get, operation_id = "list_keys", path = "/v1/keys", tag = "access",
    responses((status = 200, description = "The newest first, those that were revoked among them", body = Keys)))]
pub(super) async fn list(Shared(state): Shared<State>) -> Result<Json<Keys>, Problem> {
    Ok(Json(all(&*state.registry).await?))
}

/// Revoke an API key
#[utoipa::path(delete, operation_id = "revoke_key", path = "/v1/keys/{id}", tag = "access", params(("id" = String, Path)), responses(
    (status = 200, description = "The key. This process refuses it from now on, others within a second", body = KeyView),
    (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<KeyView>, Problem> {
    let revoked = end(&*state.registry, &id, &caller.name(None), state.clock.now()).await?;
    // Not answered before the key is refused here; whoever tries again revokes no other.
    state.access.refresh(&*state.registry).await?;
    Ok(Json(revoked))
}

/// Adds a key to the registry; the first one is an administrator's, for it closes the service to everybody else.
pub async fn add(registry: &dyn Registry, body: &KeyBody, by: String, now: EventTime) -> Result<NewKey, Problem> {
    let (name, scopes) = (name(body)?, scopes(body)?);
    let (services, sources) = (named("services", &body.services)?, named("sources", &body.sources)?);
    if !scopes.contains(&Scope::Admin) && registry.keys().await?.is_empty() {
        let detail = "the first key closes the project to calls without one, so it needs the scope `admin`";
        return Err(Problem::new(StatusCode::CONFLICT, "FIRST_KEY", detail));
    }
    let text = KeyText::generate().map_err(|error| Problem::internal(&error))?;
    let key = ApiKey {
        id: text.id().to_owned(),
        name,
        digest: text.digest(),
        scopes,
        services,
        sources,
        created_at: now,
        created_by: by,
        revoked: None,
    };
    registry.add_key(&key).await?;
    Ok(NewKey { key: text.reveal().to_owned(), about: view(key) })
}

pub async fn all(registry: &dyn Registry) -> Result<Keys, Problem> {
    Ok(Keys { keys: registry.keys().await?.into_iter().map(view).collect() })
}

/// Revokes a key; one that was revoked before stays as it was.
pub async fn end(registry: &dyn Registry, id: &str, by: &str, now: EventTime) -> Result<KeyView, Problem> {
    let unknown = || Problem::not_found("UNKNOWN_KEY_ID", format_args!("no key has the id `{id}`"));
    match registry.revoke_key(id, by, now).await? {
        Revocation::Unknown => Err(unknown()),
        Revocation::Done | Revocation::DoneBefore => {
            let keys = registry.keys().await?;
            keys.into_iter().find(|key| key.id == id).map(view).ok_or_else(unknown)
        }
    }
}

fn name(body: &KeyBody) -> Result<String, Problem> {
    let is_name = !body.name.trim().is_empty() && body.name.chars().count() <= 100;
    if is_name && !body.name.chars().any(char::is_control) {
        return Ok(body.name.clone());
    }
    Err(Problem::bad_request("INVALID_KEY", "`name` says who calls with the key, in 1 to 100 characters"))
}

/// Ordered, and each once.
fn scopes(body: &KeyBody) -> Result<Vec<Scope>, Problem> {
    let wrong = |detail: &str| Err(Problem::bad_request("INVALID_KEY", detail));
    let mut scopes: Vec<Scope> = body.scopes.iter().copied().map(Scope::from).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let (of_services, of_sources) = (!body.services.is_empty(), !body.sources.is_empty());
    let has = |scope| scopes.contains(&scope);
    if scopes.is_empty() {
        wrong("`scopes` is empty: give one or more of `read`, `ingest`, `admin`")
    } else if has(Scope::Admin) && (of_services || of_sources) {
        wrong("a key with the scope `admin` may do everything: it cannot be limited to services or sources")
    } else if of_services && !has(Scope::Read) {
        wrong("`services` limit the scope `read`, which the key does not have: limit `ingest` by `sources`")
    } else if of_sources && !has(Scope::Ingest) {
        wrong("`sources` limit the scope `ingest`, which the key does not have: limit `read` by `services`")
    } else {
        Ok(scopes)
    }
}

fn named(what: &str, names: &[String]) -> Result<Vec<Name>, Problem> {
    let parsed = names.iter().map(|text| {
        text.parse::<Name>().map_err(|error| Problem::bad_request("INVALID_KEY", format_args!("`{what}`: {error}")))
    });
    parsed.collect()
}

fn view(key: ApiKey) -> KeyView {
    let names = |names: Vec<Name>| names.iter().map(Name::to_string).collect();
    let (revoked_at, revoked_by) = key.revoked.unzip();
    KeyView {
        id: key.id,
        name: key.name,
        scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
        services: names(key.services),
        sources: names(key.sources),
        created_at: key.created_at.to_string(),
        created_by: key.created_by,
        revoked_at: revoked_at.map(|at| at.to_string()),
        revoked_by,
    }
}
