//! The way to a latch: one address, or those of several latches of which one leads.
//!
//! Each answer of a latch in a process of its own has its *term*, which grows with every latch that begins to lead. A line that has heard a newer
//! one takes none of an older, so a latch that was away for long, and does not know that another leads, tells its clients nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidelake_core::{Error, Result, env};
use tokio::sync::watch;

use crate::client::Connection;
use crate::held::HeldLeases;
use crate::wire::{Nothing, Progresses};

/// How often the one that leads is asked whether it still does, if there are others.
const LOOK: Duration = Duration::from_millis(500);
/// How long it may take to say so.
const QUICK: Duration = Duration::from_secs(2);

/// A line; shared by everybody in a process who asks that latch.
pub struct LatchLine {
    connections: Vec<Connection>,
    /// Which of them leads, as far as is known.
    leader: watch::Sender<usize>,
    term: AtomicU64,
}

impl LatchLine {
    /// To the only one.
    #[must_use]
    pub fn to(connection: Connection) -> Arc<LatchLine> {
        LatchLine::of(vec![connection]).unwrap_or_else(|_| unreachable!("there is one"))
    }

    /// To several, of which one leads.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn of(connections: Vec<Connection>) -> Result<Arc<LatchLine>> {
        let first = connections.first().cloned().ok_or_else(|| Error::Invalid("no latch is named".into()))?;
        let several = connections.len() > 1;
        let line = Arc::new(LatchLine { connections, leader: watch::Sender::new(0), term: AtomicU64::new(0) });
        if several {
            first.spawn(look(Arc::downgrade(&line)));
        }
        Ok(line)
    }

    /// True if there are several latches, of which another may lead soon.
    pub(crate) fn is_shared(&self) -> bool {
        self.connections.len() > 1
    }

    /// What is held over it.
    pub(crate) fn leases(&self) -> &Arc<HeldLeases> {
        self.connection(0).leases()
    }

    pub(crate) fn connection(&self, at: usize) -> &Connection {
        self.connections.get(at).unwrap_or_else(|| unreachable!("there is one, and leaders are among them"))
    }

    /// The one that leads, as far as is known.
    #[must_use]
    pub fn leading(&self) -> Connection {
        self.connection(self.leader()).clone()
    }

    pub(crate) fn leader(&self) -> usize {
        *self.leader.borrow()
    }

    /// Takes note of an answer's term.
    ///
    /// # Errors
    /// `Unavailable` if a newer one was heard.
    pub fn heard(&self, term: Option<u64>) -> Result<()> {
        let Some(term) = term else { return Ok(()) };
        let newest = self.term.fetch_max(term, Ordering::AcqRel);
        if term < newest {
            return Err(Error::Unavailable(format!(
                "a latch of term {term} answered; another leads since, of {newest}"
            )));
        }
        Ok(())
    }

    fn lead(&self, at: usize) {
        self.leader.send_if_modified(|leader| std::mem::replace(leader, at) != at);
    }

    /// A call to whoever leads; one after the other is tried, once. Which of them answered.
    pub(crate) async fn ask<A, B>(&self, name: &str, ask: A, patience: Duration) -> Result<(usize, B)>
    where
        A: Serialize + Clone,
        B: DeserializeOwned,
    {
        let (mut leaders, first) = (self.leader.subscribe(), self.leader());
        let mut problem = None;
        for turn in 0..self.connections.len() {
            let at = (first + turn) % self.connections.len();
            leaders.mark_unchanged();
            let answer = tokio::select! {
                answer = self.connection(at).call_within(name, ask.clone(), patience) => answer,
                // It is frozen perhaps; it answers to nobody now.
                _ = leaders.wait_for(|leader| *leader != at), if at == self.leader() => {
                    Err(Error::Unavailable("another latch leads since".into()))
                }
            };
            match answer {
                Ok(answer) => return Ok((at, answer)),
                Err(error @ (Error::Unavailable(_) | Error::Closed(_))) => problem = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(problem.unwrap_or_else(|| Error::Unavailable("no latch answers".into())))
    }

    /// The same from where nothing can be awaited.
    pub(crate) fn ask_now<A, B>(&self, name: &str, ask: A) -> Result<B>
    where
        A: Serialize + Clone,
        B: DeserializeOwned,
    {
        let first = self.leader();
        let mut problem = None;
        for turn in 0..self.connections.len() {
            let at = (first + turn) % self.connections.len();
            match self.connection(at).call_now(name, ask.clone()) {
                Ok(answer) => return Ok(answer),
                Err(error @ (Error::Unavailable(_) | Error::Closed(_))) => problem = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(problem.unwrap_or_else(|| Error::Unavailable("no latch answers".into())))
    }

    /// Asks the one that led last, then the others, until one says that it leads.
    async fn look(&self) {
        let first = self.leader();
        for turn in 0..self.connections.len() {
            let at = (first + turn) % self.connections.len();
            let now: Result<Progresses> = self.connection(at).call_within("progress", Nothing {}, QUICK).await;
            if now.is_ok_and(|now| self.heard(now.term).is_ok()) {
                self.lead(at);
                return;
            }
        }
    }
}

async fn look(line: Weak<LatchLine>) {
    while let Some(line) = line.upgrade() {
        line.look().await;
        drop(line);
        env::sleep(LOOK).await;
    }
}
