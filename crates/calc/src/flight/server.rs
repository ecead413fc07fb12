//! Listening and ending.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use tidelake_api::{Magic, MagicFlight};
use tidelake_core::{Error, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::session::SqlService;

use super::both::Both;
use super::service::FlightSql;

/// A listening Flight SQL server.
#[derive(Debug)]
pub struct FlightServer {
    address: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl FlightServer {
    /// Listens on `address` (port 0: the system chooses) and serves Flight SQL, and the Magic API if there is one, until `cancel`; then running streams end with the
    /// status UNAVAILABLE.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the address is not a loopback address (there is no login) or cannot be listened on,
    /// naming it and the option to change it.
    pub async fn bind(
        address: SocketAddr,
        service: Arc<dyn SqlService>,
        magic: Option<Arc<Magic>>,
        cancel: CancellationToken,
    ) -> Result<FlightServer> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(Error::Invalid(format!(
                "Flight SQL has no login yet, so it listens on loopback addresses only, not on {address}; choose one \
                 (127.0.0.1:8815) with --flight-listen"
            )));
        }
        let refused = |e: std::io::Error| {
            Error::Invalid(format!(
                "cannot listen on {address} for Flight SQL: {e}; choose another address with --flight-listen"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let sql = FlightSql::new(service, cancel.clone());
        let magic = magic.map(|magic| MagicFlight::new(magic, cancel.clone()));
        let flight = FlightServiceServer::new(Both { sql, magic });
        let serving = Server::builder().add_service(flight);
        let task = tokio::spawn(serving.serve_with_incoming_shutdown(incoming, cancel.cancelled_owned()));
        Ok(FlightServer { address, task })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended after its cancellation.
    ///
    /// # Errors
    /// [`Error::Internal`] if it ended for another reason.
    pub async fn finished(self) -> Result<()> {
        let ended = self.task.await.map_err(|e| Error::Internal(format!("the Flight SQL server ended: {e}")))?;
        ended.map_err(|e| Error::Internal(format!("the Flight SQL server ended: {e}")))
    }
}
