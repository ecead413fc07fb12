//! Session variables: what clients ask for at connect, and Tidelake's own (`tidelake_freshness`,
//! `tidelake_freshness_timeout`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidelake_core::CellValue;

use super::as_of::Travel;
use super::fresh;
use super::zone::{UTC, Zone};
use crate::session::SqlError;

/// How fresh a statement's snapshot must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultFreshness {
    /// What is published now.
    #[default]
    Any,
    /// Everything upstream had when the statement came.
    Latest,
}

/// The time zones that sessions begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlZones {
    /// `@@time_zone`: `SYSTEM`, an offset or a name.
    pub time_zone: String,
    /// `@@system_time_zone`, what `SYSTEM` means: an offset or a name.
    pub system_time_zone: String,
}

impl Default for SqlZones {
    fn default() -> SqlZones {
        SqlZones { time_zone: "SYSTEM".into(), system_time_zone: "UTC".into() }
    }
}

impl SqlZones {
    /// True if sessions know this zone's rules.
    #[must_use]
    pub fn knows(zone: &str) -> bool {
        Zone::parse(zone).is_some()
    }
}

/// A session's variables.
#[derive(Clone, Debug)]
pub(crate) struct Variables {
    values: BTreeMap<String, Option<String>>,
    users: HashMap<String, CellValue>,
    /// What `SET time_zone = DEFAULT` sets.
    default_zone: String,
    /// What `SYSTEM` means.
    system_zone: Zone,
    /// What `tidb_snapshot` or `tidelake_read_seq` says, whichever was set last.
    travel: Option<Travel>,
}

