//! What can be set of the wire server.

use std::sync::Arc;
use std::time::Duration;

use tidelake_access::{Guard, ServerTls};

/// Limits, login and encryption of the wire server.
#[derive(Clone)]
pub struct WireOptions {
    /// Who is let in. Default: this machine only, under any name.
    pub guard: Arc<Guard>,
    /// `Some`: clients may upgrade the connection to TLS; they must if they have to show a certificate.
    pub tls: Option<Arc<ServerTls>>,
    /// Clients on other machines must upgrade to TLS. Default: no.
    pub require_tls: bool,
    /// Most connections at a time; one more is error 1040. Default 1000.
    pub max_connections: usize,
    /// Largest command in bytes, prepared parameters sent ahead included; more is error 1153. Default 64 MiB.
    pub max_allowed_packet: usize,
    /// Most prepared statements of one connection. Default 4096.
    pub max_prepared_statements: usize,
    /// Time for the handshake. Default 10 s.
    pub connect_timeout: Duration,
    /// A connection without command for so long is closed. Default 8 h.
    pub idle_timeout: Duration,
    /// A client that takes no bytes for so long is cut off, so that it holds no snapshot. Default 10 min.
    pub write_timeout: Duration,
}

impl Default for WireOptions {
    fn default() -> Self {
        WireOptions {
            guard: Arc::default(),
            tls: None,
            require_tls: false,
            max_connections: 1000,
            max_allowed_packet: 64 << 20,
            max_prepared_statements: 4096,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(8 * 3600),
            write_timeout: Duration::from_secs(600),
        }
    }
}
