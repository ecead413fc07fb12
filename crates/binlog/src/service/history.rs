//! Places in the upstream's bin log: where its head is, and whether a remembered place is still part of the same
//! history.
//!
//! File and offset alone are not enough: a restored or reset server has files of the same names, and if its clients do
//! the same kind of work, even with the same offsets and GTIDs. So three things are compared: file and offset, the GTID
//! state, and the second in which the file was begun and the server that wrote it, which its first event tells. Each difference
//! is an error that names both places; nothing is ever skipped.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::{Error, Result, SourcePosition};

use super::connect::Connector;
use super::server::UpstreamServer;
use super::walk::Walk;
use crate::mysql::position::{BinlogPosition, file_number};

const ADVICE: &str = "If this is the right server, the replica cannot continue from here: stop Tidelake, move its data \
    directory away and start again, so that the tables are copied anew";

/// How far into its file the head may be to be walked to when streaming first begins. Beyond it, moving to another server is
/// possible from the next file on.
const WALK_BYTES: u64 = 256 << 20;

/// The newest position, without GTID state.
///
/// # Errors
/// [`Error::Invalid`] without a bin log or the privilege to ask for it.
pub(crate) async fn read_head(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
) -> Result<BinlogPosition> {
    let row: Option<Row> =
        conn.query_first(server.show_head()).await.map_err(|e| connector.error("ask for the bin log's head", &e))?;
    let head = row.as_ref().and_then(|r| Some((text(r, 0)?, text(r, 1)?.parse().ok()?)));
    let (file, pos) = head.ok_or_else(|| {
        Error::Invalid(format!(
            "{} writes no bin log: set log_bin in its configuration and restart it",
            connector.address()
        ))
    })?;
    Ok(BinlogPosition { file, pos, ..BinlogPosition::default() })
}

/// The newest position with all that tells its history apart from another: a place to start from.
///
/// # Errors
/// As for [`read_head`]; [`Error::Invalid`] if the user may not read the bin log.
pub(crate) async fn read_start(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
) -> Result<BinlogPosition> {
    let mut head = read_head(connector, conn, server).await?;
    match walked(connector, server, &head).await {
        Ok(Some(exact)) => return Ok(exact),
        Ok(None) => {}
        // what is really wrong is said by what comes next
        Err(error) => tracing::debug!(%error, "cannot walk to the head of the bin log"),
    }
    head.gtid = match gtid_at(connector, conn, server, &head).await? {
        Some(gtid) => gtid,
        None => gtid_at_quiet_head(connector, conn, server, &mut head).await?,
    };
    // `by` is left out: the GTID state may be that of a moment later
    head.born = beginning(connector, server, &head.file).await?.born;
    Ok(head)
}

/// The head with its exact GTID state and the time of its last transaction, found by walking to it from the beginning of its
/// file; `None` if that is far away, or if the walk does not meet it.
async fn walked(
    connector: &Connector,
    server: &UpstreamServer,
    head: &BinlogPosition,
) -> Result<Option<BinlogPosition>> {
    if head.pos > WALK_BYTES {
        return Ok(None);
    }
    let mut walk = Walk::begin(connector, server, &head.file).await?;
    loop {
        let here = walk.here();
        if here.file != head.file || here.pos >= head.pos {
            return Ok((walk.is_outside() && (&here.file, here.pos) == (&head.file, head.pos)).then_some(here));
        }
        if !walk.step().await? {
            return Ok(None);
        }
    }
}

/// What the first event of a file of the bin log says of it: [`BinlogPosition::born`] and [`BinlogPosition::by`].
async fn beginning(connector: &Connector, server: &UpstreamServer, file: &str) -> Result<BinlogPosition> {
    let mut walk = Walk::begin(connector, server, file).await?;
    // an artificial ROTATE comes before it
    for _ in 0..4 {
        let begun = walk.step().await?;
        let here = walk.here();
        if here.born != 0 {
            return Ok(here);
        }
        if !begun {
            break;
        }
    }
    Err(Error::corrupt(format!("{file} of {}", connector.address()), "it does not begin with a format description"))
}

