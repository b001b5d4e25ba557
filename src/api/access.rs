//! Who may call: the project's keys as this process knows them, and what a request's key allows.
//!
//! A project without keys is **open**: whoever reaches the service may do anything, so it listens on loopback alone
//! unless it was told otherwise. Once the project has had a key, it is closed to everybody without one, for good: when
//! the last key is revoked, the way in is `freshet keys create --local`, for those who can write to the registry.
//!
//! Keys are looked up in memory, as [`Access::refresh`] last read them: twice a second at the least, if they have changed.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{Mutex, watch};

use crate::api::jobs::JobView;
use crate::api::problem::Problem;
use crate::kernel::name::Name;
use crate::kernel::plan::Plan;
use crate::registry::access::{ApiKey, Digest, KeyText, Scope};
use crate::registry::{self, Registry};

/// The keys of a project. Clones share them.
#[derive(Clone)]
pub struct Access {
    ring: watch::Sender<Arc<Ring>>,
    /// Held while one refreshes, so that older keys never replace newer ones.
    refreshing: Arc<Mutex<()>>,
    /// Of the process itself, which nobody else has: for commands that run a service of their own.
    own: Option<Digest>,
}

#[derive(Default)]
struct Ring {
    by_id: HashMap<String, Arc<ApiKey>>,
    /// Whether there ever was a key.
    is_closed: bool,
}

impl Access {
    /// The keys as they are now; with `own`, nobody without a key may call, whatever the registry has.
    pub async fn load(registry: &dyn Registry, own: Option<&KeyText>) -> Result<Access, registry::Error> {
        let (ring, refreshing) = (watch::Sender::default(), Arc::default());
        let access = Access { ring, refreshing, own: own.map(KeyText::digest) };
        access.refresh(registry).await?;
        Ok(access)
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.own.is_none() && !self.ring.borrow().is_closed
    }

    pub async fn refresh(&self, registry: &dyn Registry) -> Result<(), registry::Error> {
        let _turn = self.refreshing.lock().await;
        let keys = registry.keys().await?;
        let is_closed = !keys.is_empty();
        let valid = keys.into_iter().filter(|key| key.revoked.is_none());
        let by_id = valid.map(|key| (key.id.clone(), Arc::new(key))).collect();
        self.ring.send_replace(Arc::new(Ring { by_id, is_closed }));
        Ok(())
    }

    /// Who sends a request with these headers.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.is_open() {
            return Ok(Caller(Who::Anybody));
        }
        let Some(sent) = headers.get(header::AUTHORIZATION) else {
            let detail = "the call needs an API key: send `Authorization: Bearer KEY`; commands take it from \
                          FRESHET_API_KEY; `freshet keys create` makes one";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "API_KEY_MISSING", detail));
        };
        let text = sent.to_str().ok().and_then(bearer).and_then(KeyText::parse);
        text.and_then(|text| self.find(&text)).ok_or_else(|| {
            let detail = "the API key is not one of this project, or was revoked: `freshet keys list` shows which are";
            Problem::new(StatusCode::UNAUTHORIZED, "API_KEY_INVALID", detail)
        })
    }

    /// Takes as long for an unknown key as for a wrong secret: one digest, one comparison.
    fn find(&self, text: &KeyText) -> Option<Caller> {
        let digest = text.digest();
        if self.own == Some(digest) {
            return Some(Caller(Who::Itself));
        }
        let key = self.ring.borrow().by_id.get(text.id()).cloned();
        let known = key.as_ref().map_or(Digest::NONE, |key| key.digest);
        key.filter(|_| known == digest).map(|key| Caller(Who::Key(key)))
    }
}

/// The scheme's name may be written in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, text) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// Who sent a request, and so what it may do.
#[derive(Clone, Debug)]
pub(super) struct Caller(Who);

#[derive(Clone, Debug)]
enum Who {
    /// The service is open.
    Anybody,
    /// A command, of the service that it runs itself.
    Itself,
    Key(Arc<ApiKey>),
}

