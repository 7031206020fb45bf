//! One judge and all that it is to be asked: the ledger first, then its provider, within the account's limits.
//!
//! Every presentation ends with a record. Only a verdict is a verdict: what is refused, blocked, cut off, malformed or not
//! answered is missing, with its reason.

mod ask;
mod batched;
mod budget;
mod probe;
pub(crate) mod purse;
mod record;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use assay_agent::{Failure, StoredLines as Stored};
use assay_domain::JobKey;
use assay_domain::job::{ApiJudge, Provider as Name};
use assay_domain::judge_models::{self, Price};
use assay_judging::pair::BlindPair;
use assay_judging::prompt::Template;
use assay_judging::records::{RawVerdictRecord, VerdictStatus};
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::ledger::{EntryKey, Identity, Ledger, Stop};
use crate::limits::gate::Gate;
use crate::provider::Provider;
use crate::wire;
use purse::Purse;

/// Calls under way at once, at most; how many there are is for the limits to say.
pub(crate) const CALLS_MAX: usize = 32;

/// Verdicts after which the ledger is stored.
const STORED_VERDICTS: usize = 50;
/// How long verdicts wait for that.
const STORED_WAIT_MAX: Duration = Duration::from_secs(10);

/// A judge with everything that it takes to ask it.
pub(crate) struct Panelist<'a> {
    /// Its name in the panel.
    pub(crate) name: &'a str,
    pub(crate) api: &'a ApiJudge,
    pub(crate) template: &'static Template,
    pub(crate) provider: &'a dyn Provider,
    pub(crate) gate: &'a Gate,
    pub(crate) ledger: &'a Mutex<Ledger>,
    /// Why it is not asked any more, once that is so.
    pub(crate) stopped: OnceLock<Stop>,
    /// Where the ledger is stored while it is written.
    pub(crate) stored: Option<Stored>,
    /// The job, by which its batches are known.
    pub(crate) job: Option<JobKey>,
    /// What it may spend, USD.
    pub(crate) usd_max: Option<f64>,
    /// What the coordinator lets it spend; none: nobody counts.
    pub(crate) purse: Option<&'a dyn Purse>,
    /// Why there was no more of that.
    pub(crate) refused: OnceLock<Failure>,
    price: Option<Price>,
    under_way: AtomicUsize,
    /// Told when a call has ended.
    paid: Notify,
    identity: Identity,
    schema: Option<Box<RawValue>>,
}

/// What became of all presentations.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Judged {
    /// One for each presentation, ordered by pair and pass.
    pub(crate) verdicts: Vec<RawVerdictRecord>,
    /// Verdicts that stood in the ledger.
    pub(crate) from_ledger: usize,
    /// Calls that were made, those asked again included.
    pub(crate) calls: usize,
    /// What the job's log says of batches.
    pub(crate) notes: Vec<String>,
}

/// Why judging cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PanelError {
    /// The ledger cannot be written: an answer that is not safe is not used.
    #[error("the ledger cannot be written")]
    Ledger(#[from] io::Error),
    /// A value without a JSON form.
    #[error("a request has no JSON form")]
    Json(#[from] serde_json::Error),
    /// A batch whose end is not known: the next attempt looks for it.
    #[error("a batch cannot be followed: {0}")]
    Batch(String),
}

impl<'a> Panelist<'a> {
    /// A judge that is about to be asked.
    pub(crate) fn new(
        name: &'a str,
        api: &'a ApiJudge,
        template: &'static Template,
        provider: &'a dyn Provider,
        gate: &'a Gate,
        ledger: &'a Mutex<Ledger>,
    ) -> Result<Self, PanelError> {
        let schema = template.schema.map(|schema| RawValue::from_string(schema.to_owned())).transpose()?;
        let identity = Identity::of(api)?;
        Ok(Self {
            name,
            api,
            template,
            provider,
            gate,
            ledger,
            stopped: OnceLock::new(),
            stored: None,
            job: None,
            usd_max: None,
            purse: None,
            refused: OnceLock::new(),
            price: price_of(api),
            under_way: AtomicUsize::new(0),
            paid: Notify::new(),
            identity,
            schema,
        })
    }

    /// Asks for a verdict on every presentation that the ledger has none for. `done` hears how many have ended.
    pub(crate) async fn judge(
        &self,
        presentations: &[BlindPair],
        mut done: impl FnMut(usize) + Send,
    ) -> Result<Judged, PanelError> {
        let mut judged = Judged::default();
        let mut open = Vec::new();
        for shown in presentations {
            let key = EntryKey::of(&self.identity, self.template, shown, 0)?;
            let known = self.ledger().get(&key).map(|known| self.recorded(shown, known));
            match known {
                Some(record) if record.status == VerdictStatus::Ok => judged.verdicts.push(record),
                Some(_) | None => open.push((shown, key)),
            }
        }
        judged.from_ledger = judged.verdicts.len();
        done(judged.from_ledger);
        match wire::batch::of(self.api.provider).filter(|_| self.api.batch) {
            Some(lab) => {
                let before = judged.from_ledger;
                let batched = self.ask_in_batches(lab, open, &mut |ended| done(before + ended)).await?;
                judged.verdicts.extend(batched.verdicts);
                (judged.calls, judged.notes) = (batched.calls, batched.notes);
            }
            None => self.ask_one_by_one(open, &mut judged, done).await?,
        }
        judged.verdicts.sort_by(|a, b| (&a.pair_id, a.pass).cmp(&(&b.pair_id, b.pass)));
        Ok(judged)
    }

    async fn ask_one_by_one(
        &self,
        open: Vec<(&BlindPair, EntryKey)>,
        judged: &mut Judged,
        mut done: impl FnMut(usize) + Send,
    ) -> Result<(), PanelError> {
        // Boxed: a stream of borrowed futures is otherwise too general for `Send` to be proven.
        let asked: Vec<BoxFuture<'_, _>> =
            open.into_iter().map(|(shown, key)| Box::pin(self.ask(shown, key)) as _).collect();
        let mut asked = stream::iter(asked).buffer_unordered(CALLS_MAX);
        let mut unsent = 0;
        while let Some(ended) = asked.next().await {
            let (record, calls) = ended?;
            judged.calls += calls;
            judged.verdicts.push(record);
            done(judged.verdicts.len());
            unsent += 1;
            if unsent >= STORED_VERDICTS {
                self.store().await;
                unsent = 0;
            }
        }
        Ok(())
    }

    /// Who is asked how.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Awaited, so that no more than so many verdicts are ever on this disk alone; not for ever, should nobody take them.
    async fn store(&self) {
        if let Some(stored) = &self.stored {
            let _ = tokio::time::timeout(STORED_WAIT_MAX, stored.upload()).await;
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judged {
    /// How many presentations ended so.
    pub(crate) fn count(&self, status: VerdictStatus) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.status == status).count()
    }

    /// All statuses that occurred, with their numbers: `114 ok, 2 refused`.
    pub(crate) fn summary(&self) -> String {
        let counts = VerdictStatus::ALL.into_iter().map(|status| (status, self.count(status)));
        let counts: Vec<String> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| format!("{count} {}", status.name()))
            .collect();
        counts.join(", ")
    }
}

/// The list price of a judge's tokens; what a server of one's own calls its model says nothing.
fn price_of(api: &ApiJudge) -> Option<Price> {
    match api.provider {
        Name::OpenaiCompatible | Name::Replay => None,
        Name::Anthropic | Name::Openai | Name::OpenaiResponses | Name::Google => {
            judge_models::builtin().price(&api.model)
        }
    }
}
