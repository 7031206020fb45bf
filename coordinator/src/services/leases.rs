//! The workers' streams: what a worker says becomes commands, what the engine has for it becomes messages.

use std::time::Duration;

use assay_proto::{PROTOCOL, convert, v1};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::named::Named;
use super::rejected;
use crate::config::Limits;
use crate::engine::Handle;
use crate::engine::command::{Command, ConnectionId, Hello, Outbound};

mod heard;
mod told;

/// How long a new stream may stay silent.
const HELLO_WAIT_MS: u64 = 10_000;
/// The longest worker id, host or device name.
const WORKER_TEXT_BYTES_MAX: usize = 256;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct LeasesService {
    pub(crate) engine: Handle,
    pub(crate) limits: Limits,
    pub(crate) named: Named,
    /// Ends streams when the coordinator stops.
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl v1::leases_server::Leases for LeasesService {
    type WorkStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (outbound, receiver) = mpsc::channel(self.limits.outbound_max);
        let service = self.clone();
        tokio::spawn(service.serve(request.into_inner(), outbound));
        // The answer begins at once: what is wrong with the hello is the stream's end.
        let told = ReceiverStream::new(receiver).flat_map(|told| stream::iter(told::messages(told)));
        Ok(Response::new(told.boxed()))
    }

    async fn spend(&self, request: Request<v1::SpendRequest>) -> Result<Response<v1::SpendResponse>, Status> {
        self.grant(request.into_inner()).await.map(Response::new)
    }
}

/// A worker's side of the stream, as it is read.
struct Worker {
    service: LeasesService,
    connection: ConnectionId,
    outbound: mpsc::Sender<Outbound>,
}

/// However the reading ends, the engine learns of it.
impl Drop for Worker {
    fn drop(&mut self) {
        self.service.engine.tell_later(Command::Disconnected { connection: self.connection });
    }
}

impl LeasesService {
    async fn grant(&self, request: v1::SpendRequest) -> Result<v1::SpendResponse, Status> {
        let lease = convert::lease(request.lease)?;
        let has = convert::from_json("limit_json", &request.limit_json)?;
        let granted = self.engine.ask(|reply| Command::Grant { lease, has, reply }).await?;
        Ok(v1::SpendResponse { limit_json: convert::to_json(&granted.map_err(rejected)?) })
    }

    async fn serve(self, mut inbound: Streaming<v1::WorkerMessage>, outbound: mpsc::Sender<Outbound>) {
        // The engine ends the stream of one worker; the coordinator's stop ends all.
        let end = self.stop.child_token();
        if let Err(status) = self.serve_worker(&mut inbound, &outbound, &end).await {
            tracing::warn!(code = ?status.code(), message = status.message(), "a worker's stream ends");
            // A worker that does not read has no room for its status: the stream just ends.
            let _ = outbound.try_send(Outbound::Refused(Box::new(status)));
        }
    }

    async fn serve_worker(
        &self,
        inbound: &mut Streaming<v1::WorkerMessage>,
        outbound: &mpsc::Sender<Outbound>,
        end: &CancellationToken,
    ) -> Result<(), Status> {
        let Some(hello) = unless_ended(end, outbound, hello(inbound)).await? else { return Ok(()) };
        // To its end, whoever is gone meanwhile: else the engine has a worker that nobody says is gone.
        let connection = self.connect(hello, outbound.clone(), end.clone()).await?;
        let worker = Worker { service: self.clone(), connection, outbound: outbound.clone() };
        let hearing = async {
            while let Some(message) = inbound.message().await? {
                worker.hear(message).await?;
            }
            Ok(None::<()>)
        };
        unless_ended(end, outbound, hearing).await.map(drop)
    }

    async fn connect(
        &self,
        hello: v1::Hello,
        outbound: mpsc::Sender<Outbound>,
        end: CancellationToken,
    ) -> Result<ConnectionId, Status> {
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "the worker speaks protocol {}, this coordinator {PROTOCOL}: run the same version of both",
                hello.protocol
            )));
        }
        self.check_count("running", hello.running.len())?;
        let worker: assay_domain::event::WorkerInfo = convert::from_json("worker_json", &hello.worker_json)?;
        check_worker(&worker)?;
        let running = hello.running.into_iter().map(|lease| convert::lease(Some(lease)));
        let running = running.collect::<Result<_, _>>()?;
        let hello = Box::new(Hello { worker, running, outbound, end });
        let connected = self.engine.ask(|reply| Command::Connect { hello, reply }).await?;
        let connected = connected.map_err(|_| {
            Status::resource_exhausted(format!(
                "{} workers are connected already",
                self.limits.connections_max
            ))
        })?;
        Ok(connected.connection)
    }

    fn check_count(&self, field: &'static str, given: usize) -> Result<(), Status> {
        let limit = self.limits.items_max;
        if given > limit {
            return Err(convert::BadMessage::TooMuch { field, given, limit, unit: "items" }.into());
        }
        Ok(())
    }
}

/// What `work` gives, or nothing when the worker is gone first.
async fn unless_ended<T>(
    end: &CancellationToken,
    outbound: &mpsc::Sender<Outbound>,
    work: impl Future<Output = Result<Option<T>, Status>>,
) -> Result<Option<T>, Status> {
    tokio::select! {
        biased;
        () = end.cancelled() => Err(Status::unavailable(
            "the coordinator closed this stream (a newer one of this worker, a full queue, or its stop): connect again",
        )),
        () = outbound.closed() => Ok(None),
        outcome = work => outcome,
    }
}

/// The first message; none when the stream ends before it.
async fn hello(inbound: &mut Streaming<v1::WorkerMessage>) -> Result<Option<v1::Hello>, Status> {
    let first = tokio::time::timeout(Duration::from_millis(HELLO_WAIT_MS), inbound.message()).await;
    let first =
        first.map_err(|_| Status::deadline_exceeded(format!("no hello within {HELLO_WAIT_MS} ms")))??;
    match first.and_then(|message| message.body) {
        Some(v1::worker_message::Body::Hello(hello)) => Ok(Some(hello)),
        Some(_) => Err(Status::invalid_argument("the first message of a stream is `hello`")),
        None => Ok(None),
    }
}

fn check_worker(worker: &assay_domain::event::WorkerInfo) -> Result<(), Status> {
    let texts = [worker.id.as_str(), &worker.host, &worker.device_name, &worker.version];
    if worker.id.as_str().is_empty() || texts.iter().any(|text| text.len() > WORKER_TEXT_BYTES_MAX) {
        return Err(Status::invalid_argument(format!(
            "a worker needs an id, and its id, host, device name and version have {WORKER_TEXT_BYTES_MAX} bytes at most"
        )));
    }
    Ok(())
}
