//! The rows of a training set on their way out, a part of the file at a time: a set of any size is handed out in little
//! memory, and one that nobody reads on is read no further.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};

use crate::api::State;
use crate::api::blocking;
use crate::api::problem::Problem;
use crate::api::training_sets::{FormatName, stored_path};
use crate::offline::{Error, Folder, convert};

/// The stored Parquet as it is, or written once more in another format and kept beside it.
pub(super) async fn answer(state: &State, id: &str, format: FormatName) -> Result<Response, Problem> {
    let path = stored_path(id, format);
    let mut size = size(&state.folder, &path).await?;
    if size.is_none() && !matches!(format, FormatName::Parquet) {
        size = converted(state, id, format).await?;
    }
    let gone = || {
        let detail = format!("the training set is gone from {}", state.folder.place_of(&path));
        tracing::error!(detail, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
    };
    let size = size.ok_or_else(gone)?;
    // With its length known, whoever reads can tell a file that was cut off.
    let headers =
        [(header::CONTENT_TYPE, format.content_type().to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, body(&state.folder, path, size)).into_response())
}

async fn size(folder: &Folder, path: &str) -> Result<Option<u64>, Problem> {
    let (folder, path) = (folder.clone(), path.to_owned());
    Ok(blocking(move || folder.size(&path)).await?)
}

/// Goes on to its end if the caller leaves: the next one will want it.
async fn converted(state: &State, id: &str, format: FormatName) -> Result<Option<u64>, Problem> {
    let (stored, wanted) = (stored_path(id, FormatName::Parquet), stored_path(id, format));
    let (folder, turn) = (state.folder.clone(), state.turns.conversion().await);
    let conversion = move || {
        let _turn = turn;
        // Whoever had the turn before may have written it.
        if folder.size(&wanted)?.is_none() {
            convert(&folder, &stored, &wanted, format.format())?;
        }
        folder.size(&wanted)
    };
    Ok(blocking(conversion).await?)
}

fn body(folder: &Folder, path: String, size: u64) -> Body {
    let folder = folder.clone();
    let part = move |part: Range<u64>| {
        let (folder, path) = (folder.clone(), path.clone());
        blocking(move || folder.part(&path, part))
    };
    let told = |read: &Result<Bytes, Error>| {
        if let Err(error) = read {
            tracing::warn!(%error, "the answer with a training set was broken off");
        }
    };
    Body::from_stream(stream::iter(Folder::parts(size)).then(part).inspect(told))
}
