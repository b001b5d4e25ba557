//! What is applied, compiled: one immutable snapshot for each lookup, replaced as a whole when something changes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::kernel::definition::{self, Diagnostic, SourceText};
use crate::kernel::name::Name;
use crate::kernel::plan::Refusal;
use crate::kernel::plan::{self, Fingerprint, Plan, ViewPlan};
use crate::kernel::plan::{Diff, diff};
use crate::kernel::time::EventTime;
use crate::registry::{Error, Registry, VersionState, ViewVersion};

/// One snapshot. Its versions are compiled from the revisions that define them, so an old version goes on being
/// served as it was defined while its successor is built.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// 0 before the first apply.
    pub revision: u64,
    /// Of the newest revision.
    pub plan: Arc<Plan>,
    /// Not the dropped ones.
    pub versions: Vec<Version>,
}

#[derive(Clone, Debug)]
pub struct Version {
    pub view: Arc<ViewPlan>,
    pub state: VersionState,
}

impl Catalogue {
    /// The version of a view that lookups read; `None` while its first one is being built.
    pub fn serving(&self, view: &str) -> Option<&Arc<ViewPlan>> {
        let live = |version: &&Version| version.state == VersionState::Live && version.view.name == *view;
        self.versions.iter().find(live).map(|version| &version.view)
    }

    /// A version that is not dropped.
    pub fn version(&self, fingerprint: Fingerprint) -> Option<&Arc<ViewPlan>> {
        self.versions.iter().map(|version| &version.view).find(|view| view.fingerprint == fingerprint)
    }

    /// What the stream writes.
    pub fn written(&self) -> Vec<Arc<ViewPlan>> {
        self.versions.iter().map(|version| version.view.clone()).filter(|view| view.online).collect()
    }

    pub async fn load(registry: &dyn Registry) -> Result<Catalogue, Error> {
        let Some(revision) = registry.revision().await? else { return Ok(Catalogue::default()) };
        let plan = Arc::new(compile(&revision.files, revision.number)?);
        let mut versions = Vec::new();
        for version in registry.versions().await? {
            versions.push(compiled_version(registry, &plan, &version).await?);
        }
        Ok(Catalogue { revision: revision.number, plan, versions })
    }
}

async fn compiled_version(registry: &dyn Registry, newest: &Plan, version: &ViewVersion) -> Result<Version, Error> {
    let fits =
        |plan: &Plan| plan.view(version.view.as_str()).filter(|view| view.fingerprint == version.fingerprint).cloned();
    if let Some(view) = fits(newest) {
        return Ok(Version { view, state: version.state });
    }
    let missing = |detail: String| Error::Damaged { place: format!("revision {}", version.revision), detail };
    let revision = registry.revision_numbered(version.revision).await?;
    let revision = revision.ok_or_else(|| missing("it is gone, and a view is still served by it".to_owned()))?;
    let view = fits(&compile(&revision.files, revision.number)?).ok_or_else(|| {
        missing(format!("it compiles to another version of view `{}` than {}", version.view, version.fingerprint))
    })?;
    Ok(Version { view, state: version.state })
}

fn compile(files: &[SourceText], revision: u64) -> Result<Plan, Error> {
    let definitions = definition::parse(files).map_err(|mistakes| Error::Damaged {
        place: format!("revision {revision}"),
        detail: format!("this release does not accept it: {}", mistakes[0]),
    })?;
    Ok(plan::compile(&definitions))
}

/// The current snapshot, shared: clones see the same. Replaced by [`Catalogues::refresh`] alone.
#[derive(Clone)]
pub struct Catalogues {
    current: Arc<watch::Sender<Arc<Catalogue>>>,
}

impl Catalogues {
    pub async fn load(registry: &dyn Registry) -> Result<Catalogues, Error> {
        let current = Arc::new(Catalogue::load(registry).await?);
        Ok(Catalogues { current: Arc::new(watch::Sender::new(current)) })
    }

    pub fn current(&self) -> Arc<Catalogue> {
        self.current.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.current.subscribe()
    }

    pub async fn refresh(&self, registry: &dyn Registry) -> Result<(), Error> {
        let loaded = Arc::new(Catalogue::load(registry).await?);
        self.current.send_replace(loaded);
        Ok(())
    }
}

/// What applying some files would do.
pub struct Planned {
    pub plan: Plan,
    pub diff: Diff,
}

/// Why files cannot be applied: their author's mistakes, all of them.
#[derive(Debug)]
pub enum ApplyError {
    Mistakes(Vec<Diagnostic>),
    Refused(Vec<Refusal>),
}

/// Parses, checks and compares with what is applied; changes nothing.
pub fn plan(catalogue: &Catalogue, files: &[SourceText]) -> Result<Planned, ApplyError> {
    let definitions = definition::parse(files).map_err(ApplyError::Mistakes)?;
    let plan = plan::compile(&definitions);
    let diff = diff(&catalogue.plan, &plan);
    if diff.refusals.is_empty() { Ok(Planned { plan, diff }) } else { Err(ApplyError::Refused(diff.refusals)) }
}

/// Writes the next revision on top of `expected`, and returns its number. Topics of its sources must exist.
pub async fn apply(
    registry: &dyn Registry,
    planned: &Planned,
    expected: u64,
    files: &[SourceText],
    by: &str,
    now: EventTime,
) -> Result<u64, Error> {
    let versions: Vec<(Name, Fingerprint)> =
        planned.plan.views.iter().map(|view| (view.name.clone(), view.fingerprint)).collect();
    registry.apply(expected, files, by, &versions, now).await
}
