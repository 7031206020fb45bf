//! A plan as people read it: jobs, tokens, times and cost. Plain values: the CLI prints them as a table or as JSON.

use serde::{Deserialize, Serialize};

use crate::job::Estimate;
use crate::{JobKey, WorkKind};

/// A plan with its prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanTable {
    /// The matrix's name.
    pub matrix: String,
    /// The jobs, in the order of the plan.
    pub jobs: Vec<PlanRow>,
    /// How many of each kind, in the order of a matrix's life.
    pub kinds: Vec<KindTotal>,
    /// All estimates together.
    pub total: Estimate,
    /// Time and cost of the whole on each kind of worker, one worker alone.
    pub workers: Vec<WorkerTotal>,
    /// Judges that take no part: (name, why).
    pub unavailable_judges: Vec<(String, String)>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// The place in the plan.
    pub ordinal: u32,
    /// The kind.
    pub kind: WorkKind,
    /// For people.
    pub label: String,
    /// The jobs that must have given their outputs before.
    pub after: Vec<u32>,
    /// The job key.
    pub key: JobKey,
    /// How much it does.
    pub estimate: Estimate,
    /// (kind of worker, seconds), in the order of [`PlanTable::workers`]; empty for jobs without a device.
    pub seconds: Vec<(String, f64)>,
}

/// The jobs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotal {
    /// The kind.
    pub kind: WorkKind,
    /// How many.
    pub jobs: u32,
}

/// A whole plan on one kind of worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerTotal {
    /// The kind of worker.
    pub worker: String,
    /// Seconds with one such worker.
    pub seconds: f64,
    /// USD for the worker's time; 0 for hardware of one's own.
    pub usd: f64,
}
