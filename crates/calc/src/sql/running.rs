//! Statements that run: KILL finds them by their connection, and each has its time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::session::SqlError;

/// The sessions of a room by their connection's number.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<u32, Arc<Running>>>,
}

/// What one session runs now.
#[derive(Debug)]
pub(crate) struct Running {
    user: String,
    statement: Mutex<CancellationToken>,
    gone: AtomicBool,
}

impl Sessions {
    /// A new session.
    pub(crate) fn opened(&self, connection: u32, user: &str) -> Arc<Running> {
        let running =
            Arc::new(Running { user: user.to_owned(), statement: Mutex::default(), gone: AtomicBool::new(false) });
        self.all.lock().insert(connection, Arc::clone(&running));
        running
    }

    /// A session's end. Another session may have its connection by now.
    pub(crate) fn closed(&self, connection: u32, running: &Arc<Running>) {
        let mut all = self.all.lock();
        if all.get(&connection).is_some_and(|r| Arc::ptr_eq(r, running)) {
            all.remove(&connection);
        }
    }

    /// Ends the statement of a connection, or the connection with it.
    ///
    /// # Errors
    /// 1094 if there is none, 1095 if it is another user's.
    pub(crate) fn kill(&self, connection: u32, whole: bool, by: &str) -> Result<(), SqlError> {
        let Some(running) = self.all.lock().get(&connection).cloned() else {
            return Err(SqlError::new(1094, "HY000", format!("Unknown thread id: {connection}")));
        };
        if running.user != by {
            return Err(SqlError::new(1095, "HY000", format!("You are not owner of thread {connection}")));
        }
        if whole {
            running.gone.store(true, Ordering::Release);
        }
        running.statement.lock().cancel();
        Ok(())
    }
}

impl Running {
    /// A new statement, which has `time`.
    ///
    /// # Errors
    /// 1927 if the connection was killed.
    pub(crate) fn begin(&self, time: Option<Duration>) -> Result<Stop, SqlError> {
        if self.gone.load(Ordering::Acquire) {
            return Err(killed_connection());
        }
        let token = CancellationToken::new();
        *self.statement.lock() = token.clone();
        Ok(Stop { token, deadline: time.and_then(|t| Instant::now().checked_add(t)) })
    }
}

/// The error that ends a killed connection.
fn killed_connection() -> SqlError {
    SqlError::new(1927, "70100", "Connection was killed")
}

/// What may end a statement before its last row.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    token: CancellationToken,
    deadline: Option<Instant>,
}

impl Stop {
    /// Waits for it; gives what the client is told.
    pub(crate) async fn stopped(&self) -> SqlError {
        let late = async {
            match self.deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.token.cancelled() => SqlError::new(1317, "70100", "Query execution was interrupted"),
            () = late => SqlError::new(1969, "70100", "Query execution was interrupted (max_statement_time exceeded)"),
        }
    }
}
