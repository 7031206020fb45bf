//! From an answer to the record that the report reads.

use assay_judging::pair::BlindPair;
use assay_judging::records::{Evidence, RawVerdictRecord, VerdictStatus};
use assay_judging::verdict::{self, Reply};

use super::Panelist;
use crate::ledger::Answered;
use crate::wire::{self, Answer};

impl Panelist<'_> {
    /// The record of an answer.
    pub(super) fn record(&self, shown: &BlindPair, answer: Answer, seconds: f64) -> RawVerdictRecord {
        let reply = Reply {
            text: answer.text.as_deref(),
            refusal: answer.refusal.as_deref(),
            finish: answer.finish,
            said: &answer.said,
        };
        let (status, detail) = match verdict::from_reply(&reply, self.template.channel) {
            Ok(_) => (VerdictStatus::Ok, None),
            Err(missing) => (missing.status, Some(missing.detail)),
        };
        RawVerdictRecord {
            model: answer.model,
            evidence: answer.text.map_or(Evidence::None, |text| Evidence::Text { text }),
            prompt_tokens: answer.prompt_tokens,
            new_tokens: answer.new_tokens,
            detail,
            seconds,
            ..self.without_answer(shown, status, None)
        }
    }

    /// The record of a presentation that has no answer.
    pub(super) fn without_answer(
        &self,
        shown: &BlindPair,
        status: VerdictStatus,
        detail: Option<String>,
    ) -> RawVerdictRecord {
        RawVerdictRecord {
            pair_id: shown.pair_id.clone(),
            pass: shown.pass,
            judge: self.name.to_owned(),
            template: self.template.name.to_owned(),
            template_digest: self.template.digest(),
            replicate: 0,
            model: self.api.model.clone(),
            status,
            detail,
            evidence: Evidence::None,
            prompt_tokens: 0,
            new_tokens: 0,
            seconds: 0.0,
        }
    }

    /// The record of an exchange in the ledger, read again as if it had just come.
    pub(super) fn recorded(&self, shown: &BlindPair, known: &Answered) -> RawVerdictRecord {
        match wire::of(known.provider).map(|wire| wire::read(wire, &known.response)) {
            Some(Ok(answer)) => self.record(shown, answer, known.seconds),
            Some(Err(_)) | None => self.without_answer(shown, VerdictStatus::Error, None),
        }
    }
}
