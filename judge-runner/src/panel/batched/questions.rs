//! What is asked in batches: each question once, for all presentations that ask it.

use std::collections::BTreeMap;

use assay_domain::Digest;
use assay_judging::pair::BlindPair;
use assay_judging::records::{RawVerdictRecord, VerdictStatus};
use serde_json::value::RawValue;

use super::{PanelError, Panelist};
use crate::ledger::{Answered, Entry, EntryKey, Intent, StopClass};
use crate::panel::ask::unix_ms;
use crate::wire::batch::{BATCH_BYTES_MAX, BATCH_REQUESTS_MAX, Item, Outcome};
use crate::wire::{self, Question, RawResponse, Trouble};

/// Times that a question is put into a batch.
const BATCHES_EACH_MAX: u32 = 3;
/// Characters of the digest in a tag: with it and a number, an id has at most 64.
const TAG_DIGEST_CHARS: usize = 40;

/// All questions by their entries' keys.
pub(super) struct Questions<'p> {
    open: BTreeMap<String, Open<'p>>,
    records: Vec<RawVerdictRecord>,
}

struct Open<'p> {
    key: EntryKey,
    shown: Vec<&'p BlindPair>,
    body: Box<RawValue>,
    /// Batches that it was in.
    batches: u32,
    /// What came of the last.
    last: Option<Last>,
}

enum Last {
    Records(Vec<RawVerdictRecord>),
    Nothing(String),
}

