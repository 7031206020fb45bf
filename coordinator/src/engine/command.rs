//! What the engine is asked, and the handle that asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use assay_domain::budget::Amount;
use assay_domain::decide::schedule::Explanation;
use assay_domain::decide::{Balance, Failed};
use assay_domain::event::{SubmittedMatrix, WorkerInfo};
use assay_domain::job::{Offer, Usage};
use assay_domain::segment::Lines;
use assay_domain::state::{FinishedJob, Matrix, Standing};
use assay_domain::{
    Artifact, Assignment, Attempt, Epoch, Event, FileRef, JobId, JobKey, Lease, LogSegment, MatrixId,
    Progress, Rejection, UnixMillis,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::archive::{Cursor, MatrixLine};
use super::steer::Steering;

/// Where an answer goes, once what it depends on is durable.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// The answers to the items of a worker's batch, in order.
pub(crate) type ItemAnswers = Vec<Result<(), Rejection>>;

/// A worker's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What the engine is asked.
#[derive(Debug)]
pub(crate) enum Command {
    FindFinished {
        keys: Vec<JobKey>,
        reply: Reply<BTreeMap<JobKey, FinishedJob>>,
    },
    Submit {
        submission: Box<Submission>,
        reply: Reply<Result<Submitted, Rejection>>,
    },
    Get {
        matrix: MatrixId,
        reply: Reply<Result<MatrixNow, Rejection>>,
    },
    List {
        before: Option<Cursor>,
        count: usize,
        reply: Reply<Vec<MatrixLine>>,
    },
    Steer {
        steering: Steering,
        reply: Reply<Result<bool, Rejection>>,
    },
    Explain {
        job: JobId,
        reply: Reply<Result<Explanation, Rejection>>,
    },
    Budgets {
        reply: Reply<Vec<Balance>>,
    },
    Logs {
        wanted: WantedLogs,
        /// The page before; none: what is stored comes first.
        after: Option<u64>,
        reply: Reply<Result<LogPage, Rejection>>,
    },
    Workers {
        reply: Reply<Vec<WorkerNow>>,
    },
    MayUpload {
        lease: Lease,
        artifact: String,
        reply: Reply<Result<(), Rejection>>,
    },
    Connect {
        hello: Box<Hello>,
        reply: Reply<Result<Connected, TooManyConnections>>,
    },
    Disconnected {
        connection: ConnectionId,
    },
    Ready {
        connection: ConnectionId,
        slots: u32,
        offer: Offer,
    },
    Renew {
        connection: ConnectionId,
        renewals: Vec<(Lease, Option<Progress>)>,
        reply: Reply<Renewed>,
    },
    Checkpointed {
        items: Vec<CheckpointedItem>,
        reply: Reply<ItemAnswers>,
    },
    Completed {
        items: Vec<CompletedItem>,
        reply: Reply<ItemAnswers>,
    },
    /// The files that a current attempt reads.
    InputFiles {
        lease: Lease,
        reply: Reply<Vec<FileRef>>,
    },
    Failed {
        items: Vec<FailedItem>,
        reply: Reply<ItemAnswers>,
    },
    /// An attempt asks for more than `has`.
    Grant {
        lease: Lease,
        has: Amount,
        reply: Reply<Result<Amount, Rejection>>,
    },
    Logged {
        items: Vec<LoggedItem>,
        reply: Reply<ItemAnswers>,
    },
    LogLines {
        lines: Vec<SaidLine>,
    },
    /// The last sequence that is durable.
    Durable {
        reply: Reply<u64>,
    },
    /// Looks at the clock and at what is due.
    Tick {
        reply: Reply<()>,
    },
    /// Something that happened besides, for the audit.
    Note {
        event: Event,
        reply: Reply<()>,
    },
    Stop,
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) matrix: SubmittedMatrix,
    /// Finished jobs whose objects were seen.
    pub(crate) finished: BTreeMap<JobKey, FinishedJob>,
    /// Finished jobs whose objects were not seen.
    pub(crate) absent: BTreeSet<JobKey>,
    pub(crate) mode: Mode,
}

/// What is to run of a submission.
#[derive(Debug)]
pub(crate) enum Mode {
    /// What no equal job has finished.
    Lacking,
    /// Everything.
    Fresh,
    /// What this matrix lacks; refused when that is nothing.
    Retry(Box<Matrix>),
}

#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) matrix: MatrixId,
    pub(crate) repeated: bool,
    pub(crate) jobs: u32,
    pub(crate) reused: u32,
}

/// A matrix as it is, with what its running attempts last said.
#[derive(Debug)]
pub(crate) struct MatrixNow {
    pub(crate) matrix: Matrix,
    pub(crate) progress: BTreeMap<u32, Progress>,
}

/// Whose logs.
#[derive(Debug, Clone)]
pub(crate) struct WantedLogs {
    pub(crate) matrix: MatrixId,
    /// None: all of the matrix.
    pub(crate) job: Option<JobId>,
    /// None: all of each job.
    pub(crate) attempt: Option<Attempt>,
    /// Which of their lines.
    pub(crate) of: Lines,
}

