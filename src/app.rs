//! Builds everything, and alone chooses concrete backends. What runs beside the main task is started here and
//! nowhere else, so that a shutdown can wait for all of it.
//!
//! ```text
//! requests stop first, then the stream (flushed) and the archive (committed), then the log of lookups
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{self, Jobs, Limits};
use crate::archive::{self, Archiver};
use crate::clock::Clock;
use crate::config::Config;
use crate::event_log::embedded::EmbeddedLog;
use crate::event_log::{self, EventLog};
use crate::kernel::key::SHARDS;
use crate::kernel::plan::ViewPlan;
use crate::offline::{Archive, Folder, Lookups};
use crate::online::{self, OnlineStore};
use crate::registry::catalogue::Catalogues;
use crate::registry::sqlite::SqliteRegistry;
use crate::registry::{self, Registry, VersionState};
use crate::serving::Serving;
use crate::serving::sample::{self, Sampler};
use crate::stream;
use crate::telemetry::metrics::Metrics;

/// A running service.
pub struct App {
    address: SocketAddr,
    stop: Stop,
    tasks: JoinSet<Result<(), Error>>,
}

type Ended = Result<Result<(), Error>, tokio::task::JoinError>;

/// What a shutdown is told by. Clones share it.
#[derive(Clone)]
struct Stop(watch::Sender<Phase>);

