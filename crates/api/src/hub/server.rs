//! A hub as an Arrow Flight service: calls only. While another latch leads, or none yet, there is no hub, and whoever asks is told so.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::{StreamExt, stream};
use tidelake_access::{Caller, Door, Guard};
use tidelake_core::{Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use super::{HUB_ADMIN_CALLS, HUB_READ_CALLS, HUB_WRITE_CALLS, Hub};
use crate::client::{PING, PONG};
use crate::door::{LetIn, incoming};
use crate::errors::to_status;
use crate::offered::{Answers, Offered, Offers, questions_of};
use crate::wire::encode;

/// Where the hub of a process is while it leads.
#[derive(Clone, Default)]
pub struct HubSeat(Arc<parking_lot::RwLock<Option<Arc<Hub>>>>);

impl HubSeat {
    /// From now on it is this one.
    pub fn take(&self, hub: Option<Arc<Hub>>) {
        *self.0.write() = hub;
    }

    /// The one that leads.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another latch does.
    pub fn hub(&self) -> Result<Arc<Hub>> {
        self.0
            .read()
            .clone()
            .ok_or_else(|| Error::Unavailable("this latch does not lead: another one does, or will".into()))
    }

    /// Runs a call at the one that leads.
    ///
    /// # Errors
    /// As for [`Hub::call`].
    pub async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.hub()?.call(caller, name, body).await
    }
}

/// A latch of several engines as a server of the Magic API.
pub struct HubFlight {
    seat: HubSeat,
    cancel: CancellationToken,
}

#[tonic::async_trait]
impl Offers for HubFlight {
    fn calls() -> Vec<&'static str> {
        HUB_READ_CALLS.iter().chain(HUB_WRITE_CALLS).chain(HUB_ADMIN_CALLS).copied().collect()
    }

    async fn call(&self, caller: &Caller, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.seat.call(caller, name, body).await
    }

    /// Of what is shown.
    fn watch(&self) -> Result<Answers<arrow_flight::Result>> {
        let hub = self.seat.hub()?;
        let (mut shown, lost) = (hub.shown.subscribe(), hub.book.lost());
        shown.mark_changed();
        let watched = stream::unfold((hub, shown), |(hub, mut shown)| async move {
            shown.changed().await.ok()?;
            let body = encode(hub.progress()).map_err(|e| to_status(&e));
            Some((body.map(|body| arrow_flight::Result { body: body.into() }), (hub, shown)))
        });
        let ended = self.cancel.clone().cancelled_owned();
        Ok(watched.take_until(lost.cancelled_owned()).take_until(ended).boxed())
    }

    fn questions(&self, epoch: u64) -> Result<Answers<arrow_flight::Result>> {
        let hub = self.seat.hub()?;
        let (asked, lost) = (hub.listen(epoch)?, hub.book.lost());
        let ended = self.cancel.clone().cancelled_owned();
        Ok(questions_of(asked).take_until(lost.cancelled_owned()).take_until(ended).boxed())
    }
}

/// The service, behind its guard.
pub(crate) fn hub_service(
    guard: Arc<Guard>,
    seat: HubSeat,
    cancel: CancellationToken,
) -> InterceptedService<FlightServiceServer<Offered<HubFlight>>, LetIn> {
    InterceptedService::new(FlightServiceServer::new(Offered(HubFlight { seat, cancel })), LetIn::new(guard))
}

/// A listening server of a latch.
pub struct HubServer {
    address: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl HubServer {
    /// Serves whom the guard lets in through a door for gRPC, until `cancel`.
    ///
    /// # Errors
    /// [`Error::Io`] if the door's address cannot be read.
    pub fn start(door: Door, guard: Arc<Guard>, seat: HubSeat, cancel: CancellationToken) -> Result<HubServer> {
        let address = door.local_addr().map_err(|e| Error::io("read the latch's address", e))?;
        let incoming = incoming(door, cancel.clone());
        let flight = hub_service(guard, seat, cancel.clone());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PONG))
            .add_service(flight);
        let task = tokio::spawn(serving.serve_with_incoming_shutdown(incoming, cancel.cancelled_owned()));
        Ok(HubServer { address, task })
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
        let ended = self.task.await.map_err(|e| Error::Internal(format!("the latch's server ended: {e}")))?;
        ended.map_err(|e| Error::Internal(format!("the latch's server ended: {e}")))
    }
}
