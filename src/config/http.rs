//! How requests are taken: TLS, and limits that keep one client's requests from being everybody's problem.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::check::Check;

/// The PEM files of a certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone)]
pub struct Http {
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    /// Whether a project without keys may be served beyond loopback.
    pub insecure: bool,
    pub body_bytes: usize,
    pub lookups: usize,
    pub ingests: usize,
    /// Of a lookup or an ingest call.
    pub request_time: Duration,
    /// Between two parts of a body.
    pub body_pause: Duration,
    /// Of one read of the online store.
    pub store_time: Duration,
    pub connections: usize,
    /// Of a connection without a complete head of a request, or that takes nothing of its answer.
    pub idle: Duration,
}

impl Http {
    pub(super) fn checked(check: &mut Check) -> Http {
        Http {
            tls: tls(check),
            insecure: check.flag("insecure"),
            body_bytes: (check.number("max_body_mb", 1, 1 << 10) << 20) as usize,
            lookups: check.number("max_lookups", 1, 1 << 20) as usize,
            ingests: check.number("max_ingests", 1, 1 << 20) as usize,
            request_time: Duration::from_millis(check.number("request_timeout_ms", 10, 3_600_000)),
            body_pause: Duration::from_millis(check.number("body_timeout_ms", 10, 3_600_000)),
            store_time: Duration::from_millis(check.number("store_timeout_ms", 10, 3_600_000)),
            connections: check.number("max_connections", 1, 1 << 20) as usize,
            idle: Duration::from_millis(check.number("idle_timeout_ms", 100, 3_600_000)),
        }
    }
}

fn tls(check: &mut Check) -> Option<Tls> {
    match (check.given("tls_cert"), check.given("tls_key")) {
        (Some(cert), Some(key)) => Some(Tls { cert: cert.into(), key: key.into() }),
        (None, None) => None,
        (Some(_), None) => {
            check.wrong("tls_key", "it is empty: name the PEM file with the key of `tls_cert`");
            None
        }
        (None, Some(_)) => {
            check.wrong("tls_cert", "it is empty: name the PEM file with the certificate chain of `tls_key`");
            None
        }
    }
}
