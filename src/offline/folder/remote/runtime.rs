//! Requests to an object store run on a thread of their own, so that whoever waits for them may block.

use std::sync::mpsc;

use tokio::runtime::Runtime;

use crate::offline::Error;

/// Runs requests whoever waits for them, be it a task of another runtime.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub fn start() -> Result<OwnRuntime, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("object-store")
            .enable_all()
            .build();
        let failed = |source| Error::Io { doing: "start a thread for", path: "the object store".into(), source };
        Ok(OwnRuntime(Some(runtime.map_err(failed)?)))
    }

    pub fn get(&self) -> &Runtime {
        self.0.as_ref().expect("it goes when this is dropped")
    }

    pub fn wait<T: Send + 'static>(&self, request: impl Future<Output = T> + Send + 'static) -> T {
        let (answer, answered) = mpsc::sync_channel(1);
        self.get().spawn(async move { answer.send(request.await) });
        answered.recv().expect("a request does not panic")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // Waiting for its thread would panic where this is dropped in a task.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
