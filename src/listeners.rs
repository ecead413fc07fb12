//! What Tidelake listens on, and telling people and programs where.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tidelake_calc::flight::FlightServer;
use tidelake_calc::wire::WireServer;

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
    /// The MySQL listener knows users; without, it lets in everybody who reaches it from this machine.
    pub users: bool,
    /// The MySQL listener has a certificate.
    pub tls: bool,
}

/// Binds all listeners and writes the ports file.
///
/// # Errors
/// An address that cannot be bound, with its option.
pub async fn listen(settings: &Settings, pipeline: &Arc<Pipeline>) -> Result<Addresses> {
    let cancel = pipeline.listener_token();
    let metrics = http::install_metrics()?;
    let options = settings.access.wire_options()?;
    let serving = pipeline.serving.as_ref().context("this process serves no readers")?;
    let wire = WireServer::bind(settings.mysql_listen, serving.sql.clone(), options, cancel.clone())
        .await
        .with_context(|| format!("listen on {} (--mysql-listen)", settings.mysql_listen))?;
    let magic = Some(serving.magic_api.clone());
    let flight = FlightServer::bind(settings.flight_listen, serving.sql.clone(), magic, cancel.clone())
        .await
        .context("--flight-listen")?;
    let (http, http_task) =
        http::serve(settings.http_listen, http::of_pipeline(pipeline.clone(), metrics), cancel).await?;
    let (users, tls) = (!settings.access.users.is_empty(), settings.access.tls_cert.is_some());
    let addresses = Addresses { mysql: wire.local_addr(), flight: flight.local_addr(), http, users, tls };
    pipeline.add_task("MySQL listener", tokio::spawn(async move { wire.finished().await.context("MySQL listener") }));
    pipeline
        .add_task("Flight listener", tokio::spawn(async move { flight.finished().await.context("Flight listener") }));
    pipeline.add_task("HTTP listener", tokio::spawn(async move { http_task.await.context("HTTP listener") }));
    if let Some(file) = &settings.ports_file {
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
        let Addresses { mysql, flight, http, users, tls } = self;
        let encryption = if *tls { "" } else { " --skip-ssl" };
        let login = if *users { " -u USER -p" } else { "   (any user, no password)" };
        writeln!(f, "  MySQL protocol  mariadb -h {} -P {}{encryption}{login}", mysql.ip(), mysql.port())?;
        if !users {
            writeln!(f, "  SQL from here   tidelake sql --connect {mysql} \"SHOW DATABASES\"")?;
        }
        writeln!(f, "  Flight SQL      grpc://{flight}")?;
        write!(f, "  Status          tidelake status --http {http}   or http://{http}/api/v1/status, /metrics")
    }
}
