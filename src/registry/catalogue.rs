//! What is applied, compiled: one immutable snapshot for each lookup, replaced as a whole when something changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use tokio::sync::watch;

use crate::kernel::definition::{self, Diagnostic, FeatureService, SourceText};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{self, Fingerprint, Plan, ViewPlan};
use crate::kernel::plan::{Diff, diff};
use crate::kernel::time::EventTime;
use crate::registry::{Error, Registry, Revision, Seed, Seeds, VersionState, ViewVersion};

/// One snapshot. Its versions are compiled from the revisions that define them, so an old version goes on being
/// served as it was defined while its successor is built.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// 0 before the first apply.
    pub revision: u64,
    /// Of the newest revision.
    pub plan: Arc<Plan>,
    /// What lookups and training sets read: each view as it is served, and each service as of the newest revision of
    /// which all is served. A view of which nothing is served yet is as the newest revision has it.
    pub served: Arc<Plan>,
    /// Not the dropped ones.
    pub versions: Vec<Version>,
}

/// One generation of a version: while one is rebuilt, it is here twice.
#[derive(Clone, Debug)]
pub struct Version {
    /// Names the rows of this generation, and from where the stream folds them.
    pub view: Arc<ViewPlan>,
    pub generation: u32,
    pub seed: Seed,
    pub state: VersionState,
    /// The newest that defines it.
    pub revision: u64,
    pub written_by: Pass,
}

/// The log is read in two passes, so that what is served never waits for what has the whole log still before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Writes what is served, and what was there before anything of its topic was.
    Serving,
    /// Writes what was added since, until it has caught up and is served.
    Building,
}

impl Catalogue {
    /// The version of a view that lookups read; `None` while its first one is being built.
    pub fn serving(&self, view: &str) -> Option<&Arc<ViewPlan>> {
        live(&self.versions, view)
    }

    /// The version that the newest revision declares of a view, where a rollback serves the one before.
    pub fn rolled_back(&self, view: &str) -> Option<&Version> {
        let declared = self.plan.view(view)?.fingerprint;
        self.versions.iter().find(|it| it.view.fingerprint == declared && it.state == VersionState::Retained)
    }

    /// Whether a version that is built has the feature: it will be served.
    pub fn is_building(&self, view: &str, feature: &str) -> bool {
        let building = self.versions.iter().filter(|it| it.state == VersionState::Building && it.view.name == *view);
        building.flat_map(|version| &version.view.features).any(|it| it.name == *feature)
    }

    /// A version that is not dropped.
    pub fn version(&self, fingerprint: Fingerprint) -> Option<&Arc<ViewPlan>> {
        self.versions.iter().map(|version| &version.view).find(|view| view.fingerprint == fingerprint)
    }

    /// What the stream writes in that pass: nothing of which the archive still gives the first rows.
    pub fn written(&self, pass: Pass) -> Vec<Arc<ViewPlan>> {
        let is_seeded = |version: &Version| matches!(version.seed, Seed::Done(_));
        let written = self.versions.iter().filter(|version| version.written_by == pass && version.view.online);
        written.filter(|version| is_seeded(version)).map(|version| version.view.clone()).collect()
    }

    pub async fn load(registry: &dyn Registry) -> Result<Catalogue, Error> {
        let stored = Stored::read(registry).await?;
        Catalogue::compile(registry, stored).await
    }

    async fn compile(registry: &dyn Registry, stored: Stored) -> Result<Catalogue, Error> {
        let Stored { revision: Some(revision), versions: written, seeds } = stored else {
            return Ok(Catalogue::default());
        };
        let mut plans = Plans::newest(revision)?;
        let mut views = Vec::with_capacity(written.len());
        for version in &written {
            views.push((plans.version(registry, version).await?, version));
        }
        let mut versions = Vec::with_capacity(written.len());
        for (view, version) in &views {
            let was_served = |(other, it): &(Arc<ViewPlan>, &ViewVersion)| {
                it.state == VersionState::Live
                    && other.source.topic == view.source.topic
                    && (it.since < version.since || it.fingerprint == version.fingerprint)
            };
            let was_served = views.iter().any(was_served);
            let of = |(generation, state)| {
                let seed = seed_of(&seeds, version.fingerprint, generation);
                Version {
                    view: Arc::new(rows_of(view, generation, &seed)),
                    generation,
                    seed,
                    state,
                    revision: version.revision,
                    written_by: match state == VersionState::Building && was_served {
                        true => Pass::Building,
                        false => Pass::Serving,
                    },
                }
            };
            versions.extend(generations(version).into_iter().map(of));
        }
        let served = Arc::new(plans.served(registry, &versions).await?);
        Ok(Catalogue { revision: plans.number, plan: plans.newest, served, versions })
    }

