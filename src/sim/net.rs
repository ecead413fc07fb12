//! The network: calls between processes with delays, in both directions apart, over lines that are cut off and break.
//!
//! Client, server and the gRPC messages between them are the real ones; HTTP/2 and TCP are these rules:
//!
//! * a message takes its time, now and then much longer (what was lost is sent again); those of one stream stay in order, calls overtake each other;
//! * what is sent where a line is cut waits for it to heal; a process that is frozen gets it when it goes on;
//! * a line that carried nothing for [`SILENCE`] is broken: whatever is under way on it fails, at both ends;
//! * a process that is killed breaks its lines at once, unless they are cut: then nobody learns of it before.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use tidelake_api::{Carried, Carries, Connection, Served};
use tidelake_core::env;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::TcpConnectInfo;

use super::world::{NodeEnv, Shared};

/// As the real connections: a ping after 5 s, and 20 s for the answer.
const SILENCE: Duration = Duration::from_secs(25);

/// The network of a world.
pub struct Net {
    shared: Arc<Shared>,
    /// Runs what is under way; never frozen.
    handle: Handle,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    cut: BTreeSet<(usize, usize)>,
    frozen: BTreeSet<usize>,
    servers: BTreeMap<usize, Server>,
    lines: BTreeMap<(usize, usize), Arc<Line>>,
    /// How many milliseconds a message takes at most.
    slow_ms: u64,
}

#[derive(Clone)]
struct Server {
    served: Served,
    env: Arc<NodeEnv>,
    handle: Handle,
}

/// A connection of two processes.
struct Line {
    ends: (usize, usize),
    broken: CancellationToken,
    /// One end is no more.
    dead: AtomicBool,
}

/// A piece of a response on its way.
enum Piece {
    Head(Box<Response<()>>),
    Frame(Frame<Bytes>),
    Failed(Status),
    End,
}

impl Net {
    /// To be called within the runtime that carries.
    pub fn new(shared: Arc<Shared>) -> Arc<Net> {
        let state = State { slow_ms: 4, ..State::default() };
        Arc::new(Net { shared, handle: Handle::current(), state: Mutex::new(state), news: Notify::new() })
    }

    /// A connection of a process, which this is called within, to another one.
    pub fn connect(self: &Arc<Net>, from: usize, to: usize) -> Connection {
        Connection::over(Arc::new(Way { net: self.clone(), from, to }))
    }

    /// From now on a process serves; to be called within it.
    pub fn serve(&self, node: usize, env: Arc<NodeEnv>, served: Served) {
        self.state.lock().servers.insert(node, Server { served, env, handle: Handle::current() });
    }

    /// Messages from one process to another do not arrive.
    pub fn cut(&self, from: usize, to: usize) {
        self.state.lock().cut.insert((from, to));
    }

    /// Everything arrives again.
    pub fn heal(&self, from: usize, to: usize) {
        self.state.lock().cut.remove(&(from, to));
        self.news.notify_waiters();
    }

    pub fn slow(&self, ms: u64) {
        self.state.lock().slow_ms = ms.max(1);
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.state.lock().cut.contains(&(from, to))
    }

    pub fn freeze(&self, node: usize, frozen: bool) {
        let mut state = self.state.lock();
        if frozen {
            state.frozen.insert(node)
        } else {
            state.frozen.remove(&node)
        };
    }

    /// Its lines break, and nobody listens there any more.
    pub fn gone(&self, node: usize) {
        let mut state = self.state.lock();
        state.servers.remove(&node);
        let (own, others) =
            std::mem::take(&mut state.lines).into_iter().partition(|((a, b), _)| *a == node || *b == node);
        state.lines = others;
        let own: BTreeMap<(usize, usize), Arc<Line>> = own;
        for line in own.into_values() {
            let (a, b) = line.ends;
            if state.cut.contains(&(a, b)) || state.cut.contains(&(b, a)) {
                line.dead.store(true, Ordering::Relaxed);
            } else {
                line.broken.cancel();
            }
        }
    }

