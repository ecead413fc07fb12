//! Streaming: the upstream's events into the Data Buffer, for as long as it takes.
//!
//! One *session* is one replication connection. It checks that the upstream still has the history that was read before,
//! asks for the bin log from exactly there, and passes raw events on to a thread of its own ([`super::append`]) that
//! groups, appends and syncs. So the socket waits for nothing but the buffer's own limit. A session that is lost is
//! followed by the next one, after a backoff, from the last place that was read whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysql_async::Conn;
use tidelake_core::ports::{Buffer, SourceState};
use tidelake_core::{Error, Result, SourcePosition};
use tokio_util::sync::CancellationToken;

use super::append::Appender;
use super::backoff::Backoff;
use super::server::UpstreamServer;
use super::wire::{DumpRequest, Wire};
use super::{Shared, history, successor};
use crate::mysql::event::{EventHeader, EventType};
use crate::mysql::position::BinlogPosition;

/// Longest wait between two tries to reconnect.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A connection that is silent for this long and five heartbeats is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// How often the upstream's head is compared with what was read.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Streams until cancelled or failed for good.
///
/// # Errors
/// Everything that a reconnect cannot mend: see [`Error::is_transient`].
pub(super) async fn run(
    shared: &Arc<Shared>,
    after: Option<SourcePosition>,
    buffer: Arc<dyn Buffer>,
    cancel: CancellationToken,
) -> Result<()> {
    let _ = shared.buffer.set(buffer.clone());
    shared.begin.lock().clone_from(&after);
    let mut at = after;
    let mut backoff = Backoff::new(LONGEST_BACKOFF);
    loop {
        let before = shared.bytes_read();
        let Err(error) = session(shared, &mut at, &buffer, &cancel).await else { return Ok(()) };
        if cancel.is_cancelled() {
            return Ok(());
        }
        if !error.is_transient() {
            shared.set_state(SourceState::Failed, error.to_string());
            return Err(error);
        }
        if shared.bytes_read() > before {
            backoff.reset();
        }
        let wait = backoff.next();
        tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "lost the upstream, will reconnect");
        shared.set_state(SourceState::Reconnecting, error.to_string());
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One replication connection, until cancelled (`Ok`) or lost. Moves `at` to the last place that was read whole.
async fn session(
    shared: &Arc<Shared>,
    at: &mut Option<SourcePosition>,
    buffer: &Arc<dyn Buffer>,
    cancel: &CancellationToken,
) -> Result<()> {
    let opened = tokio::select! {
        () = cancel.cancelled() => return Ok(()),
        opened = open(shared, at.as_ref()) => opened,
    };
    let (events, start, watch) = opened?;
    let mut appender = Appender::start(buffer.clone(), start, shared.options.fetch_window_bytes)?;
    shared.set_state(SourceState::Streaming, String::new());
    let fetched = tokio::select! {
        fetched = fetch(shared, events, &mut appender, cancel) => fetched,
        lost = watch.until_lost() => Err(lost),
    };
    let (reached, appended) = appender.finish(cancel).await;
    *at = Some(reached);
    appended?;
    fetched
}

/// Connects, checks the history and asks for the bin log. Returns the stream, the position that it continues, and who
/// looks after the history while it is read.
async fn open(shared: &Arc<Shared>, at: Option<&SourcePosition>) -> Result<(Wire, SourcePosition, Watch)> {
    let connector = &shared.connector;
    let mut conn = connector.connect_plain().await?;
    let server = UpstreamServer::detect(connector, &mut conn).await?;
    if !server.is_supported() {
        let (version, address) = (&server.version_text, connector.address());
        return Err(Error::Invalid(format!("{address} is {version}, whose bin log cannot be read over a connection")));
    }
    let start = match at {
        Some(at) => go_on(shared, &mut conn, &server, at).await?,
        None => history::read_start(connector, &mut conn, &server).await?.to_source(0),
    };
    let position = BinlogPosition::parse(&start)?;
    let from = position.read_from();
    shared.follow(&server, position.moves);
    let mut wire = connector.connect_replica().await?;
    tracing::info!(upstream = %connector.address(), version = %server.version_text, from = %from, "streaming the bin log");
    let request = DumpRequest {
        from,
        server_id: shared.options.server_id,
        heartbeat: shared.options.heartbeat,
        to_head_only: false,
        mariadb: server.is_mariadb(),
    };
    wire.dump(&request).await?;
    Ok((wire, start, Watch { shared: shared.clone(), conn, server }))
}

/// Where reading goes on after `at`: there, if this server has the history that was read, else at the same place of a server
/// that took over.
async fn go_on(
    shared: &Shared,
    conn: &mut Conn,
    server: &UpstreamServer,
    at: &SourcePosition,
) -> Result<SourcePosition> {
    let (connector, position) = (&shared.connector, BinlogPosition::parse(at)?);
    let other = match history::verify_same_history(connector, conn, server, position.read_from()).await {
        // one of the same id that has another history was reset or restored, and uses GTIDs again
        Err(other) if !other.is_transient() && server.id != position.by => other,
        same => return same.map(|()| at.clone()),
    };
    match successor::find(connector, conn, server, &position).await? {
        Ok(place) => {
            tracing::warn!(
                upstream = %connector.address(), server_id = server.id, before = %position, now = %place, gtid = %place.gtid,
                "the address leads to another server, which has everything that was read: following it"
            );
            Ok(place.to_source(at.commit_time_us))
        }
        Err(why) => Err(Error::Invalid(format!("{other}. Nor can it be followed as a server that took over: {why}"))),
    }
}

/// Looks after the upstream's history during a session: a server that is reset keeps its replicas' connections, and sends
/// nothing over them until its new bin log is longer than the old one was.
struct Watch {
    shared: Arc<Shared>,
    conn: Conn,
    server: UpstreamServer,
}

impl Watch {
    /// Returns when the upstream's head is seen before what was read from it. A lost connection is the session's to notice.
    async fn until_lost(mut self) -> Error {
        let shared = self.shared.clone();
        loop {
            let moved = tokio::select! {
                () = tokio::time::sleep(WATCH_EVERY) => false,
                () = shared.elsewhere.notified() => true,
            };
            if moved && let Some(lost) = self.reconnect().await {
                return lost;
            }
            let known = self.shared.known();
            match shared.head(&mut self.conn, &self.server).await {
                Ok(head) => {
                    let same = known.map(|known| history::verify_not_before(&shared.connector, &head, &known));
                    if let Some(Err(lost)) = same {
                        return lost;
                    }
                }
                Err(_) => {
                    if let Some(lost) = self.reconnect().await {
                        return lost;
                    }
                }
            }
        }
    }
}

impl Watch {
    /// Opens a new connection if it can. The error: it leads to another server than the session's.
    async fn reconnect(&mut self) -> Option<Error> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect_plain().await.ok()?;
        let server = UpstreamServer::detect(connector, &mut conn).await.ok()?;
        if server.identity() != self.server.identity() {
            return Some(self.shared.is_elsewhere());
        }
        self.conn = conn;
        None
    }
}

