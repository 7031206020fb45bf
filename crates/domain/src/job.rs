//! Jobs as values: what each kind needs to know, and what a worker is handed.

use serde::{Deserialize, Serialize};

use crate::budget::Amount;
use crate::{Artifact, Digest, Fence, JobId, JobKey, Lease, UnixMillis};

pub use demand::{Demand, Footprint, Gang, Offer};
pub use judge::{ApiJudge, JudgeSpec, Provider, Thinking, key_in_file};
pub use method::{Method, Quantization, Residual};
pub use opponent::Opponent;
pub use spec::{
    Comparison, EarlyStopping, GenerateSpec, HubCommit, JudgeInfo, LossOn, ModelSettings, Orders, Recipe,
    ReportSpec, Sampling, SamplingDefaults, ScoreSpec, System, TrainSpec, Training,
};

mod demand;
mod judge;
mod method;
mod opponent;
mod spec;

/// What kind of device a worker runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Any x86-64 or arm64 processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Mps,
    /// No tensor device: a judge-runner.
    None,
}

impl DeviceKind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Mps => "mps",
            Self::None => "none",
        }
    }
}

/// The five kinds of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// LoRA fine-tuning, on a worker.
    Train,
    /// Answers to a prompt set by a base or tuned model, on a worker.
    Generate,
    /// Judging by a local model's log-probabilities, on a worker.
    Score,
    /// Judging by an API judge, on a judge-runner.
    Judge,
    /// `report.json`, on a judge-runner.
    Report,
}

impl WorkKind {
    /// All kinds, in the order of a matrix's life.
    pub const ALL: [Self; 5] = [Self::Train, Self::Generate, Self::Score, Self::Judge, Self::Report];

    /// Raised whenever the same inputs and settings of this kind would give another result: part of the job key.
    pub const fn result_version(self) -> u32 {
        match self {
            Self::Train | Self::Score | Self::Judge => 1,
            // 2: a model that says `do_sample: false` and is asked for its settings is greedy.
            Self::Generate => 2,
            // 2: how responses were drawn; 3: traces of who wrote them; 4: the analysis as it was submitted.
            Self::Report => 4,
        }
    }

    /// The name in tables, traces and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Score => "score",
            Self::Judge => "judge",
            Self::Report => "report",
        }
    }

    /// Whether a tensor device is needed.
    pub const fn needs_device(self) -> bool {
        match self {
            Self::Train | Self::Generate | Self::Score => true,
            Self::Judge | Self::Report => false,
        }
    }
}

/// What a job does: settings only, all of them part of the job key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// See [`WorkKind::Train`]. Inputs: `model`, `train`, optionally `valid`.
    Train(TrainSpec),
    /// See [`WorkKind::Generate`]. Inputs: `model`, `prompts`, for a tuned system `adapter`.
    Generate(GenerateSpec),
    /// See [`WorkKind::Score`]. Inputs: `model` (the judge's), `base` and `tuned` (generations).
    Score(ScoreSpec),
    /// See [`WorkKind::Judge`]. Inputs: `base` and `tuned` (generations).
    Judge(JudgeSpec),
    /// See [`WorkKind::Report`]. Inputs: `metrics/N`, `generations/N`, `verdicts/N`, `keys/N`, `resolved/N` of job N.
    Report(ReportSpec),
}

impl Work {
    /// The kind.
    pub const fn kind(&self) -> WorkKind {
        match self {
            Self::Train(_) => WorkKind::Train,
            Self::Generate(_) => WorkKind::Generate,
            Self::Score(_) => WorkKind::Score,
            Self::Judge(_) => WorkKind::Judge,
            Self::Report(_) => WorkKind::Report,
        }
    }

