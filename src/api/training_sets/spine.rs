//! The spine of a request: its body, or a file below the input roots that the request names.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::blocking;
use crate::api::problem::Problem;
use crate::offline::{Error, Format, InputFile, Limits, SpineFormat};

pub(super) const LIMITS: Limits = Limits { rows: 10_000_000, bytes: 1 << 30 };

/// The format that a spine has.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpineName {
    Parquet,
    Csv,
    Arrow,
    Json,
}

impl SpineName {
    pub fn format(self) -> SpineFormat {
        match self {
            SpineName::Parquet => SpineFormat::Table(Format::Parquet),
            SpineName::Csv => SpineFormat::Table(Format::Csv),
            SpineName::Arrow => SpineFormat::Table(Format::Arrow),
            SpineName::Json => SpineFormat::Json,
        }
    }

    /// By the content type.
    pub fn of_body(headers: &HeaderMap) -> Result<SpineName, Problem> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim() {
            "text/csv" => Ok(SpineName::Csv),
            "application/json" => Ok(SpineName::Json),
            "application/vnd.apache.parquet" => Ok(SpineName::Parquet),
            "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => Ok(SpineName::Arrow),
            other => Err(unsupported(format!(
                "a spine is text/csv, application/json, application/vnd.apache.parquet or \
                 application/vnd.apache.arrow.file, not `{other}`"
            ))),
        }
    }

    /// By the end of the name.
    pub fn of_file(path: &str) -> Result<SpineName, Problem> {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok(SpineName::Csv),
            Some("json") => Ok(SpineName::Json),
            Some("parquet") => Ok(SpineName::Parquet),
            Some("arrow" | "arrows" | "feather") => Ok(SpineName::Arrow),
            _ => Err(unsupported(format!("a spine is a .csv, .json, .parquet or .arrow file, and `{path}` is none"))),
        }
    }
}

/// The bytes of the file that `path` names.
pub(super) async fn read_file(state: &State, caller: &Caller, path: String) -> Result<Bytes, Problem> {
    caller.require_files()?;
    let inputs = state.inputs.clone();
    let read = move || {
        let files = inputs.files(&path).map_err(refused)?;
        let [file] = files.as_slice() else { return Err(several(&path, files.len())) };
        require_small(file)?;
        file.read().map_err(refused)
    };
    blocking(read).await
}

fn require_small(file: &InputFile) -> Result<(), Problem> {
    match file.length().map_err(refused)? > LIMITS.bytes as u64 {
        false => Ok(()),
        true => {
            let detail = format!("`{}` has more than {} bytes: cut it in pieces", file.name(), LIMITS.bytes);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "SPINE_TOO_LARGE", detail))
        }
    }
}

fn refused(error: Error) -> Problem {
    match error {
        Error::Input { .. } => Problem::bad_request("SPINE_FILE", error),
        error => error.into(),
    }
}

fn several(path: &str, count: usize) -> Problem {
    Problem::bad_request("SPINE_FILE", format_args!("`{path}` is {count} files, and a spine is one"))
}

fn unsupported(detail: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "SPINE_FORMAT", detail)
}
