//! An intended batch among those that the lab lists, and its making.

use std::time::Duration;

use super::{Panelist, unix_s};
use crate::ledger::Intent;
use crate::panel::PanelError;
use crate::panel::ask::unix_ms;
use crate::wire::batch::{Batch, Batches, Call, Item, State};
use crate::wire::{Cause, Trouble};

/// Pages of a lab's list that are looked through.
const PAGES_MAX: usize = 50;
/// Batches older than this have no results any more.
const KEPT_S: u64 = 30 * 86_400;
/// How far the lab's clock may be behind ours.
const CLOCKS_S: u64 = 300;
/// A batch whose making was under way when its process died is listed by then.
const LISTED_AFTER: Duration = Duration::from_secs(15);

impl Panelist<'_> {
    /// The id of an intended batch that was made. One of this very moment can only be there if the ledger was lost, and where the
    /// lab keeps no tags it cannot be told from others: then it is not looked for.
    pub(super) async fn find(
        &self,
        lab: &dyn Batches,
        intent: &Intent,
        fresh: bool,
    ) -> Result<Result<Option<String>, Trouble>, PanelError> {
        if fresh && !lab.keeps_tags() {
            return Ok(Ok(None));
        }
        if !fresh {
            let age = Duration::from_millis(unix_ms().saturating_sub(intent.at_unix_ms));
            self.gate.rest(LISTED_AFTER.saturating_sub(age)).await;
        }
        let oldest = if lab.keeps_tags() {
            unix_s().saturating_sub(KEPT_S)
        } else {
            (intent.at_unix_ms / 1000).saturating_sub(CLOCKS_S)
        };
        let mut call = lab.list(self.api);
        for _ in 0..PAGES_MAX {
            let page = match self.told(&call, |body| lab.page(self.api, body)).await? {
                Ok(page) => page,
                Err(trouble) => return Ok(Err(trouble)),
            };
            for batch in page.batches {
                if batch.made_unix_s.is_some_and(|made| made < oldest) {
                    return Ok(Ok(None));
                }
                if self.is_it(lab, &batch, intent).await? {
                    return Ok(Ok(Some(batch.id)));
                }
            }
            match page.next {
                Some(next) => call = next,
                None => return Ok(Ok(None)),
            }
        }
        Ok(Ok(None))
    }

    /// Whether a listed batch is the intended one.
    async fn is_it(&self, lab: &dyn Batches, batch: &Batch, intent: &Intent) -> Result<bool, PanelError> {
        if lab.keeps_tags() {
            return Ok(batch.tag.as_ref() == Some(&intent.tag));
        }
        let of_another = self.ledger().batches().iter().any(|known| known.id.as_ref() == Some(&batch.id));
        let of_its_size = batch.questions == 0 || batch.questions == intent.keys.len() as u64;
        if of_another || !of_its_size {
            return Ok(false);
        }
        // Its questions' ids are in the results alone: it may well be ours, so it is waited for.
        let ended = self.wait_for(lab, &batch.id, intent, |_| {}).await?;
        if matches!(ended.state, State::Failed(_)) {
            return Ok(false);
        }
        for call in &ended.results {
            let outcomes = self.told(call, |body| lab.outcomes(body)).await?;
            if let Ok(outcomes) = outcomes
                && outcomes.iter().any(|(id, _)| id.starts_with(&intent.tag))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One try to make a batch.
    pub(super) async fn make(
        &self,
        lab: &dyn Batches,
        tag: &str,
        items: &[Item],
    ) -> Result<Result<Batch, Trouble>, PanelError> {
        let prepared = match lab.prepare(self.api, tag, items)? {
            None => None,
            Some(call) => match self.once(&call, |body| lab.prepared(body)).await {
                Ok(id) => Some(id),
                Err(trouble) => return Ok(Err(trouble)),
            },
        };
        let call = lab.make(self.api, tag, items, prepared.as_deref())?;
        Ok(self.once(&call, |body| lab.batch(self.api, body)).await)
    }

    /// Makes a call and reads what it gave.
    pub(super) async fn once<T>(
        &self,
        call: &Call,
        read: impl Fn(&str) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let told = match self.provider.call(call).await {
            Err(cut) => Err(Trouble::Again { why: cut.to_string(), after: None, cause: Cause::Failed }),
            Ok(response) if response.status == 200 => read(&response.body),
            Ok(response) => Err(self.provider.wire().trouble(&response)),
        };
        told.map_err(|trouble| trouble.told(|why| self.provider.redact(why)))
    }
}
