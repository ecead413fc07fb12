//! Transactions in one TRANSACTION_PAYLOAD event: the events inside it, and what of them ends the group.

use tidelake_core::Result;

use super::{Ending, TransactionGrouper, TransactionSink};
use crate::mysql::compressed::Payload;
use crate::mysql::event::{EventHeader, EventType, HEADER_LEN};
use crate::mysql::query::{QueryEvent, QueryForm};
use crate::mysql::reader::{Malformed, Parsed};
use crate::mysql::statement::{self, Statement, classify};

impl TransactionGrouper {
    pub(super) fn on_payload(
        &mut self,
        header: EventHeader,
        body: &[u8],
        start: u64,
        sink: &mut dyn TransactionSink,
    ) -> Result<()> {
        let xa = payload_is_xa(body).map_err(|e| self.corrupt(e))?;
        self.open(if xa { Ending::XaPrepare } else { Ending::Commit }, start, sink)?;
        self.push(header, body, sink)?;
        let Some(prepare) = xa.then(|| payload_xa_prepare(body)).transpose().map_err(|e| self.corrupt(e))?.flatten()
        else {
            // the PREPARE may follow outside of the payload
            return if xa { Ok(()) } else { self.close(header.timestamp, true, sink) };
        };
        self.on_xa_prepare(header, &prepare, start, sink)
    }
}

/// Events inside a payload, one after the other.
pub struct PayloadEvents<'a> {
    stream: Box<dyn std::io::Read + 'a>,
    /// Bytes that are left by the payload's own account.
    left: u64,
}

impl<'a> PayloadEvents<'a> {
    /// Over the body of a TRANSACTION_PAYLOAD event.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn open(body: &'a [u8]) -> Parsed<PayloadEvents<'a>> {
        let payload = Payload::parse(body)?;
        Ok(PayloadEvents { stream: payload.open()?, left: payload.uncompressed().unwrap_or(u64::MAX) })
    }

    /// The next event: header, and the body's first `cap` bytes (the rest is read, but dropped).
    ///
    /// # Errors
    /// For damaged data.
    pub fn next(&mut self, cap: u64) -> Parsed<Option<(EventHeader, Vec<u8>)>> {
        use std::io::Read;
        let failed = |e: std::io::Error| Malformed::new(format!("transaction payload: {e}"));
        let mut head = Vec::with_capacity(HEADER_LEN);
        self.stream.by_ref().take(HEADER_LEN as u64).read_to_end(&mut head).map_err(failed)?;
        if head.is_empty() {
            return Ok(None);
        }
        let header = EventHeader::parse(&head)?;
        let wanted = u64::from(header.size)
            .checked_sub(HEADER_LEN as u64)
            .ok_or(Malformed::because("event in a payload is smaller than its header"))?;
        self.left = self
            .left
            .checked_sub(u64::from(header.size))
            .ok_or(Malformed::because("transaction payload of more bytes than it says"))?;
        let mut body = Vec::new();
        self.stream.by_ref().take(wanted.min(cap)).read_to_end(&mut body).map_err(failed)?;
        let left = wanted - wanted.min(cap);
        let dropped = std::io::copy(&mut self.stream.by_ref().take(left), &mut std::io::sink()).map_err(failed)?;
        if (body.len() as u64) < wanted.min(cap) || dropped < left {
            return Err(Malformed::because("transaction payload ends inside an event"));
        }
        Ok(Some((header, body)))
    }
}

/// The body of the XA_PREPARE event inside a payload, if there is one.
fn payload_xa_prepare(body: &[u8]) -> Parsed<Option<Vec<u8>>> {
    let mut events = PayloadEvents::open(body)?;
    while let Some((header, body)) = events.next(statement::ENOUGH as u64)? {
        if header.kind == EventType::XA_PREPARE {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// True if the first event inside begins an XA transaction.
fn payload_is_xa(body: &[u8]) -> Parsed<bool> {
    let mut events = PayloadEvents::open(body)?;
    let Some((header, body)) = events.next(statement::ENOUGH as u64)? else { return Ok(false) };
    if header.kind != EventType::QUERY {
        return Ok(false);
    }
    let query = QueryEvent::parse_start(&body, QueryForm::Plain, statement::ENOUGH as u64)?;
    Ok(classify(&query.sql) == Statement::XaStart)
}
