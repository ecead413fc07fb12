//! `kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/TOPIC?protocol=...`

use std::path::PathBuf;

use tidelake_core::{Error, Result};

use crate::filter::TableFilter;
use crate::ticdc::zone::Zone;

/// Protocols that carry DDL and watermarks: TiCDC's, and Drainer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `simple`
    Simple,
    /// `canal-json`, with the TiDB extension
    CanalJson,
    /// `open`, TiCDC's `open-protocol`
    Open,
    /// `drainer`, TiDB Binlog's `db-type = "kafka"`
    Drainer,
}

/// How a broker knows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// PLAIN
    Plain,
    /// SCRAM-SHA-256
    Scram256,
    /// SCRAM-SHA-512
    Scram512,
}

/// What a [`KafkaSource`](super::KafkaSource) reads.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// What is in it.
    pub protocol: Protocol,
    /// The zone of TIMESTAMPs: TiCDC's `--tz` (the simple protocol tells its own).
    pub zone: String,
    /// User and password.
    pub user: Option<(String, String)>,
    /// How they are told.
    pub sasl: Sasl,
    /// Encrypt.
    pub tls: bool,
    /// Whom to trust (PEM) instead of the public authorities.
    pub ca: Option<PathBuf>,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// For events that outgrow memory.
    pub scratch: PathBuf,
}

impl KafkaOptions {
    /// Reads what stands behind `kafka:`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong.
    pub fn parse(text: &str, scratch: PathBuf) -> Result<KafkaOptions> {
        let wrong = |what: &str| {
            Error::Invalid(format!(
                "{what}: write kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]/TOPIC?protocol=simple|canal-json|open|drainer"
            ))
        };
        let rest = text.strip_prefix("//").ok_or_else(|| wrong("no brokers"))?;
        let (place, query) = rest.split_once('?').ok_or_else(|| wrong("no protocol"))?;
        let (authority, topic) = place.split_once('/').ok_or_else(|| wrong("no topic"))?;
        let (user, brokers) = match authority.rsplit_once('@') {
            Some((user, brokers)) => {
                let (name, password) = user.split_once(':').ok_or_else(|| wrong("a user without a password"))?;
                (Some((decoded(name)?, decoded(password)?)), brokers)
            }
            None => (None, authority),
        };
        if brokers.is_empty() || topic.is_empty() {
            return Err(wrong("no brokers or no topic"));
        }
        let mut options = KafkaOptions {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            protocol: Protocol::Simple,
            zone: "UTC".into(),
            user,
            sasl: Sasl::Plain,
            tls: false,
            ca: None,
            filter: TableFilter::default(),
            scratch,
        };
        let mut protocol = None;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                ("protocol", "simple") => protocol = Some(Protocol::Simple),
                ("protocol", "canal-json") => protocol = Some(Protocol::CanalJson),
                ("protocol", "open" | "open-protocol") => protocol = Some(Protocol::Open),
                ("protocol", "drainer") => protocol = Some(Protocol::Drainer),
                ("protocol", other) => {
                    return Err(wrong(&format!("protocol {other} carries no DDL or no watermarks, or is not known")));
                }
                ("zone", zone) => {
                    Zone::parse(zone)?;
                    zone.clone_into(&mut options.zone);
                }
                ("sasl", "plain") => options.sasl = Sasl::Plain,
                ("sasl", "scram-sha-256") => options.sasl = Sasl::Scram256,
                ("sasl", "scram-sha-512") => options.sasl = Sasl::Scram512,
                ("tls", "true") => options.tls = true,
                ("tls", "false") => options.tls = false,
                ("ca", path) => {
                    options.tls = true;
                    options.ca = Some(PathBuf::from(decoded(path)?));
                }
                _ => return Err(wrong(&format!("unknown option {pair:?} (protocol, zone, sasl, tls, ca)"))),
            }
        }
        options.protocol = protocol.ok_or_else(|| wrong("no protocol"))?;
        Ok(options)
    }
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Result<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next(), bytes.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)));
        let [Some(high), Some(low)] = digits else {
            return Err(Error::Invalid("a % in a URL is followed by two hexadecimal digits".into()));
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| Error::Invalid("text in a URL that is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text| KafkaOptions::parse(text, PathBuf::new());
        let options = parse("//u%40x:p%3A@a:1,b:2/t?protocol=canal-json&sasl=scram-sha-512&tls=true&zone=+08:00")
            .expect("parses");
        assert_eq!((options.brokers.as_str(), options.topic.as_str()), ("a:1,b:2", "t"));
        assert_eq!(options.user, Some(("u@x".into(), "p:".into())));
        assert_eq!((options.protocol, options.sasl, options.tls), (Protocol::CanalJson, Sasl::Scram512, true));
        for (text, part) in [
            ("//a:1/t", "no protocol"),
            ("//a:1?protocol=simple", "no topic"),
            ("//a:1/t?protocol=avro", "no DDL or no watermarks"),
            ("//a:1/t?protocol=simple&x=1", "unknown option"),
            ("//u@a:1/t?protocol=simple", "without a password"),
        ] {
            let error = parse(text).err().expect(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
