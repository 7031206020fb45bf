//! A coordinator that does what the test says, behind real gRPC and HTTP servers on free ports.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use assay_domain::budget::{Amount, Scope};
use assay_domain::{Lease, LogSegment, Rejection};
use assay_proto::convert::{self, item_answer, lease, lease_ref};
use assay_proto::v1::artifacts_server::ArtifactsServer;
use assay_proto::v1::leases_server::{Leases, LeasesServer};
use assay_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message, worker_message::Body};
use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::objects::{Objects, Store};

pub(crate) const TOKEN: &str = "a-token";
const QUEUE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// What it does when it is spoken to; a test changes it as it goes.
#[derive(Default)]
pub(crate) struct Script {
    /// Renewals are heard and not answered.
    pub(crate) renewals_unanswered: bool,
    /// So many completions are heard and answered by breaking the stream.
    pub(crate) completions_cut_off: u32,
    /// The same for parts of logs.
    pub(crate) segments_cut_off: u32,
    /// Parts of logs are refused.
    pub(crate) segments_refused: bool,
    /// So many completions are heard and end the stream as something that cannot be read.
    pub(crate) completions_unreadable: u32,
    /// Attempts that are not current: refused in answers and named in welcomes.
    pub(crate) stale: HashSet<Lease>,
    /// What the last failure said of its inputs.
    pub(crate) suspects: Vec<v1::SuspectObject>,
    /// Streams that are refused with this.
    pub(crate) refuse_streams: Option<Status>,
    /// What the last failure said that it used.
    pub(crate) used: Option<Amount>,
    /// Limits that attempts get when they ask for more, one after the other; then they are refused.
    pub(crate) limits: VecDeque<Amount>,
    /// The limits that were asked about.
    pub(crate) asked: Vec<Amount>,
}

pub(crate) struct Coordinator {
    pub(crate) address: String,
    pub(crate) store: Store,
    shared: Arc<Shared>,
    heard: mpsc::Receiver<Heard>,
}

/// What the coordinator heard, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Hello(Vec<Lease>),
    Ready(u32),
    Renewed(Lease),
    Checkpointed(Lease, u64),
    Completed(Lease, String),
    Failed(Lease, String, String),
    Logged(Lease, String),
    Stored(Lease, LogSegment),
}

struct Shared {
    script: Mutex<Script>,
    heard: mpsc::Sender<Heard>,
    stream: Mutex<Option<Say>>,
}

type Say = mpsc::Sender<Result<CoordinatorMessage, Status>>;

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let store = Store::start().await;
        let (heard_by, heard) = mpsc::channel(QUEUE);
        let (script, stream) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { script, heard: heard_by, stream });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let leases = LeasesServer::new(Served(shared.clone()));
        let artifacts = ArtifactsServer::new(Objects(store.clone()));
        let server = tonic::transport::Server::builder().add_service(leases).add_service(artifacts);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, store, shared, heard }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// The next thing heard that `want` makes something of; what it makes nothing of is passed over, except for what `never` names.
    pub(crate) async fn until<T>(&mut self, want: impl Fn(&Heard) -> Option<T>) -> T {
        self.until_without(want, |_| false).await
    }

    pub(crate) async fn until_without<T>(
        &mut self,
        want: impl Fn(&Heard) -> Option<T>,
        never: impl Fn(&Heard) -> bool,
    ) -> T {
        let mut passed = Vec::new();
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
            let heard =
                heard.unwrap_or_else(|_| panic!("not heard in time; passed over: {passed:?}")).unwrap();
            assert!(!never(&heard), "{heard:?} must not be said here");
            if let Some(found) = want(&heard) {
                return found;
            }
            passed.push(heard);
        }
    }

    /// All that was heard and not looked at.
    pub(crate) fn unheard(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    pub(crate) async fn say(&self, body: coordinator_message::Body) {
        let stream = self.shared.stream.lock().unwrap().clone().unwrap();
        stream.send(Ok(CoordinatorMessage { body: Some(body) })).await.unwrap();
    }

    pub(crate) async fn offer(&self, assignment: &assay_domain::Assignment) {
        let assignments_json = vec![convert::to_json(assignment)];
        self.say(coordinator_message::Body::Offers(v1::OfferBatch { assignments_json })).await;
    }

    pub(crate) async fn stop(&self, lease: &Lease) {
        self.stop_because(lease, "cancelled").await;
    }

    pub(crate) async fn stop_because(&self, lease: &Lease, reason: &str) {
        let item = v1::StopItem { lease: Some(lease_ref(lease)), reason: reason.to_owned() };
        self.say(coordinator_message::Body::Stops(v1::StopBatch { items: vec![item] })).await;
    }

    pub(crate) async fn save(&self, lease: &Lease) {
        let leases = vec![lease_ref(lease)];
        self.say(coordinator_message::Body::Saves(v1::SaveBatch { leases })).await;
    }

    pub(crate) async fn break_stream(&self) {
        self.shared.break_stream().await;
    }
}

impl Shared {
    async fn break_stream(&self) {
        self.end_stream(Status::unavailable("broken by the test")).await;
    }

    async fn end_stream(&self, status: Status) {
        let stream = self.stream.lock().unwrap().take();
        if let Some(stream) = stream {
            // The worker may be gone already.
            let _ = stream.send(Err(status)).await;
        }
    }

