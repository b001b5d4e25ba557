//! Connections: accepted, encrypted where the settings say so, answered, and ended.
//!
//! HTTP/1.1 in the clear; over TLS also HTTP/2, where the client asks for it. No client holds a connection by being slow:
//! it has [`HANDSHAKE`] for TLS, `idle` to send the head of its next request and to take a part of an answer, a least pace
//! for the rest of it (`activity.rs`), and a limit for each request's body in the router. There are so many connections at
//! once; more wait to be accepted until one ends.
//!
//! ```text
//! accept ─► TLS handshake ─► HTTP/1.1 | HTTP/2 ─► router
//!    └── draining: no new ones; those that are there answer what they have begun, and close
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::app::activity::{Activity, Answers, Verdict};
use crate::app::patient::Patient;
use crate::config::Http;
use crate::telemetry::metrics::Metrics;

/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// Before the next attempt where the system has no file handle left.
const REST: Duration = Duration::from_millis(100);

/// How connections are treated. Clones share the count of them.
#[derive(Clone)]
pub(super) struct Connections {
    tls: Option<TlsAcceptor>,
    /// How long a connection may go without a complete head of a request, or without taking any of its answer.
    idle: Duration,
    /// How many there may be at once.
    places: Arc<Semaphore>,
    open: IntGauge,
}

impl Connections {
    pub fn new(http: &Http, tls: Option<TlsAcceptor>, metrics: &Metrics) -> Connections {
        let places = Arc::new(Semaphore::new(http.connections));
        Connections { tls, idle: http.idle, places, open: metrics.connections.clone() }
    }

    /// Answers until `draining`, and then what was begun before.
    pub async fn serve(self, listener: TcpListener, router: Router, draining: impl Future<Output = ()>) {
        let mut draining = std::pin::pin!(draining);
        let ending = watch::Sender::new(false);
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut draining => break,
                Some(_) = open.join_next() => {}
                (stream, place) = self.accept(&listener) => {
                    let (router, ending) = (router.clone(), ending.subscribe());
                    let connection = Connection { router, ending, idle: self.idle, _place: place };
                    open.spawn(self.clone().answer(stream, connection));
                }
            }
        }
        drop(listener);
        ending.send_replace(true);
        while open.join_next().await.is_some() {}
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                // A client that went away again is no reason to wait.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "a connection could not be accepted; trying again");
                    sleep(REST).await;
                }
            }
        }
    }

    async fn answer(self, stream: TcpStream, connection: Connection) {
        self.open.inc();
        // Answers are written whole: waiting for more of them only delays.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.idle);
        match self.tls.clone() {
            None => connection.run(TokioIo::new(stream), self.builder().http1_only()).await,
            Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let builder = self.builder();
                    let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
                    connection.run(TokioIo::new(stream), builder).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
                Err(_) => tracing::debug!("a client took too long to agree on TLS"),
            },
        }
        self.open.dec();
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.idle);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
        http2.max_concurrent_streams(STREAMS);
        builder
    }
}

/// One connection, whatever carries it.
struct Connection {
    router: Router,
    ending: watch::Receiver<bool>,
    idle: Duration,
    _place: OwnedSemaphorePermit,
}

/// In a client's patience, how often it is looked at.
const LOOKS: u32 = 4;

impl Connection {
    /// A client that breaks off, or is cut off for its slowness, is no error of the service.
    async fn run(mut self, io: impl Read + Write + Send + Unpin + 'static, builder: Builder<TokioExecutor>) {
        // HTTP/1 has a time for the head of the next request by itself, and ends at it without a farewell.
        let (activity, has_farewell) = (Activity::begin(self.idle), builder.is_http2_available());
        let connection = builder.serve_connection(io, Answers::new(self.router, activity.clone()));
        let mut connection = std::pin::pin!(connection);
        let mut ending = std::pin::pin!(async { drop(self.ending.wait_for(|ending| *ending).await) });
        // It ends by itself once it has answered what was begun.
        let (mut is_ending, mut was_idle) = (false, false);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = ending.as_mut(), if !is_ending => {
                    connection.as_mut().graceful_shutdown();
                    is_ending = true;
                }
                () = sleep(self.idle / LOOKS) => match activity.judge(Instant::now()) {
                    Verdict::Busy => was_idle = false,
                    // Whoever asks anew does so on another connection: this one ends once nothing else is under way.
                    Verdict::Slow => connection.as_mut().graceful_shutdown(),
                    Verdict::Idle if !has_farewell => {}
                    Verdict::Idle if !was_idle => {
                        connection.as_mut().graceful_shutdown();
                        was_idle = true;
                    }
                    verdict => return tracing::debug!(?verdict, "a connection was given up"),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = &*error, "a connection ended early");
        }
    }
}
