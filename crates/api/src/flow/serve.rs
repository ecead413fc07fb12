//! The server's side: a service before a Flight service, which answers `DoGet` for splits of the Magic API itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use prost::Message;
use tidelake_access::Caller;
use tidelake_core::ports::BatchStream;
use tidelake_core::{Error, Result};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::server::NamedService;

use super::ahead::ahead;
use super::encode::FlightEncoder;
use super::{DO_GET, PREFIX_BYTES};
use crate::ending::END;
use crate::errors::to_status;
use crate::magic::Magic;
use crate::wire::{MAX_REQUEST, Split, from_ticket};

/// Rows of a split that are sooner read than another task is asked to.
const FEW_ROWS: u64 = 4096;

/// A Flight service, and before it rows of the Magic API.
#[derive(Clone)]
pub struct RowsOut<S> {
    inner: S,
    magic: Option<Arc<Magic>>,
    cancel: CancellationToken,
}

impl<S> RowsOut<S> {
    /// Before `inner`, which is asked everything else; until `cancel`.
    pub fn before(inner: S, magic: Option<Arc<Magic>>, cancel: CancellationToken) -> RowsOut<S> {
        RowsOut { inner, magic, cancel }
    }
}

impl<S: NamedService> NamedService for RowsOut<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for RowsOut<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let magic = match &self.magic {
            Some(magic) if request.uri().path() == DO_GET => magic.clone(),
            _ => return Box::pin(self.inner.call(request)),
        };
        let cancel = self.cancel.clone();
        // The one that is ready is used; its clone may not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let asked = match gathered(body).await {
                Ok(asked) => asked,
                Err(status) => return Ok(status.into_http()),
            };
            let Some(split) = split(&asked) else {
                return inner.call(Request::from_parts(parts, Body::new(Full::new(asked)))).await;
            };
            let caller = parts.extensions.get::<Caller>().cloned();
            Ok(answer(&magic, caller, split, cancel).await.unwrap_or_else(Status::into_http))
        })
    }
}

/// A request's bytes.
async fn gathered<B>(body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<StdError>,
{
    let body = Limited::new(body, MAX_REQUEST + 1024).collect().await;
    let body = body.map_err(|e| Status::invalid_argument(format!("a ticket that cannot be read: {e}")))?;
    Ok(body.to_bytes())
}

/// The split that a request's message asks for; `None` if it is none of the Magic API, or not even a message.
fn split(asked: &Bytes) -> Option<Result<Split>> {
    let (prefix, message) = asked.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?) as usize;
    let plain = prefix.first() == Some(&0) && length == message.len();
    let Ticket { ticket } = plain.then(|| Ticket::decode(message).ok())??;
    from_ticket(&ticket)
}

async fn answer(
    magic: &Arc<Magic>,
    caller: Option<Caller>,
    split: Result<Split>,
    cancel: CancellationToken,
) -> Result<Response<Body>, Status> {
    let caller = caller.ok_or_else(|| Status::unauthenticated("nobody has logged in"))?;
    let split = split.map_err(|e| to_status(&e))?;
    let (schema, batches) = magic.read(&caller, &split).await.map_err(|e| to_status(&e))?;
    let batches = if split.rows > FEW_ROWS { ahead(batches) } else { batches };
    let encoder = FlightEncoder::new(&schema).map_err(|e| to_status(&e))?;
    let rows = Rows { encoder, schema, batches, cancel };
    let mut response = Response::new(Body::new(StreamBody::new(rows.frames().boxed())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// A stream of rows that is being sent.
struct Rows {
    encoder: FlightEncoder,
    schema: SchemaRef,
    batches: BatchStream,
    cancel: CancellationToken,
}

impl Rows {
    fn frames(self) -> impl futures::Stream<Item = Result<Frame<Bytes>, Status>> + Send {
        let state = (Some(self), VecDeque::new());
        stream::unfold(state, |(mut rows, mut ready)| async move {
            while ready.is_empty() {
                let mut open = rows.take()?;
                let next = open.next().await;
                match next {
                    Ok(Some(chunks)) => {
                        ready.extend(chunks.into_iter().map(Frame::data));
                        rows = Some(open);
                    }
                    last => ready.extend(open.end(last.err())),
                }
            }
            let frame = ready.pop_front()?;
            Some((Ok(frame), (rows, ready)))
        })
    }

    /// The chunks of the next batch; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let batch = tokio::select! {
            biased;
            // A stream that was cut must not look like one that ended.
            () = self.cancel.cancelled() => return Err(Error::Unavailable("the server shuts down".into())),
            batch = self.batches.next() => batch.transpose()?,
        };
        batch.map(|batch| self.encoder.encode(&batch, &[])).transpose()
    }

    /// The last frames: the mark of the end if there was no error (see [`crate::ending`]), and the status.
    fn end(&mut self, error: Option<Error>) -> Vec<Frame<Bytes>> {
        let marked = match error {
            Some(error) => Err(error),
            None => self.encoder.encode(&RecordBatch::new_empty(self.schema.clone()), END),
        };
        let (chunks, status) = match marked {
            Ok(chunks) => (chunks, Status::ok("")),
            Err(error) => (Vec::new(), to_status(&error)),
        };
        chunks.into_iter().map(Frame::data).chain([Frame::trailers(trailers(&status))]).collect()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        // Its text is none that a header may have: the code says enough.
        headers.clear();
        headers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    headers
}