/// Names and values that every session begins with. `None` is NULL.
const DEFAULTS: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("auto_increment_offset", "1"),
    ("autocommit", "ON"),
    ("big_tables", "OFF"),
    ("binlog_format", "ROW"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_filesystem", "binary"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("character_set_system", "utf8mb3"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("collation_database", "utf8mb4_general_ci"),
    ("collation_server", "utf8mb4_general_ci"),
    ("completion_type", "NO_CHAIN"),
    ("connect_timeout", "10"),
    ("default_storage_engine", "InnoDB"),
    ("div_precision_increment", "4"),
    ("event_scheduler", "OFF"),
    ("explicit_defaults_for_timestamp", "ON"),
    ("foreign_key_checks", "ON"),
    ("group_concat_max_len", "1048576"),
    ("have_openssl", "NO"),
    ("have_query_cache", "NO"),
    ("have_ssl", "NO"),
    ("hostname", "tidelake"),
    ("init_connect", ""),
    ("innodb_lock_wait_timeout", "50"),
    ("interactive_timeout", "28800"),
    ("last_insert_id", "0"),
    ("license", "Apache-2.0"),
    ("local_infile", "OFF"),
    ("lock_wait_timeout", "86400"),
    ("log_bin", "OFF"),
    ("lower_case_file_system", "OFF"),
    ("lower_case_table_names", "0"),
    ("max_allowed_packet", "67108864"),
    ("max_connections", "151"),
    ("max_execution_time", "0"),
    ("max_join_size", "18446744073709551615"),
    ("max_statement_time", "0.000000"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("performance_schema", "OFF"),
    ("port", "4001"),
    ("profiling", "OFF"),
    ("protocol_version", "10"),
    ("query_cache_size", "0"),
    ("query_cache_type", "OFF"),
    ("read_only", "ON"),
    ("server_id", "0"),
    ("session_track_schema", "ON"),
    ("skip_networking", "OFF"),
    ("socket", ""),
    ("sql_auto_is_null", "OFF"),
    ("sql_big_selects", "ON"),
    ("sql_log_bin", "OFF"),
    ("sql_mode", "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
    ("sql_notes", "ON"),
    ("sql_quote_show_create", "ON"),
    ("sql_safe_updates", "OFF"),
    ("sql_select_limit", "18446744073709551615"),
    ("sql_warnings", "OFF"),
    ("storage_engine", "InnoDB"),
    ("super_read_only", "ON"),
    ("thread_cache_size", "0"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("transaction_read_only", "ON"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("tx_read_only", "ON"),
    ("unique_checks", "ON"),
    ("version_comment", "Tidelake"),
    ("version_compile_machine", "x86_64"),
    ("version_compile_os", "Linux"),
    ("wait_timeout", "28800"),
    ("warning_count", "0"),
    ("error_count", "0"),
];

/// Variables that make statements read the past.
const TRAVEL: &[&str] = &["tidb_snapshot", "tidelake_read_seq"];

/// Variables whose effect Tidelake does not have: another value than the default would be a promise not kept.
const FIXED: &[&str] = &[
    "div_precision_increment",
    "lower_case_table_names",
    "version",
    "version_comment",
    "read_only",
    "system_time_zone",
];

impl Variables {
    /// The variables of a new session.
    pub(crate) fn new(version: &str, zones: &SqlZones, freshness: DefaultFreshness, timeout: Duration) -> Variables {
        let mut values: BTreeMap<String, Option<String>> =
            DEFAULTS.iter().map(|(n, v)| ((*n).to_owned(), Some((*v).to_owned()))).collect();
        let name = if freshness == DefaultFreshness::Latest { "latest" } else { "any" };
        values.insert("tidelake_freshness".into(), Some(name.into()));
        values.insert("tidelake_freshness_timeout".into(), Some(timeout.as_secs().to_string()));
        values.insert("tidb_snapshot".into(), Some(String::new()));
        values.insert("tidelake_read_seq".into(), Some("0".into()));
        values.insert("version".into(), Some(version.to_owned()));
        values.insert("time_zone".into(), Some(zones.time_zone.clone()));
        values.insert("system_time_zone".into(), Some(zones.system_time_zone.clone()));
        let system_zone = Zone::parse(&zones.system_time_zone).unwrap_or(UTC);
        Variables { values, users: HashMap::new(), default_zone: zones.time_zone.clone(), system_zone, travel: None }
    }

    /// A system variable's value; `None` is NULL.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, SqlError> {
        let name = name.trim_matches('`').to_ascii_lowercase();
        match self.values.get(&name) {
            Some(value) => Ok(value.as_deref()),
            None => Err(SqlError::new(1193, "HY000", format!("Unknown system variable '{name}'"))),
        }
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or("")))
    }

    /// A user variable.
    pub(crate) fn user(&self, name: &str) -> Option<&CellValue> {
        self.users.get(&name.to_ascii_lowercase())
    }

    /// SET @name.
    pub(crate) fn set_user(&mut self, name: &str, value: CellValue) {
        self.users.insert(name.to_ascii_lowercase(), value);
    }

    /// SET name; `None` is DEFAULT or NULL.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) -> Result<(), SqlError> {
        let name = name.trim_matches('`').to_ascii_lowercase();
        let current = self.get(&name)?.map(str::to_owned);
        let Some(value) = value else {
            if name == "time_zone" {
                self.values.insert(name, Some(self.default_zone.clone()));
            } else if TRAVEL.contains(&name.as_str()) {
                self.set_travel(&name, String::new(), None);
            } else if let Some((_, default)) = DEFAULTS.iter().find(|(n, _)| *n == name) {
                self.values.insert(name, Some((*default).to_owned()));
            }
            return Ok(());
        };
        let value = match (value.to_ascii_uppercase().as_str(), current.as_deref()) {
            ("1" | "TRUE" | "ON", Some("ON" | "OFF")) => "ON".to_owned(),
            ("0" | "FALSE" | "OFF", Some("ON" | "OFF")) => "OFF".to_owned(),
            _ => value,
        };
        let wrong =
            || SqlError::new(1231, "42000", format!("Variable '{name}' can't be set to the value of '{value}'"));
        match name.as_str() {
            "tidelake_freshness" if !fresh::is_value(&value) => return Err(wrong()),
            "tidelake_freshness_timeout" => {
                value.parse::<u32>().map_err(|_| wrong())?;
            }
            "tidb_snapshot" => {
                let travel = Travel::parse(&value, self.zone());
                if travel.is_none() && !value.is_empty() {
                    return Err(wrong());
                }
                self.set_travel(&name, value, travel);
                return Ok(());
            }
            "tidelake_read_seq" => {
                let seq = if value.is_empty() { 0 } else { value.parse().map_err(|_| wrong())? };
                self.set_travel(&name, value, Some(seq).filter(|seq| *seq > 0).map(Travel::Seq));
                return Ok(());
            }
            "time_zone" => {
                zone_of(&value, self.system_zone)?;
            }
            fixed if FIXED.contains(&fixed) && current.as_deref() != Some(value.as_str()) => {
                return Err(SqlError::new(1238, "HY000", format!("Variable '{name}' is a read only variable")));
            }
            _ => {}
        }
        self.values.insert(name, Some(value));
        Ok(())
    }

    /// One of the two holds at a time.
    fn set_travel(&mut self, name: &str, value: String, travel: Option<Travel>) {
        let (snapshot, seq) = match (name, travel) {
            ("tidb_snapshot", Some(_)) => (value, "0".to_owned()),
            (_, Some(_)) => (String::new(), value),
            // The other one stays.
            ("tidb_snapshot", None) if matches!(self.travel, Some(Travel::Seq(_))) => return,
            (_, None) if name != "tidb_snapshot" && !matches!(self.travel, Some(Travel::Seq(_))) => return,
            (_, None) => (String::new(), "0".to_owned()),
        };
        self.values.insert("tidb_snapshot".into(), Some(snapshot));
        self.values.insert("tidelake_read_seq".into(), Some(seq));
        self.travel = travel;
    }

    /// What statements read instead of the newest snapshot.
    pub(crate) fn travel(&self) -> Option<Travel> {
        self.travel
    }

    /// SET NAMES.
    pub(crate) fn set_names(&mut self, charset: &str, collation: Option<&str>) -> Result<(), SqlError> {
        let charset = charset.to_ascii_lowercase();
        if !matches!(charset.as_str(), "utf8mb4" | "utf8mb3" | "utf8" | "latin1" | "ascii" | "binary" | "default") {
            return Err(SqlError::new(1115, "42000", format!("Unknown character set: '{charset}'")));
        }
        let charset = if charset == "default" { "utf8mb4".to_owned() } else { charset };
        for name in ["character_set_client", "character_set_connection", "character_set_results"] {
            self.values.insert(name.into(), Some(charset.clone()));
        }
        if let Some(collation) = collation {
            self.values.insert("collation_connection".into(), Some(collation.to_ascii_lowercase()));
        }
        Ok(())
    }

    /// How new a snapshot must be; one of [`fresh::is_value`].
    pub(crate) fn freshness(&self) -> &str {
        self.text("tidelake_freshness")
    }

    /// How long that may take.
    pub(crate) fn freshness_timeout(&self) -> Duration {
        Duration::from_secs(self.text("tidelake_freshness_timeout").parse().unwrap_or(60))
    }

    /// The session's time zone.
    pub(crate) fn zone(&self) -> Zone {
        Zone::of_session(self.text("time_zone"), self.system_zone).unwrap_or(UTC)
    }

    /// What `SYSTEM` means as a time zone.
    pub(crate) fn system_zone(&self) -> Zone {
        self.system_zone
    }

    /// `sql_select_limit`, if there is one.
    pub(crate) fn select_limit(&self) -> Option<usize> {
        self.text("sql_select_limit").parse::<i64>().ok().and_then(|n| usize::try_from(n).ok())
    }

    /// How long a statement may take: `max_statement_time` (seconds) or `max_execution_time` (milliseconds).
    pub(crate) fn statement_time(&self) -> Option<Duration> {
        let number = |name| self.text(name).parse::<f64>().ok().filter(|n| *n > 0.0 && *n < 1e9);
        let seconds = number("max_statement_time").or_else(|| number("max_execution_time").map(|ms| ms / 1e3));
        seconds.map(Duration::from_secs_f64)
    }

    /// Bytes at which GROUP_CONCAT cuts.
    pub(crate) fn concat_limit(&self) -> usize {
        self.text("group_concat_max_len").parse().unwrap_or(1 << 20)
    }

    /// The collation of literals.
    pub(crate) fn collation(&self) -> &str {
        self.text("collation_connection")
    }

    /// Whether autocommit is on.
    pub(crate) fn autocommit(&self) -> bool {
        self.text("autocommit") == "ON"
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(Option::as_deref).unwrap_or("")
    }
}

