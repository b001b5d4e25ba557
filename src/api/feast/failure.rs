//! What goes wrong in a call of Feast's contract, as Feast's server says it: the body is a JSON string, whose text is
//! JSON again, with the module, the class and the message of an error that Feast's client then raises.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa::ToSchema;

use crate::api::gate::Form;
use crate::api::problem::Problem;
use crate::event_log;
use crate::kernel::name::Name;
use crate::serving;

/// JSON as text within a JSON string: `module`, `class` and `message` of one of Feast's errors.
#[derive(ToSchema)]
#[schema(example = r#"{"module":"feast.errors","class":"FeatureViewNotFoundException","message":"..."}"#)]
#[allow(dead_code, reason = "describes what a failure is written as")]
pub(super) struct FeastFailure(String);

/// How a gate before these calls says no.
pub(super) const FORM: Form = Form {
    answer: |problem| Failure::from(problem).into_response(),
    content_type: "application/json",
    schema: "FeastFailure",
};

#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    class: Class,
    message: String,
}

/// The classes of `feast.errors` that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The base class, where no other fits.
    Feast,
    FeatureServiceNotFound,
    FeatureViewNotFound,
    ObjectNotFound,
    PushSourceNotFound,
    FeatureNameCollision,
    MissingColumns,
    Permission,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Class::Feast => "FeastError",
            Class::FeatureServiceNotFound => "FeatureServiceNotFoundException",
            Class::FeatureViewNotFound => "FeatureViewNotFoundException",
            Class::ObjectNotFound => "FeastObjectNotFoundException",
            Class::PushSourceNotFound => "PushSourceNotFoundException",
            Class::FeatureNameCollision => "FeatureNameCollisionError",
            Class::MissingColumns => "FeastEntityDFMissingColumnsError",
            Class::Permission => "FeastPermissionError",
        }
    }
}

impl Failure {
    pub fn new(status: StatusCode, class: Class, message: impl Into<String>) -> Failure {
        Failure { status, class, message: message.into() }
    }

    /// The caller asked for something that cannot be answered.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, Class::Feast, message)
    }

    /// The caller sent something that cannot be taken: the status of Feast's server for it.
    pub fn unprocessable(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, Class::Feast, message)
    }

    pub fn not_found(class: Class, message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, class, message)
    }

    pub fn no_view(name: &str, project: &Name) -> Failure {
        let message = format!("Feature view {name} does not exist in project {project}");
        Failure::not_found(Class::FeatureViewNotFound, message)
    }
}

/// What the native API says, in Feast's form.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let status = StatusCode::from_u16(problem.status).expect("made from a status");
        let class = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Class::Permission,
            _ => Class::Feast,
        };
        Failure::new(status, class, problem.detail)
    }
}

impl From<serving::Error> for Failure {
    fn from(error: serving::Error) -> Failure {
        let class = match &error {
            serving::Error::MissingKey { .. } => Class::MissingColumns,
            _ => Class::Feast,
        };
        Failure { class, ..Failure::from(Problem::from(error)) }
    }
}

impl From<event_log::Error> for Failure {
    fn from(error: event_log::Error) -> Failure {
        Problem::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let detail = json!({ "module": "feast.errors", "class": self.class.as_str(), "message": self.message });
        let mut response = (self.status, Json(detail.to_string())).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
