//! From events to transactions: a pure state machine, the same for files and for the replication stream.
//!
//! It is fed every raw event *as the file or the wire has it* (header, body, checksum; on the wire without the packet's
//! leading OK byte), keeps file, offset and GTID state, and calls a [`TransactionSink`]:
//!
//! - a *group* opens with a GTID event, with BEGIN, or with the first event of a lone statement;
//! - it ends with XID, with COMMIT or ROLLBACK (engines without transactions; the decoder undoes what a ROLLBACK
//!   undoes), with a lone statement, or with one TRANSACTION_PAYLOAD;
//! - an XA transaction is *held* at XA PREPARE under its xid, and committed under its own id when XA COMMIT comes; of one
//!   that was prepared before reading began, the bare XA COMMIT is handed over (files: refused);
//!   Held transactions are not durable: while some are held, positions name in `from` where reading starts again;
//! - everything else only moves the read position.
//!
//! Items handed to the sink are normalised events (see [`super::context`]). Rooms: `place` offsets and positions, `xa`, and
//! `payload` for transactions in one event; here is what events do to groups.

mod payload;
mod place;
mod xa;

use std::collections::BTreeMap;

use tidelake_core::{Error, Result, SourcePosition};

pub use self::payload::PayloadEvents;
use super::context::{TransactionContext, write_item};
use super::event::{EventHeader, EventType, HEADER_LEN};
use super::format::{FormatDescription, body_of_unknown_format};
use super::gtid::{self, Announcement, Gtid, GtidState};
use super::position::BinlogPosition;
use super::query::{QueryEvent, QueryForm};
use super::reader::{Malformed, Parsed};
use super::statement::{self, Statement, classify};

/// Where transactions go. At most one is open at a time; any number may be held.
pub trait TransactionSink {
    /// Opens a transaction.
    ///
    /// # Errors
    /// The sink's own, as for all that follow; they end the stream.
    fn begin(&mut self, id: &str) -> Result<()>;
    /// Adds a normalised event to the open transaction.
    ///
    /// # Errors
    /// See [`TransactionSink::begin`].
    fn push(&mut self, item: &[u8]) -> Result<()>;
    /// Ends the open transaction; `position` is right after it.
    ///
    /// # Errors
    /// See [`TransactionSink::begin`].
    fn commit(&mut self, position: SourcePosition) -> Result<()>;
    /// Drops the open transaction.
    fn abandon(&mut self);
    /// Sets the open transaction aside under the name of its XA transaction.
    fn hold(&mut self, xid: &str);
    /// Makes a held transaction the open one again. False: there is none of this name.
    fn unhold(&mut self, xid: &str) -> bool;
    /// Everything before this position was read ([`TransactionGrouper::note_read`]).
    fn note_read(&mut self, position: SourcePosition);
}

/// How positions are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrouperMode {
    /// The caller names files and seeks ([`TransactionGrouper::begin_file`]); offsets are the sum of event sizes.
    File,
    /// ROTATE events name files; offsets follow `end_log_pos` where the server wrote one.
    Wire,
}

/// The state machine. See the module's text.
pub struct TransactionGrouper {
    mode: GrouperMode,
    format: Option<FormatDescription>,
    file: String,
    offset: u64,
    /// See [`BinlogPosition::born`], as for the next three.
    born: u32,
    by: u32,
    stamp: i64,
    moves: u32,
    gtids: GtidState,
    state: State,
    /// XA transactions in the sink's hold, with the place before them.
    held: BTreeMap<String, BinlogPosition>,
    /// While reading again for held XA transactions: transactions before this are known already.
    replay_until: Option<(u64, u64)>,
    commit_us: i64,
    item: Vec<u8>,
}

enum State {
    Outside,
    /// A GTID was read; the next event tells what kind of group it is.
    Announced(Group),
    Open(Group, Ending),
}

