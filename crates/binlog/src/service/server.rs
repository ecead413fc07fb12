//! Which server the upstream is, and what it calls things.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Error, Result};

use super::connect::Connector;

/// What is known of the server after asking it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Which kind of server.
    pub flavor: ServerFlavor,
    /// Its server id.
    pub id: u32,
    /// MySQL: its UUID; empty without.
    pub uuid: String,
    /// Every transaction has a GTID.
    pub gtids: bool,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// What `SELECT VERSION()` says, e.g. `10.11.6-MariaDB-log`.
    pub version_text: String,
    /// What `@@version_comment` says.
    pub version_comment: String,
    /// What `@@time_zone` says, e.g. `SYSTEM`.
    pub time_zone: String,
    /// What `@@system_time_zone` says, e.g. `CET`.
    pub system_time_zone: String,
    /// Seconds by which the server's clock time is now ahead of UTC.
    pub utc_offset_seconds: i32,
}

impl UpstreamServer {
    /// Asks the server.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) async fn detect(connector: &Connector, conn: &mut Conn) -> Result<UpstreamServer> {
        const ASK: &str = "SELECT CONVERT(VERSION() USING utf8), CONVERT(@@version_comment USING utf8), \
            CONVERT(@@GLOBAL.time_zone USING utf8), CONVERT(@@system_time_zone USING utf8), @@GLOBAL.server_id";
        type Row = (String, Option<String>, String, Option<String>, u32);
        let row: Option<Row> = conn.query_first(ASK).await.map_err(|e| connector.error("ask for the version", &e))?;
        let (version_text, comment, time_zone, system_time_zone, id) =
            row.ok_or_else(|| Error::Unavailable("the upstream told no version".into()))?;
        let offset = utc_offset(connector, conn, &time_zone).await?;
        let flavor = flavor_of(&version_text, comment.as_deref().unwrap_or_default());
        let (uuid, gtids) = match flavor {
            ServerFlavor::MySql => uuid(connector, conn).await?,
            other => (String::new(), other == ServerFlavor::MariaDb),
        };
        Ok(UpstreamServer {
            flavor,
            id,
            uuid,
            gtids,
            version: version_of(&version_text),
            version_text,
            version_comment: comment.unwrap_or_default(),
            time_zone,
            system_time_zone: system_time_zone.unwrap_or_default(),
            utc_offset_seconds: offset,
        })
    }

    /// What tells it from the other servers that replicate from each other.
    pub(crate) fn identity(&self) -> (u32, String) {
        (self.id, self.uuid.clone())
    }

    /// True for MariaDB.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        self.flavor == ServerFlavor::MariaDb
    }

    /// True if every transaction in `gtid_executed` is visible to every later snapshot: MySQL adds a GTID after the engine
    /// has committed, old versions when they write the bin log.
    pub(crate) fn executed_is_visible(&self) -> bool {
        self.flavor == ServerFlavor::MySql && self.version >= (8, 0, 0) && self.gtids
    }

    /// The statement that tells the newest position.
    pub(crate) fn show_head(&self) -> &'static str {
        if !self.is_mariadb() && self.version >= (8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" }
    }

    /// True if Tidelake can read this server's bin log over a connection.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        match self.flavor {
            ServerFlavor::MariaDb => self.version >= (10, 3, 0),
            ServerFlavor::MySql => self.version >= (5, 6, 2),
            ServerFlavor::TiDb => false,
        }
    }
}

/// The server's UUID, and whether all its transactions have GTIDs.
async fn uuid(connector: &Connector, conn: &mut Conn) -> Result<(String, bool)> {
    const ASK: &str = "SELECT CONVERT(@@GLOBAL.server_uuid USING utf8), CONVERT(@@GLOBAL.gtid_mode USING utf8)";
    let row: Option<(String, String)> =
        conn.query_first(ASK).await.map_err(|e| connector.error("ask for the server's UUID", &e))?;
    Ok(row.map(|(uuid, mode)| (uuid, mode.eq_ignore_ascii_case("ON"))).unwrap_or_default())
}

async fn utc_offset(connector: &Connector, conn: &mut Conn, zone: &str) -> Result<i32> {
    // sessions of Tidelake run in UTC, so the global zone is put in for one statement
    let fixed = match zone {
        "SYSTEM" | "system" => None,
        zone => parse_offset(zone),
    };
    if let Some(seconds) = fixed {
        return Ok(seconds);
    }
    const ASK: &str = "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())";
    let error = |e: mysql_async::Error| connector.error("ask for the time zone", &e);
    conn.query_drop("SET @tidelake_zone = @@SESSION.time_zone, SESSION time_zone = @@GLOBAL.time_zone")
        .await
        .map_err(error)?;
    let seconds: Option<i64> = conn.query_first(ASK).await.map_err(error)?;
    conn.query_drop("SET SESSION time_zone = @tidelake_zone").await.map_err(error)?;
    // the two clocks may be read a second apart
    let rounded = (seconds.unwrap_or(0) as f64 / 60.0).round() as i32 * 60;
    Ok(rounded)
}

/// `+02:00` in seconds.
fn parse_offset(zone: &str) -> Option<i32> {
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60))
}

fn flavor_of(version: &str, comment: &str) -> ServerFlavor {
    let text = format!("{version} {comment}").to_ascii_lowercase();
    if text.contains("tidb") {
        ServerFlavor::TiDb
    } else if text.contains("mariadb") {
        ServerFlavor::MariaDb
    } else {
        ServerFlavor::MySql
    }
}

fn version_of(text: &str) -> (u32, u32, u32) {
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version_of("10.11.19-MariaDB-0+deb12u1-log"), (10, 11, 19));
        assert_eq!(version_of("5.5.5-10.3.1-MariaDB"), (10, 3, 1));
        assert_eq!(flavor_of("8.0.11-TiDB-v7.5.0", ""), ServerFlavor::TiDb);
        assert_eq!(flavor_of("9.7.0", "MySQL Community"), ServerFlavor::MySql);
    }

    #[test]
    fn offsets() {
        assert_eq!(parse_offset("+02:00"), Some(7200));
        assert_eq!(parse_offset("-00:30"), Some(-1800));
        assert_eq!(parse_offset("Europe/Berlin"), None);
    }
}
