//! Everything Assay decides, without I/O: no clock, no files, no randomness but what is passed in.
//!
//! Reading order: the words (`id`, `artifact`, `job`, `budget`), what a person submits (`matrix`), what becomes of it (`plan`), what
//! happens (`event`, and for people `audit`), what is known (`state`), and who decides (`decide`).

pub mod analysis;
pub mod artifact;
pub mod audit;
pub mod budget;
mod chain;
pub mod decide;
pub mod digest;
pub mod event;
pub mod id;
pub mod job;
pub mod judge_models;
pub mod matrix;
pub mod origin;
pub mod plan;
pub mod rejection;
pub mod segment;
pub mod state;

pub use artifact::{Artifact, FileRef, LostObject, ObjectKey};
pub use chain::chain;
pub use digest::Digest;
pub use event::Event;
pub use id::{Attempt, Epoch, Fence, JobId, JobKey, Lease, MatrixId, SubmitKey, UnixMillis, WorkerId};
pub use job::{Assignment, DeviceKind, Input, PlannedJob, Progress, Source, Work, WorkKind};
pub use origin::Origin;
pub use rejection::Rejection;
pub use segment::LogSegment;
pub use state::State;
