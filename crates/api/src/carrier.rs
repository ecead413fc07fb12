//! What carries calls to a server: HTTP/2 over sockets, or in a simulation anything that takes requests and gives responses.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidelake_access::Guard;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::transport::Channel;

use crate::hub::{HubSeat, hub_service};
use crate::magic::Magic;
use crate::server::magic_service;

/// A request's outcome.
pub type Carried = BoxFuture<Response<Body>, StdError>;

/// Carries calls without sockets.
pub trait Carries: Send + Sync {
    /// Takes a request to the server and its response back.
    fn carry(&self, request: Request<Body>) -> Carried;

    /// The same for one whose sender can give way to nobody: it is polled once.
    fn carry_now(&self, request: Request<Body>) -> Carried;
}

/// What a connection is over.
#[derive(Clone)]
pub(crate) enum Carrier {
    Sockets(Channel),
    Other { carries: Arc<dyn Carries>, now: bool },
}

impl Carrier {
    /// For a sender that can give way to nobody.
    pub(crate) fn at_once(&self) -> Carrier {
        match self {
            Carrier::Sockets(channel) => Carrier::Sockets(channel.clone()),
            Carrier::Other { carries, .. } => Carrier::Other { carries: carries.clone(), now: true },
        }
    }
}

impl Service<Request<Body>> for Carrier {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Carried;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Carried {
        match self {
            Carrier::Sockets(channel) => {
                let mut channel = channel.clone();
                Box::pin(async move {
                    poll_fn(|cx| channel.poll_ready(cx)).await?;
                    Ok(channel.call(request).await?)
                })
            }
            Carrier::Other { carries, now: false } => carries.carry(request),
            Carrier::Other { carries, now: true } => carries.carry_now(request),
        }
    }
}

/// A server without sockets; clones are of the same one.
#[derive(Clone)]
pub struct Served(Arc<dyn Fn(Request<Body>) -> Carried + Send + Sync>);

impl Served {
    /// What [`MagicServer`](crate::MagicServer) serves.
    #[must_use]
    pub fn magic(guard: Arc<Guard>, magic: Arc<Magic>, cancel: CancellationToken) -> Served {
        let service = magic_service(guard, magic, cancel);
        Served(Arc::new(move |request| served(service.clone(), request)))
    }

    /// What [`HubServer`](crate::HubServer) serves.
    #[must_use]
    pub fn hub(guard: Arc<Guard>, seat: HubSeat, cancel: CancellationToken) -> Served {
        let service = hub_service(guard, seat, cancel);
        Served(Arc::new(move |request| served(service.clone(), request)))
    }

    /// Serves a request.
    #[must_use]
    pub fn serve(&self, request: Request<Body>) -> Carried {
        (self.0)(request)
    }
}

fn served<S, B>(mut service: S, request: Request<Body>) -> Carried
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static, Error: Into<StdError>>,
    B: tonic::codegen::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    let answer = service.call(request);
    Box::pin(async move { Ok(answer.await.map_err(Into::into)?.map(Body::new)) })
}
