//! A worker's whole life: connect, take offers, let each attempt live, hand back at the end.
//!
//! The loop has three phases: something arrives, it is handled at once, and what takes time is done by the attempt's own task.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_artifacts::{Cache, TransferError, TransferLimits, Transfers};
use assay_domain::budget::Amount;
use assay_domain::job::FailureClass;
use assay_domain::{Assignment, Lease};
use assay_proto::convert::{self, lease_ref};
use assay_proto::v1::{self, coordinator_message, worker_message::Body};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, released, say_failed};
use crate::config::AgentConfig;
use crate::courier::Courier;
use crate::executor::{Executor, Failure};
use crate::lease::Lost;
use crate::link::{self, Connection, Event, Link};
use crate::log;
use crate::offer::Offers;
use crate::party::Seat;
use crate::record::Record;
use crate::spending::Spending;
use crate::stop::Stop;

/// Why a stopped attempt is handed back instead of dropped.
const HAND_BACK: &str = "drain";

/// Why an agent ended, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The coordinator will never talk to this agent.
    #[error("the coordinator refuses this worker: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
    /// The agent's folder cannot be used.
    #[error("the worker's folder `{}` cannot be prepared", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The cache cannot be used, or no HTTP client can be made.
    #[error("transfers cannot be prepared")]
    Transfers(#[from] TransferError),
}

/// Works for the coordinator until `shutdown` is cancelled; then running attempts are handed back.
pub async fn run<E: Executor>(
    config: AgentConfig,
    executor: E,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let mut life = Life::start(config, executor)?;
    let ended = life.live(&shutdown).await;
    life.end().await;
    ended
}

struct Life<E> {
    config: Arc<AgentConfig>,
    executor: Arc<E>,
    cache: Cache,
    transfers: Transfers,
    link: Link,
    connection: Connection,
    events: mpsc::Receiver<Event>,
    attempts: JoinSet<Lease>,
    running: BTreeMap<Lease, Running>,
    /// What a new stream is told.
    announced: watch::Sender<Vec<v1::LeaseRef>>,
    /// Refusals of offers on their way.
    refusals: JoinSet<()>,
    /// What it has to offer, and when to look again.
    offers: Offers,
    /// When it begins to hand over, before its life ends; none once it has begun.
    hand_over_at: Option<Instant>,
    /// Whether it takes nothing more, as its life is about to end.
    is_leaving: bool,
    /// Set once the agent shuts down.
    drain_until: Option<Instant>,
}

struct Running {
    stop: Stop,
    task: AbortHandle,
}

impl<E: Executor> Life<E> {
    fn start(config: AgentConfig, executor: E) -> Result<Self, AgentError> {
        let limits = config.limits;
        let cache = Cache::open(config.work_dir.join("cache"), limits.cache_bytes_max)?;
        prepare_folders(&config)?;
        let transfers = Transfers::new(TransferLimits {
            connect_ms: limits.connect_ms,
            tries_max: limits.transfer_tries_max,
            back_off_first_ms: limits.back_off_first_ms,
            back_off_longest_ms: limits.back_off_longest_ms,
            parallel_max: limits.transfers_max,
            ..TransferLimits::default()
        })?;
        let config = Arc::new(config);
        let (announced, told) = watch::channel(Vec::new());
        let (link, connection, events) = link::connect(config.clone(), told);
        let offers = Offers::new(&config);
        Ok(Self {
            executor: Arc::new(executor),
            cache,
            transfers,
            link,
            connection,
            events,
            attempts: JoinSet::new(),
            running: BTreeMap::new(),
            announced,
            refusals: JoinSet::new(),
            hand_over_at: hand_over_at(&config),
            config,
            is_leaving: false,
            offers,
            drain_until: None,
        })
    }

