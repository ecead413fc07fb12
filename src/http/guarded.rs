//! The guard before every route, and how HTTP stands behind a [`Door`](tidelake_access::Door).
//!
//! Who is told what: health and readiness, everybody; what shows all tables (status, metrics), whoever may read them all, or change settings; what
//! changes something, whoever has the right `admin`; the Magic API judges its calls itself. A route that is added later is
//! guarded without being named here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tidelake_access::{Guard, Right, Rights, Wire};
use tokio::sync::mpsc::Receiver;

/// Where the Magic API's calls are.
pub const MAGIC: &str = "/api/v1/magic/";

/// What load balancers and orchestrators ask, which know no users.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// A door for axum.
pub struct HttpDoor {
    address: SocketAddr,
    wires: Receiver<Wire>,
}

impl HttpDoor {
    /// Connections that come through a door that listens on `address`.
    pub fn new(address: SocketAddr, wires: Receiver<Wire>) -> HttpDoor {
        HttpDoor { address, wires }
    }
}

impl Listener for HttpDoor {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        match self.wires.recv().await {
            Some(wire) => {
                let peer = wire.peer();
                (wire, peer)
            }
            // The door is closed: what ends it ends the server too.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, HttpDoor>> for Peer {
    fn connect_info(stream: IncomingStream<'_, HttpDoor>) -> Peer {
        Peer(*stream.remote_addr())
    }
}

/// The routes behind a guard. Handlers find the [`Caller`](tidelake_access::Caller) among the request's extensions.
pub fn guard(routes: Router, guard: Arc<Guard>) -> Router {
    routes.layer(middleware::from_fn_with_state(guard, judge))
}

async fn judge(
    State(guard): State<Arc<Guard>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = match guard.by_header(header, peer.ip()) {
        Ok(caller) => caller,
        Err(refused) => {
            let ways = [(header::WWW_AUTHENTICATE, "Basic realm=\"tidelake\", charset=\"UTF-8\"")];
            return (StatusCode::UNAUTHORIZED, ways, format!("{}\n", refused.0)).into_response();
        }
    };
    if let Err(reason) = allowed(&caller.rights, request.method(), request.uri().path()) {
        return (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn allowed(rights: &Rights, method: &Method, path: &str) -> Result<(), String> {
    if path.starts_with(MAGIC) {
        return Ok(());
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    // The report of a comparison has keys of rows that differ.
    if reads && path != "/api/v1/verify" {
        let all = rights.reads_all() || rights.has(Right::Admin);
        return if all { Ok(()) } else { Err("this shows all tables, and the user may not read them all".into()) };
    }
    rights.check(Right::Admin).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelake_core::filter::TableFilter;

    #[test]
    fn what_changes_something_needs_the_right_to() {
        let some = TableFilter::parse("shop.*").expect("parses");
        let (part, reader) = (Rights::new(vec![Right::Read], Some(some)), Rights::new(vec![Right::Read], None));
        let (writer, admin) = (Rights::new(vec![Right::Write], None), Rights::new(vec![Right::Admin], None));
        let may = |rights: &Rights, method: Method, path: &str| allowed(rights, &method, path).is_ok();
        for path in ["/api/v1/status", "/api/v1/tables", "/metrics", "/what/comes/later"] {
            assert!(!may(&part, Method::GET, path), "{path}");
            assert!([&reader, &writer, &admin].iter().all(|rights| may(rights, Method::GET, path)), "{path}");
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!([&part, &reader, &writer].iter().all(|r| !may(r, method.clone(), path)), "{method} {path}");
                assert!(may(&admin, method, path));
            }
        }
        assert!(!may(&reader, Method::GET, "/api/v1/verify") && may(&admin, Method::GET, "/api/v1/verify"));
        assert!(may(&part, Method::POST, "/api/v1/magic/plan"), "judged there");
    }
}
