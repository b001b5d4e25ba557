//! What a training set would be if more had been known: how many values of each feature are others with all that
//! happened, and why (semantics §7).
//!
//! ```text
//! as served ──(events that were on their way)──► not late ──(late events)──► event time
//! ```
//!
//! The same questions are answered three times over the same commits, side by side, and compared bit by bit. A value may
//! differ for both reasons, or for both and yet be the same in the end.
//!
//! There is no third reason. An event that is ahead of its ingestion counts as of its ingestion whatever is known, and one
//! that is too far ahead is a dead letter, which no row sees.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::row::{RowConverter, SortField};
use datafusion_execution::TaskContext;

use crate::kernel::engine::Knowledge;
use crate::telemetry::Watch;
use crate::training::Error;
use crate::training::job::{Job, Sink};

/// Values of one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub compared: usize,
    /// With all that happened they are others.
    pub different: usize,
    /// An event that was on its way makes a difference.
    pub not_yet_arrived: usize,
    /// A late event makes one.
    pub late: usize,
}

impl Job {
    /// As [`Job::run`], of a job that is `as_served`; answers the differences of each feature, in the order of the request.
    pub fn run_compared(&self, watch: Watch<'_>, sink: &mut Sink<'_>) -> Result<Vec<Differences>, Error> {
        watch.at(0, 1)?;
        let engine = self.engine()?;
        let differences = engine.runtime.block_on(self.compare(&engine.context, watch, sink))?;
        watch.at(1, 1)?;
        Ok(differences)
    }

    async fn compare(
        &self,
        context: &Arc<TaskContext>,
        watch: Watch<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<Differences>, Error> {
        let others = [self.knowing(Knowledge::NotLate), self.knowing(Knowledge::EventTime)];
        let (mut own, mut more) = (self.begin_answers(context)?, Vec::new());
        for other in &others {
            more.push(other.begin_answers(context)?);
        }
        let reading = |number| Job::reading(watch).nth(number, 3);
        let mut differences = vec![Differences::default(); self.features()];
        let mut rows = 0;
        for piece in self.pieces() {
            let served = self.next_columns(&mut own, piece.num_rows(), reading(0)).await?;
            let not_late = others[0].next_columns(&mut more[0], piece.num_rows(), reading(1)).await?;
            let all = others[1].next_columns(&mut more[1], piece.num_rows(), reading(2)).await?;
            for (feature, differences) in differences.iter_mut().enumerate() {
                differences.add([&served[feature], &not_late[feature], &all[feature]]);
            }
            sink(self.beside(&piece, served))?;
            rows += piece.num_rows();
            self.joined(watch, rows)?;
        }
        Ok(differences)
    }
}

impl Differences {
    /// Of the same rows as served, without late events, and with all.
    fn add(&mut self, [served, not_late, all]: [&ArrayRef; 3]) {
        let converter = RowConverter::new(vec![SortField::new(served.data_type().clone())]);
        let converter = converter.expect("whatever is a feature can be compared");
        let rows = |column: &ArrayRef| converter.convert_columns(std::slice::from_ref(column));
        let [served_rows, not_late, all] = [rows(served), rows(not_late), rows(all)].map(|it| it.expect("of one type"));
        for row in 0..served.len() {
            self.different += usize::from(served_rows.row(row) != all.row(row));
            self.not_yet_arrived += usize::from(served_rows.row(row) != not_late.row(row));
            self.late += usize::from(not_late.row(row) != all.row(row));
        }
        self.compared += served.len();
    }
}
