//! Names of spans, metrics and attributes, in one place, so that dashboards and code agree.

/// Span: one attempt of a job on a worker, from offer to heard completion.
pub const ATTEMPT: &str = "attempt";
/// Span: inputs come to the worker.
pub const DOWNLOAD: &str = "download";
/// Span: the executor works.
pub const RUN: &str = "run";
/// Span: one phase of a run, such as `load`, `train`, `evaluate`, `generate`, `score`.
pub const PHASE: &str = "phase";
/// Span: outputs go to the store.
pub const UPLOAD: &str = "upload";
/// Span: the coordinator is told until it has heard.
pub const COMPLETE: &str = "complete";
/// Span: a checkpoint is uploaded and accepted.
pub const CHECKPOINT: &str = "checkpoint";
/// Span: the matrix file is expanded to its plan.
pub const PLAN: &str = "plan";
/// Span: a lease is decided and made durable.
pub const LEASE: &str = "lease";
/// Span: a call that the coordinator handles for a traced client; shown under the call's name.
pub const RPC: &str = "rpc";
/// Span: a command of a person; shown under the command's name.
pub const COMMAND: &str = "command";

/// Attribute: the matrix's id.
pub const MATRIX: &str = "assay.matrix";
/// Attribute: `MATRIX/ORDINAL`.
pub const JOB: &str = "assay.job";
/// Attribute: the fencing token, such as `e1-a2`.
pub const FENCE: &str = "assay.fence";
/// Attribute: train, generate, score, judge, report.
pub const KIND: &str = "assay.kind";

/// Counter: attempts that ended on a worker, by kind and outcome.
pub const ATTEMPTS: &str = "assay.attempts";
/// Histogram, seconds: how long an attempt took from offer to end, by kind and outcome.
pub const ATTEMPT_SECONDS: &str = "assay.attempt.duration";
/// Counter: backups that a coordinator took by itself or could not take, by outcome.
pub const BACKUPS: &str = "assay.backups";
/// Counter, tokens: processed in the main phase, by kind.
pub const TOKENS: &str = "assay.tokens";