    fn is_of(&self, stored: &Stored) -> bool {
        let compiled = self.versions.iter().map(|it| (it.view.fingerprint, it.generation, it.state, it.seed.clone()));
        let of = |version: &ViewVersion| {
            let fingerprint = version.fingerprint;
            let seed = move |generation| seed_of(&stored.seeds, fingerprint, generation);
            let all = generations(version).into_iter();
            all.map(move |(generation, state)| (fingerprint, generation, state, seed(generation)))
        };
        self.revision == stored.newest() && compiled.eq(stored.versions.iter().flat_map(of))
    }
}

/// The view over the rows of one generation.
fn rows_of(view: &ViewPlan, generation: u32, seed: &Seed) -> ViewPlan {
    let rows = view.in_generation(generation);
    match seed {
        Seed::Undecided => rows,
        Seed::Begun(cut) | Seed::Done(cut) => rows.seeded(cut),
    }
}

/// Of one that nothing is known of, it is not decided.
fn seed_of(seeds: &Seeds, fingerprint: Fingerprint, generation: u32) -> Seed {
    seeds.get(&(fingerprint, generation)).cloned().unwrap_or_default()
}

/// What is written of a version: the generation that its state is of, and one that is built beside it.
fn generations(version: &ViewVersion) -> Vec<(u32, VersionState)> {
    let beside = version.rebuilding.map(|generation| (generation, VersionState::Building));
    std::iter::once((version.generation, version.state)).chain(beside).collect()
}

/// What the registry says.
struct Stored {
    revision: Option<Revision>,
    versions: Vec<ViewVersion>,
    seeds: Seeds,
}

impl Stored {
    /// The newest revision, with versions of no later one: an apply may come between the reads. The seeds of versions
    /// are noted with them, and so read after them.
    async fn read(registry: &dyn Registry) -> Result<Stored, Error> {
        loop {
            let (revision, versions) = (registry.revision().await?, registry.versions().await?);
            let stored = Stored { revision, versions, seeds: registry.seeds().await? };
            if stored.versions.iter().all(|version| version.revision <= stored.newest()) {
                return Ok(stored);
            }
        }
    }

    fn newest(&self) -> u64 {
        self.revision.as_ref().map_or(0, |revision| revision.number)
    }
}

/// The newest revision compiled, and of those before it what is still written or served.
struct Plans {
    number: u64,
    newest: Arc<Plan>,
    /// Those that were asked for.
    earlier: BTreeMap<u64, Plan>,
}

impl Plans {
    fn newest(revision: Revision) -> Result<Plans, Error> {
        let newest = Arc::new(compile(&revision.files, revision.number)?);
        Ok(Plans { number: revision.number, newest, earlier: BTreeMap::new() })
    }

    async fn earlier(&mut self, registry: &dyn Registry, number: u64) -> Result<&Plan, Error> {
        match self.earlier.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let revision = registry.revision_numbered(number).await?;
                let revision = revision.ok_or_else(|| damaged(number, "it is gone"))?;
                Ok(vacant.insert(compile(&revision.files, number)?))
            }
        }
    }

    async fn version(&mut self, registry: &dyn Registry, version: &ViewVersion) -> Result<Arc<ViewPlan>, Error> {
        let fits = |plan: &Plan| {
            plan.view(version.view.as_str()).filter(|view| view.fingerprint == version.fingerprint).cloned()
        };
        if let Some(view) = fits(&self.newest) {
            return Ok(view);
        }
        let other =
            || format!("it compiles to another version of view `{}` than {}", version.view, version.fingerprint);
        fits(self.earlier(registry, version.revision).await?).ok_or_else(|| damaged(version.revision, other()))
    }

    /// See [`Catalogue::served`].
    async fn served(&mut self, registry: &dyn Registry, versions: &[Version]) -> Result<Plan, Error> {
        let newest = self.newest.clone();
        let mut services = Vec::with_capacity(newest.services.len());
        for service in &newest.services {
            services.push(self.service(registry, service, versions).await?);
        }
        let served = |view: &Arc<ViewPlan>| live(versions, view.name.as_str()).unwrap_or(view).clone();
        let views = newest.views.iter().map(served).collect();
        Ok(Plan { entities: newest.entities.clone(), sources: newest.sources.clone(), views, services })
    }

    /// As of the newest revision of which all is served; the newest itself where there is none since the service is new.
    async fn service(
        &mut self,
        registry: &dyn Registry,
        newest: &Arc<FeatureService>,
        versions: &[Version],
    ) -> Result<Arc<FeatureService>, Error> {
        let is_served = |feature: &FeatureRef| {
            live(versions, feature.view.as_str())
                .is_some_and(|view| view.features.iter().any(|it| it.name == feature.feature))
        };
        let (mut service, mut revision) = (newest.clone(), self.number);
        while !service.features.iter().all(is_served) {
            revision -= 1;
            let earlier = match self.earlier(registry, revision).await {
                // Before the first one, or what a later release has become unable to read.
                Err(Error::Damaged { .. }) => None,
                plan => plan?.service(newest.name.as_str()),
            };
            let Some(earlier) = earlier else { return Ok(newest.clone()) };
            service = earlier.clone();
        }
        Ok(service)
    }
}

