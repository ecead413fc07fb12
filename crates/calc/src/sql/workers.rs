//! Where plans run: on threads of their own. What else the process does (fetching, applying, renewing leases, answering status) must go on
//! however long a plan computes between two of its rows; on the same threads a few large queries kept leases from being renewed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches of a plan that wait for its client.
const AHEAD: usize = 2;

/// A runtime for plans.
pub(super) struct Workers {
    /// None: plans run where they are asked.
    runtime: Option<Runtime>,
}

impl Workers {
    /// Starts this many threads.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(super) fn start(threads: usize) -> std::io::Result<Workers> {
        let started = || Builder::new_multi_thread().worker_threads(threads).thread_name("query").enable_all().build();
        Ok(Workers { runtime: if threads == 0 { None } else { Some(started()?) } })
    }

    /// Runs a plan. It ends when its result is dropped, at its next pause.
    pub(super) fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        task: Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(runtime) = &self.runtime else { return here(plan, task) };
        let (out, rows) = mpsc::channel(AHEAD);
        let running = runtime.spawn(async move {
            // What it spawns runs here too.
            let mut batches = execute_stream(plan, task)?;
            while let Some(batch) = batches.next().await {
                if out.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(stream::try_unfold((rows, Running(running)), next).boxed())
    }
}

impl Drop for Workers {
    /// Does not wait: it may be dropped by a task.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends its task when it is dropped.
struct Running(JoinHandle<Result<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type State = (mpsc::Receiver<Result<RecordBatch>>, Running);

async fn next((mut rows, mut running): State) -> Result<Option<(RecordBatch, State)>> {
    if let Some(batch) = rows.recv().await {
        return Ok(Some((batch?, (rows, running))));
    }
    // All rows came, or it failed before its first one, or it panicked.
    match (&mut running.0).await {
        Ok(ended) => ended.map(|()| None),
        Err(lost) => Err(DataFusionError::Execution(format!("the query's task ended: {lost}"))),
    }
}

/// A plan that runs where it is asked: it costs less than handing it over does.
pub(super) fn here(
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    Ok(execute_stream(plan, task)?.into_stream().boxed())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use arrow::datatypes::{Schema, SchemaRef};
    use datafusion::execution::SendableRecordBatchStream;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Does {
        Ends,
        Waits,
        Panics,
    }

    /// One partition that notes on which thread it runs, and when it is dropped.
    #[derive(Debug)]
    struct Part(Does, Arc<Mutex<Vec<String>>>);

    struct Noted(Arc<Mutex<Vec<String>>>);

    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("dropped".into());
        }
    }

    impl PartitionStream for Part {
        fn schema(&self) -> &SchemaRef {
            static EMPTY: std::sync::LazyLock<SchemaRef> = std::sync::LazyLock::new(|| Arc::new(Schema::empty()));
            &EMPTY
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let (does, notes, noted) = (self.0, Arc::clone(&self.1), Noted(Arc::clone(&self.1)));
            let rows = stream::once(async move {
                let _noted = noted;
                notes.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
                match does {
                    Does::Ends => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
                    Does::Waits => std::future::pending().await,
                    Does::Panics => panic!("as the test wants it"),
                }
            });
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.schema()), rows))
        }
    }

    fn plan(does: Does) -> (Arc<dyn ExecutionPlan>, Arc<Mutex<Vec<String>>>) {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let part: Arc<dyn PartitionStream> = Arc::new(Part(does, Arc::clone(&notes)));
        let schema = Arc::clone(part.schema());
        let plan = StreamingTableExec::try_new(schema, vec![part], None, [], false, None).unwrap();
        (Arc::new(plan), notes)
    }

    async fn noted(notes: &Mutex<Vec<String>>, what: &str) {
        while !notes.lock().unwrap().iter().any(|n| n == what) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn plans_run_on_threads_of_their_own() {
        let workers = Workers::start(1).unwrap();
        let (plan, notes) = plan(Does::Ends);
        let rows: Vec<RecordBatch> = workers.run(plan, Arc::default()).unwrap().try_collect().await.unwrap();
        assert_eq!((rows.len(), notes.lock().unwrap()[0].as_str()), (1, "query"));
    }

    #[tokio::test]
    async fn a_result_that_is_dropped_ends_its_plan() {
        let workers = Workers::start(1).unwrap();
        let (plan, notes) = plan(Does::Waits);
        let rows = workers.run(plan, Arc::default()).unwrap();
        noted(&notes, "query").await;
        drop(rows);
        noted(&notes, "dropped").await;
    }

    #[tokio::test]
    async fn a_plan_that_panics_is_an_error() {
        let workers = Workers::start(1).unwrap();
        let (plan, _) = plan(Does::Panics);
        let ended = workers.run(plan, Arc::default()).unwrap().try_collect::<Vec<_>>().await;
        assert!(ended.is_err_and(|e| e.to_string().contains("panic")));
        // The threads go on.
        plans_run_on(&workers).await;
    }

    async fn plans_run_on(workers: &Workers) {
        let (plan, _) = plan(Does::Ends);
        assert_eq!(
            workers.run(plan, Arc::default()).unwrap().try_collect::<Vec<_>>().await.map(|r| r.len()).unwrap(),
            1
        );
    }
}