impl Caller {
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        match self.key().filter(|key| !key.allows(scope)) {
            None => Ok(()),
            Some(key) => {
                let has: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                let scope = scope.as_str();
                let detail =
                    format!("the call needs the scope `{scope}`, and key `{}` has {}", key.name, has.join(", "));
                Err(Problem::new(StatusCode::FORBIDDEN, "SCOPE_MISSING", detail))
            }
        }
    }

    /// Whether features may be named without a service that has them.
    pub fn require_any_feature(&self) -> Result<(), Problem> {
        self.require_no_limit(|key, services| {
            format!("key `{key}` reads the services {services}: name one instead of features")
        })
    }

    /// For `what` shows values of all services together.
    pub fn require_every_service(&self, what: &str) -> Result<(), Problem> {
        self.require_no_limit(|key, services| {
            format!(
                "{what} shows values of every service, and key `{key}` is limited to {services}: ask with a key that is not limited"
            )
        })
    }

    /// What lies below the input roots is of no service.
    pub fn require_files(&self) -> Result<(), Problem> {
        self.require_no_limit(|key, services| {
            format!("key `{key}` is limited to {services}, and names no file of the service: send the rows as the body")
        })
    }

    pub fn require_service(&self, service: &str) -> Result<(), Problem> {
        self.require_named("feature service", service, |key| &key.services)
    }

    /// A job is of a service, or of a view that one of the services has to read.
    pub fn require_job(&self, plan: &Plan, job: &JobView) -> Result<(), Problem> {
        match job.service() {
            Some(service) => self.require_service(service),
            None => self.require_view(plan, job.view().unwrap_or_default()),
        }
    }

    fn require_view(&self, plan: &Plan, view: &str) -> Result<(), Problem> {
        let Some(key) = self.limited() else { return Ok(()) };
        let mut services = plan.services.iter().filter(|service| key.services.contains(&service.name));
        if services.any(|service| service.features.iter().any(|feature| feature.view == *view)) {
            return Ok(());
        }
        let detail =
            format!("key `{}` is limited to {}, and none of it reads view `{view}`", key.name, names(&key.services));
        Err(beyond(detail))
    }

    pub fn require_source(&self, source: &str) -> Result<(), Problem> {
        self.require_named("source", source, |key| &key.sources)
    }

    /// For the history and the audit log. `claimed` is what the request says of who sends it.
    pub fn name(&self, claimed: Option<&str>) -> String {
        match (&self.0, claimed) {
            (Who::Key(key), Some(claimed)) => format!("{claimed} (key {}, {})", key.id, key.name),
            (Who::Key(key), None) => format!("key {}, {}", key.id, key.name),
            (Who::Anybody | Who::Itself, claimed) => claimed.unwrap_or("unknown").to_owned(),
        }
    }

    /// Whether nobody was asked for a key.
    pub fn is_anybody(&self) -> bool {
        matches!(self.0, Who::Anybody)
    }

    pub fn key(&self) -> Option<&ApiKey> {
        match &self.0 {
            Who::Key(key) => Some(key),
            Who::Anybody | Who::Itself => None,
        }
    }

    /// `refusal` is told the key and its services.
    fn require_no_limit(&self, refusal: impl FnOnce(&str, &str) -> String) -> Result<(), Problem> {
        match self.limited() {
            None => Ok(()),
            Some(key) => Err(beyond(refusal(&key.name, &names(&key.services)))),
        }
    }

    /// The key, where it is limited to some services.
    fn limited(&self) -> Option<&ApiKey> {
        self.key().filter(|key| !key.services.is_empty())
    }

    fn require_named(&self, kind: &str, name: &str, limit: fn(&ApiKey) -> &Vec<Name>) -> Result<(), Problem> {
        let is_beyond = |key: &&ApiKey| !limit(key).is_empty() && !limit(key).iter().any(|it| *it == *name);
        let Some(key) = self.key().filter(is_beyond) else { return Ok(()) };
        let detail = format!("key `{}` is limited to {}, and `{name}` is another {kind}", key.name, names(limit(key)));
        Err(beyond(detail))
    }
}

fn beyond(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "BEYOND_KEY", detail)
}

fn names(names: &[Name]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// As the gate has found it.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Self::Rejection> {
        Ok(parts.extensions.get::<Caller>().expect("the call is behind a gate").clone())
    }
}
