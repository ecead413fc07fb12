//! What SQL sessions take from the upstream so that the same query prints the same text: its kind, version and time zone.
//! Kept in the data directory, so that a replica also answers while its upstream is away.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tidelake_binlog::file::server_of;
use tidelake_binlog::service::UpstreamServer;
use tidelake_calc::sql::{SqlZones, server_version};
use tidelake_core::types::text::ServerFlavor;

use crate::config::{Settings, SourceSettings};
use crate::data_dir::{DataDir, write_durably};

/// An upstream as sessions see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Which kind of server.
    pub flavor: ServerFlavor,
    /// What it says of its version, e.g. `10.11.6-MariaDB-log`.
    pub version: String,
    /// Its `@@GLOBAL.time_zone`.
    pub time_zone: String,
    /// What `SYSTEM` means there: a name whose rules we know, or the offset it had when it was asked.
    pub system_time_zone: String,
}

impl Upstream {
    /// As a server said it.
    pub fn of_server(server: &UpstreamServer) -> Upstream {
        let system = server.time_zone.eq_ignore_ascii_case("SYSTEM");
        let now = offset(server.utc_offset_seconds);
        let in_use = if system { &server.system_time_zone } else { &server.time_zone };
        let known = if system { is_unambiguous(in_use) } else { SqlZones::knows(in_use) };
        if !known {
            tracing::warn!(
                zone = in_use,
                offset = now,
                "the rules of the upstream's time zone are not known: sessions begin with its offset of now; --time-zone \
                 names another"
            );
        }
        let in_use = if known { in_use.clone() } else { now };
        let (time_zone, system_time_zone) = if system { ("SYSTEM".into(), in_use) } else { (in_use, "UTC".into()) };
        Upstream { flavor: server.flavor, version: server.version_text.clone(), time_zone, system_time_zone }
    }

    /// What is known of it: asked just now, kept from before, or seen in the files.
    ///
    /// # Errors
    /// If what is kept cannot be read or written.
    pub fn learn(settings: &Settings, asked: Option<&UpstreamServer>, dir: &DataDir) -> Result<Option<Upstream>> {
        let found = match (&settings.source, asked) {
            (_, Some(server)) => Some(Upstream::of_server(server)),
            (SourceSettings::Files { dir, .. }, None) => server_of(dir).map(|server| Upstream {
                flavor: server.flavor,
                version: server.version,
                time_zone: "SYSTEM".into(),
                system_time_zone: "UTC".into(),
            }),
            // the feed does not say which version
            (SourceSettings::Feed { .. }, None) => Some(Upstream {
                flavor: ServerFlavor::TiDb,
                version: "8.0.11-TiDB".into(),
                time_zone: "SYSTEM".into(),
                system_time_zone: "UTC".into(),
            }),
            (SourceSettings::Service { .. }, None) => None,
        };
        let kept = Upstream::kept(dir)?;
        if found.is_none() && kept.is_none() {
            tracing::warn!("nothing is known of the upstream yet: sessions answer as MariaDB, in UTC");
        }
        if let Some(found) = &found
            && kept.as_ref() != Some(found)
        {
            write_durably(dir.root(), &dir.upstream(), &serde_json::to_vec_pretty(found)?)?;
        }
        Ok(found.or(kept))
    }

    fn kept(dir: &DataDir) -> Result<Option<Upstream>> {
        let path = dir.upstream();
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {}", path.display())),
        }
    }

    /// `VERSION()` of the replica: the upstream's numbers and kind.
    pub fn replica_version(&self) -> String {
        let version = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        match self.flavor {
            ServerFlavor::MariaDb => server_version(&format!("{numbers}-MariaDB")),
            ServerFlavor::MySql => server_version(numbers),
            ServerFlavor::TiDb => server_version(&self.version),
        }
    }

    /// The zones sessions begin with; `wished` is `--time-zone`.
    ///
    /// # Errors
    /// A wish that is no time zone.
    pub fn zones(upstream: Option<&Upstream>, wished: Option<&str>) -> Result<SqlZones> {
        let mut zones = upstream.map_or_else(SqlZones::default, |u| SqlZones {
            time_zone: u.time_zone.clone(),
            system_time_zone: u.system_time_zone.clone(),
        });
        if let Some(wished) = wished {
            if !SqlZones::knows(wished) {
                bail!(
                    "time-zone {wished:?} is not known: give an offset such as +02:00, or a name such as Europe/Berlin"
                );
            }
            zones.time_zone = wished.to_owned();
        }
        Ok(zones)
    }
}

/// A server tells its system's zone by the abbreviation of its start: `EST` is New York in winter too, which has other
/// rules than the zone of that name. Only a place's name, or UTC, says which zone it is.
fn is_unambiguous(zone: &str) -> bool {
    (zone.contains('/') || zone.eq_ignore_ascii_case("UTC")) && SqlZones::knows(zone)
}

/// `+05:30`.
fn offset(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, flavor: ServerFlavor, system: &str, seconds: i32) -> UpstreamServer {
        UpstreamServer {
            id: 1,
            uuid: String::new(),
            gtids: true,
            flavor,
            version: (0, 0, 0),
            version_text: version.into(),
            version_comment: String::new(),
            time_zone: "SYSTEM".into(),
            system_time_zone: system.into(),
            utc_offset_seconds: seconds,
        }
    }

    #[test]
    fn the_replica_says_its_upstreams_version() {
        let version = |text, flavor| Upstream::of_server(&server(text, flavor, "UTC", 0)).replica_version();
        assert!(
            version("10.11.19-MariaDB-0+deb12u1-log", ServerFlavor::MariaDb).starts_with("10.11.19-MariaDB-tidelake-")
        );
        assert!(version("5.5.5-10.5.1-MariaDB", ServerFlavor::MariaDb).starts_with("10.5.1-MariaDB-tidelake-"));
        assert!(version("9.7.4-1debian", ServerFlavor::MySql).starts_with("9.7.4-tidelake-"));
    }

    #[test]
    fn an_unknown_system_zone_is_its_offset() {
        let zone =
            |name, seconds| Upstream::of_server(&server("9.0.0", ServerFlavor::MySql, name, seconds)).system_time_zone;
        assert_eq!(zone("UTC", 0), "UTC");
        assert_eq!(zone("Europe/Berlin", 7200), "Europe/Berlin");
        assert_eq!(zone("no such zone", -12_600), "-03:30");
        // New York in winter, not the zone without summer time of that name.
        assert_eq!(zone("EST", -18_000), "-05:00");
    }

    #[test]
    fn a_zone_of_the_upstreams_own_is_its_offset_too() {
        let named = |zone: &str| {
            let server = UpstreamServer { time_zone: zone.into(), ..server("9.0.0", ServerFlavor::MySql, "CET", 7200) };
            Upstream::of_server(&server).time_zone
        };
        assert_eq!(named("Europe/Berlin"), "Europe/Berlin");
        assert_eq!(named("-03:00"), "-03:00");
        assert_eq!(named("office"), "+02:00");
    }

    #[test]
    fn a_wished_zone_wins_and_must_be_known() {
        let upstream = Upstream::of_server(&server("9.0.0", ServerFlavor::MySql, "x", 3600));
        assert_eq!(Upstream::zones(Some(&upstream), None).expect("zones").system_time_zone, "+01:00");
        assert_eq!(Upstream::zones(Some(&upstream), Some("+02:00")).expect("zones").time_zone, "+02:00");
        assert!(Upstream::zones(None, Some("Mars/Base")).unwrap_err().to_string().contains("Mars/Base"));
    }
}
