//! Which parameters go into a request: those that the model is known to accept, by the table of judge models.

use assay_domain::job::{ApiJudge, Provider, Thinking};
use assay_domain::judge_models::{self, Knob, When};

/// The parameters of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parameters {
    pub(super) temperature: Option<f64>,
    pub(super) thinking: Option<Thinking>,
    pub(super) knob: Knob,
}

/// What the judge's settings ask for. The matrix refused what a known model does not accept; a model of no known family is
/// sent what it is given.
pub(super) fn of(judge: &ApiJudge) -> Parameters {
    let known = match judge.provider {
        Provider::OpenaiCompatible => None,
        Provider::Anthropic
        | Provider::Openai
        | Provider::OpenaiResponses
        | Provider::Google
        | Provider::Replay => judge_models::builtin().accepts(&judge.model),
    };
    let knob = known.map_or(usual(judge.provider), |accepts| accepts.thinking);
    let quiet = known.is_some_and(|accepts| accepts.temperature == When::WithoutThinking);
    // A temperature that is only accepted without thinking turns it off.
    let thinking = judge.thinking.or((quiet && judge.temperature.is_some()).then_some(Thinking::None));
    Parameters { temperature: judge.temperature, thinking, knob }
}

const fn usual(provider: Provider) -> Knob {
    match provider {
        Provider::Anthropic => Knob::Effort,
        Provider::Openai | Provider::OpenaiResponses | Provider::OpenaiCompatible => Knob::ReasoningEffort,
        Provider::Google => Knob::Level,
        Provider::Replay => Knob::None,
    }
}

/// The word for an effort; `none` turns thinking off.
pub(super) const fn word(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::None => "none",
        Thinking::Low => "low",
        Thinking::Medium => "medium",
        Thinking::High => "high",
    }
}