struct Group {
    id: String,
    announced: Announcement,
    /// Where the group's first event begins in the current file.
    start: u64,
    /// Its transaction is known already: nothing goes to the sink.
    skipped: bool,
    /// When its first statement was made, seconds since 1970 UTC; 0 before it.
    first_seconds: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// XID, COMMIT, ROLLBACK.
    Commit,
    /// XA PREPARE.
    XaPrepare,
    /// The first QUERY event.
    Statement,
    /// The rows event that ends its statement (old servers, without BEGIN).
    LastRows,
}

/// Rows event flag: the last of its statement.
const STMT_END: u16 = 1;

impl TransactionGrouper {
    /// A machine that continues after `after`, or at the beginning of the first file (`File`) or wherever the server
    /// begins (`Wire`). Reading must start at [`TransactionGrouper::read_from`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if `after` is no position in a binlog.
    pub fn new(mode: GrouperMode, after: Option<&SourcePosition>) -> Result<TransactionGrouper> {
        let mut grouper = TransactionGrouper {
            mode,
            format: None,
            file: String::new(),
            offset: 4,
            born: 0,
            by: 0,
            stamp: 0,
            moves: 0,
            gtids: GtidState::default(),
            state: State::Outside,
            held: BTreeMap::new(),
            replay_until: None,
            commit_us: 0,
            item: Vec::new(),
        };
        let Some(after) = after else { return Ok(grouper) };
        let position = BinlogPosition::parse(after)?;
        let from = position.read_from();
        grouper.gtids = GtidState::parse(&from.gtid).map_err(|e| Error::Invalid(e.0.into_owned()))?;
        grouper.replay_until = position.from.is_some().then_some(after.order());
        (grouper.file, grouper.offset, grouper.born) = (from.file.clone(), from.pos, from.born);
        (grouper.by, grouper.stamp, grouper.moves) = (from.by, from.stamp, from.moves);
        Ok(grouper)
    }

