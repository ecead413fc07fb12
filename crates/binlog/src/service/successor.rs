//! Failover: whether another server may take the place of the one that was read, and where on it reading goes on.
//!
//! Positions by file and offset say nothing on another server; GTIDs do. The place is where the other server's bin log
//! stands at *exactly* the GTID state that was read, so that what comes before it is what the replica has and what comes
//! after it is what it lacks. `docs/adr/0008-moving-to-a-promoted-server.md` says what this proves, and what it takes for granted.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::{Error, Result};

use super::connect::Connector;
use super::history::{quoted, text};
use super::server::UpstreamServer;
use super::walk::Walk;
use crate::mysql::gtid::GtidState;
use crate::mysql::position::BinlogPosition;

/// Why a server is not followed.
pub(super) type Refusal = String;

/// Where reading goes on on this server after `at`, which was read from one of another server id. The inner error: why it cannot.
///
/// # Errors
/// If the server cannot be asked.
pub(super) async fn find(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    at: &BinlogPosition,
) -> Result<Result<BinlogPosition, Refusal>> {
    let state = |text: &str| GtidState::parse(text).map_err(|e| Error::Invalid(e.0.into_owned()));
    let wanted = Wanted {
        state: state(&at.gtid)?,
        stamp: at.stamp,
        from: at.from.as_deref().map(|f| state(&f.gtid)).transpose()?,
    };
    if at.by == 0 || at.stamp == 0 || wanted.state.is_empty() {
        return Ok(Err(
            "the place that was read is not known by GTIDs: Tidelake has not read a transaction with a GTID in a \
            bin log file of which it saw the beginning"
                .into(),
        ));
    }
    if let Some(why) = unlogged(connector, conn, server, &wanted.state).await? {
        return Ok(Err(why));
    }
    let rows: Vec<Row> =
        conn.query("SHOW BINARY LOGS").await.map_err(|e| connector.error("list the bin log's files", &e))?;
    let files: Vec<String> = rows.iter().filter_map(|row| text(row, 0)).collect();
    let Some(first) = first_file(connector, server, &files, &wanted).await? else {
        let have = files.first().map_or("none", String::as_str);
        return Ok(Err(format!(
            "its oldest bin log file {have} begins behind the place: what the replica lacks may be purged"
        )));
    };
    let mut walk = Walk::begin(connector, server, first).await?;
    let found = wanted.find(&mut walk).await?;
    Ok(found.map(|place| {
        let moves = at.moves + 1;
        let from = place.from.map(|from| Box::new(BinlogPosition { moves, ..*from }));
        BinlogPosition { moves, from, ..place }
    }))
}

/// The newest file that begins before the place, so that the last transaction before the place is in it or behind it.
async fn first_file<'a>(
    connector: &Connector,
    server: &UpstreamServer,
    files: &'a [String],
    wanted: &Wanted,
) -> Result<Option<&'a str>> {
    let (mut early, mut late) = (0, files.len());
    // files before `early` begin before the place, those from `late` on do not
    while early < late {
        let middle = usize::midpoint(early, late);
        let mut walk = Walk::begin(connector, server, &files[middle]).await?;
        walk.read_beginning().await?;
        if wanted.is_before(walk.grouper().gtids()) { early = middle + 1 } else { late = middle }
    }
    Ok(early.checked_sub(1).map(|index| files[index].as_str()))
}

/// What is looked for.
struct Wanted {
    state: GtidState,
    /// See [`BinlogPosition::stamp`].
    stamp: i64,
    /// The state before the oldest XA transaction that is prepared there.
    from: Option<GtidState>,
}

impl Wanted {
    /// True if a file that begins with this state begins before the place.
    fn is_before(&self, begins: &GtidState) -> bool {
        match &self.from {
            Some(from) => begins.is_within(from),
            None => begins.is_within(&self.state) && *begins != self.state,
        }
    }

    /// Walks to the place.
    async fn find(&self, walk: &mut Walk) -> Result<Result<BinlogPosition, Refusal>> {
        let (mut from, mut newest) = (None, GtidState::default());
        walk.read_beginning().await?;
        loop {
            if walk.is_outside() {
                let state = walk.grouper().gtids();
                if from.is_none() && self.from.as_ref() == Some(state) {
                    from = Some(Box::new(walk.here()));
                }
                if *state == self.state && (self.from.is_none() || from.is_some()) {
                    return Ok(self.is_same(walk.here()).map(|place| BinlogPosition { from, ..place }));
                }
                if !state.is_within(&self.state) {
                    let (theirs, ours) = (state.without(&self.state), self.state.without(state));
                    return Ok(Err(if ours.is_empty() {
                        format!(
                            "it committed in another order: there is no place in its bin log with exactly {}",
                            self.state
                        )
                    } else {
                        format!(
                            "it has {theirs} before {ours}: its history is another one, or its transactions are in another order"
                        )
                    }));
                }
                newest.clone_from(state);
            }
            if !walk.step().await? {
                let lacks = self.state.without(&newest);
                return Ok(Err(format!(
                    "its bin log lacks {lacks}, which the replica has: it lags, it lost them, or it does not log what it \
                     replicates (log_slave_updates, log_replica_updates)"
                )));
            }
        }
    }

    /// GTIDs name transactions; a server that was restored uses names again. The last one must be as old as it was.
    fn is_same(&self, place: BinlogPosition) -> Result<BinlogPosition, Refusal> {
        if place.stamp == self.stamp {
            return Ok(place);
        }
        Err(format!(
            "the last transaction of {} was made at {} there, at {} where it was read (microseconds since 1970): it is \
             another one of the same name",
            self.state, place.stamp, self.stamp
        ))
    }
}

/// What the server has done and not written into its bin log, beyond what the replica has.
async fn unlogged(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    ours: &GtidState,
) -> Result<Option<Refusal>> {
    let failed = |e: mysql_async::Error| connector.error("ask for the GTID state", &e);
    if server.is_mariadb() {
        const ASK: &str =
            "SELECT CONVERT(@@GLOBAL.gtid_slave_pos USING utf8), CONVERT(@@GLOBAL.gtid_binlog_state USING utf8)";
        let row: Option<(String, String)> = conn.query_first(ASK).await.map_err(failed)?;
        let (replicated, logged) = row.unwrap_or_default();
        let parsed = (GtidState::parse(&replicated), GtidState::parse(&logged));
        let (Ok(replicated), Ok(logged)) = parsed else {
            return Ok(Some(format!("its GTID state is not understood: {replicated:?}, {logged:?}")));
        };
        let missing = replicated.without(&logged);
        return Ok((!missing.is_empty())
            .then(|| format!("it replicated {missing} without writing it into its bin log (log_slave_updates)")));
    }
    let sql = format!("SELECT CONVERT(GTID_SUBTRACT(@@GLOBAL.gtid_purged, {}) USING utf8)", quoted(&ours.to_string()));
    let missing: Option<String> = conn.query_first(sql).await.map_err(failed)?;
    let missing = missing.unwrap_or_default().replace('\n', "");
    Ok((!missing.is_empty())
        .then(|| format!("its bin log no longer has {missing}, which the replica lacks (gtid_purged)")))
}
