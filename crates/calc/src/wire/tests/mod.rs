//! The wire server against real clients (mysql_async, the `mariadb` program) and hostile bytes, over a service
//! that answers from fixed Arrow batches.

mod clients;
pub(crate) mod double;
mod hostile;
mod logins;
pub(crate) mod values;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder};
use tokio_util::sync::CancellationToken;

use super::{WireOptions, WireServer};
use double::FixedService;

/// A running server and what its service saw.
struct Running {
    server: WireServer,
    service: Arc<FixedService>,
    cancel: CancellationToken,
}

async fn start(options: WireOptions) -> Running {
    let service = Arc::new(FixedService::default());
    let cancel = CancellationToken::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = WireServer::bind(address, service.clone(), options, cancel.clone()).await.unwrap();
    Running { server, service, cancel }
}

impl Running {
    fn opts(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.server.local_addr().port())
            .user(Some("ann"))
            .prefer_socket(false)
            .max_allowed_packet(Some(64 << 20))
            .wait_timeout(Some(600))
    }

    async fn connect(&self) -> Conn {
        Conn::new(self.opts()).await.unwrap()
    }
}

/// The number of the server's error; panics on any other outcome.
fn code<T>(result: Result<T, mysql_async::Error>) -> u16 {
    match result {
        Err(mysql_async::Error::Server(e)) => e.code,
        Err(other) => panic!("not a server error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

async fn conn_of(opts: impl Into<Opts>) -> Result<Conn, mysql_async::Error> {
    Conn::new(opts.into()).await
}