    /// True between transactions.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self.state, State::Outside)
    }

    /// What the last FORMAT_DESCRIPTION said.
    #[must_use]
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with file and offset for damaged events; [`Error::Unsupported`] for events that could change
    /// rows in a way that is not known; the sink's errors.
    pub fn feed(&mut self, event: &[u8], sink: &mut dyn TransactionSink) -> Result<()> {
        let header = EventHeader::parse(event).map_err(|e| self.corrupt(e))?;
        if header.size as usize != event.len() {
            let reason = format!("event of {} bytes says it has {}", event.len(), header.size);
            return Err(self.corrupt(Malformed::new(reason)));
        }
        let body = self.checked_body(header, event)?;
        let start = self.advance(header)?;
        self.route(header, body, start, sink).inspect_err(|_| self.offset = self.offset.max(start))?;
        if self.is_outside() {
            // nothing may follow for long: what was known already ends here, not with the next transaction
            let here = self.order_at(self.offset);
            self.replay_until = self.replay_until.filter(|until| here < *until);
        }
        Ok(())
    }

    /// Tells the sink how far everything was read. To be called before what was committed is made durable, and never after
    /// an error: not for every event, because a position is a text.
    pub fn note_read(&self, sink: &mut dyn TransactionSink) {
        if self.replay_until.is_none() {
            sink.note_read(self.boundary());
        }
    }

    fn checked_body<'a>(&mut self, header: EventHeader, event: &'a [u8]) -> Result<&'a [u8]> {
        let parsed = match (header.kind, &self.format) {
            (EventType::FORMAT_DESCRIPTION, _) => FormatDescription::parse(event).map(|format| {
                self.format = Some(format);
                self.born = header.timestamp;
                // one that is sent because reading begins in the middle of a file does not begin with its GTIDs
                if header.end_log_pos != 0 || self.mode == GrouperMode::File {
                    self.by = header.server_id;
                }
                &event[HEADER_LEN..]
            }),
            // artificial ones come before the format of their file is known
            (EventType::ROTATE, _) if header.is_artificial() => Ok(body_of_unknown_format(event)),
            (EventType::START_V3, _) => Err(Malformed::because("binlog of a server older than MySQL 5.0")),
            (_, Some(format)) => format.body(event),
            (EventType::HEARTBEAT | EventType::HEARTBEAT_V2, None) => Ok(body_of_unknown_format(event)),
            (_, None) => Err(Malformed::because("no format description before this event")),
        };
        parsed.map_err(|e| self.corrupt(e))
    }

    fn route(&mut self, header: EventHeader, body: &[u8], start: u64, sink: &mut dyn TransactionSink) -> Result<()> {
        use EventType as T;
        match header.kind {
            T::FORMAT_DESCRIPTION => self.on_format(sink),
            T::ROTATE => self.on_rotate(header, body),
            T::STOP => self.refuse_unfinished("STOP"),
            T::GTID | T::ANONYMOUS_GTID | T::GTID_TAGGED | T::MARIADB_GTID => self.on_gtid(header, body, start),
            T::QUERY => self.on_query(header, body, QueryForm::Plain, start, sink),
            T::MARIADB_QUERY_COMPRESSED => self.on_query(header, body, QueryForm::Compressed, start, sink),
            T::EXECUTE_LOAD_QUERY => self.on_statement(header, body, start, sink),
            T::XID => self.on_xid(header, sink),
            T::XA_PREPARE => self.on_xa_prepare(header, body, start, sink),
            T::TRANSACTION_PAYLOAD => self.on_payload(header, body, start, sink),
            T::TABLE_MAP => self.on_row_event(header, body, start, sink),
            kind if kind.is_rows() => self.on_row_event(header, body, start, sink),
            T::PREVIOUS_GTIDS => self.on_previous(|gtids| gtids.add_previous_gtids(body)),
            T::MARIADB_GTID_LIST => self.on_previous(|gtids| gtids.add_gtid_list(body)),
            T::HEARTBEAT => self.on_heartbeat(body, u64::from(header.end_log_pos), false),
            T::HEARTBEAT_V2 => self.on_heartbeat_v2(body),
            T::INTVAR
            | T::RAND
            | T::USER_VAR
            | T::SLAVE
            | T::IGNORABLE
            | T::ROWS_QUERY
            | T::TRANSACTION_CONTEXT
            | T::VIEW_CHANGE
            | T::BEGIN_LOAD_QUERY
            | T::APPEND_BLOCK
            | T::DELETE_FILE
            | T::MARIADB_ANNOTATE_ROWS
            | T::MARIADB_BINLOG_CHECKPOINT => Ok(()),
            T::INCIDENT => Err(self.unsupported(
                start,
                "the upstream reports an incident: its bin log misses changes from here on. Copy the tables again"
                    .into(),
            )),
            T::MARIADB_START_ENCRYPTION => Err(self.unsupported(
                start,
                "the binlog file is encrypted (encrypt_binlog): read it over a connection to the server instead".into(),
            )),
            _ if header.flags & super::event::FLAG_IGNORABLE != 0 => Ok(()),
            T(number) => {
                Err(self.unsupported(start, format!("event of unknown type {number}, which may hold changes")))
            }
        }
    }

    fn on_format(&mut self, sink: &mut dyn TransactionSink) -> Result<()> {
        if !self.is_outside() {
            tracing::warn!(file = %self.file, "upstream stopped inside a transaction and rolled it back");
            self.abandon_open(sink);
        }
        Ok(())
    }

    fn refuse_unfinished(&self, what: &str) -> Result<()> {
        if self.is_outside() {
            return Ok(());
        }
        let reason = format!("{what} inside a transaction that goes on in the next file: relay logs are no source");
        Err(self.unsupported(self.offset, reason))
    }

    fn on_previous(&mut self, add: impl FnOnce(&mut GtidState) -> Parsed<()>) -> Result<()> {
        add(&mut self.gtids).map_err(|e| self.corrupt(e))
    }

    fn on_gtid(&mut self, header: EventHeader, body: &[u8], start: u64) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Outside => {}
            // a group of which the server sends nothing else (events left out for this connection)
            State::Announced(group) => self.count(&group),
            State::Open(..) => {
                return Err(self.corrupt(Malformed::because("a transaction begins inside another one")));
            }
        }
        let announced = match header.kind {
            EventType::MARIADB_GTID => gtid::parse_mariadb(body, header.server_id),
            EventType::GTID_TAGGED => gtid::parse_mysql_tagged(body),
            kind => gtid::parse_mysql(body, kind == EventType::ANONYMOUS_GTID),
        };
        let announced = announced.map_err(|e| self.corrupt(e))?;
        self.state = State::Announced(self.group(announced, start));
        Ok(())
    }

    fn group(&self, announced: Announcement, start: u64) -> Group {
        // another server may have a file of this name
        let moves = if self.moves == 0 { String::new() } else { format!("{}/", self.moves) };
        let id = announced.gtid.as_ref().map_or_else(|| format!("{moves}{}:{start}", self.file), Gtid::to_string);
        Group { id, announced, start, skipped: false, first_seconds: 0 }
    }

    /// The group is committed, or prepared: from here on its GTID counts.
    fn count(&mut self, group: &Group) {
        let Some(gtid) = &group.announced.gtid else { return };
        self.gtids.add(gtid);
        self.stamp = group.announced.original_us.unwrap_or(i64::from(group.first_seconds) * 1_000_000);
    }

    /// The group that the current event belongs to, opened in the sink if it was only announced.
    fn open(&mut self, ending: Ending, start: u64, sink: &mut dyn TransactionSink) -> Result<Ending> {
        let state = std::mem::replace(&mut self.state, State::Outside);
        let (mut group, ending) = match state {
            State::Open(group, ending) => {
                self.state = State::Open(group, ending);
                return Ok(ending);
            }
            State::Announced(group) if group.announced.prepares_xa => (group, Ending::XaPrepare),
            State::Announced(group) if group.announced.standalone => (group, Ending::Statement),
            // behind a GTID, rows without BEGIN end with XID or COMMIT too (MariaDB writes no BEGIN)
            State::Announced(group) if ending == Ending::LastRows => (group, Ending::Commit),
            State::Announced(group) => (group, ending),
            State::Outside => (self.group(Announcement::default(), start), ending),
        };
        let known = self.replay_until.is_some_and(|until| self.order_at(start) < until);
        if !known {
            self.replay_until = None;
        }
        group.skipped = known && ending != Ending::XaPrepare;
        if !group.skipped {
            self.begin_in_sink(&group, sink)?;
        }
        self.state = State::Open(group, ending);
        Ok(ending)
    }

    fn push(&mut self, header: EventHeader, body: &[u8], sink: &mut dyn TransactionSink) -> Result<()> {
        let State::Open(group, _) = &mut self.state else { return Ok(()) };
        if group.first_seconds == 0 {
            group.first_seconds = header.timestamp;
        }
        if !group.skipped {
            write_item(header, body, self.offset, &mut self.item);
            sink.push(&self.item)?;
        }
        Ok(())
    }

    /// Ends the open group: its GTID counts from here on. `true`: its rows count too.
    fn close(&mut self, seconds: u32, commit: bool, sink: &mut dyn TransactionSink) -> Result<()> {
        let State::Open(group, ending) = std::mem::replace(&mut self.state, State::Outside) else { return Ok(()) };
        self.count(&group);
        self.commit_us = group.announced.commit_us.unwrap_or(i64::from(seconds) * 1_000_000);
        if group.skipped {
            return Ok(());
        }
        // an XA transaction that ended in one phase before the place to resume is known already
        if commit && !(ending == Ending::XaPrepare && self.replay_until.is_some()) {
            sink.commit(self.position())
        } else {
            sink.abandon();
            Ok(())
        }
    }

    fn abandon_open(&mut self, sink: &mut dyn TransactionSink) {
        if let State::Open(group, _) = &self.state
            && !group.skipped
        {
            sink.abandon();
        }
        self.state = State::Outside;
    }

    fn on_query(
        &mut self,
        header: EventHeader,
        body: &[u8],
        form: QueryForm,
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let query = QueryEvent::parse_start(body, form, statement::ENOUGH as u64).map_err(|e| self.corrupt(e))?;
        match classify(&query.sql) {
            Statement::Begin => self.open(Ending::Commit, start, sink).map(drop),
            Statement::XaStart => self.open(Ending::XaPrepare, start, sink).map(drop),
            Statement::XaEnd => Ok(()),
            Statement::Commit => self.on_commit(header, start, sink),
            Statement::Rollback => {
                self.open(Ending::Commit, start, sink)?;
                self.push(header, body, sink)?;
                self.close(header.timestamp, true, sink)
            }
            Statement::XaCommit(xid) => self.on_xa_end(header, body, (&xid, true), start, sink),
            Statement::XaRollback(xid) => self.on_xa_end(header, body, (&xid, false), start, sink),
            _ => self.on_statement(header, body, start, sink),
        }
    }

    fn on_commit(&mut self, header: EventHeader, start: u64, sink: &mut dyn TransactionSink) -> Result<()> {
        self.open(Ending::Commit, start, sink)?;
        self.close(header.timestamp, true, sink)
    }

    /// A statement of its own, or one inside a group.
    fn on_statement(
        &mut self,
        header: EventHeader,
        body: &[u8],
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let without_effect = matches!(&self.state, State::Announced(g) if g.announced.alter_without_effect);
        let ending = self.open(self.ending_of_statement(), start, sink)?;
        if !without_effect {
            self.push(header, body, sink)?;
        }
        if ending == Ending::Statement {
            self.close(header.timestamp, true, sink)?;
        }
        Ok(())
    }

    /// MariaDB marks groups of one statement; elsewhere a statement right after the GTID stands alone.
    fn ending_of_statement(&self) -> Ending {
        match &self.state {
            State::Announced(group) if matches!(group.announced.gtid, Some(Gtid::MariaDb { .. })) => Ending::Commit,
            _ => Ending::Statement,
        }
    }

    fn on_xid(&mut self, header: EventHeader, sink: &mut dyn TransactionSink) -> Result<()> {
        if !matches!(self.state, State::Open(..)) {
            return Err(self.corrupt(Malformed::because("XID outside of a transaction")));
        }
        self.close(header.timestamp, true, sink)
    }

    fn on_row_event(
        &mut self,
        header: EventHeader,
        body: &[u8],
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let ending = self.open(Ending::LastRows, start, sink)?;
        self.push(header, body, sink)?;
        if ending == Ending::LastRows && header.kind != EventType::TABLE_MAP {
            let id_len = self.format.as_ref().map_or(6, |f| usize::from(f.table_id_len));
            let flags = body.get(id_len..id_len + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
            if flags & STMT_END != 0 {
                self.close(header.timestamp, true, sink)?;
            }
        }
        Ok(())
    }

    /// Opens a transaction in the sink, with its context as the first item.
    fn begin_in_sink(&self, group: &Group, sink: &mut dyn TransactionSink) -> Result<()> {
        let format = self.format.as_ref().ok_or_else(|| Error::Internal("transaction before its format".into()))?;
        let context = TransactionContext {
            flavor: format.flavor,
            table_id_len: format.table_id_len,
            start: group.start,
            file: self.file.clone(),
        };
        sink.begin(&group.id)?;
        sink.push(&context.encode())
    }

    fn corrupt(&self, reason: Malformed) -> Error {
        reason.at(format!("{} at offset {}", if self.file.is_empty() { "binlog" } else { &self.file }, self.offset))
    }

    fn unsupported(&self, start: u64, reason: String) -> Error {
        let position = BinlogPosition { pos: start, ..self.read_from() };
        Error::Unsupported { position: Box::new(position.to_source(self.commit_us)), reason }
    }
}

#[cfg(test)]
mod tests;