/// The version of a view that lookups read.
fn live<'v>(versions: &'v [Version], view: &str) -> Option<&'v Arc<ViewPlan>> {
    let live = |version: &&Version| version.state == VersionState::Live && version.view.name == *view;
    versions.iter().find(live).map(|version| &version.view)
}

fn damaged(revision: u64, detail: impl Into<String>) -> Error {
    Error::Damaged { place: format!("revision {revision}"), detail: detail.into() }
}

/// A revision of this registry, which a later release may have become unable to read.
pub fn compile(files: &[SourceText], revision: u64) -> Result<Plan, Error> {
    let definitions = definition::parse(files)
        .map_err(|mistakes| damaged(revision, format!("this release does not accept it: {}", mistakes[0])))?;
    Ok(plan::compile(&definitions))
}

/// The current snapshot, shared: clones see the same. Replaced by [`Catalogues::refresh`] alone.
#[derive(Clone)]
pub struct Catalogues {
    current: Arc<watch::Sender<Arc<Catalogue>>>,
    /// Held while one refreshes, so that an older snapshot never replaces a newer one.
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

impl Catalogues {
    pub async fn load(registry: &dyn Registry) -> Result<Catalogues, Error> {
        let current = Arc::new(Catalogue::load(registry).await?);
        Ok(Catalogues { current: Arc::new(watch::Sender::new(current)), refreshing: Arc::default() })
    }

    pub fn current(&self) -> Arc<Catalogue> {
        self.current.borrow().clone()
    }

    /// The snapshot of the revision that somebody planned against, maybe in another process a moment ago.
    pub async fn of_revision(&self, registry: &dyn Registry, expected: u64) -> Result<Arc<Catalogue>, Error> {
        if self.current().revision != expected {
            self.refresh(registry).await?;
        }
        let current = self.current();
        match current.revision {
            found if found == expected => Ok(current),
            found => Err(Error::Conflict { expected, found }),
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.current.subscribe()
    }

    /// Reads what is applied again; compiles and tells only where something changed, so that it can be asked often.
    pub async fn refresh(&self, registry: &dyn Registry) -> Result<(), Error> {
        let _refreshing = self.refreshing.lock().await;
        let stored = Stored::read(registry).await?;
        if !self.current().is_of(&stored) {
            let catalogue = Catalogue::compile(registry, stored).await?;
            self.current.send_replace(Arc::new(catalogue));
        }
        Ok(())
    }
}

/// What applying some files would do.
pub struct Planned {
    /// The revision that it was compared with.
    pub against: u64,
    pub plan: Plan,
    pub diff: Diff,
}

/// Parses, checks and compares with what is applied; changes nothing. The mistakes of the author otherwise, all of them.
pub fn plan(catalogue: &Catalogue, files: &[SourceText]) -> Result<Planned, Vec<Diagnostic>> {
    let definitions = definition::parse(files)?;
    let plan = plan::compile(&definitions);
    let diff = diff(&catalogue.plan, &plan);
    Ok(Planned { against: catalogue.revision, plan, diff })
}

/// Writes the next revision on top of `expected`, and returns its number: `expected` itself where nothing changes.
/// Topics of its sources must exist, and no rule of a schema may forbid a change.
pub async fn apply(
    registry: &dyn Registry,
    planned: &Planned,
    expected: u64,
    files: &[SourceText],
    by: &str,
    now: EventTime,
) -> Result<u64, Error> {
    if planned.diff.changes.is_empty() && planned.against == expected {
        return Ok(expected);
    }
    let versions: Vec<(Name, Fingerprint)> =
        planned.plan.views.iter().map(|view| (view.name.clone(), view.fingerprint)).collect();
    registry.apply(expected, files, by, &versions, now).await
}

#[cfg(test)]
mod tests;