    /// The artifacts that a completion must bring. Adapters of checkpoints are accepted earlier, with their step.
    pub fn completion_outputs(&self) -> &'static [&'static str] {
        match self {
            Self::Train(_) => &["metrics"],
            Self::Generate(_) => &["generations"],
            Self::Score(_) | Self::Judge(_) => &["verdicts", "keys", "resolved"],
            Self::Report(_) => &["report"],
        }
    }

    /// All artifacts that a succeeded job has.
    pub fn outputs(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.completion_outputs().iter().map(|name| (*name).to_owned()).collect();
        if let Self::Train(spec) = self {
            names.extend(spec.checkpoints.iter().map(|step| Artifact::adapter_name(*step)));
        }
        names
    }
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Source {
    /// A person uploaded it.
    Upload {
        /// The artifact.
        artifact: Artifact,
    },
    /// An earlier job of the same plan makes it.
    Output {
        /// The job's ordinal.
        job: u32,
        /// The artifact's name.
        name: String,
    },
}

/// A named input of a job; the names that a kind expects stand at [`Work`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The role in the job, such as `model`.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// How much a job is expected to do; never part of the job key.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Tokens that pass forward and backward (train), or only forward (prompts, judged texts).
    pub input_tokens: u64,
    /// Tokens generated, one at a time.
    pub new_tokens: u64,
    /// Floating point operations.
    pub flops: f64,
    /// Calls to an API judge.
    pub api_calls: u64,
    /// Money for API calls, USD; none when a price is unknown.
    pub api_usd: Option<f64>,
    /// What the job may spend on API calls, USD: its share of the panel's budget; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_usd_max: Option<f64>,
}

/// One job of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// The place in the plan, from 0; inputs come from smaller ordinals only.
    pub ordinal: u32,
    /// For people: `train smollm2-135m lora-r16 seed 42`.
    pub label: String,
    /// The settings.
    pub work: Work,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// See [`PlannedJob::key_of`].
    pub key: JobKey,
    /// How much it is expected to do.
    pub estimate: Estimate,
    /// What it needs of a worker; never part of the job key.
    #[serde(default, skip_serializing_if = "Demand::is_default")]
    pub demand: Demand,
}

impl PlannedJob {
    /// The job key: the digest of (kind, result version, input identities, settings). The identity of an upload is its
    /// digest, that of an earlier job's output is (that job's key, name), so that keys are known when the plan is made.
    pub fn key_of(
        work: &Work,
        inputs: &[Input],
        earlier: impl Fn(u32) -> Option<JobKey>,
    ) -> Result<JobKey, serde_json::Error> {
        #[derive(Serialize)]
        struct Identity<'a> {
            kind: &'static str,
            result_version: u32,
            inputs: Vec<(&'a str, String)>,
            work: &'a Work,
        }
        let identity_of = |input: &Input| match &input.source {
            Source::Upload { artifact } => artifact.digest().to_string(),
            Source::Output { job, name } => match earlier(*job) {
                Some(key) => format!("{key}:{name}"),
                None => format!("unplanned-{job}:{name}"),
            },
        };
        let identity = Identity {
            kind: work.kind().as_str(),
            result_version: work.kind().result_version(),
            inputs: inputs.iter().map(|input| (input.name.as_str(), identity_of(input))).collect(),
            work,
        };
        Digest::of_value(&identity).map(JobKey)
    }

    /// The ordinals of the jobs whose outputs this one needs.
    pub fn needs(&self) -> impl Iterator<Item = (u32, &str)> {
        self.inputs.iter().filter_map(|input| match &input.source {
            Source::Output { job, name } => Some((*job, name.as_str())),
            Source::Upload { .. } => None,
        })
    }
}

/// What an attempt used and how fast it was; part of the report, never of a result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds for each phase, in order: `download`, `load`, `train`, `evaluate`, `generate`, `upload`, ...
    pub phases: Vec<(String, f64)>,
    /// Tokens processed in the main phase.
    pub tokens: u64,
    /// Tokens for each second of the main phase.
    pub tokens_per_s: f64,
    /// Largest resident memory of the process that did the work, in MiB.
    pub peak_memory_mib: f64,
    /// Device kind and name, threads, LibTorch version: for the report's reproducibility block.
    pub environment: String,
    /// What an hour of the worker costs, USD, as its owner said; none for a machine of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_hour: Option<f64>,
    /// What the attempt used by its own count: time of its device, and money for calls. None from workers that do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Amount>,
    /// Verdicts asked for that did not come. Such a job is done, and run again when it is submitted again.
    #[serde(default, skip_serializing_if = "is_none_missing")]
    pub missing: u64,
}

