//! How a gRPC server stands behind a [`Door`]: its connections as tonic wants them, and the guard before every call.
//!
//! Whoever was let in travels with the request; a service that finds nobody there refuses, so that one that was started without a guard
//! serves nobody.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt, stream};
use tidelake_access::{Caller, Door, Guard, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

/// The header, as gRPC spells it.
pub(crate) const AUTHORIZATION: &str = "authorization";

/// A connection, for tonic.
pub struct GrpcWire(Wire);

impl Connected for GrpcWire {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: None, remote_addr: Some(self.0.peer()) }
    }
}

impl AsyncRead for GrpcWire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for GrpcWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The connections of a door, until `cancel`.
pub fn incoming(door: Door, cancel: CancellationToken) -> impl Stream<Item = io::Result<GrpcWire>> + Send + 'static {
    let wires = door.open(cancel);
    stream::unfold(wires, |mut wires| async move { Some((wires.recv().await?, wires)) }).map(|wire| Ok(GrpcWire(wire)))
}

/// Asks the guard before every call.
#[derive(Clone)]
pub struct LetIn(Arc<Guard>);

impl LetIn {
    /// Of this guard.
    #[must_use]
    pub fn new(guard: Arc<Guard>) -> LetIn {
        LetIn(guard)
    }
}

impl Interceptor for LetIn {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(remote) = request.remote_addr() else {
            return Err(Status::unauthenticated("the client's address is not known"));
        };
        let header = request.metadata().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let let_in = self.0.by_header(header, remote.ip());
        let caller = let_in.map_err(|refused| Status::unauthenticated(refused.0))?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Who makes a call.
///
/// # Errors
/// `UNAUTHENTICATED` if nobody was let in.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("nobody has logged in"))
}
