//! Where operators run: threads of their own, for they never wait and would keep others from it, and a pool of memory that
//! they share, beyond which they use the disk.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion_common::DataFusionError;
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::memory_pool::FairSpillPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use tokio::runtime::{Builder, Runtime};

use crate::batch::Error;

/// What one job may use.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    pub threads: NonZeroUsize,
    /// Of what sorts and distributes. The spine, and a batch here and there, come on top.
    pub memory_bytes: usize,
}

/// Half of the gigabyte that a job shall do with.
const MEMORY_BYTES: usize = 512 << 20;

/// Of a batch. A merge of what was spilled holds several of each file, and a hundred million events spill into some hundreds.
const BATCH_ROWS: usize = 2_048;

/// What each sort keeps for merging what it spilled, unless the pool is small.
const MERGE_BYTES: usize = 8 << 20;

impl Default for Resources {
    fn default() -> Resources {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Resources { threads, memory_bytes: MEMORY_BYTES }
    }
}

pub struct Engine {
    pub runtime: Runtime,
    pub context: Arc<TaskContext>,
}

impl Engine {
    pub fn start(resources: Resources) -> Result<Engine, Error> {
        Engine::of_batches(resources, BATCH_ROWS)
    }

    /// One whose rows may be so wide that only so many of them make a batch, where these are fewer than usually.
    pub fn of_batches(resources: Resources, rows: usize) -> Result<Engine, Error> {
        let threads = resources.threads.get();
        // What was spilled is read on blocking threads: the allocator keeps memory for each, and there would be hundreds.
        let runtime = Builder::new_multi_thread().worker_threads(threads).max_blocking_threads(2 * threads).build();
        let runtime = runtime.map_err(DataFusionError::from)?;
        let pool = Arc::new(FairSpillPool::new(resources.memory_bytes));
        let environment = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        let config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_batch_size(BATCH_ROWS.min(rows))
            .with_sort_spill_reservation_bytes((resources.memory_bytes / 64).min(MERGE_BYTES));
        let context = TaskContext::default().with_session_config(config).with_runtime(environment);
        Ok(Engine { runtime, context: Arc::new(context) })
    }
}
