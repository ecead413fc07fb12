//! Listening and ending.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use tidelake_access::{Door, Guard};
use tidelake_api::{LetIn, Magic, MagicFlight, Offered, RowsOut, incoming};
use tidelake_core::{Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

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
    /// Serves Flight SQL, and the Magic API if there is one, to whom the guard lets in through a door for gRPC, until `cancel`; then
    /// running streams end with the status UNAVAILABLE.
    ///
    /// # Errors
    /// [`Error::Io`] if the door's address cannot be read.
    pub fn start(
        door: Door,
        guard: Arc<Guard>,
        service: Arc<dyn SqlService>,
        magic: Option<Arc<Magic>>,
        cancel: CancellationToken,
    ) -> Result<FlightServer> {
        let address = door.local_addr().map_err(|e| Error::io("read the Flight listener's address", e))?;
        let incoming = incoming(door, cancel.clone());
        let sql = FlightSql::new(service, guard.clone(), cancel.clone());
        let calls = magic.clone().map(|magic| Offered(MagicFlight::new(magic, cancel.clone())));
        let flight = FlightServiceServer::new(Both { sql, magic: calls });
        let flight = InterceptedService::new(RowsOut::before(flight, magic, cancel.clone()), LetIn::new(guard));
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
