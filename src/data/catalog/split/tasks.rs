//! Requests to servers, on threads of their own: callers may be inside a task or not, and block as
//! for a disk.

use std::future::Future;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use dcfs_core::cancel;
use tokio::runtime::{Builder, Runtime};

use super::error::ServerError;

/// How often to check whether anybody still waits.
const LOOK: Duration = Duration::from_millis(200);

/// Threads that talk to servers.
#[derive(Debug)]
pub struct Tasks {
    /// `Some` until dropped.
    runtime: Option<Runtime>,
}

impl Tasks {
    /// # Errors
    /// No thread can be started.
    pub fn new() -> Result<Self, ServerError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dcfs-catalog")
            .enable_all()
            .build();
        let failed = |cause: std::io::Error| ServerError::Unreachable {
            server: "a server".into(),
            cause: cause.to_string(),
        };
        Ok(Self { runtime: Some(runtime.map_err(failed)?) })
    }

    /// Starts `work`, which sends its results itself.
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// Waits for `work`; `None` if the caller was cancelled, or the work died.
    pub fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (send, receive) = channel();
        let task = self.runtime.as_ref()?.spawn(async move {
            // The caller may have given up.
            let _ = send.send(work.await);
        });
        let answer = next(&receive);
        if answer.is_none() {
            task.abort();
        }
        answer
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Not inside a task, where waiting for the threads would panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why there is no result: the query was cancelled, or the work died.
pub fn unanswered(server: &str) -> ServerError {
    let server = server.to_owned();
    match cancel::is_cancelled() {
        true => ServerError::Cancelled { server },
        false => ServerError::Cut { server, cause: "its answer was lost".into() },
    }
}

/// The next item that a task sends; `None` at its end, or if nobody waits any more.
pub fn next<T>(receive: &Receiver<T>) -> Option<T> {
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Timeout) if !cancel::is_cancelled() => {}
            Err(_) => return None,
        }
    }
}
