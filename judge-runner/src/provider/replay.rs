//! A recorded ledger: each question that was answered before gets the same answer, and nothing is called.

use std::collections::BTreeMap;

use assay_judging::pair::Blinded;
use assay_judging::prompt::Template;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::{Cut, Exchange, Provider};
use crate::ledger::{Answered, EntryKey};
use crate::wire::batch::Call;
use crate::wire::{self, Question, RawResponse, Wire};

/// The recorded answers of one model.
pub(crate) struct Replay {
    wire: &'static dyn Wire,
    answers: BTreeMap<String, Answered>,
}

/// Why a ledger cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// Nothing of that model.
    #[error("the ledger has no answers of model `{model}`; it has {known}")]
    NoAnswers { model: String, known: String },
    /// One judge, one protocol.
    #[error("the ledger has answers of `{model}` in several protocols: replay them as several judges")]
    Mixed { model: String },
}

impl Replay {
    /// The answers of a model among those recorded.
    pub(crate) fn new(model: &str, recorded: Vec<Answered>) -> Result<Self, ReplayError> {
        let known: std::collections::BTreeSet<String> =
            recorded.iter().map(|one| format!("`{}`", one.model)).collect();
        let of_model: Vec<Answered> = recorded.into_iter().filter(|one| one.model == model).collect();
        let provider = of_model.first().map(|one| one.provider);
        let Some(wire) = provider.and_then(wire::of) else {
            let known = if known.is_empty() {
                String::from("none")
            } else {
                known.into_iter().collect::<Vec<_>>().join(", ")
            };
            return Err(ReplayError::NoAnswers { model: model.to_owned(), known });
        };
        if of_model.iter().any(|one| Some(one.provider) != provider) {
            return Err(ReplayError::Mixed { model: model.to_owned() });
        }
        let answers = of_model.into_iter().map(|one| (one.question.clone(), one)).collect();
        Ok(Self { wire, answers })
    }

    /// Lays presentations out as they were when they were answered: another matrix's secret drew otherwise.
    pub(crate) fn lay_out(&self, template: &Template, blinded: &mut Blinded) {
        blinded.lay_out(|shown| {
            let question = EntryKey::question(template, shown, 0);
            question.is_ok_and(|question| self.answers.contains_key(&question.to_string()))
        });
    }
}

impl Provider for Replay {
    fn wire(&self) -> &dyn Wire {
        self.wire
    }

    fn request(&self, _: Question<'_>) -> serde_json::Result<String> {
        Ok(String::new())
    }

    fn send<'a>(&'a self, key: &'a EntryKey, _: String) -> BoxFuture<'a, Result<Exchange, Cut>> {
        let found = self.answers.get(&key.question);
        let why = || String::from("the recorded ledger has no answer to this question");
        let exchange = found
            .map(|one| Exchange { request: one.request.clone(), response: one.response.clone() })
            .ok_or_else(|| Cut { why: why(), reached: false });
        ready(exchange).boxed()
    }

    fn call<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<RawResponse, Cut>> {
        ready(Err(Cut { why: String::from("a recorded ledger has no batches"), reached: false })).boxed()
    }

    fn redact(&self, text: String) -> String {
        text
    }
}
