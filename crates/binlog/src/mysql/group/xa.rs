//! XA transactions: held at their XA PREPARE, given out or dropped when they end.

use tidelake_core::Result;

use super::{Ending, GrouperMode, State, TransactionGrouper, TransactionSink};
use crate::mysql::context::write_item;
use crate::mysql::event::EventHeader;
use crate::mysql::gtid::Announcement;
use crate::mysql::reader::{Malformed, Parsed, Reader};
use crate::mysql::statement::xid_key;

impl TransactionGrouper {
    pub(super) fn on_xa_prepare(
        &mut self,
        header: EventHeader,
        body: &[u8],
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let fields = || -> Parsed<(bool, String)> {
            let mut r = Reader::new(body);
            let one_phase = r.u8()? != 0;
            let (format, global, branch) = (r.u32()? as i32, r.u32()? as usize, r.u32()? as usize);
            let (global, branch) = (r.bytes(global)?, r.bytes(branch)?);
            Ok((one_phase, xid_key(global, branch, i64::from(format))))
        };
        let (one_phase, xid) = fields().map_err(|e| self.corrupt(e))?;
        if self.is_outside() {
            return Err(self.corrupt(Malformed::because("XA PREPARE outside of a transaction")));
        }
        // one that changed no table which can roll back comes right behind its GTID
        self.open(Ending::XaPrepare, start, sink)?;
        if one_phase {
            return self.close(header.timestamp, true, sink);
        }
        let State::Open(group, _) = std::mem::replace(&mut self.state, State::Outside) else { return Ok(()) };
        let before = self.before(&group);
        self.count(&group);
        sink.hold(&xid);
        self.held.insert(xid, before);
        Ok(())
    }

    pub(super) fn on_xa_end(
        &mut self,
        header: EventHeader,
        body: &[u8],
        (xid, commit): (&str, bool),
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let state = std::mem::replace(&mut self.state, State::Outside);
        let mut group = match state {
            State::Announced(group) => group,
            State::Outside => self.group(Announcement::default(), start),
            State::Open(..) => return Err(self.corrupt(Malformed::because("XA COMMIT inside a transaction"))),
        };
        let known = self.replay_until.is_some_and(|until| self.order_at(start) < until);
        if !known {
            self.replay_until = None;
        }
        let found = self.held.remove(xid).is_some() && sink.unhold(xid);
        let foreign = !found && commit && !known;
        if foreign && self.mode == GrouperMode::File {
            let reason = format!(
                "XA COMMIT of {xid} (global part, branch part in hex, format), whose XA PREPARE is before the place where \
                 reading began: begin with the file that has it"
            );
            return Err(self.unsupported(start, reason));
        }
        group.first_seconds = header.timestamp;
        self.count(&group);
        self.commit_us = group.announced.commit_us.unwrap_or(i64::from(header.timestamp) * 1_000_000);
        if foreign {
            // its rows are not known here: the decoder is told of the bare XA COMMIT
            tracing::warn!(xid, file = %self.file, "XA COMMIT of a transaction that was prepared before reading began");
            self.begin_in_sink(&group, sink)?;
            write_item(header, body, self.offset, &mut self.item);
            sink.push(&self.item)?;
            return sink.commit(self.position());
        }
        if !found {
            return Ok(());
        }
        if commit && !known {
            return sink.commit(self.position());
        }
        sink.abandon();
        Ok(())
    }
}
