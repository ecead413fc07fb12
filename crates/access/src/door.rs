//! Listening, with TLS if there is a certificate.
//!
//! Handshakes run beside each other and have a limit of time: a client that says nothing keeps nobody else waiting.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tls::{Inside, ServerTls};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Connections that wait to be served.
const WAITING: usize = 64;

/// A bound listener.
pub struct Door {
    listener: TcpListener,
    tls: Option<(Arc<ServerTls>, Inside)>,
}

impl Door {
    /// For gRPC, on `address` (port 0: the system chooses).
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub async fn grpc(address: SocketAddr, tls: Option<Arc<ServerTls>>) -> io::Result<Door> {
        Ok(Door { listener: TcpListener::bind(address).await?, tls: tls.map(|tls| (tls, Inside::Grpc)) })
    }

    /// For HTTP, on `address` (port 0: the system chooses).
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub async fn http(address: SocketAddr, tls: Option<Arc<ServerTls>>) -> io::Result<Door> {
        Ok(Door { listener: TcpListener::bind(address).await?, tls: tls.map(|tls| (tls, Inside::Http)) })
    }

    /// Where it listens, with the real port.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes connections until `cancel`; then the receiver ends.
    #[must_use]
    pub fn open(self, cancel: CancellationToken) -> mpsc::Receiver<Wire> {
        let (sender, wires) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.accept(sender) => {}
            }
        });
        wires
    }

    /// Until nobody takes them any more.
    async fn accept(self, wires: mpsc::Sender<Wire>) {
        let slots = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: others must end first.
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "set TCP_NODELAY");
            }
            let Some((tls, inside)) = &self.tls else {
                if wires.send(Wire { peer, inner: Inner::Plain(stream) }).await.is_err() {
                    return;
                }
                continue;
            };
            let (acceptor, wires) = (TlsAcceptor::from(tls.config(*inside)), wires.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        // The process ends if nobody takes it.
                        let _ = wires.send(Wire { peer, inner: Inner::Tls(Box::new(stream)) }).await;
                    }
                    Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake refused"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                }
                drop(slot);
            });
        }
    }
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that came through a [`Door`].
pub struct Wire {
    peer: SocketAddr,
    inner: Inner,
}

impl Wire {
    /// Where the client is.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Inner::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(stream) => stream.is_write_vectored(),
            Inner::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
