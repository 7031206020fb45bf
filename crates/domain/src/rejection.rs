//! Why a command was refused: one variant for each thing that a caller can do differently.

use serde::{Deserialize, Serialize};

use crate::budget::Scope;
use crate::{Fence, JobId, Lease, MatrixId, SubmitKey, WorkerId};

/// A refused command. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rejection {
    /// No such matrix.
    #[error("no matrix `{matrix}`: `assay status` lists those that exist")]
    UnknownMatrix {
        /// The id given.
        matrix: MatrixId,
    },
    /// No such job.
    #[error("no job `{job}`: `assay status {}` lists the jobs of its matrix", job.matrix)]
    UnknownJob {
        /// The id given.
        job: JobId,
    },
    /// No such worker.
    #[error("no worker `{worker}`: `assay fleet` lists those that have registered")]
    UnknownWorker {
        /// The id given.
        worker: WorkerId,
    },
    /// A submit key was used before for another matrix file.
    #[error(
        "submit key `{key}` was used for another matrix, submitted as `{matrix}`: leave the key out or choose another"
    )]
    SubmitKeyReused {
        /// The key given.
        key: SubmitKey,
        /// The matrix that has it.
        matrix: MatrixId,
    },
    /// A matrix is to be tried again in which something can still run.
    #[error(
        "matrix `{matrix}` is not finished: wait for its end (`assay watch {matrix}`) or cancel it, then retry"
    )]
    NotFinished {
        /// The matrix.
        matrix: MatrixId,
    },
    /// A matrix is to be tried again that lacks nothing.
    #[error(
        "every job of `{matrix}` is done and what they made is there: `assay submit --fresh` runs all of it again"
    )]
    NothingToRetry {
        /// The matrix.
        matrix: MatrixId,
    },
    /// The attempt is not, or no longer, the current one.
    #[error("attempt {} is not current{}: stop it and drop its results", lease, current_text(.current))]
    StaleAttempt {
        /// What the worker named.
        lease: Lease,
        /// The attempt that is current, when there is one.
        current: Option<Fence>,
    },
    /// A completion without an output that the job must have.
    #[error("attempt {lease} left out its output `{name}`: upload it and complete again")]
    MissingOutput {
        /// The attempt.
        lease: Lease,
        /// The artifact that is missing.
        name: String,
    },
    /// An attempt may not cost more than was set aside for it.
    #[error(
        "the budget of {scope} has nothing left for attempt {lease}: it ends here, and its job goes on once there is more; {}",
        scope.remedy()
    )]
    OverBudget {
        /// The attempt.
        lease: Lease,
        /// What the budget is of.
        scope: Scope,
    },
    /// A part of a log before the one that must come first.
    #[error("attempt {lease} says segment {given} of its log, but {next} is next: say that one first")]
    SkippedSegment {
        /// The attempt.
        lease: Lease,
        /// The number given.
        given: u32,
        /// The number that is next.
        next: u32,
    },
    /// An object that an attempt names is not in the store as it says.
    #[error("attempt {lease} names `{key}` with {bytes} bytes, but {found}: upload it and say it again")]
    MissingObject {
        /// The attempt.
        lease: Lease,
        /// The object's key.
        key: String,
        /// The bytes that it should have.
        bytes: u64,
        /// What is there.
        found: String,
    },
    /// A plan that cannot be: a wrong ordinal or an input that no earlier job makes.
    #[error("plan of `{name}` is not sound: {why}")]
    UnsoundPlan {
        /// The matrix's name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

fn current_text(current: &Option<Fence>) -> String {
    match current {
        Some(fence) => format!(" ({fence} is)"),
        None => String::from(" (none is)"),
    }
}
