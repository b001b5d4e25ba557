//! Builds everything, and starts what the roles of the process ask for. What runs beside the main task is started
//! here and nowhere else, so that a shutdown can wait for all of it.
//!
//! ```text
//! start:    listen (not ready yet) ─► log, registry, stores ─► drivers ─► requests
//! shutdown: not ready ─► `drain_delay_ms` ─► requests end ─► stream (flushed), archive (committed), log of lookups ─► spans (sent)
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::{self, Access, Jobs, Lanes, Limits, Phase, Turns};
use crate::archive;
use crate::clock::Clock;
use crate::config::{Config, Http, Role};
use crate::event_log::embedded::EmbeddedLog;
use crate::offline::{Archive, Lookups};
use crate::registry::access::KeyText;
use crate::registry::catalogue::Catalogues;
use crate::serving::sample::{self, Sampler};
use crate::serving::{Reader, Serving};
use crate::stream;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

use backends::Backends;
pub use backends::registry;
pub use error::Error;
use follow::Follower;
use life::Life;
use server::Connections;
use waiting::Waiting;

mod activity;
mod backends;
mod drivers;
mod error;
mod follow;
mod life;
mod patient;
mod promote;
mod retire;
mod seed;
mod server;
#[cfg(test)]
mod shop;
mod tls;
mod waiting;

/// A running service.
pub struct App {
    address: SocketAddr,
    is_encrypted: bool,
    life: Life,
    drain_delay: Duration,
    traces: Traces,
    tasks: JoinSet<Result<(), Error>>,
}

type Ended = Result<Result<(), Error>, tokio::task::JoinError>;

/// How long requests in flight may take at a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a command that works alone waits for a server that is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the server of a start may take to end.
const HAND_OVER: Duration = Duration::from_secs(1);

impl App {
    /// Returns once the service answers, however long the servers that it needs are away. Until then its address answers
    /// that it is not ready, and why.
    pub async fn start(config: Config) -> Result<App, Error> {
        App::begin(config, None, Waiting::new(None)).await
    }

    /// A service for its own process alone, on a loopback port, in the clear: nobody may call it without the key. Gives up
    /// where a server stays away.
    pub async fn start_alone(config: Config) -> Result<(App, KeyText), Error> {
        let key = KeyText::generate()?;
        let app = App::begin(config.alone(), Some(&key), Waiting::new(Some(PATIENCE))).await?;
        Ok((app, key))
    }

    async fn begin(config: Config, own: Option<&KeyText>, waiting: Waiting) -> Result<App, Error> {
        let tls = config.http.tls.as_ref().map(tls::acceptor).transpose()?;
        let cannot_listen = |source| Error::Listen { address: config.listen, source };
        let (early, listener) = listen(config.listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(Error::Server)?;
        let (life, drain_delay) = (Life::begin(), config.drain_delay);
        let (is_encrypted, traces) = (tls.is_some(), Traces::from_environment());
        let mut app = App { address, is_encrypted, life, drain_delay, traces, tasks: JoinSet::new() };
        let metrics = Metrics::new();
        let connections = Connections::new(&config.http, tls, &metrics);
        let early = app.run_early(connections.clone(), early, waiting.subscribe());
        let backends = Backends::open(&config, address, &waiting).await?;
        let registry = &*backends.registry;
        let access = waiting.until_there(async || Ok(Access::load(registry, own).await?)).await?;
        refuse_everybody(&config, address, &access)?;
        let catalogues = waiting.until_there(async || Ok(Catalogues::load(registry).await?)).await?;
        let is_local = address.ip().is_loopback();
        let state = app.run_roles(&config, &backends, access, catalogues, metrics, is_local)?;
        app.life.proceed(Phase::Running);
        // Two that accept at once would leave it to chance who answers. One that dawdles over a probe is not waited for.
        let _ = timeout(HAND_OVER, early).await;
        app.run_server(connections, listener, state);
        Ok(app)
    }

    /// Removes what a service kept in a data folder, unless one is using it. A folder without an embedded log is none.
    pub fn clear(data_dir: &Path) -> Result<(), Error> {
        let cannot = |source| Error::Remove { place: data_dir.display().to_string(), source };
        if !data_dir.exists() {
            return Ok(());
        }
        if !EmbeddedLog::is_in(&data_dir.join("log")) {
            // A service that was killed as it began leaves an empty one: this removes no other.
            return std::fs::remove_dir(data_dir).map_err(cannot);
        }
        // Whoever uses the folder holds the log's lock.
        drop(EmbeddedLog::open(&data_dir.join("log"))?);
        std::fs::remove_dir_all(data_dir).map_err(cannot)
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_encrypted { "https" } else { "http" }, self.address)
    }

    /// Until Ctrl-C or SIGTERM, or until a part cannot go on.
    pub async fn until_stopped(mut self) -> Result<(), Error> {
        let ended = tokio::select! {
            () = asked_to_stop() => None,
            ended = self.next_ended() => Some(ended),
        };
        let outcome = ended.unwrap_or(Ok(()));
        if let Err(error) = &outcome {
            tracing::error!(%error, "stopping: a part cannot go on");
        }
        outcome.and(self.stop().await)
    }

