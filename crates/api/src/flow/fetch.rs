//! The client's side: the messages of `DoGet`, each copied once, out of the frames that it came in.

use std::collections::VecDeque;

use arrow_flight::{FlightData, Ticket};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::{Code, Status};

use super::{DO_GET, PREFIX_BYTES};
use crate::server::MAX_ROWS;

/// The request for a ticket's rows.
pub(crate) fn request(ticket: Bytes) -> Request<Body> {
    let ticket = Ticket { ticket };
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + ticket.encoded_len());
    message.put_u8(0);
    message.put_u32(u32::try_from(ticket.encoded_len()).unwrap_or(u32::MAX));
    message.put(ticket.encode_to_vec().as_slice());
    let mut request = Request::new(Body::new(Full::new(message.freeze())));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::from_static(DO_GET);
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

/// The messages of a response, and how it ended.
///
/// # Errors
/// What the server says instead of rows.
pub(crate) fn data_of<B>(response: Response<B>) -> Result<impl Stream<Item = Result<FlightData, Status>> + Send, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    let (parts, body) = response.into_parts();
    if let Some(status) = refused(&parts.headers) {
        return Err(status);
    }
    if parts.status != http::StatusCode::OK {
        return Err(Status::unavailable(format!("the server answers with HTTP status {}", parts.status)));
    }
    let incoming = Some(Incoming { body, frames: Frames::default() });
    Ok(stream::unfold(incoming, |incoming| async move {
        let mut incoming = incoming?;
        match incoming.next().await {
            Ok(Some(data)) => Some((Ok(data), Some(incoming))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

/// The error that headers or trailers tell.
fn refused(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

struct Incoming<B> {
    body: B,
    frames: Frames,
}

impl<B> Incoming<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    async fn next(&mut self) -> Result<Option<FlightData>, Status> {
        loop {
            if let Some(data) = self.frames.message()? {
                return Ok(Some(data));
            }
            let Some(frame) = self.body.frame().await else { break };
            match frame.map_err(|e| Status::from_error(e.into()))?.into_data() {
                Ok(bytes) => self.frames.push(bytes),
                Err(frame) => match frame.trailers_ref().and_then(refused) {
                    Some(status) => return Err(status),
                    None => break,
                },
            }
        }
        match self.frames.remaining() {
            0 => Ok(None),
            left => {
                Err(Status::unavailable(format!("a stream of rows was cut within a message, {left} bytes into it")))
            }
        }
    }
}

/// Frames of which no message was made yet.
#[derive(Default)]
struct Frames {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Frames {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        if !bytes.is_empty() {
            self.frames.push_back(bytes);
        }
    }

    /// The next message, if all of it is there.
    fn message(&mut self) -> Result<Option<FlightData>, Status> {
        let Some((compressed, length)) = self.prefix() else { return Ok(None) };
        if compressed != 0 {
            return Err(Status::internal("the server compresses rows, which it was not asked for"));
        }
        if length > MAX_ROWS {
            let text = format!("rows in a message of {length} bytes; at most {MAX_ROWS} are taken");
            return Err(Status::resource_exhausted(text));
        }
        if self.bytes < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.advance(PREFIX_BYTES);
        let data = FlightData::decode((&mut *self).take(length));
        data.map(Some).map_err(|e| Status::internal(format!("no message of Arrow Flight: {e}")))
    }

    fn prefix(&self) -> Option<(u8, usize)> {
        let mut bytes = self.frames.iter().flat_map(|frame| frame.iter().copied());
        let compressed = bytes.next()?;
        let mut length = 0;
        for _ in 1..PREFIX_BYTES {
            length = length << 8 | usize::from(bytes.next()?);
        }
        Some((compressed, length))
    }
}

impl Buf for Frames {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.frames.front().map_or(&[], |frame| frame)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "no more than there is");
        self.bytes -= count;
        while let Some(front) = self.frames.front_mut() {
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.frames.pop_front();
        }
    }

    /// Always a copy of its own: Arrow wants values aligned, and would copy them again if a frame's bytes were taken as they lie there.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        let mut copy = BytesMut::with_capacity(count);
        copy.put(self.take(count));
        copy.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &FlightData) -> Vec<u8> {
        let body = data.encode_to_vec();
        [&[0], (body.len() as u32).to_be_bytes().as_slice(), &body].concat()
    }

    fn data(body: usize) -> FlightData {
        FlightData::new().with_data_header(vec![7; 100]).with_data_body(vec![9; body]).with_app_metadata("m")
    }

    #[test]
    fn messages_come_out_of_frames_of_any_size() {
        let sent = [data(0), data(10), data(70_000)];
        let bytes: Vec<u8> = sent.iter().flat_map(message).collect();
        for size in [1, 3, 4096, 1 << 20] {
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(data) = frames.message().expect("a message") {
                    got.push(data);
                }
            }
            assert!(got == sent && frames.remaining() == 0, "{size}");
        }
    }

    #[test]
    fn bodies_are_aligned() {
        let mut frames = Frames::default();
        frames.push([message(&data(3)), message(&data(4096))].concat().into());
        for _ in 0..2 {
            let data = frames.message().expect("sound").expect("there");
            assert!(data.data_body.len() < 16 || data.data_body.as_ptr().align_offset(16) == 0);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refuse = |bytes: &'static [u8]| {
            let mut frames = Frames::default();
            frames.push(Bytes::from_static(bytes));
            frames.message().expect_err("refused").message().to_owned()
        };
        assert!(refuse(&[1, 0, 0, 0, 0]).contains("compresses"));
        assert!(refuse(&[0, 255, 0, 0, 0]).contains("at most"));
        assert!(refuse(&[0, 0, 0, 0, 3, 0x12, 200, 1]).contains("no message"));
    }
}
