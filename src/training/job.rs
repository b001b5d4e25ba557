//! One training set: what it reads is fixed when it begins, and it may run more than once.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_execution::TaskContext;
use datafusion_physical_plan::{collect, displayable, execute_stream};

use crate::batch::{Engine, Progress, Resources};
use crate::kernel::definition::Source;
use crate::kernel::engine::Knowledge;
use crate::kernel::engine::entrants::Entrants;
use crate::kernel::name::Name;
use crate::kernel::plan::{Fingerprint, Plan};
use crate::kernel::time::EventTime;
use crate::offline::{self, Archive, Pinned};
use crate::telemetry::{Cancelled, Watch};
use crate::training::answers::Answers;
use crate::training::point_in_time::{Task, codec};
use crate::training::spine::Spine;
use crate::training::wanted::{Wanted, WantedView};
use crate::training::{Error, Request, schema};

#[derive(Clone)]
pub struct Job {
    pub schema: SchemaRef,
    pub rows: usize,
    /// What is read of each source: partition → the offset that it was archived up to.
    pub pins: BTreeMap<Name, BTreeMap<u32, u64>>,
    /// The version of each view.
    pub fingerprints: BTreeMap<Name, Fingerprint>,
    /// The oldest and the newest; `None` of a spine without rows.
    pub label_times: Option<(EventTime, EventTime)>,
    archive: Archive,
    spine: Spine,
    views: Vec<ViewTask>,
    resources: Resources,
}

#[derive(Clone)]
struct ViewTask {
    task: Task,
    /// Which of the training set's features are the task's.
    columns: Vec<usize>,
}

/// The answers of all views as they come.
pub(super) struct AllAnswers {
    views: Vec<Answers>,
    progress: Arc<Progress>,
}

/// How much of a job is reading events, rather than what comes after.
const READING: f64 = 0.8;

/// What the answers that are computed, sorted or written at once may take.
const ANSWERS_BYTES: usize = 64 << 20;

/// Where batches go as they are made.
pub type Sink<'a> = dyn FnMut(RecordBatch) -> Result<(), offline::Error> + 'a;

impl Job {
    /// Pins what is archived now.
    pub fn begin(archive: &Archive, plan: &Plan, request: &Request<'_>, resources: Resources) -> Result<Job, Error> {
        Job::pinned(archive, plan, request, resources, &|source| archive.pin(source))
    }

    /// Reads what an earlier job read: of each source up to the offsets that `pins` gives for it.
    pub fn begin_again(
        archive: &Archive,
        plan: &Plan,
        request: &Request<'_>,
        resources: Resources,
        pins: &dyn Fn(&Source) -> BTreeMap<u32, u64>,
    ) -> Result<Job, Error> {
        Job::pinned(archive, plan, request, resources, &|source| archive.pin_at(source, &pins(source)))
    }

    fn pinned(
        archive: &Archive,
        plan: &Plan,
        request: &Request<'_>,
        resources: Resources,
        pin: &dyn Fn(&Source) -> Result<Pinned, offline::Error>,
    ) -> Result<Job, Error> {
        let wanted = Wanted::resolve(plan, request.features)?;
        let spine = Spine::check(request, &wanted)?;
        let (mut views, mut pins) = (Vec::new(), BTreeMap::new());
        for (source, of_source) in wanted.by_source() {
            let pinned = pin(&source)?;
            views.extend(of_source.into_iter().map(|view| ViewTask::new(view, &pinned, &spine, request, resources)));
            pins.insert(source.name.clone(), pinned.offsets());
        }
        let schema = schema(spine.schema(), wanted.types(), request.features);
        let (rows, label_times, fingerprints) = (spine.rows(), spine.label_times(), wanted.fingerprints());
        Ok(Job { schema, rows, pins, fingerprints, label_times, archive: archive.clone(), spine, views, resources })
    }

    /// Computes the rows, and hands them on in the order of the spine, a few thousand at a time.
    pub fn run(&self, watch: Watch<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        watch.at(0, 1)?;
        let engine = self.engine()?;
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
        let mut answers = self.begin_answers(context)?;
        let mut rows = 0;
        for piece in self.pieces() {
            let columns = self.next_columns(&mut answers, piece.num_rows(), Job::reading(watch)).await?;
            sink(self.beside(&piece, columns))?;
            rows += piece.num_rows();
            self.joined(watch, rows)?;
        }
        Ok(())
    }

    /// The same job, knowing more or less.
    pub(super) fn knowing(&self, knowledge: Knowledge) -> Job {
        let mut job = self.clone();
        for ViewTask { task, .. } in &mut job.views {
            task.entrants = Entrants::new(task.entrants.view().clone(), knowledge);
        }
        job
    }

    pub(super) fn engine(&self) -> Result<Engine, Error> {
        Ok(Engine::of_batches(self.resources, self.rows_at_once())?)
    }

    /// As many as are answered in so much memory, however full their lists are.
    fn rows_at_once(&self) -> usize {
        rows_within(self.views.iter().map(|view| view.task.answer_bytes()).sum())
    }

    /// How many there are.
    pub(super) fn features(&self) -> usize {
        self.views.iter().map(|view| view.columns.len()).sum()
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = RecordBatch> {
        self.spine.pieces(self.rows_at_once())
    }

    pub(super) fn begin_answers(&self, context: &Arc<TaskContext>) -> Result<AllAnswers, Error> {
        let progress = Arc::default();
        let answers = |view: &ViewTask| {
            let operators = view.task.physical(&self.archive, &progress);
            Ok(Answers::new(execute_stream(operators, context.clone())?))
        };
        let views = self.views.iter().map(answers).collect::<Result<_, Error>>()?;
        Ok(AllAnswers { views, progress })
    }

    /// The part of a job that is reading events.
    pub(super) fn reading(watch: Watch<'_>) -> Watch<'_> {
        watch.part(0.0, READING)
    }

    /// The features of the next rows, while what is read meanwhile is told.
    pub(super) async fn next_columns(
        &self,
        answers: &mut AllAnswers,
        rows: usize,
        reading: Watch<'_>,
    ) -> Result<Vec<ArrayRef>, Error> {
        let commits = self.views.iter().flat_map(|view| &view.task.scans).map(Pinned::commits).sum();
        let AllAnswers { views, progress } = answers;
        let mut taken = pin!(self.take(views, rows));
        loop {
            tokio::select! {
                columns = &mut taken => return columns,
                () = progress.moved() => reading.at(progress.done().min(commits), commits)?,
            }
        }
    }

    /// Features beside the spine's columns.
    pub(super) fn beside(&self, piece: &RecordBatch, features: Vec<ArrayRef>) -> RecordBatch {
        let columns = piece.columns().iter().cloned().chain(features).collect();
        RecordBatch::try_new(self.schema.clone(), columns).expect("each feature has a value for each row")
    }

    /// So many rows are answered.
    pub(super) fn joined(&self, watch: Watch<'_>, rows: usize) -> Result<(), Cancelled> {
        watch.part(READING, 1.0).at(rows, self.rows)
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
    let task = codec::decode(task, plan)?;
    let engine = Engine::of_batches(resources, rows_within(task.answer_bytes()))?;
    let operators = task.physical(archive, &Arc::default());
    Ok(engine.runtime.block_on(collect(operators, engine.context.clone()))?)
}

fn rows_within(answer_bytes: usize) -> usize {
    (ANSWERS_BYTES / answer_bytes.max(1)).max(1)
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