/// MariaDB: the GTID state at exactly this place, `None` if there is no such place, or if the server cannot walk to it: some
/// versions cannot read events that are larger than `max_allowed_packet` (a change of a large BLOB has it twice). MySQL: the
/// state now.
async fn gtid_at(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    at: &BinlogPosition,
) -> Result<Option<String>> {
    let failed = |e: mysql_async::Error| connector.error("ask for the GTID state", &e);
    if server.is_mariadb() {
        let sql = format!("SELECT CONVERT(BINLOG_GTID_POS({}, {}) USING utf8)", quoted(&at.file), at.pos);
        let state: Option<Option<String>> = conn.query_first(sql).await.map_err(failed)?;
        return Ok(state.flatten());
    }
    let state: Option<String> =
        conn.query_first("SELECT CONVERT(@@GLOBAL.gtid_executed USING utf8)").await.map_err(failed)?;
    Ok(Some(state.unwrap_or_default().replace('\n', "")))
}

/// MariaDB's state at its head, for a file that [`gtid_at`] cannot walk: the head must stand still while the state is
/// read. Moves `head` to where it did.
async fn gtid_at_quiet_head(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    head: &mut BinlogPosition,
) -> Result<String> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        let state: Option<String> = conn
            .query_first("SELECT CONVERT(@@GLOBAL.gtid_binlog_pos USING utf8)")
            .await
            .map_err(|e| connector.error("ask for the GTID state", &e))?;
        let after = read_head(connector, conn, server).await?;
        if (&after.file, after.pos) == (&head.file, head.pos) {
            return Ok(state.unwrap_or_default());
        }
        *head = after;
    }
    Err(Error::Unavailable(format!("the head {head} moved each time that its GTID state was read")))
}

/// Checks that reading can go on at `at`: the file is there, is long enough, and the GTID state is the same.
///
/// # Errors
/// [`Error::Invalid`] that names both places if not.
pub(crate) async fn verify_same_history(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    at: &BinlogPosition,
) -> Result<()> {
    let logs: Vec<Row> =
        conn.query("SHOW BINARY LOGS").await.map_err(|e| connector.error("list the bin log's files", &e))?;
    let logs: Vec<(String, u64)> = logs.iter().filter_map(|r| Some((text(r, 0)?, text(r, 1)?.parse().ok()?))).collect();
    let (Some(first), Some(last)) = (logs.first(), logs.last()) else {
        return Err(Error::Invalid(format!("{} writes no bin log: set log_bin", connector.address())));
    };
    let address = connector.address();
    match logs.iter().find(|(name, _)| *name == at.file) {
        Some((_, size)) if *size >= at.pos => {}
        Some((name, size)) => {
            return Err(Error::Invalid(format!(
                "the bin log of {address} is not the one that was read before: {name} has {size} bytes, but Tidelake read \
                 up to {at}; the server was reset, restored or replaced. {ADVICE}"
            )));
        }
        None if file_number(&at.file) < file_number(&first.0) => {
            return Err(Error::Invalid(format!(
                "{address} has purged its bin log beyond the place where Tidelake must continue: it has {} to {}, needed is \
                 {at}. Keep binlog files longer (expire_logs_days, binlog_expire_logs_seconds). {ADVICE}",
                first.0, last.0
            )));
        }
        None => {
            return Err(Error::Invalid(format!(
                "the bin log of {address} is not the one that was read before: it has {} to {}, but Tidelake read up to \
                 {at}; the server was reset, restored or replaced. {ADVICE}",
                first.0, last.0
            )));
        }
    }
    verify_gtids(connector, conn, server, at).await?;
    if at.born == 0 {
        return Ok(());
    }
    let theirs = beginning(connector, server, &at.file).await?;
    if theirs.born == at.born && (at.by == 0 || theirs.by == at.by) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{address} has another history than the one that was read before: its {} was begun at {} (seconds since 1970) by \
         server {}, the one that Tidelake read up to {at} at {} by server {}; the server was reset, restored or replaced. \
         {ADVICE}",
        at.file, theirs.born, theirs.by, at.born, at.by
    )))
}

/// Checks that the head is not before a place that was read from this server earlier.
///
/// # Errors
/// [`Error::Invalid`] that names both places.
pub(crate) fn verify_not_before(connector: &Connector, head: &SourcePosition, read: &SourcePosition) -> Result<()> {
    if head.covers(read) {
        return Ok(());
    }
    let place = |at: &SourcePosition| BinlogPosition::parse(at).map_or_else(|_| at.to_string(), |p| p.to_string());
    let (head, read) = (place(head), place(read));
    Err(Error::Invalid(format!(
        "the bin log of {} ends at {head}, but Tidelake read up to {read} before; the server was reset, restored or \
         replaced. {ADVICE}",
        connector.address()
    )))
}

