//! The audit: what the journal holds, read beside the engine, and what comes after it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_domain::audit::{Entry, KINDS, Who, entry};
use assay_domain::{Event, JobId, Lease, MatrixId, WorkerId};
use assay_proto::{convert, v1};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::internal;
use crate::clock::Clock;
use crate::disk::RealDisk;
use crate::engine::command::Command;
use crate::engine::{Handle, Stopped};
use crate::journal::{Record, Tail};

const STREAM_QUEUE: usize = 16;
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 10_000;
/// Between two looks at what is new.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// Attempts whose workers are kept in mind; the oldest go.
const HOLDERS_MAX: usize = 100_000;

type Told = Result<v1::ReadEventsResponse, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct EventsService {
    pub(crate) engine: Handle,
    /// The journal's folder.
    pub(crate) journal: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends streams when the coordinator stops.
    pub(crate) stop: CancellationToken,
    /// Places for streams, shared with those of matrices.
    pub(crate) streams: Arc<Semaphore>,
}

#[tonic::async_trait]
impl v1::events_server::Events for EventsService {
    type ReadStream = ReceiverStream<Told>;

    async fn read(
        &self,
        request: Request<v1::ReadEventsRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let reader = Reader::new(&request, self.journal.clone(), self.clock.unix().0)?;
        let place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(
                "too many streams are open already: end some `watch`, `logs` or `events`",
            )
        })?;
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let telling = service.tell(reader, request.follow, &sender);
            let outcome = tokio::select! {
                outcome = telling => outcome,
                () = sender.closed() => Ok(()),
                () = service.stop.cancelled() => Err(Stopped.into()),
            };
            if let Err(status) = outcome {
                // The reader may be gone.
                let _ = sender.send(Err(status)).await;
            }
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl EventsService {
    async fn tell(
        &self,
        mut reader: Reader,
        follow: bool,
        sender: &mpsc::Sender<Told>,
    ) -> Result<(), Status> {
        let mut changes = self.engine.changes();
        loop {
            changes.mark_unchanged();
            let durable = self.engine.ask(|reply| Command::Durable { reply }).await?;
            let read = move || {
                let found = reader.read_through(durable)?;
                Ok::<_, Status>((reader, found))
            };
            let read = tokio::task::spawn_blocking(read).await;
            let (next, found) = read.map_err(|error| internal("reading the journal", &error))??;
            reader = next;
            for told in found {
                if sender.send(Ok(told)).await.is_err() {
                    return Ok(());
                }
            }
            if !follow {
                return Ok(());
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
            changes.changed().await.map_err(|_| Stopped)?;
        }
    }
}

/// What is wanted, and how far it was told.
struct Reader {
    tail: Tail,
    /// Read, but not known to be durable yet.
    ahead: VecDeque<Record>,
    holders: BTreeMap<Lease, WorkerId>,
    matrix: Option<MatrixId>,
    job: Option<JobId>,
    worker: String,
    kind: String,
    since_unix_ms: u64,
    limit: usize,
}

impl Reader {
    fn new(request: &v1::ReadEventsRequest, journal: PathBuf, now_unix_ms: u64) -> Result<Self, Status> {
        if !request.kind.is_empty() && !KINDS.contains(&request.kind.as_str()) {
            return Err(Status::invalid_argument(format!(
                "kind `{}` is none: take one of {}",
                request.kind,
                KINDS.join(", ")
            )));
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let limit = if request.limit == 0 { LIMIT_DEFAULT } else { request.limit };
        Ok(Self {
            tail: Tail::new(&journal),
            ahead: VecDeque::new(),
            holders: BTreeMap::new(),
            matrix: given(&request.matrix_id).map(MatrixId::new),
            job: given(&request.job_id).map(|job| convert::job_id(&job)).transpose()?,
            worker: request.worker_id.clone(),
            kind: request.kind.clone(),
            since_unix_ms: match request.since_ms {
                0 => 0,
                since_ms => now_unix_ms.saturating_sub(since_ms),
            },
            limit: limit.min(LIMIT_MAX) as usize,
        })
    }

    /// The newest of what is wanted, up to a sequence.
    fn read_through(&mut self, durable: u64) -> Result<Vec<v1::ReadEventsResponse>, Status> {
        let mut found = VecDeque::new();
        loop {
            if self.ahead.is_empty() {
                let next =
                    self.tail.next(&RealDisk).map_err(|error| internal("reading the journal", &error))?;
                self.ahead.extend(next);
            }
            let Some(record) = self.ahead.pop_front_if(|record| record.sequence <= durable) else {
                return Ok(found.into());
            };
            let event: Event = serde_json::from_slice(&record.bytes)
                .map_err(|error| internal("reading an event", &error))?;
            if let Some(told) = self.told(record.sequence, &event) {
                found.push_back(told);
            }
            if found.len() > self.limit {
                found.pop_front();
            }
        }
    }

    fn told(&mut self, sequence: u64, event: &Event) -> Option<v1::ReadEventsResponse> {
        if let Event::JobLeased { lease, worker, .. } = event {
            self.holders.insert(lease.clone(), worker.clone());
            if self.holders.len() > HOLDERS_MAX {
                self.holders.pop_first();
            }
        }
        let entry = entry(event);
        let (who, holder) = self.who(&entry);
        let worker_fits = self.worker.is_empty() || [&who, &holder].contains(&&self.worker);
        let fits = worker_fits
            && (self.kind.is_empty() || self.kind == entry.kind)
            && (self.matrix.is_none() || self.matrix == entry.matrix)
            && (self.job.is_none() || self.job == entry.job)
            && entry.at.is_none_or(|at| at.0 >= self.since_unix_ms);
        fits.then(|| v1::ReadEventsResponse {
            sequence,
            at_unix_ms: entry.at.map_or(0, |at| at.0),
            kind: entry.kind.to_owned(),
            who,
            matrix_id: entry.matrix.map(|matrix| matrix.to_string()).unwrap_or_default(),
            job_id: entry.job.map(|job| job.to_string()).unwrap_or_default(),
            fence: entry.lease.map(|lease| lease.fence.to_string()).unwrap_or_default(),
            what: entry.what,
        })
    }

    /// Who did it, and the worker whose attempt it is about.
    fn who(&self, entry: &Entry) -> (String, String) {
        let holder = entry.lease.as_ref().and_then(|lease| self.holders.get(lease));
        let holder = holder.map(ToString::to_string).unwrap_or_default();
        let who = match &entry.who {
            Who::Person => String::from("person"),
            Who::Coordinator => String::from("coordinator"),
            Who::Worker(worker) => worker.to_string(),
            Who::HolderOf(_) if holder.is_empty() => String::from("worker"),
            Who::HolderOf(_) => holder.clone(),
        };
        (who, holder)
    }
}