    async fn live(&mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        loop {
            let drain_until = self.drain_until;
            tokio::select! {
                // An attempt that ended frees its slot before the next offer is looked at.
                biased;
                Some(ended) = self.attempts.join_next() => self.ended(ended).await,
                // The offer had taken a slot off what the coordinator knows.
                Some(_) = self.refusals.join_next() => self.say_ready().await,
                event = self.events.recv() => match event {
                    Some(Event::Welcomed(welcome)) => self.welcomed(welcome).await,
                    Some(Event::Said(body)) => self.heard(body),
                    Some(Event::Refused(why)) => return Err(AgentError::Refused { why }),
                    None => return Err(AgentError::Refused { why: String::from("the link ended") }),
                },
                () = self.offers.changed(), if drain_until.is_none() => self.say_ready().await,
                () = at(self.hand_over_at), if drain_until.is_none() => self.hand_over().await,
                () = at(self.config.ends_at), if drain_until.is_none() => {
                    tracing::info!("this worker's life is over");
                    self.drain().await;
                }
                () = shutdown.cancelled(), if drain_until.is_none() => self.drain().await,
                () = at(drain_until) => {
                    tracing::warn!(attempts = self.running.len(), "left to expire: not handed back in time");
                    return Ok(());
                }
            }
            if self.drain_until.is_some() && self.attempts.is_empty() && self.refusals.is_empty() {
                return Ok(());
            }
        }
    }

    async fn welcomed(&mut self, welcome: v1::Welcome) {
        tracing::info!(epoch = welcome.epoch, running = self.running.len(), "welcomed by the coordinator");
        for stale in welcome.stale {
            self.stop(Some(stale), "stale");
        }
        self.say_ready().await;
    }

    fn heard(&mut self, body: coordinator_message::Body) {
        match body {
            coordinator_message::Body::Offers(batch) => {
                let seats = Seat::party(u32::try_from(batch.assignments_json.len()).unwrap_or(u32::MAX));
                let free = self.free_slots();
                let room = if free > 0 { free.saturating_add(self.config.seats) as usize } else { 0 };
                for (place, (assignment, seat)) in batch.assignments_json.iter().zip(seats).enumerate() {
                    self.offered(assignment, seat, place < room);
                }
            }
            coordinator_message::Body::Stops(batch) => {
                for item in batch.items {
                    self.stop(item.lease, &item.reason);
                }
            }
            coordinator_message::Body::Saves(batch) => {
                for lease in batch.leases {
                    let lease = convert::lease(Some(lease)).ok();
                    if let Some(running) = lease.and_then(|lease| self.running.get(&lease)) {
                        running.stop.save();
                    }
                }
            }
            coordinator_message::Body::Welcome(_) | coordinator_message::Body::Answers(_) => {}
        }
    }

    fn offered(&mut self, assignment: &str, seat: Arc<Seat>, has_room: bool) {
        let assignment: Assignment = match convert::from_json("assignments_json", assignment) {
            Ok(assignment) => assignment,
            Err(error) => return self.refuse_unreadable(assignment, &error),
        };
        if self.running.contains_key(&assignment.lease) {
            return;
        }
        if !has_room {
            return self.refuse(assignment.lease, released());
        }
        let lease = assignment.lease.clone();
        let stop = Stop::default();
        let task = self.attempts.spawn(self.attempt(assignment, seat, stop.clone()).live());
        self.running.insert(lease, Running { stop, task });
        self.announce();
    }

    fn attempt(&self, assignment: Assignment, seat: Arc<Seat>, stop: Stop) -> Attempt<E> {
        let lease = assignment.lease.clone();
        let (work_dir, limits) = (&self.config.work_dir, self.config.limits);
        let name = format!("{}-{}-{}", lease.job.matrix, lease.job.ordinal, lease.fence);
        let folder = work_dir.join("attempts").join(name);
        let courier = Courier {
            link: self.link.clone(),
            cache: self.cache.clone(),
            transfers: self.transfers.clone(),
            lease,
            limits,
        };
        let spending = Spending::new(self.link.clone(), &assignment, seat.size());
        let record = Record::new(&work_dir.join("logs"), &folder, &courier);
        Attempt {
            assignment: Arc::new(assignment),
            executor: self.executor.clone(),
            courier,
            record,
            seat,
            stop,
            folder,
            spending,
            offered: Instant::now(),
            usd_per_hour: self.config.worker.usd_per_hour,
        }
    }