    async fn hear(&self, message: WorkerMessage) {
        let script = |change: &dyn Fn(&mut Script) -> bool| change(&mut self.script.lock().unwrap());
        let (heard, lease) = match message.body.unwrap() {
            Body::Hello(_) => panic!("a second hello"),
            Body::Ready(ready) => return self.heard.send(Heard::Ready(ready.slots)).await.unwrap(),
            Body::Logs(batch) => return self.logged(batch).await,
            Body::Renew(mut batch) => {
                let lease = lease(batch.renewals.remove(0).lease).unwrap();
                if script(&|script| script.renewals_unanswered) {
                    return;
                }
                (Heard::Renewed(lease.clone()), lease)
            }
            Body::Checkpointed(mut batch) => {
                let item = batch.items.remove(0);
                let lease = lease(item.lease).unwrap();
                (Heard::Checkpointed(lease.clone(), item.step), lease)
            }
            Body::Logged(mut batch) => {
                let item = batch.items.remove(0);
                let segment = convert::from_json("segment_json", &item.segment_json).unwrap();
                let lease = lease(item.lease).unwrap();
                (Heard::Stored(lease.clone(), segment), lease)
            }
            Body::Completed(mut batch) => {
                let item = batch.items.remove(0);
                let lease = lease(item.lease).unwrap();
                (Heard::Completed(lease.clone(), item.outputs_json), lease)
            }
            Body::Failed(mut batch) => {
                let item = batch.items.remove(0);
                let lease = lease(item.lease).unwrap();
                let used = convert::from_json_or_empty("used_json", &item.used_json).unwrap();
                let mut script = self.script.lock().unwrap();
                (script.suspects, script.used) = (item.suspects, used);
                (Heard::Failed(lease.clone(), item.class, item.reason), lease)
            }
        };
        let cut_off = script(&|script| {
            let left = match heard {
                Heard::Completed(..) => &mut script.completions_cut_off,
                Heard::Stored(..) => &mut script.segments_cut_off,
                Heard::Hello(_)
                | Heard::Ready(_)
                | Heard::Renewed(_)
                | Heard::Checkpointed(..)
                | Heard::Failed(..)
                | Heard::Logged(..) => return false,
            };
            let cut_off = *left > 0;
            *left = left.saturating_sub(1);
            cut_off
        });
        let refused = matches!(heard, Heard::Stored(..)) && script(&|script| script.segments_refused);
        let unreadable = matches!(heard, Heard::Completed(..))
            && script(&|script| {
                let unreadable = script.completions_unreadable > 0;
                script.completions_unreadable = script.completions_unreadable.saturating_sub(1);
                unreadable
            });
        self.heard.send(heard).await.unwrap();
        if cut_off {
            return self.break_stream().await;
        }
        if unreadable {
            return self.end_stream(Status::invalid_argument("`outputs_json` has too many bytes")).await;
        }
        self.answer(message.sequence, &lease, refused).await;
    }

    async fn logged(&self, batch: v1::LogBatch) {
        for item in batch.items {
            let heard = Heard::Logged(lease(item.lease).unwrap(), item.line);
            self.heard.send(heard).await.unwrap();
        }
    }

    async fn answer(&self, sequence: u64, lease: &Lease, refused: bool) {
        let stale = refused || self.script.lock().unwrap().stale.contains(lease);
        let outcome =
            if stale { Err(Rejection::StaleAttempt { lease: lease.clone(), current: None }) } else { Ok(()) };
        let answer = v1::Answer { sequence, items: vec![item_answer(outcome)], lease_ms: 0 };
        let body = coordinator_message::Body::Answers(v1::AnswerBatch { answers: vec![answer] });
        let stream = self.stream.lock().unwrap().clone();
        if let Some(stream) = stream {
            let _ = stream.send(Ok(CoordinatorMessage { body: Some(body) })).await;
        }
    }
}

struct Served(Arc<Shared>);

#[tonic::async_trait]
impl Leases for Served {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

    async fn work(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let shared = self.0.clone();
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if bearer != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("no such token"));
        }
        if let Some(status) = shared.script.lock().unwrap().refuse_streams.clone() {
            return Err(status);
        }
        let mut messages = request.into_inner();
        let Some(Body::Hello(hello)) = messages.message().await?.and_then(|message| message.body) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (say, said) = mpsc::channel(QUEUE);
        let running: Vec<Lease> =
            hello.running.into_iter().map(|given| lease(Some(given)).unwrap()).collect();
        let stale = shared.script.lock().unwrap().stale.clone();
        let welcome = v1::Welcome {
            protocol: assay_proto::PROTOCOL,
            epoch: 1,
            lease_ms: 0,
            stale: running.iter().filter(|lease| stale.contains(lease)).map(lease_ref).collect(),
        };
        let welcome = CoordinatorMessage { body: Some(coordinator_message::Body::Welcome(welcome)) };
        say.send(Ok(welcome)).await.unwrap();
        *shared.stream.lock().unwrap() = Some(say);
        shared.heard.send(Heard::Hello(running)).await.unwrap();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                shared.hear(message).await;
            }
            // The worker ended its side: so do we.
            shared.stream.lock().unwrap().take();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    async fn spend(&self, request: Request<v1::SpendRequest>) -> Result<Response<v1::SpendResponse>, Status> {
        let request = request.into_inner();
        let lease = lease(request.lease)?;
        let mut script = self.0.script.lock().unwrap();
        script.asked.push(convert::from_json("limit_json", &request.limit_json)?);
        match script.limits.pop_front() {
            Some(limit) => Ok(Response::new(v1::SpendResponse { limit_json: convert::to_json(&limit) })),
            None => {
                let scope = Scope::Matrix { matrix: lease.job.matrix.clone() };
                Err(assay_proto::status::from_rejection(&Rejection::OverBudget { lease, scope }))
            }
        }
    }
}
