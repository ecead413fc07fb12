//! Listening, counting and ending connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tidelake_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::session::{SqlError, SqlService};

use super::WireOptions;
use super::channel::{Channel, ChannelError};
use super::connection::{Connection, Surroundings};
use super::constants::error;
use super::fields::error_packet;
use super::handshake::{self, HANDSHAKE_LIMIT};

/// How long a shutdown waits for connections to say good-bye.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// A listening MySQL wire server.
#[derive(Debug)]
pub struct WireServer {
    address: SocketAddr,
    /// Gives how many connections ended by a panic.
    task: JoinHandle<usize>,
}

impl WireServer {
    /// Listens on `address` (port 0: the system chooses) and serves until `cancel`: then no more connections are taken,
    /// running statements end with error 1053, and all connections are closed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the address cannot be listened on, naming it and the option to change it.
    pub async fn bind(
        address: SocketAddr,
        service: Arc<dyn SqlService>,
        options: WireOptions,
        cancel: CancellationToken,
    ) -> Result<WireServer> {
        let refused = |e: std::io::Error| {
            Error::Invalid(format!(
                "cannot listen on {address} for MySQL clients: {e}; choose another address with --mysql-listen"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let around = Arc::new(Surroundings { service, options: Arc::new(options), cancel, started: Instant::now() });
        let task = tokio::spawn(accept(listener, around));
        Ok(WireServer { address, task })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended after its cancellation.
    ///
    /// # Errors
    /// [`Error::Internal`] if it, or one of its connections, ended by a panic.
    pub async fn finished(self) -> Result<()> {
        let ended = self.task.await.map_err(|e| Error::Internal(format!("the MySQL wire server ended: {e}")))?;
        if ended > 0 {
            return Err(Error::Internal(format!("{ended} MySQL connections ended by a panic, see the log")));
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, around: Arc<Surroundings>) -> usize {
    let slots = Arc::new(Semaphore::new(around.options.max_connections));
    let next_id = AtomicU32::new(1);
    let mut connections = JoinSet::new();
    let mut panics = 0;
    loop {
        let accepted = tokio::select! {
            () = around.cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                panics += report_panic(&ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, mostly: others must end first.
                tracing::warn!(error = %e, "accept MySQL client");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let id = next_id.fetch_add(1, Ordering::Relaxed);
                connections.spawn(converse(socket, remote, id, around.clone(), slot));
            }
            Err(_) => {
                connections.spawn(turn_away(socket, around.clone()));
            }
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(SHUTDOWN_PATIENCE, async {
        while let Some(ended) = connections.join_next().await {
            panics += report_panic(&ended);
        }
    });
    if ended.await.is_err() {
        tracing::warn!(connections = connections.len(), "MySQL clients cut off at shutdown");
    }
    panics
}

/// 1 if the connection ended by a panic.
fn report_panic(ended: &std::result::Result<(), tokio::task::JoinError>) -> usize {
    let Err(e) = ended else { return 0 };
    tracing::error!(error = %e, "MySQL connection ended by a panic");
    1
}

/// Counts a connection for as long as it lives.
struct Counted {
    _slot: OwnedSemaphorePermit,
}

impl Counted {
    fn new(slot: OwnedSemaphorePermit) -> Counted {
        gauge!("tidelake_mysql_connections").increment(1.0);
        Counted { _slot: slot }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!("tidelake_mysql_connections").decrement(1.0);
    }
}

fn channel_of(socket: TcpStream, around: &Surroundings) -> Channel {
    if let Err(e) = socket.set_nodelay(true) {
        tracing::debug!(error = %e, "set TCP_NODELAY");
    }
    Channel::new(Box::new(socket), HANDSHAKE_LIMIT, around.options.write_timeout)
}

/// One connection from greeting to end.
async fn converse(
    socket: TcpStream,
    remote: SocketAddr,
    id: u32,
    around: Arc<Surroundings>,
    slot: OwnedSemaphorePermit,
) {
    let _counted = Counted::new(slot);
    let channel = channel_of(socket, &around);
    let version = around.service.server_version();
    let greeting = handshake::greet(channel, remote, id, &version, &around.options);
    let greeted = tokio::select! {
        () = around.cancel.cancelled() => return,
        greeted = tokio::time::timeout(around.options.connect_timeout, greeting) => greeted,
    };
    let greeted = match greeted {
        Ok(Ok(Some(greeted))) => greeted,
        Ok(Ok(None)) => return,
        Err(_) => {
            tracing::debug!(%remote, "MySQL handshake timed out");
            return;
        }
        Ok(Err((channel, e))) => return refuse(channel, remote, e).await,
    };
    match Connection::open(greeted, remote, id, around).await {
        Ok(connection) => connection.serve().await,
        Err((channel, e)) => refuse(channel, remote, ChannelError::Refused(e)).await,
    }
}

async fn refuse(mut channel: Channel, remote: SocketAddr, e: ChannelError) {
    match e {
        ChannelError::Gone(e) => tracing::debug!(%remote, error = %e, "MySQL client left during the handshake"),
        ChannelError::Refused(e) => {
            tracing::info!(%remote, error = %e, "MySQL client refused");
            counter!("tidelake_mysql_errors_total", "code" => e.code.to_string()).increment(1);
            channel.put_bytes(&error_packet(&e, true));
            channel.close().await;
        }
    }
}

async fn turn_away(socket: TcpStream, around: Arc<Surroundings>) {
    let (code, state) = error::TOO_MANY_CONNECTIONS;
    counter!("tidelake_mysql_errors_total", "code" => code.to_string()).increment(1);
    let message = format!("Too many connections (the most allowed are {})", around.options.max_connections);
    let mut channel = channel_of(socket, &around);
    channel.put_bytes(&error_packet(&SqlError::new(code, state, message), false));
    channel.close().await;
}
