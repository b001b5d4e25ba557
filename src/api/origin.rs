//! From where a project without keys may be called. Its service listens on loopback, and whoever is on the machine may do
//! anything; the web pages that somebody on the machine looks at are strangers all the same. A browser sends their calls,
//! and says so.
//!
//! * `Sec-Fetch-Site: cross-site`, or an `Origin` that is not the service itself: a page of another site calls. To follow a
//!   link there is no call of the page.
//! * A `Host` that anybody may own, on loopback: a page whose own name was made to lead here, so that it may read answers.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::api::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Ends of names that nobody can register.
const OWN: [&str; 3] = [".localhost", ".internal", ".test"];

/// `is_local`: the service listens on loopback alone.
pub(super) fn refuse_strangers(request: &Request, is_local: bool) -> Result<(), Problem> {
    let headers = request.headers();
    let host = text(headers, HOST).or_else(|| request.uri().authority().map(|it| it.as_str()));
    let follows = request.method() == Method::GET && text(headers, SEC_FETCH_MODE) == Some("navigate");
    if text(headers, SEC_FETCH_SITE) == Some("cross-site") && !follows {
        return Err(refusal("a web page of another site".to_owned()));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let is_own = origin.to_str().ok().and_then(authority).zip(host).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        if !is_own {
            return Err(refusal(format!("a web page of {}", String::from_utf8_lossy(origin.as_bytes()))));
        }
    }
    match host.filter(|host| is_local && !is_own_name(host)) {
        None => Ok(()),
        Some(host) => Err(refusal(format!("somebody who calls this service `{host}`"))),
    }
}

fn refusal(who: String) -> Problem {
    let detail = format!(
        "the call is from {who}, and the project has no API keys that would tell it from others: make one with `freshet \
         keys create` and send it, or call the service by its address, as a proxy in front of it has to as well"
    );
    Problem::new(StatusCode::FORBIDDEN, "CROSS_SITE", detail)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn authority(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

/// An address, or a name that leads nowhere but in one's own network.
fn is_own_name(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next().is_some_and(|address| address.parse::<IpAddr>().is_ok());
    }
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || !name.contains('.') || OWN.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn passes(is_local: bool, headers: &[(&str, &str)]) -> bool {
        let request =
            headers.iter().fold(Request::post("/v1/definitions/apply"), |it, (name, value)| it.header(*name, *value));
        refuse_strangers(&request.body(Body::empty()).expect("a request"), is_local).is_ok()
    }

    #[test]
    fn programs_and_pages_of_the_service_pass() {
        assert!(passes(true, &[]));
        for host in
            ["127.0.0.1:6566", "[::1]:6566", "localhost:6566", "freshet:6566", "host.docker.internal", "LOCALHOST."]
        {
            assert!(passes(true, &[("host", host)]), "{host}");
        }
        let own = [("host", "127.0.0.1:6566"), ("origin", "http://127.0.0.1:6566"), ("sec-fetch-site", "same-origin")];
        assert!(passes(true, &own));
        assert!(passes(true, &[("host", "localhost:6566"), ("sec-fetch-site", "none")]), "an address that was typed");
    }

    #[test]
    fn pages_of_others_do_not() {
        let host = ("host", "127.0.0.1:6566");
        let cross_site = ("sec-fetch-site", "cross-site");
        assert!(!passes(true, &[host, cross_site]));
        assert!(!passes(true, &[host, cross_site, ("sec-fetch-mode", "navigate")]), "a form that is sent");
        let link =
            Request::get("/v1/status").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        assert!(refuse_strangers(&link.body(Body::empty()).expect("a request"), true).is_ok());
        for origin in ["https://evil.example", "null", "http://127.0.0.1:6567", "http://127.0.0.1:6566.evil.example"] {
            assert!(!passes(true, &[host, ("origin", origin)]), "{origin}");
            assert!(!passes(false, &[host, ("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_does_not_on_loopback() {
        for host in ["evil.example:6566", "127.0.0.1.evil.example", "evil.internal.example"] {
            assert!(!passes(true, &[("host", host)]), "{host}");
            assert!(passes(false, &[("host", host)]), "a service for others may have any name: {host}");
        }
    }
}
