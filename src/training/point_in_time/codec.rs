//! A task as text, to be sent to whoever shall run it: the view's version, the files of its events, the questions. Views
//! themselves are not sent: both sides have compiled the same definitions, and their marks say whether they have.

use std::io::Cursor;
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Task, questions};
use crate::kernel::engine::Knowledge;
use crate::kernel::engine::entrants::Entrants;
use crate::kernel::event::decoding_mark;
use crate::kernel::plan::{Plan, ViewPlan};
use crate::offline::Pinned;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a task of this release: {0}")]
    Unreadable(String),
    #[error("the task is for view `{0}`, which is not defined here: apply the same definitions on both sides")]
    UnknownView(String),
    #[error(
        "the task is for version {wanted} of view `{view}`, and {here} is defined here: apply the same definitions"
    )]
    OtherVersion { view: String, wanted: String, here: String },
}

/// The shape that is sent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    format: u32,
    view: String,
    definition: String,
    knowledge: String,
    features: Vec<String>,
    scans: Vec<Pinned>,
    partitions: usize,
    /// An Arrow stream, in base 64.
    questions: String,
}

/// Raised when an older release could misread a task.
const FORMAT: u32 = 2;

pub(in crate::training) fn encode(task: &Task) -> String {
    let view = task.entrants.view();
    let sent = Sent {
        format: FORMAT,
        view: view.name.to_string(),
        definition: definition(view),
        knowledge: task.entrants.knowledge().as_str().to_owned(),
        features: task.features.iter().map(|feature| view.features[*feature].name.to_string()).collect(),
        scans: task.scans.clone(),
        partitions: task.partitions,
        questions: STANDARD.encode(write(&task.questions).expect("questions are an Arrow stream")),
    };
    serde_json::to_string(&sent).expect("a task is plain JSON")
}

pub(in crate::training) fn decode(text: &str, plan: &Plan) -> Result<Task, Error> {
    let unreadable = |detail: &dyn ToString| Error::Unreadable(detail.to_string());
    let sent: Sent = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    if sent.format != FORMAT || sent.scans.is_empty() || sent.partitions == 0 {
        return Err(unreadable(&format!("it is in format {}, for {} partitions", sent.format, sent.partitions)));
    }
    let knowledge = Knowledge::ALL.into_iter().find(|it| it.as_str() == sent.knowledge);
    let knowledge = knowledge.ok_or_else(|| unreadable(&format!("no knowledge is `{}`", sent.knowledge)))?;
    let view = view(&sent, plan)?;
    let position = |name: &String| {
        let found = view.features.iter().position(|feature| feature.name == **name);
        found.ok_or_else(|| unreadable(&format!("view `{}` has no feature `{name}`", view.name)))
    };
    let features = sent.features.iter().map(position).collect::<Result<_, _>>()?;
    let questions = STANDARD.decode(&sent.questions).map_err(|error| unreadable(&error))?;
    let questions = read(&questions).map_err(|error| unreadable(&error))?;
    let entrants = Entrants::new(view, knowledge);
    Ok(Task { entrants, features, scans: sent.scans, questions, partitions: sent.partitions })
}

fn view(sent: &Sent, plan: &Plan) -> Result<Arc<ViewPlan>, Error> {
    let view = plan.view(&sent.view).ok_or_else(|| Error::UnknownView(sent.view.clone()))?;
    let here = definition(view);
    match here == sent.definition {
        true => Ok(view.clone()),
        false => Err(Error::OtherVersion { view: sent.view.clone(), wanted: sent.definition.clone(), here }),
    }
}

/// All that a view answers by: its version, what reads add to it (defaults), and which records are events.
fn definition(view: &ViewPlan) -> String {
    format!("{}-{}-{}", view.fingerprint, view.answers(), decoding_mark(&view.source))
}

fn write(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &questions::schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner()
}

fn read(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    match reader.schema() == questions::schema() {
        true => reader.collect(),
        false => Err(ArrowError::SchemaError("these are no questions".to_owned())),
    }
}
