//! What stands before a call: a key with the right scope, a place, a time, and for changes a line in the audit log.
//!
//! Calls are gathered by the gate that they are behind, where routes are listed. The gate also describes what it
//! answers, so that no call's description can leave it out.

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::audit;
use crate::api::held::Held;
use crate::api::limits::{Lane, Place};
use crate::api::origin;
use crate::api::paced::Paced;
use crate::api::problem::Problem;
use crate::registry::access::Scope;

#[derive(Clone, Copy)]
pub(super) struct Gate {
    scope: Scope,
    lane: Lane,
    is_audited: bool,
    form: Form,
}

/// How a gate says no: as the calls behind it say what goes wrong.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub answer: fn(Problem) -> Response,
    pub content_type: &'static str,
    /// Its name in the description.
    pub schema: &'static str,
}

/// The scheme's name in the description.
const SCHEME: &str = "api_key";

impl Gate {
    pub fn new(scope: Scope, lane: Lane) -> Gate {
        let content_type = "application/problem+json";
        let form = Form { answer: Problem::into_response, content_type, schema: "Problem" };
        Gate { scope, lane, is_audited: false, form }
    }

    /// For calls that change something.
    pub fn audited(self) -> Gate {
        Gate { is_audited: true, ..self }
    }

    pub fn in_form(self, form: Form) -> Gate {
        Gate { form, ..self }
    }

    /// Puts calls behind the gate. Without a state they are described alone.
    pub fn before(self, calls: OpenApiRouter<State>, state: Option<&State>) -> OpenApiRouter<State> {
        let mut calls = match state {
            Some(state) => calls.route_layer(from_fn_with_state((state.clone(), self), pass)),
            None => calls,
        };
        for item in calls.get_openapi_mut().paths.paths.values_mut() {
            operations(item).for_each(|operation| self.describe(operation));
        }
        calls
    }

    fn describe(self, operation: &mut Operation) {
        let needed = SecurityRequirement::new(SCHEME, [self.scope.as_str()]);
        operation.security = Some(vec![needed]);
        let of_any = [
            ("401", "No API key, or one that is not valid"),
            ("403", "The key does not allow it, or there are no keys and another site's page calls"),
            ("500", "A mistake in Freshet itself, or what it keeps does not read"),
            ("503", "Too much is asked at once, it took too long, or a server is away"),
        ];
        let of_a_body = [
            ("408", "The body came too slowly"),
            ("413", "The body is larger than `max_body_mb`, 16 MB unless it is set"),
        ];
        let of_a_body = of_a_body.into_iter().filter(|_| operation.request_body.is_some());
        for (status, description) in of_any.into_iter().chain(of_a_body) {
            // What a call says itself of a status holds too, and is more precise.
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| self.form.described(description).into());
        }
    }
}

impl Form {
    fn described(self, description: &str) -> utoipa::openapi::Response {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(self.schema))).build();
        ResponseBuilder::new().description(description).content(self.content_type, content).build()
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = item;
    [get, put, post, delete].into_iter().flatten()
}

/// How a key is sent.
pub(super) fn scheme() -> Components {
    let help = "Made by `freshet keys create`. Scopes: `read`, `ingest`, and `admin`, which allows everything. A \
                project without keys asks for none.";
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(help)).build();
    let mut components = Components::new();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    components
}

async fn pass(Shared((state, gate)): Shared<(State, Gate)>, mut request: Request, next: Next) -> Response {
    let (caller, place) = match admit(&state, gate, &request) {
        Ok(admitted) => admitted,
        Err(problem) => return (gate.form.answer)(problem),
    };
    request.extensions_mut().insert(caller.clone());
    let (pause, time) = (state.limits.body_pause, state.lanes.body_time(gate.lane));
    let request = match request.body().is_end_stream() {
        true => request,
        false => request.map(|body| Body::new(Paced::new(body, pause, time))),
    };
    let limit = state.lanes.time(gate.lane);
    let answered = async {
        match gate.is_audited {
            true => audit::answer(&state, &caller, request, next).await,
            false => next.run(request).await,
        }
    };
    let answer = timeout(limit, answered).await.unwrap_or_else(|_| {
        state.lanes.timed_out(gate.lane);
        let detail = format!("the call was given up after {limit:?}");
        (gate.form.answer)(Problem::unavailable("TIMED_OUT", detail))
    });
    // What waits to be taken takes memory as well.
    answer.map(|body| Body::new(Held::new(body, place)))
}

fn admit(state: &State, gate: Gate, request: &Request) -> Result<(Caller, Place), Problem> {
    let allowed = state.access.caller(request.headers()).and_then(|caller| {
        if caller.is_anybody() {
            origin::refuse_strangers(request, state.is_local)?;
        }
        caller.require(gate.scope)?;
        Ok(caller)
    });
    let count = |problem: &Problem| state.metrics.requests_refused.with_label_values(&[problem.code]).inc();
    let caller = allowed.inspect_err(count)?;
    if let Some(key) = caller.key() {
        tracing::Span::current().record("key", &*key.id);
    }
    Ok((caller, state.lanes.enter(gate.lane)?))
}
