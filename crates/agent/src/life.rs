//! A worker's whole life.

use tokio_util::sync::CancellationToken;

use crate::{AgentConfig, Executor};

/// Why an agent ended, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The coordinator will never talk to this agent.
    #[error("the coordinator refuses this worker: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
}

/// Works for the coordinator until `shutdown` is cancelled.
pub async fn run<E: Executor>(
    config: AgentConfig,
    executor: E,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let _ = (config, executor);
    shutdown.cancelled().await;
    Ok(())
}