    /// The line between the two; a new one if the last one is broken.
    fn line(self: &Arc<Net>, from: usize, to: usize) -> Arc<Line> {
        let mut state = self.state.lock();
        if let Some(line) = state.lines.get(&(from, to)).filter(|line| !line.broken.is_cancelled()) {
            return line.clone();
        }
        let line = Arc::new(Line { ends: (from, to), broken: CancellationToken::new(), dead: AtomicBool::new(false) });
        state.lines.insert((from, to), line.clone());
        self.handle.spawn(watch(self.clone(), line.clone()));
        line
    }

    fn is_usable(&self, line: &Line) -> bool {
        let state = self.state.lock();
        let (a, b) = line.ends;
        !state.cut.contains(&(a, b))
            && !state.cut.contains(&(b, a))
            && !state.frozen.contains(&a)
            && !state.frozen.contains(&b)
    }

    /// A message's way.
    async fn pass(&self, line: &Line, from: usize, to: usize) -> Result<(), Status> {
        let slow = self.state.lock().slow_ms;
        let lost = self.shared.once_in(200);
        env::sleep(self.shared.ms(0..if lost { 600 } else { slow })).await;
        loop {
            let news = self.news.notified();
            if line.broken.is_cancelled() {
                return Err(broken());
            }
            if !self.is_cut(from, to) && !line.dead.load(Ordering::Relaxed) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = line.broken.cancelled() => {}
                () = news => {}
            }
        }
    }

    /// A call, from its sender's last byte on.
    async fn call(self: Arc<Net>, from: usize, to: usize, request: Request<Bytes>, mut reply: Reply) {
        let line = self.line(from, to);
        let ended = tokio::select! {
            biased;
            ended = self.called(&line, request, &mut reply) => ended,
            () = line.broken.cancelled() => Err(broken()),
        };
        if let Err(status) = ended {
            reply.fail(status);
        }
    }

    async fn called(&self, line: &Line, request: Request<Bytes>, reply: &mut Reply) -> Result<(), Status> {
        let (from, to) = line.ends;
        self.pass(line, from, to).await?;
        let server = self.state.lock().servers.get(&to).cloned();
        let Some(server) = server else {
            self.pass(line, to, from).await?;
            return Err(Status::unavailable("connection refused"));
        };
        let (pieces, mut arriving) = mpsc::unbounded_channel();
        let serving = server.handle.spawn(serve(server.served, request, pieces));
        let _aborts = AbortUnlessCut { net: self, ends: (from, to), task: serving.abort_handle() };
        while let Some(piece) = tokio::select! {
            biased;
            piece = arriving.recv() => piece,
            // Nobody waits for the answer any more.
            () = reply.closed() => return Ok(()),
        } {
            self.pass(line, to, from).await?;
            match piece {
                Piece::End => return Ok(()),
                Piece::Failed(status) => return Err(status),
                Piece::Head(head) => reply.begin(*head),
                Piece::Frame(frame) => reply.send(frame),
            }
        }
        self.pass(line, to, from).await?;
        Err(broken())
    }
}

fn broken() -> Status {
    Status::unavailable("the connection was lost")
}

/// Breaks a line that has been silent for too long.
async fn watch(net: Arc<Net>, line: Arc<Line>) {
    let mut silent = Duration::ZERO;
    let look = Duration::from_secs(1);
    while !line.broken.is_cancelled() {
        env::sleep(look).await;
        let (usable, dead) = (net.is_usable(&line), line.dead.load(Ordering::Relaxed));
        silent = if usable && !dead { Duration::ZERO } else { silent + look };
        if silent >= SILENCE || usable && dead {
            line.broken.cancel();
        }
    }
}

/// A server does not work on for nobody, unless it cannot know.
struct AbortUnlessCut<'a> {
    net: &'a Net,
    ends: (usize, usize),
    task: tokio::task::AbortHandle,
}

