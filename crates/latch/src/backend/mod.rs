//! Where a latch's page is kept, and who of several latches leads: a directory ([`FileBackend`]) or etcd ([`EtcdBackend`]).

mod etcd;
mod etcd_client;
mod etcd_login;
mod file;

use std::time::Instant;

use tidelake_core::Result;

pub use etcd::EtcdBackend;
pub use etcd_client::EtcdGateway;
pub use etcd_login::{EtcdLogin, EtcdUser};
pub use file::FileBackend;

/// Where a page is kept. Its functions may block.
pub trait Backend: Send + Sync {
    /// Tries to lead; `None` while another does.
    ///
    /// # Errors
    /// If it cannot be reached or written.
    fn campaign(&self) -> Result<Option<Box<dyn Leading>>>;
}

/// A latch that leads. What it does after another may have begun to lead, fails. Its functions may block, but [`Leading::until`].
pub trait Leading: Send + Sync {
    /// The page; `None`: there is none yet.
    ///
    /// # Errors
    /// If it cannot be read.
    fn load(&self) -> Result<Option<String>>;

    /// Replaces the page; durable when it returns.
    ///
    /// # Errors
    /// If another leads, or nobody knows whether it was written: then this one may store nothing any more.
    fn store(&self, page: &str) -> Result<()>;

    /// When another may begin to lead, unless [`Leading::keep`] is called before; `None`: never, as long as this lives.
    fn until(&self) -> Option<Instant>;

    /// Prolongs it.
    ///
    /// # Errors
    /// [`Unavailable`](tidelake_core::Error::Unavailable) if it may still be prolonged; all else says that another may lead.
    fn keep(&self) -> Result<()>;

    /// Ends it at once, as far as that is possible.
    fn resign(&self);
}
