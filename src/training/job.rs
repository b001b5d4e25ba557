//! One training set: what it reads is fixed when it begins, and it may run more than once.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_execution::TaskContext;
use datafusion_physical_plan::{collect, displayable, execute_stream};

use crate::kernel::engine::entrants::Entrants;
use crate::kernel::name::Name;
use crate::kernel::plan::{Fingerprint, Plan};
use crate::offline::{self, Archive, Pinned};
use crate::telemetry::Watch;
use crate::training::answers::Answers;
use crate::training::engine::{Engine, Resources};
use crate::training::point_in_time::{Task, codec};
use crate::training::progress::Progress;
use crate::training::spine::Spine;
use crate::training::wanted::{Wanted, WantedView};
use crate::training::{Error, Request, schema};

pub struct Job {
    pub schema: SchemaRef,
    pub rows: usize,
    /// What is read of each source: partition → the offset that it was archived up to.
    pub pins: BTreeMap<Name, BTreeMap<u32, u64>>,
    /// The version of each view.
    pub fingerprints: BTreeMap<Name, Fingerprint>,
    archive: Archive,
    spine: Spine,
    views: Vec<ViewTask>,
    resources: Resources,
}

struct ViewTask {
    task: Task,
    /// Which of the training set's features are the task's.
    columns: Vec<usize>,
}

/// How much of a job is reading events, rather than what comes after.
const READING: f64 = 0.8;

/// Where batches go as they are made.
pub type Sink<'a> = dyn FnMut(RecordBatch) -> Result<(), offline::Error> + 'a;

impl Job {
    /// Pins what is archived now.
    pub fn begin(archive: &Archive, plan: &Plan, request: &Request<'_>, resources: Resources) -> Result<Job, Error> {
        let wanted = Wanted::resolve(plan, request.features)?;
        let spine = Spine::check(request, &wanted)?;
        let (mut views, mut pins) = (Vec::new(), BTreeMap::new());
        for (source, of_source) in wanted.by_source() {
            let pinned = archive.pin(&source)?;
            views.extend(of_source.into_iter().map(|view| ViewTask::new(view, &pinned, &spine, request, resources)));
            pins.insert(source.name.clone(), pinned.offsets());
        }
        let schema = schema(spine.schema(), wanted.types(), request.features);
        let (rows, fingerprints) = (spine.rows(), wanted.fingerprints());
        Ok(Job { schema, rows, pins, fingerprints, archive: archive.clone(), spine, views, resources })
    }

    /// Computes the rows, and hands them on in the order of the spine, a few thousand at a time.
    pub fn run(&self, watch: Watch<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        watch.at(0, 1)?;
        let engine = Engine::start(self.resources)?;
        engine.runtime.block_on(self.join(&engine.context, watch, sink))?;
        Ok(watch.at(1, 1)?)
    }

    /// The operators of each view, as DataFusion explains them.
    pub fn explain(&self) -> String {
        let operators = |view: &ViewTask| view.task.physical(&self.archive, &Arc::default());
        self.views.iter().map(|view| displayable(operators(view).as_ref()).indent(false).to_string()).collect()
    }

    /// What each view's operators are made of, as text that [`answer`] runs anywhere where the archive can be read.
    pub fn tasks(&self) -> Vec<String> {
        self.views.iter().map(|view| codec::encode(&view.task)).collect()
    }

    async fn join(&self, context: &Arc<TaskContext>, watch: Watch<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        let progress = Arc::new(Progress::default());
        let mut answers = self.answers(context, &progress)?;
        let (reading, joining) = (watch.part(0.0, READING), watch.part(READING, 1.0));
        let mut rows = 0;
        for piece in self.spine.pieces() {
            let columns = self.columns(&mut answers, piece.num_rows(), &progress, reading).await?;
            let columns = piece.columns().iter().cloned().chain(columns).collect();
            sink(RecordBatch::try_new(self.schema.clone(), columns).expect("each feature has a value for each row"))?;
            rows += piece.num_rows();
            joining.at(rows, self.rows)?;
        }
        Ok(())
    }

    fn answers(&self, context: &Arc<TaskContext>, progress: &Arc<Progress>) -> Result<Vec<Answers>, Error> {
        let answers = |view: &ViewTask| {
            let operators = view.task.physical(&self.archive, progress);
            Ok(Answers::new(execute_stream(operators, context.clone())?))
        };
        self.views.iter().map(answers).collect()
    }

    /// The features of the next rows, while what is read meanwhile is told.
    async fn columns(
        &self,
        answers: &mut [Answers],
        rows: usize,
        progress: &Progress,
        reading: Watch<'_>,
    ) -> Result<Vec<ArrayRef>, Error> {
        let commits = self.views.iter().flat_map(|view| &view.task.scans).map(Pinned::commits).sum();
        let mut taken = pin!(self.take(answers, rows));
        loop {
            tokio::select! {
                columns = &mut taken => return columns,
                () = progress.moved() => reading.at(progress.done().min(commits), commits)?,
            }
        }
    }

    async fn take(&self, answers: &mut [Answers], rows: usize) -> Result<Vec<ArrayRef>, Error> {
        let mut columns: BTreeMap<usize, ArrayRef> = BTreeMap::new();
        for (view, answers) in self.views.iter().zip(answers) {
            columns.extend(view.columns.iter().copied().zip(answers.take(rows).await?));
        }
        Ok(columns.into_values().collect())
    }
}

/// Runs one of [`Job::tasks`]: gives back the number of each row of the spine, in their order, and its features.
pub fn answer(task: &str, archive: &Archive, plan: &Plan, resources: Resources) -> Result<Vec<RecordBatch>, Error> {
    let operators = codec::decode(task, plan)?.physical(archive, &Arc::default());
    let engine = Engine::start(resources)?;
    Ok(engine.runtime.block_on(collect(operators, engine.context.clone()))?)
}

impl ViewTask {
    fn new(view: &WantedView, pinned: &Pinned, spine: &Spine, request: &Request<'_>, resources: Resources) -> ViewTask {
        let (columns, features) = view.features.iter().copied().unzip();
        let partitions = resources.threads.get();
        let task = Task {
            entrants: Entrants::new(view.plan.clone(), request.knowledge),
            features,
            scans: pinned.deal(partitions),
            questions: spine.questions(&view.plan.entity).to_vec(),
            partitions,
        };
        ViewTask { task, columns }
    }
}
