//! Waiting for a batch to end, however long the lab takes.

use std::time::Duration;

use super::{Panelist, WAIT_MAX};
use crate::ledger::Intent;
use crate::panel::PanelError;
use crate::panel::ask::unix_ms;
use crate::wire::Trouble;
use crate::wire::batch::{Batch, Batches, Call, State};

/// The first wait; doubled each time.
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// Calls about a batch that may fail one after the other: about an hour.
const TOLD_TRIES_MAX: u32 = 64;
/// Every lab gives up its batches before this.
const LIFE_MAX: Duration = Duration::from_secs(3 * 86_400);

impl Panelist<'_> {
    /// Looks until a batch has ended. `ended` hears how many of its questions have.
    pub(super) async fn wait_for(
        &self,
        lab: &dyn Batches,
        id: &str,
        intent: &Intent,
        mut ended: impl FnMut(usize) + Send,
    ) -> Result<Batch, PanelError> {
        let call = lab.look(self.api, id);
        let mut pause = LOOK_FIRST;
        loop {
            let failed = match self.told(&call, |body| lab.batch(self.api, body)).await? {
                Ok(batch) if batch.state != State::Running => return Ok(batch),
                Ok(batch) => {
                    ended(batch.ended as usize);
                    let age = Duration::from_millis(unix_ms().saturating_sub(intent.at_unix_ms));
                    let days = LIFE_MAX.as_secs() / 86_400;
                    (age > LIFE_MAX).then(|| Trouble::Question {
                        why: format!("batch {id} has not ended within {days} days"),
                    })
                }
                Err(trouble) => Some(trouble),
            };
            if let Some(trouble) = failed {
                let state = State::Failed(trouble);
                return Ok(Batch {
                    id: id.to_owned(),
                    tag: None,
                    made_unix_s: None,
                    questions: 0,
                    ended: 0,
                    state,
                    results: Vec::new(),
                });
            }
            self.gate.rest(pause).await;
            pause = (pause * 2).min(WAIT_MAX);
        }
    }

    /// Makes a call until it is answered; what it gave, or why it gives nothing.
    pub(super) async fn told<T>(
        &self,
        call: &Call,
        read: impl Fn(&str) -> Result<T, Trouble>,
    ) -> Result<Result<T, Trouble>, PanelError> {
        let mut pause = LOOK_FIRST;
        for _ in 0..TOLD_TRIES_MAX {
            let wait = match self.once(call, &read).await {
                Err(Trouble::Again { why, after, cause: _ }) => {
                    tracing::debug!(judge = self.name, why, "a call about a batch is made again");
                    after.unwrap_or(pause)
                }
                told => return Ok(told),
            };
            self.gate.rest(wait).await;
            pause = (pause * 2).min(WAIT_MAX);
        }
        Err(PanelError::Batch(String::from("the lab does not answer")))
    }
}
