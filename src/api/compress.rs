//! Answers to lookups, packed for clients that ask for it (`Accept-Encoding: gzip`). They are whole when they come here,
//! and those of less than a kilobyte stay as they are: one packet either way.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::api::negotiate::preferred;

const WORTH_BYTES: u64 = 1_024;

const GZIP: &str = "gzip";
/// As it is.
const IDENTITY: &str = "identity";

pub(super) async fn on_request(request: Request, next: Next) -> Response {
    let accepts = accepts_gzip(request.headers());
    let mut response = next.run(request).await;
    // Caches in between keep an answer for each way to ask.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let length = response.body().size_hint().exact();
    match length.filter(|length| accepts && *length >= WORTH_BYTES) {
        Some(length) => packed(response, length).await,
        None => response,
    }
}

/// A client that accepts anything (`*`) has not asked for it: it has to be named.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let asked = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| preferred(Some(asked), &[GZIP, IDENTITY]) == Some(GZIP) && asked.contains(GZIP))
}

async fn packed(response: Response, length: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, length as usize).await.expect("a body in memory is as long as it says");
    // Fast rather than small: lookups wait for it.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(&bytes).expect("writing to memory does not fail");
    let packed = encoder.finish().expect("writing to memory does not fail");
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(GZIP));
    Response::from_parts(parts, Body::from(packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(asked: &str) -> bool {
        accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_str(asked).expect("a value"))]))
    }

    #[test]
    fn nothing_is_packed_for_a_client_that_does_not_name_gzip() {
        assert!(!accepts_gzip(&HeaderMap::new()));
        assert!(accepts("gzip") && accepts("gzip, deflate, br") && accepts("br;q=1.0, gzip;q=0.5"));
        assert!(!accepts("*") && !accepts("br") && !accepts("gzip;q=0") && !accepts("identity"));
        assert!(!accepts("identity, gzip;q=0.5"), "it prefers what it is");
    }
}
