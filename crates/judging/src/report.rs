//! The report of a matrix: a value computed from records, the same bytes for the same records.
//!
//! Everything that depends on when, where and how often jobs ran is in [`Report::execution`]; two runs with the same
//! results and the same blinding secret have equal reports apart from it ([`Report::without_execution`]).

mod build;
pub mod import;
mod inputs;
mod types;

mod differences;
mod interval;
mod pairs;
mod rates;
mod resolved;
mod sampling;
mod seeds;
mod strengths;
mod win_rate_types;

mod agreement;
mod bias;
mod leaks;
mod lengths;
mod orders;
mod scores;
mod style;

mod method;
mod preregistration;
mod training;
mod unfinished;
mod worker_cost;

pub use self::build::{ReportError, build_report};
pub use self::differences::SystemDifference;
pub use self::inputs::ReportInputs;
pub use self::interval::{bootstrap_interval, headline_interval, pooled_interval};
pub use self::leaks::{LeakCount, LeakReport};
pub use self::orders::{OrderReport, Stratum};
pub use self::preregistration::Preregistration;
pub use self::resolved::{ResolveError, resolve_all, resolve_record};
pub use self::sampling::{SamplingReport, SystemSampling};
pub use self::scores::{Contradictions, DimensionReport, DimensionScores, WeightedKappa};
pub use self::seeds::SeedPool;
pub use self::strengths::{Strength, StrengthReport};
pub use self::style::{ControlledRate, MeanDifference, StyleReport};
pub use self::types::{
    AgreementReport, Bounds, CheckpointDifference, ComparisonReport, Counts, EvalPoint, Execution,
    GenerationReport, Interval, IntervalMethod, JudgeAgreement, JudgeReport, JudgeUsage, LeaveOneOut,
    LossPoint, Method, MissingCounts, Moved, PairReport, PairVerdict, PanelAgreement, PassReport,
    PositionReport, Report, Reproducibility, ResponseReport, Scope, SmallerPasses, TieSensitivity,
    TrainingEnd, TrainingReport, WinRate,
};
pub use self::worker_cost::{WorkerCost, worker_cost};

pub use assay_domain::analysis::{MISSING_SHARE_MAX, PROMPTS_FOR_PERCENT};

/// The kind of judge that a person is: beside the panel, never in it, unless nobody else judged.
pub const HUMAN: &str = "human";
