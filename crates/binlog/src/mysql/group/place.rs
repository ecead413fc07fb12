//! Where the grouper is in its file: how offsets are counted, and which positions it tells.

use tidelake_core::{Error, Result, SourcePosition};

use super::{Group, GrouperMode, State, TransactionGrouper};
use crate::mysql::context::widen;
use crate::mysql::event::{EventHeader, EventType};
use crate::mysql::gtid::GtidState;
use crate::mysql::position::{BinlogPosition, file_number, major};
use crate::mysql::reader::{Malformed, Parsed, Reader};

impl TransactionGrouper {
    /// Where the machine is: the next event is expected here. Before the first event, where to start reading.
    #[must_use]
    pub fn read_from(&self) -> BinlogPosition {
        BinlogPosition {
            file: self.file.clone(),
            pos: self.offset,
            gtid: self.gtids.to_string(),
            born: self.born,
            by: self.by,
            stamp: self.stamp,
            moves: self.moves,
            from: None,
        }
    }

    /// What was committed or prepared before the next event.
    #[must_use]
    pub fn gtids(&self) -> &GtidState {
        &self.gtids
    }

    /// The order of a place in the current file.
    pub(super) fn order_at(&self, offset: u64) -> (u64, u64) {
        (major(self.moves, &self.file), offset)
    }

    /// The position right after the last event, to resume from (inside a transaction: not a place to resume).
    #[must_use]
    pub fn position(&self) -> SourcePosition {
        let mut position = self.read_from();
        position.from = self.oldest_held();
        position.to_source(self.commit_us)
    }

    /// The newest place between transactions: here, or right before the one that is being read.
    #[must_use]
    pub fn boundary(&self) -> SourcePosition {
        let (State::Announced(group) | State::Open(group, _)) = &self.state else { return self.position() };
        let mut position = self.before(group);
        position.from = self.oldest_held();
        position.to_source(self.commit_us)
    }

    /// Right before the group's first event.
    pub(super) fn before(&self, group: &Group) -> BinlogPosition {
        BinlogPosition { pos: group.start, ..self.read_from() }
    }

    /// The place before the oldest XA transaction that is held.
    fn oldest_held(&self) -> Option<Box<BinlogPosition>> {
        let oldest = self.held.values().min_by_key(|p| p.order());
        oldest.cloned().map(Box::new)
    }

    /// `File` mode: events of this file follow, the first one at offset 4.
    pub fn begin_file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        (self.offset, self.born, self.by) = (4, 0, 0);
    }

    /// `File` mode: the next event fed begins at this offset of the current file.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Moves the offset behind the event; returns where the event began.
    pub(super) fn advance(&mut self, header: EventHeader) -> Result<u64> {
        let start = self.offset;
        let heartbeat = matches!(header.kind, EventType::HEARTBEAT | EventType::HEARTBEAT_V2);
        // a format description sent when reading starts in the middle of a file names no end
        let resent =
            header.kind == EventType::FORMAT_DESCRIPTION && header.end_log_pos == 0 && self.mode == GrouperMode::Wire;
        if header.is_artificial() || heartbeat || resent {
            return Ok(start);
        }
        let end = start + u64::from(header.size);
        self.offset = end;
        if self.mode == GrouperMode::File || header.end_log_pos == 0 || header.end_log_pos == end as u32 {
            return Ok(start);
        }
        // the server leaves out events that this connection need not see, but never inside a group
        if !matches!(self.state, State::Outside) {
            let told = header.end_log_pos;
            return Err(self.corrupt(Malformed::new(format!("event that ends at {end} says it ends at {told}"))));
        }
        self.offset = widen(header.end_log_pos, if self.format.is_some() { end } else { 4 });
        Ok(self.offset - u64::from(header.size))
    }

    pub(super) fn on_rotate(&mut self, header: EventHeader, body: &[u8]) -> Result<()> {
        if !header.is_artificial() {
            self.refuse_unfinished("ROTATE")?;
        }
        if self.mode == GrouperMode::File {
            return Ok(());
        }
        let mut r = Reader::new(body);
        let pos = r.u64().map_err(|e| self.corrupt(e))?;
        let file = String::from_utf8_lossy(r.rest());
        // RESET MASTER does not end connections: the stream goes on with the first file, and with GTIDs that were there
        if !self.file.is_empty() && (file_number(&file), pos) < (file_number(&self.file), self.offset) {
            return Err(Error::Invalid(format!(
                "the upstream's bin log begins again at {file}:{pos}, but Tidelake read up to {}:{}; the server was reset, \
                 restored or replaced. The replica cannot continue from here: stop Tidelake, move its data directory away \
                 and start again, so that the tables are copied anew",
                self.file, self.offset
            )));
        }
        self.offset = pos;
        if file != self.file.as_str() {
            // its own format description comes next
            (self.file, self.born) = (file.into_owned(), 0);
        }
        Ok(())
    }

    pub(super) fn on_heartbeat(&mut self, file: &[u8], pos: u64, wide: bool) -> Result<()> {
        if self.mode != GrouperMode::Wire || !self.is_outside() || file != self.file.as_bytes() || pos == 0 {
            return Ok(());
        }
        self.offset = if wide { pos.max(self.offset) } else { widen(pos as u32, self.offset) };
        Ok(())
    }

    pub(super) fn on_heartbeat_v2(&mut self, body: &[u8]) -> Result<()> {
        let fields = || -> Parsed<(&[u8], u64)> {
            let (mut r, mut file, mut pos) = (Reader::new(body), &b""[..], 0);
            loop {
                match (r.lenenc()?, &mut r) {
                    (0, _) => return Ok((file, pos)),
                    (1, r) => file = r.lenenc_bytes()?,
                    (2, r) => pos = Reader::new(r.lenenc_bytes()?).lenenc()?,
                    (_, r) => drop(r.lenenc_bytes()?),
                }
            }
        };
        let (file, pos) = fields().map_err(|e| self.corrupt(e))?;
        self.on_heartbeat(file, pos, true)
    }
}
