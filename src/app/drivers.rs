//! What runs beside requests: in the stream's role, in the archive's.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;

use crate::api::Phase;
use crate::app::backends::Backends;
use crate::app::promote::Promoter;
use crate::app::retire::remove_retired;
use crate::app::seed::Seeder;
use crate::app::{App, DRAIN, Error};
use crate::archive::{self, Archiver};
use crate::clock::Clock;
use crate::config::Config;
use crate::kernel::plan::ViewPlan;
use crate::offline::Archive;
use crate::online::OnlineStore;
use crate::registry::catalogue::{Catalogues, Pass};
use crate::stream;

/// How often rows whose time has passed are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

impl App {
    /// The fold, and what belongs to it: the step to Live, and the rows that go.
    pub(super) fn run_stream(
        &mut self,
        config: &Config,
        backends: &Backends,
        catalogues: &Catalogues,
        clock: Clock,
    ) -> Result<stream::Passes, Error> {
        let Backends { online, registry, .. } = backends;
        let passes = stream::Passes {
            serving: self.run_pass(Pass::Serving, config, backends, catalogues, clock.clone()),
            building: self.run_pass(Pass::Building, config, backends, catalogues, clock.clone()),
        };
        let closing = self.life.reaches(Phase::Closing);
        let window = config.rollback_window;
        self.run(remove_retired(registry.clone(), online.clone(), clock.clone(), window, closing).map(Ok));
        let promoter = Promoter::new(backends, catalogues.clone(), clock.clone());
        self.run(promoter.run(self.life.reaches(Phase::Closing)));
        let seeder = Seeder::new(backends, catalogues.clone(), clock.clone(), config)?;
        self.run(seeder.run(self.life.reaches(Phase::Closing)));
        let closing = self.life.reaches(Phase::Closing);
        self.run(expire(online.clone(), passes.clone(), clock, closing).map(Ok));
        Ok(passes)
    }

    fn run_pass(
        &mut self,
        pass: Pass,
        config: &Config,
        backends: &Backends,
        catalogues: &Catalogues,
        clock: Clock,
    ) -> watch::Receiver<stream::Progress> {
        let (log, online) = (backends.tiered_log(catalogues), &backends.online);
        let worker = stream::Settings {
            flush_interval: config.flush_interval,
            cache_bytes: config.worker_cache_bytes,
            ..stream::Settings::default()
        };
        let group = match pass {
            Pass::Serving => format!("freshet-{}-stream", config.project),
            Pass::Building => format!("freshet-{}-build", config.project),
        };
        let options = stream::Options { group, worker, grace: DRAIN };
        let (sender, versions) = watch::channel(catalogues.current().written(pass));
        let (progress, streamed) = watch::channel(stream::Progress::default());
        let closing = self.life.reaches(Phase::Closing);
        let task = stream::run(log, online.clone(), versions, progress, clock, options, closing);
        self.run(task.map(|result| result.map_err(Error::from)));
        let closing = self.life.reaches(Phase::Closing);
        self.run(forward_versions(catalogues.clone(), pass, sender, closing).map(Ok));
        streamed
    }

    pub(super) fn run_archive(
        &mut self,
        config: &Config,
        backends: &Backends,
        catalogues: &Catalogues,
        progress: archive::Progress,
    ) {
        let catalogues = catalogues.clone();
        let mut settings = archive::Settings::new(format!("freshet-{}-archive", config.project));
        settings.interval = config.archive_interval;
        let sources = move || catalogues.current().plan.sources.clone();
        let archiver_sources = sources.clone();
        let archive = Archive::new(backends.folder.clone());
        let archiver = Archiver { log: backends.log.clone(), archive, sources, settings, progress };
        let (archive, inputs) = (Archive::new(backends.folder.clone()), config.inputs.clone());
        let (sources, closing) = (archiver_sources, self.life.reaches(Phase::Closing));
        let history = archive::run_history(archive, inputs, sources, closing);
        self.run(history.map(|result| result.map_err(Error::from)));
        let closing = self.life.reaches(Phase::Closing);
        self.run(archive::run(archiver, closing).map(|result| result.map_err(Error::from)));
    }
}

/// Tells a pass what to write.
async fn forward_versions(
    catalogues: Catalogues,
    pass: Pass,
    versions: watch::Sender<Vec<Arc<ViewPlan>>>,
    closing: impl Future<Output = ()>,
) {
    let mut changes = catalogues.subscribe();
    let forward = async {
        while changes.changed().await.is_ok() {
            versions.send_replace(changes.borrow_and_update().written(pass));
        }
    };
    tokio::select! { () = closing => {}, () = forward => {} }
}

async fn expire(
    online: Arc<dyn OnlineStore>,
    streamed: stream::Passes,
    clock: Clock,
    closing: impl Future<Output = ()>,
) {
    let mut closing = std::pin::pin!(closing);
    let mut every = tokio::time::interval(EXPIRE_EVERY);
    loop {
        tokio::select! { () = &mut closing => return, _ = every.tick() => {} }
        let Some(until) = streamed.expiry_time(clock.now()) else { continue };
        match online.expire(until).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "dropped rows whose time has passed"),
            Err(error) => tracing::warn!(%error, "rows whose time has passed stay a while longer"),
        }
    }
}
