//! What is remembered of a worker besides what it says of itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::budget::Amount;
use crate::{Digest, JobId, PlannedJob, Source, UnixMillis};

/// Base models of a worker that are kept in mind.
const MODELS_KEPT: usize = 8;
/// Jobs that failed on a worker that are kept in mind; more would say nothing new.
const FAILED_KEPT: usize = 16;

/// How a worker stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The weights of the base models it was handed, the last first: that one its engine keeps warm, the others lie in its cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Digest>,
    /// The jobs that failed on it since one succeeded there, when the worker may be to blame.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<JobId>,
    /// Why it gets no jobs, when too many failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// How it is taken out, when a person does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What the attempts that ended on it have cost.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub spent: Amount,
}

/// A worker gets no jobs because those it had failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

/// A worker gets no jobs because a person takes it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// What becomes of what it runs.
    pub mode: DrainMode,
    /// Since when.
    pub since: UnixMillis,
}

/// What becomes of the attempts of a worker that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainMode {
    /// They run to their end.
    Finish,
    /// A training saves a checkpoint after its next step and goes to another worker, anything else goes at once.
    Checkpoint,
    /// All go to other workers at once; a training goes on from the checkpoint that it saved last.
    Now,
}

impl DrainMode {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Checkpoint => "checkpoint",
            Self::Now => "now",
        }
    }
}

impl Standing {
    /// Whether nothing keeps jobs from it.
    pub const fn is_open(&self) -> bool {
        self.quarantine.is_none() && self.drain.is_none()
    }

    pub(super) fn was_handed(&mut self, model: Digest) {
        self.models.retain(|known| *known != model);
        self.models.insert(0, model);
        self.models.truncate(MODELS_KEPT);
    }

    pub(super) fn was_failed_by(&mut self, job: &JobId) {
        if self.failed.len() < FAILED_KEPT {
            self.failed.insert(job.clone());
        }
    }

    pub(super) fn lifted(&mut self) {
        (self.quarantine, self.drain) = (None, None);
        self.failed.clear();
    }
}

/// What tells the base model of a job from others: the digest of its largest file.
pub(crate) fn model_of(job: &PlannedJob) -> Option<Digest> {
    let input = job.inputs.iter().find(|input| input.name == "model")?;
    match &input.source {
        Source::Upload { artifact } => {
            artifact.files.iter().max_by_key(|file| file.bytes).map(|file| file.digest)
        }
        Source::Output { .. } => None,
    }
}