impl Stop {
    /// Never back.
    fn proceed(&self, phase: Phase) {
        self.0.send_if_modified(|now| std::mem::replace(now, (*now).max(phase)) < phase);
    }
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No new requests.
    Draining,
    /// Drivers flush and let go.
    Closing,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot create {place}")]
    Folder { place: String, source: std::io::Error },
    #[error("cannot remove {place}")]
    Remove { place: String, source: std::io::Error },
    #[error(transparent)]
    Log(#[from] event_log::Error),
    #[error(transparent)]
    Online(#[from] online::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error("the stream worker stopped")]
    Stream(#[from] stream::Error),
    #[error("the archive stopped")]
    Archive(#[from] archive::Error),
    #[error("the server stopped")]
    Server(#[source] std::io::Error),
    #[error("a part of the service died of a mistake in Freshet itself; the lines above say where")]
    Died,
}

/// How often rows whose time has passed are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How long requests in flight may take at a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

impl App {
    /// Returns once the service answers.
    pub async fn start(config: Config) -> Result<App, Error> {
        let root = &config.data_dir;
        let cannot_create = |source| Error::Folder { place: root.display().to_string(), source };
        std::fs::create_dir_all(root).map_err(cannot_create)?;
        let clock = Clock::System;
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&root.join("log"))?);
        let registry: Arc<dyn Registry> =
            Arc::new(SqliteRegistry::open(&root.join("registry.sqlite"), &config.project).await?);
        let shards = registry.shards(SHARDS).await?;
        let options = online::EmbeddedOptions { shards, cache_bytes: config.store_cache_bytes };
        let folder = root.join("online").join(config.project.as_str());
        let online: Arc<dyn OnlineStore> = Arc::new(online::Embedded::open(&folder, options)?);
        let folder = Folder::open(&root.join("offline"), &config.project);
        let catalogues = Catalogues::load(&*registry).await?;
        let (sampler, logged) = Sampler::new(config.parity_sample);
        let (progress, streamed) = watch::channel(stream::Progress::default());
        let archived = archive::Progress::default();
        let (jobs, queued) = Jobs::new(registry.clone(), clock.clone());

        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(|source| Error::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(Error::Server)?;

        let state = api::State {
            log: log.clone(),
            online: online.clone(),
            registry: registry.clone(),
            catalogues: catalogues.clone(),
            serving: Serving { store: online.clone(), clock: clock.clone(), sampler },
            clock: clock.clone(),
            metrics: Metrics::new(),
            stream: streamed.clone(),
            archived: archived.clone(),
            jobs: jobs.clone(),
            folder: folder.clone(),
            project: config.project.clone(),
            limits: Limits::default(),
            partitions: config.partitions,
        };
        let mut app = App { address, stop: Stop(watch::Sender::new(Phase::Running)), tasks: JoinSet::new() };
        app.run_stream(&config, log.clone(), online.clone(), &catalogues, progress, clock.clone());
        app.run_archive(&config, log.clone(), folder.clone(), &catalogues, archived, clock.clone());
        let closing = app.reaches(Phase::Closing);
        app.run(sample::keep(logged, Lookups::new(folder), closing).map(Ok));
        let closing = app.reaches(Phase::Closing);
        app.run(api::run_jobs(jobs, queued, closing).map(|result| result.map_err(Error::from)));
        let closing = app.reaches(Phase::Closing);
        app.run(promote(log, registry, catalogues, streamed.clone(), clock.clone(), closing));
        let closing = app.reaches(Phase::Closing);
        app.run(expire(online, streamed, clock, closing).map(Ok));
        app.run_server(listener, state);
        Ok(app)
    }

    /// Removes what a service kept in a data folder, unless one is using it.
    pub fn clear(data_dir: &Path) -> Result<(), Error> {
        if !data_dir.exists() {
            return Ok(());
        }
        // Whoever uses the folder holds the log's lock.
        drop(EmbeddedLog::open(&data_dir.join("log"))?);
        let cannot = |source| Error::Remove { place: data_dir.display().to_string(), source };
        std::fs::remove_dir_all(data_dir).map_err(cannot)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Until Ctrl-C or SIGTERM, or until a part cannot go on.
    pub async fn until_stopped(mut self) -> Result<(), Error> {
        let ended = tokio::select! {
            () = asked_to_stop() => None,
            ended = self.tasks.join_next() => ended,
        };
        let outcome = ended.map_or(Ok(()), |ended| self.ended(ended));
        if let Err(error) = &outcome {
            tracing::error!(%error, "stopping: a part cannot go on");
        }
        outcome.and(self.stop().await)
    }

    /// Answers what is under way, flushes, commits, and lets go. The first failure is told, the others are logged.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.proceed(Phase::Draining);
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let result = self.ended(ended);
            if let (Err(_), Err(error)) = (&outcome, &result) {
                tracing::error!(%error, "a further part failed while stopping");
            }
            outcome = outcome.and(result);
        }
        outcome
    }

    /// A part that died cannot say so itself, and the others must not wait for it.
    fn ended(&self, ended: Ended) -> Result<(), Error> {
        ended.unwrap_or_else(|_| {
            self.stop.proceed(Phase::Closing);
            Err(Error::Died)
        })
    }

    /// Resolves when a shutdown has come that far.
    fn reaches(&self, phase: Phase) -> impl Future<Output = ()> + Send + 'static {
        let mut changes = self.stop.0.subscribe();
        // The app lives until its tasks have ended; where it was dropped all the same, that is a shutdown too.
        async move { drop(changes.wait_for(|now| *now >= phase).await) }
    }

    fn run(&mut self, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn run_stream(
        &mut self,
        config: &Config,
        log: Arc<dyn EventLog>,
        online: Arc<dyn OnlineStore>,
        catalogues: &Catalogues,
        progress: watch::Sender<stream::Progress>,
        clock: Clock,
    ) {
        let (sender, versions) = watch::channel(catalogues.current().written());
        let worker = stream::Settings {
            flush_interval: config.flush_interval,
            cache_bytes: config.worker_cache_bytes,
            ..stream::Settings::default()
        };
        let group = format!("freshet-{}-stream", config.project);
        let options = stream::Options { group, worker, grace: DRAIN };
        let closing = self.reaches(Phase::Closing);
        let task = stream::run(log, online.clone(), versions, progress, clock, options, closing);
        self.run(task.map(|result| result.map_err(Error::from)));
        let closing = self.reaches(Phase::Closing);
        self.run(forward_versions(catalogues.clone(), sender, online, closing).map(Ok));
    }

    fn run_archive(
        &mut self,
        config: &Config,
        log: Arc<dyn EventLog>,
        folder: Folder,
        catalogues: &Catalogues,
        progress: archive::Progress,
        clock: Clock,
    ) {
        let catalogues = catalogues.clone();
        let mut settings = archive::Settings::new(format!("freshet-{}-archive", config.project));
        settings.interval = config.archive_interval;
        let sources = move || catalogues.current().plan.sources.clone();
        let archiver = Archiver { log, archive: Archive::new(folder), sources, clock, settings, progress };
        let closing = self.reaches(Phase::Closing);
        self.run(archive::run(archiver, closing).map(|result| result.map_err(Error::from)));
    }

    fn run_server(&mut self, listener: TcpListener, state: api::State) {
        let draining = self.reaches(Phase::Draining);
        let server = axum::serve(listener, api::router(state)).with_graceful_shutdown(draining);
        let patience = self.reaches(Phase::Draining).then(|()| tokio::time::sleep(DRAIN));
        let stop = self.stop.clone();
        self.run(async move {
            let served = tokio::select! {
                served = server.into_future() => served.map_err(Error::Server),
                () = patience => Ok(()),
            };
            // However it ended, no request waits for the drivers any more.
            stop.proceed(Phase::Closing);
            served
        });
    }
}

/// Tells the stream what to write; rows of versions that are dropped go.
async fn forward_versions(
    catalogues: Catalogues,
    versions: watch::Sender<Vec<Arc<ViewPlan>>>,
    online: Arc<dyn OnlineStore>,
    closing: impl Future<Output = ()>,
) {
    let mut changes = catalogues.subscribe();
    let forward = async {
        while changes.changed().await.is_ok() {
            let written = changes.borrow_and_update().written();
            let before = versions.send_replace(written.clone());
            for gone in before.iter().filter(|view| written.iter().all(|kept| kept.fingerprint != view.fingerprint)) {
                if let Err(error) = online.remove(gone.fingerprint).await {
                    tracing::warn!(%error, view = %gone.name, "rows of a dropped version stay in the store");
                }
            }
        }
    };
    tokio::select! { () = closing => {}, () = forward => {} }
}

/// Makes a version live once the stream has caught up with the log of when it began; one that is not kept online has
/// nothing to catch up with.
async fn promote(
    log: Arc<dyn EventLog>,
    registry: Arc<dyn Registry>,
    catalogues: Catalogues,
    mut progress: watch::Receiver<stream::Progress>,
    clock: Clock,
    closing: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut closing = std::pin::pin!(closing);
    let mut applied = catalogues.subscribe();
    // What was applied before a start counts too.
    applied.mark_changed();
    loop {
        tokio::select! {
            () = &mut closing => return Ok(()),
            changed = progress.changed() => if changed.is_err() { return Ok(()) },
            changed = applied.changed() => if changed.is_err() { return Ok(()) },
        }
        let caught_up = progress.borrow_and_update().clone();
        if let Err(error) = promote_caught_up(&*log, &*registry, &catalogues, &caught_up, &clock).await {
            if !error.is_transient() {
                return Err(error.into());
            }
            tracing::warn!(%error, "a view is caught up and cannot be made live yet; trying again");
        }
    }
}

async fn promote_caught_up(
    log: &dyn EventLog,
    registry: &dyn Registry,
    catalogues: &Catalogues,
    progress: &stream::Progress,
    clock: &Clock,
) -> Result<(), registry::Error> {
    let catalogue = catalogues.current();
    let building = catalogue.versions.iter().filter(|version| version.state == VersionState::Building);
    let mut promoted = false;
    for version in building {
        // A topic that the log does not know yet has nothing to catch up with, and no partition that could say so.
        let Ok(bounds) = log.bounds(&version.view.source.topic).await else { continue };
        if !version.view.online || progress.is_caught_up(version.view.fingerprint, bounds.len()) {
            registry.promote(version.view.fingerprint, clock.now()).await?;
            tracing::info!(view = %version.view.name, version = %version.view.fingerprint, "live");
            promoted = true;
        }
    }
    if promoted { catalogues.refresh(registry).await } else { Ok(()) }
}

async fn expire(
    online: Arc<dyn OnlineStore>,
    streamed: watch::Receiver<stream::Progress>,
    clock: Clock,
    closing: impl Future<Output = ()>,
) {
    let mut closing = std::pin::pin!(closing);
    let mut every = tokio::time::interval(EXPIRE_EVERY);
    loop {
        tokio::select! { () = &mut closing => return, _ = every.tick() => {} }
        let Some(until) = streamed.borrow().expiry_time(clock.now()) else { continue };
        match online.expire(until).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "dropped rows whose time has passed"),
            Err(error) => tracing::warn!(%error, "rows whose time has passed stay a while longer"),
        }
    }
}

async fn asked_to_stop() {
    let terminated = async {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        match signal {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! { _ = tokio::signal::ctrl_c() => {}, () = terminated => {} }
}
