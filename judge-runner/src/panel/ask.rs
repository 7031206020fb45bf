//! One presentation, asked until it has an answer, or until asking again is no use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assay_domain::job::Provider as Name;
use assay_judging::pair::BlindPair;
use assay_judging::prompt::JudgePrompt;
use assay_judging::records::{RawVerdictRecord, VerdictStatus};
use tokio::time::Instant;

use super::probe::PROBE_ID;
use super::{PanelError, Panelist};
use crate::ledger::{Answered, CutOff, Entry, EntryKey, StopClass};
use crate::limits::Cost;
use crate::limits::gate::Pass;
use crate::provider::Exchange;
use crate::wire::{self, Cause, Question, Seen, Trouble};

/// Times that a malformed answer is asked for again.
const MALFORMED_AGAIN_MAX: u32 = 2;
/// Times that a call is made before its question is given up, when the server or the connection fails.
const FAILED_MAX: u32 = 6;
/// Times that a call is made before its question is given up, when a limit or too much load turns it away.
const TURNED_AWAY_MAX: u32 = 40;
/// Bytes of a request for one token of its prompt, roughly; corrected with what the answer says.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens that a verdict may take before anything is known; corrected as well.
const VERDICT_TOKENS: u64 = 500;

/// What one call led to.
enum Step {
    Done(RawVerdictRecord),
    Again { why: String, wait: Duration, cause: Cause },
}

/// Calls of one presentation so far.
#[derive(Default)]
struct Tries {
    calls: usize,
    malformed: u32,
    failed: u32,
    turned_away: u32,
}

impl Tries {
    /// Counts a call that is to be made again; why not, when it was made often enough.
    fn again(&mut self, cause: Cause, why: &str) -> Option<String> {
        let (count, most) = match cause {
            Cause::Failed => (&mut self.failed, FAILED_MAX),
            Cause::RateLimited | Cause::Overloaded => (&mut self.turned_away, TURNED_AWAY_MAX),
        };
        *count += 1;
        (*count >= most).then(|| format!("given up after {count} calls; the last: {why}"))
    }
}

