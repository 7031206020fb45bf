//! Presentations asked through a lab's batch API: put together, made once, waited for, and read in whatever order they come.
//!
//! A batch stands in the ledger, and in the store, before the call that makes it. Whoever goes on after that looks for it at
//! the lab first, so that none is made and paid twice.

mod cancel;
mod find;
mod questions;
mod watch;

use std::time::Duration;

use assay_judging::pair::BlindPair;
use assay_judging::records::{RawVerdictRecord, VerdictStatus};

use self::questions::Questions;
use super::ask::unix_ms;
use super::{PanelError, Panelist};
use crate::ledger::{BatchEnd, Entry, EntryKey, Intent, KnownBatch, Made, StopClass};
use crate::wire::batch::{Batch, Batches, Outcome, State};
use crate::wire::{Cause, Trouble};

/// Times that the making of a batch is tried.
const MADE_TRIES_MAX: u32 = 6;
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What became of all presentations that were asked in batches.
#[derive(Default)]
pub(super) struct Batched {
    pub(super) verdicts: Vec<RawVerdictRecord>,
    /// Questions that were put into batches.
    pub(super) calls: usize,
    /// What the job's log says of them.
    pub(super) notes: Vec<String>,
}

impl Panelist<'_> {
    /// Asks in batches until every question has an answer, or asking again is no use.
    pub(super) async fn ask_in_batches(
        &self,
        lab: &dyn Batches,
        open: Vec<(&BlindPair, EntryKey)>,
        done: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Batched, PanelError> {
        let mut questions = Questions::of(self, open)?;
        let mut batched = Batched::default();
        let left: Vec<KnownBatch> =
            self.ledger().batches().iter().filter(|one| !one.ended).cloned().collect();
        for known in left {
            self.see_through(lab, &known, false, &mut questions, &mut batched, done).await?;
        }
        while self.stopped.get().is_none() {
            let intents = self.intend(&questions)?;
            if intents.is_empty() {
                let short = self.is_purse_smaller() && !questions.parts().is_empty();
                if short && self.stopped.get().is_none() && self.asks_for_more().await? {
                    continue;
                }
                break;
            }
            self.tell_paid();
            self.store().await;
            let mut made = Vec::new();
            for intent in intents {
                let known = KnownBatch::intended(intent);
                let id = self.find_or_make(lab, &known.intent, true, &mut questions, &mut batched).await?;
                made.extend(id.map(|id| KnownBatch { id: Some(id), ..known }));
            }
            for known in made {
                self.see_through(lab, &known, true, &mut questions, &mut batched, done).await?;
            }
        }
        batched.verdicts = questions.into_records(self);
        Ok(batched)
    }

    /// Writes down the next batches: all that is open, as far as the budget goes.
    fn intend(&self, questions: &Questions<'_>) -> Result<Vec<Intent>, PanelError> {
        let mut intents = Vec::new();
        for part in questions.parts() {
            let mut ledger = self.ledger();
            let number = ledger.batches().len();
            let Some(intent) = questions.intent(self, part, number, ledger.usd())? else {
                drop(ledger);
                if intents.is_empty() && !self.is_purse_smaller() {
                    self.stop_for_budget()?;
                }
                break;
            };
            ledger.add(Entry::BatchIntended(intent.clone()))?;
            intents.push(intent);
        }
        Ok(intents)
    }

    /// Waits for a batch and takes in what came of it.
    async fn see_through(
        &self,
        lab: &dyn Batches,
        known: &KnownBatch,
        fresh: bool,
        questions: &mut Questions<'_>,
        batched: &mut Batched,
        done: &mut (dyn FnMut(usize) + Send),
    ) -> Result<(), PanelError> {
        let intent = &known.intent;
        let id = match &known.id {
            Some(id) => Some(id.clone()),
            None => self.find_or_make(lab, intent, fresh, questions, batched).await?,
        };
        let Some(id) = id else { return Ok(()) };
        let before = questions.ended();
        let batch = self.wait_for(lab, &id, intent, |ended| done(before + ended)).await?;
        let how = self.take_in(lab, &batch, known, questions).await?;
        batched.notes.push(format!("batch {id} of {} questions: {how}", intent.keys.len()));
        self.end(intent, how)?;
        self.store().await;
        done(questions.ended());
        Ok(())
    }

    fn end(&self, intent: &Intent, how: String) -> Result<(), PanelError> {
        self.ledger().add(Entry::BatchEnded(BatchEnd { tag: intent.tag.clone(), how }))?;
        Ok(())
    }

    /// The id of an intended batch: the lab's list is looked through before it is made. None if it cannot be made.
    async fn find_or_make(
        &self,
        lab: &dyn Batches,
        intent: &Intent,
        fresh: bool,
        questions: &mut Questions<'_>,
        batched: &mut Batched,
    ) -> Result<Option<String>, PanelError> {
        let (mut first, mut tries) = (fresh, 0);
        loop {
            match self.find(lab, intent, first).await? {
                Ok(Some(id)) => {
                    batched.notes.push(format!("batch {id} was found at the lab: it is not made again"));
                    return self.made(intent, id).map(Some);
                }
                Ok(None) => {}
                // It may have been made: the intent stays open.
                Err(Trouble::Judge { why }) => {
                    questions.failed(intent, &why);
                    self.stop(StopClass::Provider, why)?;
                    return Ok(None);
                }
                Err(trouble) => return Err(PanelError::Batch(trouble.why().to_owned())),
            }
            first = false;
            let items = questions.items(intent);
            if items.is_empty() {
                self.end(intent, String::from("never made, and nothing of it is open any more"))?;
                return Ok(None);
            }
            let why = match self.make(lab, &intent.tag, &items).await? {
                Ok(batch) => {
                    batched.calls += items.len();
                    return self.made(intent, batch.id).map(Some);
                }
                Err(Trouble::Again { why, after, cause }) => {
                    tries += 1;
                    let wait = after.unwrap_or(Duration::from_secs(1 << tries.min(6))).min(WAIT_MAX);
                    tracing::debug!(judge = self.name, why, ?cause, "a batch is made again");
                    if tries < MADE_TRIES_MAX {
                        self.gate.rest(wait).await;
                        continue;
                    }
                    return Err(PanelError::Batch(why));
                }
                Err(Trouble::Judge { why }) => {
                    self.stop(StopClass::Provider, why.clone())?;
                    why
                }
                Err(Trouble::Question { why }) => why,
            };
            questions.failed(intent, &why);
            self.end(intent, format!("refused: {why}"))?;
            return Ok(None);
        }
    }

    fn made(&self, intent: &Intent, id: String) -> Result<String, PanelError> {
        self.ledger().add(Entry::BatchMade(Made { tag: intent.tag.clone(), id: id.clone() }))?;
        Ok(id)
    }

    /// Takes in what came of an ended batch; how it ended, for people.
    async fn take_in(
        &self,
        lab: &dyn Batches,
        batch: &Batch,
        known: &KnownBatch,
        questions: &mut Questions<'_>,
    ) -> Result<String, PanelError> {
        let intent = &known.intent;
        if let State::Failed(trouble) = &batch.state {
            let why = trouble.why();
            if matches!(trouble, Trouble::Judge { .. }) {
                self.stop(StopClass::Provider, why.to_owned())?;
            }
            questions.later(intent, why);
            if matches!(trouble, Trouble::Again { cause: Cause::RateLimited, .. }) {
                self.gate.rest(WAIT_MAX).await;
            }
            return Ok(why.to_owned());
        }
        let mut outcomes = Vec::new();
        for call in &batch.results {
            let read = self.told(call, |body| lab.outcomes(body)).await?;
            outcomes.extend(read.map_err(|trouble| PanelError::Batch(trouble.why().to_owned()))?);
        }
        let cancelled =
            batch.state == State::Cancelled || outcomes.iter().any(|(_, one)| *one == Outcome::Cancelled);
        let how = questions.take_in(self, intent, outcomes)?;
        // One that was cancelled with its job is asked on when the job is tried again.
        if cancelled && !known.cancelled {
            let why = format!("batch {} was cancelled at the lab", batch.id);
            self.stop(StopClass::Cancelled, why)?;
        }
        Ok(how)
    }

    /// The record of a presentation that got no answer in any batch.
    fn unanswered(&self, shown: &BlindPair, why: Option<&str>) -> RawVerdictRecord {
        let stopped = self.stopped.get().map(|stop| format!("not asked: {}", stop.why));
        let detail = why.map(str::to_owned).or(stopped);
        self.without_answer(shown, VerdictStatus::Error, detail)
    }
}

/// Now, in seconds since 1970.
fn unix_s() -> u64 {
    unix_ms() / 1000
}
