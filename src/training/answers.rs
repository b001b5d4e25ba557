//! The answers of one view as they come, cut to the spine's batches.

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;
use datafusion_execution::SendableRecordBatchStream;
use futures::StreamExt;

/// In the order of the spine's rows.
pub(super) struct Answers {
    stream: SendableRecordBatchStream,
    /// What came and was not taken.
    held: Vec<RecordBatch>,
}

impl Answers {
    pub fn new(stream: SendableRecordBatchStream) -> Answers {
        Answers { stream, held: Vec::new() }
    }

    /// The features of the next `rows` rows, a column each.
    pub async fn take(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        while self.held.iter().map(RecordBatch::num_rows).sum::<usize>() < rows {
            let batch = self.stream.next().await.expect("each row of the spine is answered")?;
            self.held.push(batch);
        }
        let held = concat_batches(&self.stream.schema(), &self.held)?;
        self.held = vec![held.slice(rows, held.num_rows() - rows)];
        // The first column is the row.
        Ok(held.slice(0, rows).columns()[1..].to_vec())
    }
}