    /// Answers what is under way, flushes, commits, and lets go. The first failure is told, the others are logged.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.life.proceed(Phase::Leaving);
        sleep(self.drain_delay).await;
        self.life.proceed(Phase::Draining);
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let result = self.ended(ended);
            if let (Err(_), Err(error)) = (&outcome, &result) {
                tracing::error!(%error, "a further part failed while stopping");
            }
            outcome = outcome.and(result);
        }
        self.traces.stop().await;
        outcome
    }

    /// The first part that cannot go on; some end well while the service lives.
    async fn next_ended(&mut self) -> Result<(), Error> {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    /// A part that died cannot say so itself, and the others must not wait for it.
    fn ended(&self, ended: Ended) -> Result<(), Error> {
        ended.unwrap_or_else(|_| {
            self.life.proceed(Phase::Closing);
            Err(Error::Died)
        })
    }

    fn run(&mut self, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn run_roles(
        &mut self,
        config: &Config,
        backends: &Backends,
        access: Access,
        catalogues: Catalogues,
        metrics: Metrics,
        is_local: bool,
    ) -> Result<api::State, Error> {
        let Backends { log, online, registry, folder } = backends;
        let clock = Clock::System;
        let follower = Follower::new(registry.clone(), access.clone(), catalogues.clone());
        self.run(follower.run(config.registry_poll, self.life.reaches(Phase::Closing)).map(Ok));
        let (sampler, logged) = Sampler::new(config.parity_sample);
        let archived = archive::Progress::default();
        let (jobs, queued) = Jobs::new(registry.clone(), clock.clone());
        let streamed = match config.roles.has(Role::Stream) {
            true => self.run_stream(config, backends, &catalogues, clock.clone())?,
            false => stream::Passes::default(),
        };
        if config.roles.has(Role::Archive) {
            self.run_archive(config, backends, &catalogues, archived.clone());
        }
        if config.roles.has(Role::Api) {
            let closing = self.life.reaches(Phase::Closing);
            self.run(sample::keep(logged, Lookups::new(folder.clone()), closing).map(Ok));
        }
        let limits = limits(&config.http);
        let state = api::State::new(api::Parts {
            log: log.clone(),
            online: online.clone(),
            registry: registry.clone(),
            catalogues,
            serving: Serving {
                store: Reader::new(online.clone(), config.http.store_time),
                clock: clock.clone(),
                sampler,
            },
            clock,
            lanes: Lanes::new(limits, &metrics),
            turns: Turns::default(),
            metrics,
            traces: self.traces.clone(),
            stream: streamed,
            archived: archive::Reached::new(archived, Archive::new(folder.clone())),
            jobs,
            job_resources: config.job_resources,
            folder: folder.clone(),
            inputs: config.inputs.clone(),
            project: config.project.clone(),
            roles: config.roles.clone(),
            phase: self.life.watch(),
            access,
            is_local,
            limits,
            partitions: config.partitions,
        });
        if config.roles.has(Role::Api) {
            let closing = self.life.reaches(Phase::Closing);
            self.run(api::run_jobs(state.clone(), queued, closing).map(Ok));
        }
        Ok(state)
    }

    /// Answers probes until the service does; the receiver hears when it has ended.
    fn run_early(
        &mut self,
        connections: Connections,
        listener: TcpListener,
        waiting_for: watch::Receiver<String>,
    ) -> oneshot::Receiver<()> {
        let server = connections.serve(listener, api::starting(waiting_for), self.life.reaches(Phase::Running));
        let (ended, end) = oneshot::channel::<()>();
        self.run(async move {
            server.await;
            drop(ended);
            Ok(())
        });
        end
    }

    fn run_server(&mut self, connections: Connections, listener: TcpListener, state: api::State) {
        let server = connections.serve(listener, api::router(state), self.life.reaches(Phase::Draining));
        let patience = self.life.reaches(Phase::Draining).then(|()| sleep(DRAIN));
        let life = self.life.clone();
        self.run(async move {
            tokio::select! { () = server => {}, () = patience => {} }
            // However it ended, no request waits for the drivers any more.
            life.proceed(Phase::Closing);
            Ok(())
        });
    }
}

/// A service that asks nobody who they are is for those who are on the machine already.
fn refuse_everybody(config: &Config, address: SocketAddr, access: &Access) -> Result<(), Error> {
    let is_reachable = !address.ip().is_loopback();
    if is_reachable && config.http.tls.is_none() {
        tracing::warn!(%address, "keys and values pass in the clear: give `tls_cert` and `tls_key`, or end TLS before it");
    }
    match is_reachable && access.is_open() {
        true if config.http.insecure => {
            tracing::warn!(%address, "whoever reaches the address may do anything: there are no API keys");
            Ok(())
        }
        true => Err(Error::Open { address, project: config.project.clone() }),
        false => Ok(()),
    }
}

fn limits(http: &Http) -> Limits {
    Limits {
        body_bytes: http.body_bytes,
        request_time: http.request_time,
        body_pause: http.body_pause,
        lookups: http.lookups,
        ingests: http.ingests,
        ..Limits::default()
    }
}

/// One address for two servers: what the first leaves unanswered, the second finds waiting.
async fn listen(address: SocketAddr) -> io::Result<(TcpListener, TcpListener)> {
    let listener = TcpListener::bind(address).await?.into_std()?;
    Ok((TcpListener::from_std(listener.try_clone()?)?, TcpListener::from_std(listener)?))
}

/// Resolves at Ctrl-C, or at SIGTERM.
pub async fn asked_to_stop() {
    let terminated = async {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        match signal {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! { _ = tokio::signal::ctrl_c() => {}, () = terminated => {} }
}
