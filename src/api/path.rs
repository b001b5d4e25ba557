//! Parameters within a path, as axum reads them: a value that is not of its type is a problem, like any other mistake.

use axum::extract::{FromRequestParts, Path as AxumPath};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::api::problem::Problem;

pub struct Path<T>(pub T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let AxumPath(value) = AxumPath::from_request_parts(parts, state).await?;
        Ok(Path(value))
    }
}