/// MariaDB: true if an event begins or the file ends at this place. Births of files have whole seconds: a server that was reset
/// within one is told by what stands at the old place.
async fn is_border(connector: &Connector, conn: &mut Conn, at: &BinlogPosition) -> Result<bool> {
    const WRONG_OFFSET: u16 = 1220;
    let sql = format!("SHOW BINLOG EVENTS IN {} FROM {} LIMIT 1", quoted(&at.file), at.pos);
    match conn.query_drop(sql).await {
        Err(mysql_async::Error::Server(e)) => Ok(e.code != WRONG_OFFSET),
        other => other.map(|()| true).map_err(|e| connector.error("look at the bin log's events", &e)),
    }
}

async fn verify_gtids(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    at: &BinlogPosition,
) -> Result<()> {
    // without a birth, an empty state is one that was never asked for
    if at.gtid.is_empty() && (at.born == 0 || !server.is_mariadb()) {
        return Ok(());
    }
    let contained = if server.is_mariadb() {
        let theirs = gtid_at(connector, conn, server, at).await?;
        theirs.map(|theirs| (same_domains(&at.gtid, &theirs), theirs))
    } else {
        let sql = format!("SELECT GTID_SUBSET({}, @@GLOBAL.gtid_executed)", quoted(&at.gtid));
        let inside: Option<i64> =
            conn.query_first(sql).await.map_err(|e| connector.error("compare the GTID state", &e))?;
        let theirs = gtid_at(connector, conn, server, at).await?.unwrap_or_default();
        Some((inside == Some(1), theirs))
    };
    let address = connector.address();
    match contained {
        Some((true, _)) => Ok(()),
        Some((false, theirs)) => Err(Error::Invalid(format!(
            "{address} has another history than the one that was read before: at {at} its GTID state is {theirs:?}, but \
             Tidelake read {:?}; the server was reset, restored or replaced. {ADVICE}",
            at.gtid
        ))),
        // the server cannot walk to it; then the file's birth decides, which is compared next
        None if at.born != 0 && is_border(connector, conn, at).await? => Ok(()),
        None => Err(Error::Invalid(format!(
            "{address} has another history than the one that was read before: no event of it ends at {at}; the \
             server was reset, restored or replaced. {ADVICE}"
        ))),
    }
}

/// True if the domains that both know stand at the same GTID. One may know domains that the other does not: the user can
/// let the server forget some (`FLUSH BINARY LOGS DELETE_DOMAIN_ID`).
fn same_domains(ours: &str, theirs: &str) -> bool {
    let (ours, theirs) = (domains(ours), domains(theirs));
    let mut both = ours.iter().filter_map(|(domain, gtid)| Some((gtid, theirs.get(domain)?))).peekable();
    let strangers = both.peek().is_none() && !(ours.is_empty() && theirs.is_empty());
    !strangers && both.all(|(ours, theirs)| ours == theirs)
}

fn domains(state: &str) -> BTreeMap<&str, &str> {
    state.split(',').map(str::trim).filter_map(|gtid| Some((gtid.split_once('-')?.0, gtid))).collect()
}

/// Column `index` of a row of SHOW as text.
pub(crate) fn text(row: &Row, index: usize) -> Option<String> {
    match row.as_ref(index)? {
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        mysql_async::Value::Int(number) => Some(number.to_string()),
        mysql_async::Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A string literal (with ordinary backslash escapes).
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_must_stand_at_the_same_gtid() {
        assert!(same_domains("0-1-5", "0-1-5,7-2-9"));
        // of each server in the domain, the newest last
        assert!(same_domains("0-2-9,0-1-5", "0-1-5") && !same_domains("0-1-5,0-2-9", "0-1-5"));
        assert!(same_domains("0-1-5,1-1-1", "0-1-5"));
        assert!(same_domains("", ""));
        assert!(!same_domains("0-1-5", "0-2-5"));
        assert!(!same_domains("0-1-5,1-1-1", "0-1-5,1-1-2"));
        // a new server, or one that was reset
        assert!(!same_domains("0-1-5", "") && !same_domains("", "0-1-5") && !same_domains("0-1-5", "1-1-1"));
    }
}
