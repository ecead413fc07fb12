//! What Tidelake listens on, and telling people and programs where.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tidelake_calc::flight::FlightServer;
use tidelake_calc::wire::WireServer;

use crate::access::Access;
use crate::config::Settings;
use crate::http;
use crate::pipeline::Pipeline;

/// Addresses in use.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// MySQL protocol.
    pub mysql: SocketAddr,
    /// Flight SQL.
    pub flight: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// Clients must log in; without users, everybody on this machine is let in.
    pub users: bool,
    /// The MySQL listener has a certificate.
    pub mysql_tls: bool,
    /// Flight and HTTP speak TLS.
    pub tls: bool,
}

impl Addresses {
    /// What listens where.
    pub fn new(access: &Access, mysql: SocketAddr, flight: SocketAddr, http: SocketAddr) -> Addresses {
        let (mysql_tls, tls) = (access.mysql_has_tls(), access.has_tls());
        Addresses { mysql, flight, http, users: access.has_users(), mysql_tls, tls }
    }
}

/// The line that says where to ask a process.
pub struct StatusAddress<'a>(pub &'a Access, pub SocketAddr);

impl std::fmt::Display for StatusAddress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        status_line(f, self.0.has_tls(), self.1)
    }
}

fn status_line(f: &mut std::fmt::Formatter<'_>, tls: bool, http: SocketAddr) -> std::fmt::Result {
    let (scheme, given) = if tls { ("https", "https://") } else { ("http", "") };
    write!(f, "  Status          tidelake status --http {given}{http}   or {scheme}://{http}/api/v1/status, /metrics")
}

/// Binds all listeners and writes the ports file.
///
/// # Errors
/// An address that cannot be bound, with its option.
pub async fn listen(settings: &Settings, pipeline: &Arc<Pipeline>) -> Result<Addresses> {
    let cancel = pipeline.listener_token();
    let metrics = http::install_metrics()?;
    let access = &settings.access;
    access.reload_on_hangup(cancel.clone())?;
    let serving = pipeline.serving.as_ref().context("this process serves no readers")?;
    let wire = WireServer::bind(settings.sql.mysql_listen, serving.sql.clone(), access.wire_options(), cancel.clone())
        .await
        .with_context(|| format!("listen on {} (--mysql-listen)", settings.sql.mysql_listen))?;
    let magic = Some(serving.magic_api.clone());
    let door = access.grpc("--flight-listen", settings.sql.flight_listen).await?;
    let flight = FlightServer::start(door, access.guard.clone(), serving.sql.clone(), magic, cancel.clone())?;
    let (http, http_task) =
        http::serve(access, settings.common.http_listen, http::of_pipeline(pipeline.clone(), metrics), cancel).await?;
    let addresses = Addresses::new(access, wire.local_addr(), flight.local_addr(), http);
    pipeline.add_task("MySQL listener", tokio::spawn(async move { wire.finished().await.context("MySQL listener") }));
    pipeline
        .add_task("Flight listener", tokio::spawn(async move { flight.finished().await.context("Flight listener") }));
    pipeline.add_task("HTTP listener", tokio::spawn(async move { http_task.await.context("HTTP listener") }));
    if let Some(file) = &settings.common.ports_file {
        let Addresses { mysql, flight, http, .. } = &addresses;
        write_ports(file, &[("mysql", mysql), ("flight", flight), ("http", http)])?;
    }
    Ok(addresses)
}

/// Written beside and renamed, so whoever waits for the file reads it whole.
///
/// # Errors
/// If it cannot be written.
pub fn write_ports(file: &Path, addresses: &[(&str, &SocketAddr)]) -> Result<()> {
    let ports = addresses.iter().map(|(name, address)| ((*name).to_owned(), address.port().into()));
    let ports = serde_json::Value::Object(ports.collect());
    let draft = file.with_extension("new");
    std::fs::write(&draft, ports.to_string()).with_context(|| format!("write {}", draft.display()))?;
    std::fs::rename(&draft, file).with_context(|| format!("write ports file {}", file.display()))
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Addresses { mysql, flight, http, users, mysql_tls, tls } = self;
        let encryption = if *mysql_tls { "" } else { " --skip-ssl" };
        let login = if *users { " -u USER -p" } else { "   (any user, no password)" };
        writeln!(f, "  MySQL protocol  mariadb -h {} -P {}{encryption}{login}", mysql.ip(), mysql.port())?;
        if !users {
            writeln!(f, "  SQL from here   tidelake sql --connect {mysql} \"SHOW DATABASES\"")?;
        }
        writeln!(f, "  Flight SQL      {}://{flight}", if *tls { "grpc+tls" } else { "grpc" })?;
        status_line(f, *tls, *http)
    }
}