/// Passes events on until cancelled (`Ok`), or the connection or the appender fails.
async fn fetch(
    shared: &Arc<Shared>,
    mut events: Wire,
    appender: &mut Appender,
    cancel: &CancellationToken,
) -> Result<()> {
    let silence = SILENCE + shared.options.heartbeat * 5;
    loop {
        let next = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            next = tokio::time::timeout(silence, events.next_event()) => next,
        };
        let packet = match next {
            Ok(packet) => packet?,
            Err(_) => return Err(Error::Unavailable(format!("no event and no heartbeat for {silence:?}"))),
        };
        let packet = packet.ok_or_else(|| Error::Unavailable("the upstream ended the bin log stream".into()))?;
        note_event(shared, &packet[1..]);
        if !appender.send(packet).await {
            return Ok(()); // its own error is the reason
        }
    }
}

fn note_event(shared: &Shared, event: &[u8]) {
    let Ok(header) = EventHeader::parse(event) else { return };
    let lag = match header.kind {
        EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => Some(0.0),
        // only these carry the time of something that happened just then
        EventType::QUERY | EventType::XID | EventType::GTID | EventType::MARIADB_GTID | EventType::GTID_TAGGED => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            (header.timestamp > 0).then(|| (now - f64::from(header.timestamp)).max(0.0))
        }
        _ => None,
    };
    shared.note_event(event.len() as u64, lag);
}