    /// A coordinator of a later version may offer what this build cannot read.
    fn refuse_unreadable(&mut self, assignment: &str, error: &convert::BadMessage) {
        #[derive(serde::Deserialize)]
        struct OnlyLease {
            lease: Lease,
        }
        tracing::error!(%error, "an offer cannot be read");
        if let Ok(OnlyLease { lease }) = serde_json::from_str(assignment) {
            let reason = format!("this worker's build cannot read the assignment: {error}");
            self.refuse(lease, Failure::new(FailureClass::Crashed, reason));
        }
    }

    fn refuse(&mut self, lease: Lease, failure: Failure) {
        let link = self.link.clone();
        self.refusals.spawn(async move {
            // A refusal of the refusal means that the lease is gone already.
            let _ = say_failed(&link, &lease, &failure, Amount::ZERO).await;
        });
    }

    fn stop(&self, lease: Option<v1::LeaseRef>, reason: &str) {
        let running = convert::lease(lease).ok().and_then(|lease| self.running.get(&lease));
        match running {
            // Someone takes this worker out: the attempt ends here and is said to be free for others.
            Some(running) if reason == HAND_BACK => running.stop.hand_back(),
            Some(running) => running.stop.silence(Lost::Stopped(reason.to_owned())),
            None => {}
        }
    }

    async fn ended(&mut self, ended: Result<Lease, JoinError>) {
        match ended {
            Ok(lease) => {
                self.running.remove(&lease);
            }
            Err(error) => {
                tracing::error!(%error, "an attempt's task ended badly; its lease will expire");
                self.running.retain(|_, running| running.task.id() != error.id());
            }
        }
        self.announce();
        self.say_ready().await;
    }

    /// Its life is about to end: trainings save what they have and go, the rest may still come to its end.
    async fn hand_over(&mut self) {
        tracing::info!(attempts = self.running.len(), "leaving soon: trainings are handed over");
        (self.hand_over_at, self.is_leaving) = (None, true);
        for running in self.running.values() {
            running.stop.hand_over();
        }
        self.say_ready().await;
    }

    async fn drain(&mut self) {
        tracing::info!(attempts = self.running.len(), "shutting down: attempts are handed back");
        self.drain_until = Some(Instant::now() + Duration::from_millis(self.config.limits.drain_ms));
        for running in self.running.values() {
            running.stop.hand_back();
        }
        self.say_ready().await;
    }

    async fn say_ready(&mut self) {
        let offer_json = convert::to_json(&self.offers.now());
        let ready = v1::Ready { slots: self.free_slots(), offer_json };
        // Without a stream nobody needs to know: the next welcome says it again.
        let _ = self.link.tell(Body::Ready(ready)).await;
    }

    fn free_slots(&self) -> u32 {
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        if self.drain_until.is_some() || self.is_leaving {
            0
        } else {
            self.config.slots.saturating_sub(running)
        }
    }

    fn announce(&self) {
        self.announced.send_replace(self.running.keys().map(lease_ref).collect());
    }

    async fn end(mut self) {
        self.attempts.shutdown().await;
        self.refusals.shutdown().await;
        self.connection.close(Duration::from_millis(self.config.limits.close_ms)).await;
    }
}

/// Some time before the end, of which the last part is for handing back.
fn hand_over_at(config: &AgentConfig) -> Option<Instant> {
    let before = Duration::from_millis(config.limits.hand_over_ms);
    config.ends_at.map(|end| end.checked_sub(before).unwrap_or(end).max(Instant::now()))
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What attempts of an earlier process left behind goes; logs stay, within their limit.
fn prepare_folders(config: &AgentConfig) -> Result<(), AgentError> {
    let attempts = config.work_dir.join("attempts");
    let prepared = match std::fs::remove_dir_all(&attempts) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => std::fs::create_dir_all(&attempts),
    };
    prepared
        .and_then(|()| log::prepare(&config.work_dir.join("logs"), config.limits.log_files_max))
        .map_err(|source| AgentError::Folder { folder: config.work_dir.clone(), source })
}
