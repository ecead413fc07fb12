//! A connection to a Magic API elsewhere, with a runtime of its own: some calls of a store engine are not async, and
//! waiting for them must not keep their answers from arriving.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo, PutResult};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidelake_core::{Error, Result, env};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tonic::Status;
use tonic::codegen::Service;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use crate::carrier::{Carrier, Carries};
use crate::errors::of_status;
use crate::flow;
use crate::held::HeldLeases;
use crate::login::{Login, WithToken};
use crate::offered::ACTIONS;
use crate::server::MAX_ROWS;
use crate::wire::{decode_answer, encode};

/// How long a call that moves no rows may take before the server counts as gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent peer is asked whether it is still there ...
pub(crate) const PING: Duration = Duration::from_secs(5);
/// ... and how long it may take to say so: one that is frozen or cut off counts as gone then.
pub(crate) const PONG: Duration = Duration::from_secs(20);

/// Most bytes of a frame to us.
const FRAME: u32 = 1 << 20;
/// Bytes of rows on their way to us, per stream.
const STREAM_WINDOW: u32 = 8 << 20;

type Line = InterceptedService<Carrier, WithToken>;
type Client = FlightServiceClient<Line>;

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    carrier: Carrier,
    with_token: WithToken,
    threads: Threads,
    leases: Arc<HeldLeases>,
}

/// Where a connection's own work is done.
#[derive(Clone)]
enum Threads {
    Own(Arc<OwnRuntime>),
    Callers(Handle),
}

struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // May be dropped within another runtime, which must not block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    /// Connects to `http://HOST:PORT` as nobody.
    ///
    /// # Errors
    /// As for [`Connection::open_as`].
    pub fn open(url: &str) -> Result<Connection> {
        Connection::open_as(url, &Login::default())
    }

    /// Connects to `http://HOST:PORT` or `https://HOST:PORT`. The connection is made when it is first used, and again when it was
    /// lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no address, token or certificate.
    pub fn open_as(url: &str, login: &Login) -> Result<Connection> {
        let invalid = |e: tonic::transport::Error| Error::Invalid(format!("{url} is no address of a Magic API: {e}"));
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(invalid)?.tcp_nodelay(true);
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            // A batch in a few frames instead of one for each 16 KiB.
            .max_frame_size(FRAME);
        let endpoint = login.encrypt(endpoint)?;
        let with_token = login.header()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("magic-api").enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("start the Magic API's threads", e))?;
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let threads = Threads::Own(Arc::new(OwnRuntime(Some(runtime))));
        Ok(Connection { carrier: Carrier::Sockets(channel), with_token, threads, leases: Arc::default() })
    }

    /// Over anything that carries calls, with its own work done by the runtime of the caller.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn over(carries: Arc<dyn Carries>) -> Connection {
        let with_token = Login::default().header().unwrap_or_else(|_| unreachable!("there is no token"));
        let carrier = Carrier::Other { carries, now: false };
        Connection { carrier, with_token, threads: Threads::Callers(Handle::current()), leases: Arc::default() }
    }

    fn client(&self) -> Client {
        client(self.carrier.clone(), &self.with_token)
    }

    /// What is held over it.
    pub(crate) fn leases(&self) -> &Arc<HeldLeases> {
        &self.leases
    }

    /// Starts a task on the connection's own threads.
    pub(crate) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.threads {
            Threads::Own(own) => own.0.as_ref().expect("taken by drop only").spawn(task),
            Threads::Callers(runtime) => runtime.spawn(task),
        }
    }

    /// Runs something there; whoever waits for it may be on no runtime at all.
    async fn run<T: Send + 'static>(&self, task: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.spawn(task).await.map_err(|e| Error::Closed(format!("the connection's threads have ended: {e}")))?
    }

    /// A call from where nothing can be awaited.
    pub(crate) fn call_now<A: Serialize, B: DeserializeOwned>(&self, name: &str, ask: A) -> Result<B> {
        self.call_now_within(name, ask, PATIENCE)
    }

    /// The same with another patience.
    pub(crate) fn call_now_within<A, B>(&self, name: &str, ask: A, patience: Duration) -> Result<B>
    where
        A: Serialize,
        B: DeserializeOwned,
    {
        let action = action(name, ask)?;
        if matches!(self.threads, Threads::Callers(_)) {
            let client = client(self.carrier.at_once(), &self.with_token);
            let late = || Error::Unavailable(format!("{name}: it could not be answered at once"));
            let answer = answered(client, action, patience).now_or_never().ok_or_else(late)?;
            return decode_answer(&answer?);
        }
        let (done, answer) = mpsc::channel();
        let client = self.client();
        self.spawn(async move {
            let _ = done.send(answered(client, action, patience).await);
        });
        let ended = |_| Error::Closed("the connection's threads have ended".into());
        decode_answer(&waited(|| answer.recv()).map_err(ended)??)
    }

    /// A call. It ends within half a minute; `Unavailable` if the server did not answer by then.
    pub(crate) async fn call<A: Serialize, B: DeserializeOwned>(&self, name: &str, ask: A) -> Result<B> {
        self.call_within(name, ask, PATIENCE).await
    }

    /// A call that may take longer.
    pub(crate) async fn call_within<A, B>(&self, name: &str, ask: A, patience: Duration) -> Result<B>
    where
        A: Serialize,
        B: DeserializeOwned,
    {
        let asked = answered(self.client(), action(name, ask)?, patience);
        decode_answer(&self.run(asked).await?)
    }

    /// An action whose answers go on. To be called on the connection's own threads.
    pub(crate) async fn listen<A: Serialize, B: DeserializeOwned>(
        &self,
        action: &str,
        ask: A,
    ) -> Result<impl Stream<Item = Result<B>> + Send + use<A, B>> {
        let action = Action { r#type: action.to_owned(), body: encode(ask)?.into() };
        let answers = self.client().do_action(action).await.map_err(|s| of_status(&s))?.into_inner();
        Ok(answers.map(|answer| decode_answer(&answer.map_err(|s| of_status(&s))?.body)))
    }

    pub(crate) async fn info(&self, command: Vec<u8>) -> Result<FlightInfo> {
        let mut client = self.client();
        self.run(async move {
            let asked = client.get_flight_info(FlightDescriptor::new_cmd(command)).await;
            Ok(asked.map_err(|s| of_status(&s))?.into_inner())
        })
        .await
    }

    /// The rows of a ticket.
    pub(crate) async fn get(
        &self,
        ticket: Bytes,
    ) -> Result<impl Stream<Item = Result<FlightData, Status>> + Send + use<>> {
        let mut line: Line = InterceptedService::new(self.carrier.clone(), self.with_token.clone());
        let response = self.run(async move {
            let broken = |e| of_status(&Status::from_error(e));
            line.call(flow::request(ticket)).await.map_err(broken)
        });
        flow::data_of(response.await?).map_err(|s| of_status(&s))
    }

    pub(crate) async fn put(&self, data: impl Stream<Item = FlightData> + Send + 'static) -> Result<Vec<PutResult>> {
        let mut client = self.client();
        self.run(async move {
            let answers = client.do_put(data).await.map_err(|s| of_status(&s))?.into_inner();
            answers.try_collect().await.map_err(|s| of_status(&s))
        })
        .await
    }
}

/// Waits where nothing can be awaited: a thread of the caller's runtime lets others do its work meanwhile.
pub(crate) fn waited<T>(wait: impl FnOnce() -> T) -> T {
    let in_pool = Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if in_pool { tokio::task::block_in_place(wait) } else { wait() }
}

fn client(carrier: Carrier, with_token: &WithToken) -> Client {
    let service = InterceptedService::new(carrier, with_token.clone());
    FlightServiceClient::new(service).max_decoding_message_size(MAX_ROWS)
}

fn action(name: &str, ask: impl Serialize) -> Result<Action> {
    Ok(Action { r#type: format!("{ACTIONS}{name}"), body: encode(ask)?.into() })
}

/// The one answer of a call.
async fn answered(mut client: Client, action: Action, patience: Duration) -> Result<Bytes> {
    let name = action.r#type.clone();
    let answer = async move {
        let mut answers = client.do_action(action).await.map_err(|s| of_status(&s))?.into_inner();
        answers.message().await.map_err(|s| of_status(&s))
    };
    let late = |_| Error::Unavailable(format!("{name}: no answer within {patience:?}"));
    let answer = env::timeout(patience, answer).await.map_err(late)??;
    Ok(answer.ok_or_else(|| Error::Unavailable(format!("{name}: the answer is empty")))?.body)
}