impl Drop for AbortUnlessCut<'_> {
    fn drop(&mut self) {
        if !self.net.is_cut(self.ends.0, self.ends.1) {
            self.task.abort();
        }
    }
}

/// The server's part, in its own process.
async fn serve(served: Served, request: Request<Bytes>, pieces: mpsc::UnboundedSender<Piece>) {
    let failed = |status: Status| drop(pieces.send(Piece::Failed(status)));
    let response = match served.serve(arrived(request)).await {
        Ok(response) => response,
        Err(error) => return failed(Status::from_error(error)),
    };
    let (head, mut body) = response.into_parts();
    let _ = pieces.send(Piece::Head(Box::new(Response::from_parts(head, ()))));
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame {
            Ok(frame) => drop(pieces.send(Piece::Frame(frame))),
            Err(status) => return failed(status),
        }
    }
    let _ = pieces.send(Piece::End);
}

/// A request as a server on this machine gets it.
fn arrived(request: Request<Bytes>) -> Request<Body> {
    let mut request = request.map(|bytes| Body::new(Whole(Some(bytes))));
    let remote_addr = Some(([127, 0, 0, 1], 1).into());
    request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
    request
}

/// A body that is there.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body that arrives.
struct Arriving(mpsc::UnboundedReceiver<Result<Frame<Bytes>, Status>>);

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx)
    }
}

/// Where a call's answer goes.
struct Reply {
    head: Option<oneshot::Sender<Result<Response<Body>, Status>>>,
    body: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>>,
}

impl Reply {
    fn begin(&mut self, head: Response<()>) {
        let (body, arriving) = mpsc::unbounded_channel();
        if let Some(to) = self.head.take() {
            let _ = to.send(Ok(head.map(|()| Body::new(Arriving(arriving)))));
        }
        self.body = Some(body);
    }

    fn send(&self, frame: Frame<Bytes>) {
        if let Some(body) = &self.body {
            let _ = body.send(Ok(frame));
        }
    }

    fn fail(&mut self, status: Status) {
        if let Some(head) = self.head.take() {
            let _ = head.send(Err(status));
        } else if let Some(body) = &self.body {
            let _ = body.send(Err(status));
        }
    }

    async fn closed(&mut self) {
        match (&mut self.head, &self.body) {
            (Some(head), _) => head.closed().await,
            (None, Some(body)) => body.closed().await,
            (None, None) => {}
        }
    }
}

/// A connection's way.
struct Way {
    net: Arc<Net>,
    from: usize,
    to: usize,
}

impl Carries for Way {
    fn carry(&self, request: Request<Body>) -> Carried {
        let (net, from, to) = (self.net.clone(), self.from, self.to);
        Box::pin(async move {
            let request = collected(request).await?;
            let (head, answer) = oneshot::channel();
            let reply = Reply { head: Some(head), body: None };
            net.handle.spawn(net.clone().call(from, to, request, reply));
            Ok(answer.await.map_err(|_| broken())??)
        })
    }

    /// Nobody can wait, so it is answered in this very moment, or not at all.
    fn carry_now(&self, request: Request<Body>) -> Carried {
        let server = {
            let state = self.net.state.lock();
            let cut = state.cut.contains(&(self.from, self.to)) || state.cut.contains(&(self.to, self.from));
            let away = cut || state.frozen.contains(&self.to);
            state.servers.get(&self.to).filter(|_| !away).cloned()
        };
        Box::pin(async move {
            let server = server.ok_or_else(|| Status::unavailable("connection refused"))?;
            let request = collected(request).await?;
            let _inside = env::enter(server.env.clone());
            let _runtime = server.handle.enter();
            let late = || Status::unavailable("it was not answered at once");
            server.served.serve(arrived(request)).now_or_never().ok_or_else(late)?
        })
    }
}

async fn collected(request: Request<Body>) -> Result<Request<Bytes>, Status> {
    let (head, mut body) = request.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Request::from_parts(head, bytes.freeze()))
}
