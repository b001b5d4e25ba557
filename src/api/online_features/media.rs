//! As what a lookup is answered: JSON, or an Arrow stream where the client prefers it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};

use crate::api::negotiate::preferred;
use crate::api::online_features::table;
use crate::api::problem::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Arrow,
}

pub(super) const JSON: &str = "application/json";

impl Media {
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Media::Json => JSON,
            Media::Arrow => table::MEDIA_TYPE,
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Media {
    type Rejection = Problem;

    /// What several headers say is what one list of them says; one that is no text says nothing.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Media, Problem> {
        let mut accepted = parts.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let Some(first) = accepted.next() else { return Ok(Media::Json) };
        let all = accepted.fold(first.to_owned(), |all, next| all + "," + next);
        match preferred(Some(&all), &[JSON, table::MEDIA_TYPE]) {
            Some(JSON) => Ok(Media::Json),
            Some(_) => Ok(Media::Arrow),
            None => {
                let arrow = table::MEDIA_TYPE;
                let detail = format_args!("a lookup is answered as {JSON} or {arrow}, and `{all}` accepts neither");
                Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", detail))
            }
        }
    }
}