impl Panelist<'_> {
    /// The record of a presentation, and how many calls it took.
    pub(super) async fn ask(
        &self,
        shown: &BlindPair,
        key: EntryKey,
    ) -> Result<(RawVerdictRecord, usize), PanelError> {
        let prompt = self.template.render(shown);
        let mut tries = Tries::default();
        loop {
            if let Some((status, detail)) = self.not_asked() {
                return Ok((self.without_answer(shown, status, detail), tries.calls));
            }
            let given_up = match self.call(shown, &key, &prompt, &mut tries).await? {
                Step::Done(record) if record.status == VerdictStatus::Malformed && self.again(&mut tries) => {
                    continue;
                }
                Step::Done(record) => return Ok((record, tries.calls)),
                Step::Again { why, wait, cause } => {
                    let given_up = tries.again(cause, &why);
                    if given_up.is_none() {
                        tracing::debug!(
                            judge = self.name,
                            why,
                            wait_ms = wait.as_millis() as u64,
                            "asked again"
                        );
                        self.gate.rest(wait).await;
                    }
                    given_up
                }
            };
            if let Some(why) = given_up {
                return Ok((self.without_answer(shown, VerdictStatus::Error, Some(why)), tries.calls));
            }
        }
    }

    /// Whether a malformed answer is asked for once more. A recorded one stays as it is.
    fn again(&self, tries: &mut Tries) -> bool {
        tries.malformed += 1;
        tries.malformed <= MALFORMED_AGAIN_MAX && self.api.provider != Name::Replay
    }

    async fn call(
        &self,
        shown: &BlindPair,
        key: &EntryKey,
        prompt: &JudgePrompt,
        tries: &mut Tries,
    ) -> Result<Step, PanelError> {
        let request = self.provider.request(Question { prompt, schema: self.schema.as_deref() })?;
        let cost = Cost {
            input: request.len() as u64 / BYTES_PER_TOKEN,
            output: VERDICT_TOKENS.min(self.api.max_tokens.into()),
        };
        let pass = self.gate.pass(cost).await;
        let under_way = match self.not_asked() {
            None => self.begin(key, request.len()).await?,
            Some(_) => None,
        };
        let Some(_under_way) = under_way else {
            let (status, detail) = self.not_asked().unwrap_or((VerdictStatus::Error, None));
            return Ok(Step::Done(self.without_answer(shown, status, detail)));
        };
        tries.calls += 1;
        let started = Instant::now();
        let sent = self.provider.send(key, request).await;
        let seconds = started.elapsed().as_secs_f64();
        match sent {
            Err(cut) if self.api.provider == Name::Replay => {
                Ok(Step::Done(self.without_answer(shown, VerdictStatus::Error, Some(cut.why))))
            }
            Err(cut) => {
                let (key, why) = (key.key.clone(), cut.why.clone());
                let entry = CutOff { key, at_unix_ms: unix_ms(), why, reached: cut.reached };
                self.ledger().add(Entry::Cut(entry))?;
                let wait = pass.troubled(&Seen::default(), Cause::Failed, None);
                Ok(Step::Again { why: cut.to_string(), wait, cause: Cause::Failed })
            }
            Ok(exchange) => self.came(shown, key, pass, exchange, seconds),
        }
    }

    /// A response came.
    fn came(
        &self,
        shown: &BlindPair,
        key: &EntryKey,
        pass: Pass<'_>,
        exchange: Exchange,
        seconds: f64,
    ) -> Result<Step, PanelError> {
        let wire = self.provider.wire();
        let seen = wire.seen(&exchange.response, unix_ms() / 1000);
        let (record, step) = match wire::read(wire, &exchange.response) {
            Ok(answer) => {
                let spent = Cost { input: answer.prompt_tokens.into(), output: answer.new_tokens.into() };
                pass.answered(&seen, spent);
                (self.record(shown, answer, seconds), None)
            }
            Err(Trouble::Question { why }) => {
                pass.answered(&seen, Cost::default());
                (self.without_answer(shown, VerdictStatus::Error, Some(self.provider.redact(why))), None)
            }
            Err(Trouble::Judge { why }) => {
                pass.answered(&seen, Cost::default());
                let why = self.provider.redact(why);
                self.stop(StopClass::Provider, why.clone())?;
                (self.without_answer(shown, VerdictStatus::Error, Some(why)), None)
            }
            Err(Trouble::Again { why, after, cause }) => {
                let wait = pass.troubled(&seen, cause, after);
                let why = self.provider.redact(why);
                let record = self.without_answer(shown, VerdictStatus::Error, Some(why.clone()));
                (record, Some(Step::Again { why, wait, cause }))
            }
        };
        self.keep(key, exchange, &record, seconds)?;
        Ok(step.unwrap_or(Step::Done(record)))
    }

    /// Writes an exchange down before anything is made of it. A recorded one is written already.
    fn keep(
        &self,
        key: &EntryKey,
        exchange: Exchange,
        record: &RawVerdictRecord,
        seconds: f64,
    ) -> Result<(), PanelError> {
        if self.api.provider == Name::Replay {
            return Ok(());
        }
        self.ledger().add(Entry::Answered(Box::new(Answered {
            key: key.key.clone(),
            question: key.question.clone(),
            provider: self.api.provider,
            model: self.api.model.clone(),
            status: record.status,
            at_unix_ms: unix_ms(),
            seconds,
            request: exchange.request,
            response: exchange.response,
            prompt_tokens: record.prompt_tokens,
            new_tokens: record.new_tokens,
            usd: self.usd(record.prompt_tokens, record.new_tokens),
            batch: None,
            probe: record.pair_id == PROBE_ID,
        })))?;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell that dates what it writes down")]
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