impl<'p> Questions<'p> {
    pub(super) fn of(
        panelist: &Panelist<'_>,
        open: Vec<(&'p BlindPair, EntryKey)>,
    ) -> Result<Self, PanelError> {
        let mut questions: BTreeMap<String, Open<'p>> = BTreeMap::new();
        for (shown, key) in open {
            if let Some(known) = questions.get_mut(&key.key) {
                known.shown.push(shown);
                continue;
            }
            let prompt = panelist.template.render(shown);
            let question = Question { prompt: &prompt, schema: panelist.schema.as_deref() };
            let body = RawValue::from_string(panelist.provider.request(question)?)?;
            let name = key.key.clone();
            questions.insert(name, Open { key, shown: vec![shown], body, batches: 0, last: None });
        }
        Ok(Self { open: questions, records: Vec::new() })
    }

    /// Presentations that have their records.
    pub(super) fn ended(&self) -> usize {
        self.records.len()
    }

    /// The keys of what is to be asked next, in parts that a batch can hold.
    pub(super) fn parts(&self) -> Vec<Vec<&str>> {
        let mut parts: Vec<Vec<&str>> = Vec::new();
        let mut bytes = 0;
        for (key, open) in self.open.iter().filter(|(_, open)| open.batches < BATCHES_EACH_MAX) {
            bytes += open.body.get().len();
            let room =
                parts.last().is_some_and(|part| part.len() < BATCH_REQUESTS_MAX) && bytes <= BATCH_BYTES_MAX;
            if !room {
                parts.push(Vec::new());
                bytes = open.body.get().len();
            }
            if let Some(part) = parts.last_mut() {
                part.push(key);
            }
        }
        parts
    }

    /// The batch of a part, as far as the budget goes; none if it does not hold one question. `usd` is what may have been spent.
    pub(super) fn intent(
        &self,
        panelist: &Panelist<'_>,
        part: Vec<&str>,
        number: usize,
        usd: f64,
    ) -> Result<Option<Intent>, PanelError> {
        let (mut keys, mut usd_max) = (Vec::new(), 0.0);
        for key in part {
            let Some(open) = self.open.get(key) else { continue };
            let most = panelist.usd_max_of(open.body.get().len());
            if !panelist.fits(usd + usd_max + most) {
                break;
            }
            usd_max += most;
            keys.push(key.to_owned());
        }
        if keys.is_empty() {
            return Ok(None);
        }
        // The same questions in the same place of the same job have the same tag, even if the ledger was lost.
        let digest = Digest::of_value(&(panelist.job, number, &keys))?.to_string();
        let tag = format!("assay-{}", &digest[..TAG_DIGEST_CHARS.min(digest.len())]);
        Ok(Some(Intent { tag, keys, at_unix_ms: unix_ms(), usd_max }))
    }

    /// An intended batch's questions that are open.
    pub(super) fn items(&self, intent: &Intent) -> Vec<Item> {
        let known = intent.keys.iter().enumerate().filter_map(|(at, key)| Some((at, self.open.get(key)?)));
        known.map(|(at, open)| Item { id: format!("{}-{at}", intent.tag), body: open.body.clone() }).collect()
    }

    /// Nothing came of a batch; its questions go into the next.
    pub(super) fn later(&mut self, intent: &Intent, why: &str) {
        for key in &intent.keys {
            if let Some(open) = self.open.get_mut(key) {
                open.batches += 1;
                open.last = Some(Last::Nothing(why.to_owned()));
            }
        }
    }

    /// A batch can never be made: its questions stay without an answer.
    pub(super) fn failed(&mut self, intent: &Intent, why: &str) {
        self.later(intent, why);
        for key in &intent.keys {
            if let Some(open) = self.open.get_mut(key) {
                open.batches = BATCHES_EACH_MAX;
            }
        }
    }

    /// Takes in what came of a batch's questions; what it was, for people.
    pub(super) fn take_in(
        &mut self,
        panelist: &Panelist<'_>,
        intent: &Intent,
        outcomes: Vec<(String, Outcome)>,
    ) -> Result<String, PanelError> {
        let (mut entries, mut ended) = (Vec::new(), Vec::new());
        let (mut came, mut unknown) = (0, 0);
        self.later(intent, "the batch's results do not have it");
        for (id, outcome) in outcomes {
            let place = id.strip_prefix(&intent.tag).and_then(|rest| rest.strip_prefix('-'));
            let key = place.and_then(|place| intent.keys.get(place.parse::<usize>().ok()?));
            let Some(open) = key.and_then(|key| self.open.get_mut(key)) else {
                unknown += usize::from(key.is_none());
                continue;
            };
            match outcome {
                Outcome::Expired => open.last = Some(Last::Nothing(String::from("it expired in its batch"))),
                Outcome::Cancelled => {
                    open.last = Some(Last::Nothing(String::from("its batch was cancelled")))
                }
                Outcome::Came(response) => {
                    came += 1;
                    let (entry, is_end) = open.came(panelist, intent, response)?;
                    entries.push(entry);
                    ended.extend(is_end.then(|| open.key.key.clone()));
                }
            }
        }
        panelist.ledger().add_new(entries)?;
        for key in ended {
            self.end(&key);
        }
        let foreign =
            if unknown > 0 { format!(", {unknown} results of unknown questions") } else { String::new() };
        Ok(format!("{came} answers{foreign}"))
    }

    fn end(&mut self, key: &str) {
        if let Some(Open { last: Some(Last::Records(records)), .. }) = self.open.remove(key) {
            self.records.extend(records);
        }
    }

    /// All records: of what is still open, what came last.
    pub(super) fn into_records(self, panelist: &Panelist<'_>) -> Vec<RawVerdictRecord> {
        let mut records = self.records;
        for open in self.open.into_values() {
            match open.last {
                Some(Last::Records(last)) => records.extend(last),
                Some(Last::Nothing(why)) => {
                    records.extend(open.shown.iter().map(|shown| panelist.unanswered(shown, Some(&why))));
                }
                None => records.extend(open.shown.iter().map(|shown| panelist.unanswered(shown, None))),
            }
        }
        records
    }
}

impl Open<'_> {
    /// A response came: its entry, and whether nothing better is to be expected.
    fn came(
        &mut self,
        panelist: &Panelist<'_>,
        intent: &Intent,
        response: RawResponse,
    ) -> Result<(Entry, bool), PanelError> {
        let mut again = false;
        let records: Vec<RawVerdictRecord> = match wire::read(panelist.provider.wire(), &response) {
            Ok(answer) => {
                self.shown.iter().map(|shown| panelist.record(shown, answer.clone(), 0.0)).collect()
            }
            Err(trouble) => {
                again = matches!(trouble, Trouble::Again { .. });
                let stops = matches!(trouble, Trouble::Judge { .. });
                let (Trouble::Again { why, .. } | Trouble::Question { why } | Trouble::Judge { why }) =
                    trouble;
                let why = panelist.provider.redact(why);
                if stops {
                    panelist.stop(StopClass::Provider, why.clone())?;
                }
                let record = |shown: &&BlindPair| {
                    panelist.without_answer(shown, VerdictStatus::Error, Some(why.clone()))
                };
                self.shown.iter().map(record).collect()
            }
        };
        let first = records.first();
        let status = first.map_or(VerdictStatus::Error, |record| record.status);
        let (prompt_tokens, new_tokens) =
            first.map_or((0, 0), |record| (record.prompt_tokens, record.new_tokens));
        let entry = Entry::Answered(Box::new(Answered {
            key: self.key.key.clone(),
            question: self.key.question.clone(),
            provider: panelist.api.provider,
            model: panelist.api.model.clone(),
            status,
            at_unix_ms: unix_ms(),
            seconds: 0.0,
            request: self.body.get().to_owned(),
            response,
            prompt_tokens,
            new_tokens,
            usd: panelist.usd(prompt_tokens, new_tokens),
            batch: Some(intent.tag.clone()),
            probe: false,
        }));
        self.last = Some(Last::Records(records));
        Ok((entry, !again && status != VerdictStatus::Malformed))
    }
}