#[derive(Debug)]
pub(crate) struct LogPage {
    /// Oldest first, before all lines.
    pub(crate) stored: Vec<StoredLog>,
    pub(crate) lines: Vec<LogLine>,
    /// Where the next page begins.
    pub(crate) through: u64,
    /// Whether no more can come.
    pub(crate) finished: bool,
}

/// A part of an attempt's log in the store.
#[derive(Debug)]
pub(crate) struct StoredLog {
    pub(crate) lease: Lease,
    pub(crate) file: FileRef,
}

/// A line as a worker said it.
#[derive(Debug, Clone)]
pub(crate) struct SaidLine {
    pub(crate) lease: Lease,
    /// Within its attempt, from 1; 0: not known.
    pub(crate) number: u64,
    pub(crate) at: UnixMillis,
    pub(crate) text: String,
}

#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    /// In order of arrival, over all jobs.
    pub(crate) arrival: u64,
    pub(crate) said: SaidLine,
}

#[derive(Debug)]
pub(crate) struct WorkerNow {
    pub(crate) info: WorkerInfo,
    pub(crate) standing: Standing,
    pub(crate) offer: Offer,
    pub(crate) connected: bool,
    pub(crate) jobs: Vec<JobId>,
}

#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) worker: WorkerInfo,
    pub(crate) running: Vec<Lease>,
    pub(crate) outbound: mpsc::Sender<Outbound>,
    /// Cancelled by the engine to end the stream.
    pub(crate) end: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: ConnectionId,
}

/// There are `connections_max` connections already.
#[derive(Debug)]
pub(crate) struct TooManyConnections;

/// What became of renewals, and how long those that count last.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) items: ItemAnswers,
    pub(crate) lease_ms: u64,
}

#[derive(Debug)]
pub(crate) struct CheckpointedItem {
    pub(crate) lease: Lease,
    pub(crate) step: u64,
    pub(crate) adapter: Artifact,
    pub(crate) resume: Artifact,
    /// What the check of the objects found, when it refused.
    pub(crate) refused: Option<Rejection>,
}

#[derive(Debug)]
pub(crate) struct LoggedItem {
    pub(crate) lease: Lease,
    pub(crate) segment: LogSegment,
    /// What the check of the object found, when it refused.
    pub(crate) refused: Option<Rejection>,
}

#[derive(Debug)]
pub(crate) struct CompletedItem {
    pub(crate) lease: Lease,
    pub(crate) outputs: Vec<Artifact>,
    pub(crate) usage: Usage,
    pub(crate) refused: Option<Rejection>,
}

#[derive(Debug)]
pub(crate) struct FailedItem {
    pub(crate) lease: Lease,
    pub(crate) failed: Failed,
}

/// What goes to a worker.
#[derive(Debug)]
pub(crate) enum Outbound {
    Welcome {
        epoch: Epoch,
        lease_ms: u64,
        stale: Vec<Lease>,
    },
    Offers(Vec<Assignment>),
    Answer {
        sequence: u64,
        items: ItemAnswers,
        /// The term of what was renewed; 0 to other words.
        lease_ms: u64,
    },
    Stops(Vec<(Lease, StopReason)>),
    /// Trainings that are to save a checkpoint.
    Saves(Vec<Lease>),
    /// The stream's end, with its reason.
    Refused(Box<tonic::Status>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    Cancelled,
    Stale,
    /// To be handed back, not dropped.
    Drain,
}

impl StopReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Stale => "stale",
            Self::Drain => "drain",
        }
    }
}

/// A command and its place in the queue.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) command: Command,
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

/// The engine has stopped: nothing more is answered.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the coordinator is stopping: connect again")]
pub(crate) struct Stopped;

/// Asks the engine; clones are cheap.
#[derive(Clone)]
pub(crate) struct Handle {
    sender: SyncSender<Envelope>,
    places: Arc<Semaphore>,
    changes: watch::Receiver<u64>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(sender: SyncSender<Envelope>, queue_max: usize, changes: watch::Receiver<u64>) -> Self {
        Self { sender, places: Arc::new(Semaphore::new(queue_max)), changes }
    }

    /// Sends a command, waiting for a place in the queue.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), Stopped> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Stopped)?;
        // With a place, the queue has room: `try_send` fails only when the engine is gone.
        self.sender.try_send(Envelope { command, _place: Some(place) }).map_err(|_| Stopped)
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Sends a command without waiting, for destructors; dropped if the engine is gone.
    pub(crate) fn tell_later(&self, command: Command) {
        let handle = self.clone();
        tokio::spawn(async move {
            let _ = handle.tell(command).await;
        });
    }

    /// Tells the engine to stop after what it was asked before.
    pub(crate) fn stop(&self) {
        // The queue has one place more than permits for this.
        let _ = self.sender.try_send(Envelope { command: Command::Stop, _place: None });
    }

    /// Changes whenever something visible happened.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
