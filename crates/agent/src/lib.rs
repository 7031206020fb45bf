//! A worker's whole life: register, lease, run, upload, complete. [`run`] is all of it; `life.rs` is where to read it.
//!
//! What a job does is the [`Executor`]'s business; this crate never looks into it and never touches a device.

pub use config::{AgentConfig, AgentLimits, Coordinator, Token};
pub use executor::{AttemptContext, Executor, Failure, Finished};
pub use life::{AgentError, run};
pub use offer::Look;
pub use stored_lines::StoredLines;

pub mod shell;

mod attempt;
mod clock;
mod config;
mod courier;
mod executor;
mod lease;
mod life;
mod link;
mod log;
mod offer;
mod party;
mod record;
mod segments;
mod spending;
mod stop;
mod stored_lines;
