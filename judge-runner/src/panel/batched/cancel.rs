//! The job was cancelled: so are its batches at the lab, and what they had answered by then is kept.

use std::time::Duration;

use assay_judging::pair::BlindPair;

use super::{Batched, Panelist, Questions, WAIT_MAX, unix_ms};
use crate::ledger::{BatchCancel, Entry, EntryKey, KnownBatch};
use crate::panel::PanelError;
use crate::wire::batch::{Batches, Call};
use crate::wire::{self, Trouble};

/// Times that a lab is told to cancel a batch.
const TOLD_TRIES_MAX: u32 = 4;

impl Panelist<'_> {
    /// Cancels all batches that have not ended, waits for their ends, and takes in their answers; what became of each, for
    /// people. Each is told to its lab before any is waited for.
    pub(crate) async fn cancel_batches(
        &self,
        presentations: &[BlindPair],
    ) -> Result<Vec<String>, PanelError> {
        let Some(lab) = wire::batch::of(self.api.provider).filter(|_| self.api.batch) else {
            return Ok(Vec::new());
        };
        let mut open = Vec::new();
        for shown in presentations {
            let key = EntryKey::of(self.identity(), self.template, shown, 0)?;
            if self.ledger().get(&key).is_none() {
                open.push((shown, key));
            }
        }
        let mut questions = Questions::of(self, open)?;
        let mut batched = Batched::default();
        let running = |one: &&KnownBatch| !one.ended;
        let left: Vec<KnownBatch> = self.ledger().batches().iter().filter(running).cloned().collect();
        let mut cancelled = Vec::new();
        for known in left {
            cancelled.extend(self.cancel(lab, known, &mut batched).await?);
        }
        for known in cancelled {
            self.see_through(lab, &known, false, &mut questions, &mut batched, &mut |_| {}).await?;
        }
        Ok(batched.notes)
    }

    /// Tells the lab, and writes down what it said. None where no batch was made.
    async fn cancel(
        &self,
        lab: &dyn Batches,
        known: KnownBatch,
        batched: &mut Batched,
    ) -> Result<Option<KnownBatch>, PanelError> {
        let KnownBatch { intent, id, .. } = known;
        let id = match id {
            Some(id) => id,
            // The call that makes it may have been under way.
            None => match self.find(lab, &intent, false).await? {
                Ok(Some(id)) => self.made(&intent, id)?,
                Ok(None) => {
                    self.end(&intent, String::from("never made: the job was cancelled"))?;
                    return Ok(None);
                }
                Err(trouble) => return Err(PanelError::Batch(trouble.why().to_owned())),
            },
        };
        let how = self.tell_lab(&lab.cancel(self.api, &id)).await;
        batched.notes.push(format!("batch {id}: the job was cancelled, {how}"));
        let entry = BatchCancel { tag: intent.tag.clone(), at_unix_ms: unix_ms(), how };
        self.ledger().add(Entry::BatchCancelled(entry))?;
        self.store().await;
        Ok(Some(KnownBatch { intent, id: Some(id), ended: false, cancelled: true }))
    }

    /// What the lab says. It may have ended the batch already, which some labs call a conflict.
    async fn tell_lab(&self, call: &Call) -> String {
        let mut tries = 1;
        loop {
            match self.once(call, |_| Ok(())).await {
                Ok(()) => return String::from("the lab cancels it"),
                Err(Trouble::Again { after, .. }) if tries < TOLD_TRIES_MAX => {
                    self.gate.rest(after.unwrap_or(Duration::from_secs(1 << tries)).min(WAIT_MAX)).await;
                    tries += 1;
                }
                Err(trouble) => return format!("the lab does not cancel it: {}", trouble.why()),
            }
        }
    }
}