fn zone_of(name: &str, system: Zone) -> Result<Zone, SqlError> {
    Zone::of_session(name, system).ok_or_else(|| {
        let hint = "an offset such as '+02:00', or a name such as 'Europe/Berlin'";
        SqlError::new(1298, "HY000", format!("Unknown or incorrect time zone: '{name}' ({hint})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_has_three_values() {
        let mut v = Variables::new("x", &SqlZones::default(), DefaultFreshness::Any, Duration::from_secs(60));
        assert_eq!(v.freshness(), "any");
        for value in ["latest", "at_least:0-1-55"] {
            v.set("TIDELAKE_FRESHNESS", Some(value.into())).unwrap();
            assert_eq!(v.freshness(), value);
        }
        assert_eq!(v.set("tidelake_freshness", Some("soon".into())).unwrap_err().code, 1231);
        assert_eq!(v.set("nothing_like_this", Some("1".into())).unwrap_err().code, 1193);
        v.set("autocommit", Some("0".into())).unwrap();
        assert!(!v.autocommit());
    }

    #[test]
    fn one_way_into_the_past_at_a_time() {
        let mut v = Variables::new("x", &SqlZones::default(), DefaultFreshness::Any, Duration::from_secs(60));
        let both = |v: &Variables| {
            let text = |name| v.get(name).unwrap().unwrap_or("NULL").to_owned();
            (text("tidb_snapshot"), text("tidelake_read_seq"), v.travel())
        };
        assert_eq!(both(&v), (String::new(), "0".into(), None));
        v.set("tidb_snapshot", Some("1970-01-01 00:00:01".into())).unwrap();
        assert_eq!(both(&v), ("1970-01-01 00:00:01".into(), "0".into(), Some(Travel::Time(1_000_000))));
        v.set("tidelake_read_seq", Some("7".into())).unwrap();
        assert_eq!(both(&v), (String::new(), "7".into(), Some(Travel::Seq(7))));
        v.set("tidb_snapshot", Some(String::new())).unwrap();
        assert_eq!(v.travel(), Some(Travel::Seq(7)), "emptying the one leaves the other");
        for wrong in ["soon", "-1", "7.5"] {
            assert_eq!(v.set("tidelake_read_seq", Some(wrong.into())).unwrap_err().code, 1231);
        }
        assert_eq!(v.set("tidb_snapshot", Some("soon".into())).unwrap_err().code, 1231);
        assert_eq!(v.travel(), Some(Travel::Seq(7)));
        v.set("tidelake_read_seq", None).unwrap();
        assert_eq!(both(&v), (String::new(), "0".into(), None));
        v.set("tidb_snapshot", Some("469374055665369095".into())).unwrap();
        v.set("tidelake_read_seq", Some("0".into())).unwrap();
        assert_eq!(v.travel(), Some(Travel::Tso(469_374_055_665_369_095)));
        v.set("tidb_snapshot", None).unwrap();
        assert_eq!(both(&v), (String::new(), "0".into(), None));
    }

    #[test]
    fn sessions_begin_in_the_upstreams_time_zone() {
        let zones = |zone: &str, system: &str| SqlZones { time_zone: zone.into(), system_time_zone: system.into() };
        let new = |zones| Variables::new("x", &zones, DefaultFreshness::Any, Duration::from_secs(60));
        let mut v = new(zones("SYSTEM", "+05:30"));
        assert_eq!(v.zone(), Zone::Fixed(19_800));
        v.set("time_zone", Some("Europe/Berlin".into())).unwrap();
        assert!(matches!(v.zone(), Zone::Named(_)));
        v.set("time_zone", None).unwrap();
        assert_eq!(v.zone(), Zone::Fixed(19_800));
        assert_eq!(v.get("system_time_zone").unwrap(), Some("+05:30"));
        assert_eq!(v.set("system_time_zone", Some("UTC".into())).unwrap_err().code, 1238);
        assert_eq!(new(zones("-03:00", "UTC")).zone(), Zone::Fixed(-10_800));
    }
}