const fn is_none_missing(missing: &u64) -> bool {
    *missing == 0
}

/// How far an attempt is; travels with renewals and is never stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The phase: `download`, `load`, `train`, `evaluate`, `generate`, `score`, `upload`.
    pub phase: String,
    /// Units done in the phase.
    pub done: u64,
    /// Units to do in the phase.
    pub total: u64,
    /// Speed, when the phase has one.
    pub tokens_per_s: Option<f64>,
    /// The last training loss.
    pub loss: Option<f64>,
    /// Seconds left in the phase, estimated from its own speed.
    pub seconds_left: Option<f64>,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptSummary {
    /// The token.
    pub fence: Fence,
    /// The worker.
    pub worker: String,
    /// When it was leased, milliseconds since 1970.
    pub started_at: u64,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// `running`, `succeeded`, `failed: ...`, `lost`, `cancelled`.
    pub outcome: String,
    /// What an hour of the worker costs, USD, where its owner said so and it is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_hour: Option<f64>,
}

/// A job as the report shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The job.
    pub job: JobId,
    /// Its label.
    pub label: String,
    /// Its kind.
    pub kind: WorkKind,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptSummary>,
    /// What the successful attempt used.
    pub usage: Option<Usage>,
    /// The job whose results were taken, when it was not run.
    pub reused_from: Option<JobId>,
}

/// A worker renews a lease so many times in its term.
pub const RENEWALS_PER_LEASE: u32 = 3;

/// All that a worker needs for one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// What the worker must name in all it says.
    pub lease: Lease,
    /// The job.
    pub job: PlannedJob,
    /// The inputs, by role.
    pub inputs: Vec<(String, Artifact)>,
    /// The newest resume state of a training job, with its step.
    pub resume: Option<(u64, Artifact)>,
    /// The matrix's blinding secret: for score, judge and report jobs only.
    pub secret: Option<Digest>,
    /// The jobs of the matrix so far: for report jobs only.
    pub history: Vec<JobSummary>,
    /// When the analysis was fixed: for report jobs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_at: Option<UnixMillis>,
    /// W3C `traceparent` of the matrix.
    pub traceparent: String,
    /// How long the lease lasts from each renewal, in milliseconds, until an answer to one says otherwise.
    pub lease_ms: u64,
    /// What the attempt may cost before it asks for more, when a budget counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_limit: Option<Amount>,
}

impl FailureClass {
    /// Whether the attempt counts against its job.
    pub const fn counts(self) -> bool {
        match self {
            Self::Released | Self::InputLost | Self::Budget => false,
            Self::BadInput | Self::OutOfMemory | Self::Transient | Self::Stalled | Self::Crashed => true,
        }
    }

    /// Whether the worker may be to blame: another job there may fail the same way.
    pub const fn may_be_its_workers(self) -> bool {
        match self {
            Self::Transient | Self::Stalled | Self::Crashed => true,
            Self::BadInput | Self::OutOfMemory | Self::Released | Self::InputLost | Self::Budget => false,
        }
    }

    /// Whether the job itself may have brought its engine down.
    pub const fn is_crash(self) -> bool {
        match self {
            Self::Stalled | Self::Crashed => true,
            Self::BadInput
            | Self::OutOfMemory
            | Self::Transient
            | Self::Released
            | Self::InputLost
            | Self::Budget => false,
        }
    }
}

/// Why an attempt failed, as far as it decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The job's own settings or data: the same everywhere, never tried again.
    BadInput,
    /// The device's memory was not enough: tried again where there is more.
    OutOfMemory,
    /// Network or storage, for a while.
    Transient,
    /// The engine made no progress within its stall limit.
    Stalled,
    /// The engine died: a signal, an abort, a bug.
    Crashed,
    /// The worker was told to stop and handed the job back; counts against nothing.
    Released,
    /// An input was lost in the store: what made it runs again, and this counts against nothing. The coordinator's own finding,
    /// never a worker's word.
    InputLost,
    /// It came to its spend limit and its budget had no more: tried again once there is, and counts against nothing.
    Budget,
}
