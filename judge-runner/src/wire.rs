//! The providers' protocols behind one trait: what a question looks like on the wire, and what an answer means.
//!
//! Pure: no connection, no clock. Facts are those of the labs' own SDKs in August 2026.

mod anthropic;
pub(crate) mod batch;
mod google;
mod openai_chat;
mod openai_responses;
mod parameters;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use assay_domain::job::{ApiJudge, Provider};
use assay_judging::prompt::JudgePrompt;
use assay_judging::verdict::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of an error's text that are quoted.
const QUOTED_BYTES_MAX: usize = 300;

/// What is asked of a judge.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) prompt: &'a JudgePrompt,
    /// The answer's form; its bytes go out as they are, since the order of its keys is the order of the answer's.
    pub(crate) schema: Option<&'a RawValue>,
}

/// A response as it came, with the headers that say something about limits and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// An answer, before a verdict is read into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) finish: Finish,
    /// The provider's word for `finish`, where it is not the usual one.
    pub(crate) said: String,
    /// The model that answered, as the provider names it.
    pub(crate) model: String,
    pub(crate) prompt_tokens: u32,
    /// Thinking included.
    pub(crate) new_tokens: u32,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The same question may be answered later.
    Again { why: String, after: Option<Duration>, cause: Cause },
    /// This question will not be answered, others may.
    Question { why: String },
    /// This judge answers nothing more: its key, model or quota is gone.
    Judge { why: String },
}

impl Trouble {
    /// The reason.
    pub(crate) fn why(&self) -> &str {
        let (Self::Again { why, .. } | Self::Question { why } | Self::Judge { why }) = self;
        why
    }

    /// The same, with another text for its reason.
    pub(crate) fn told(self, tell: impl Fn(String) -> String) -> Self {
        match self {
            Self::Again { why, after, cause } => Self::Again { why: tell(why), after, cause },
            Self::Question { why } => Self::Question { why: tell(why) },
            Self::Judge { why } => Self::Judge { why: tell(why) },
        }
    }
}

/// What to do about asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A limit of this account: the server is well.
    RateLimited,
    /// The server has too much to do.
    Overloaded,
    /// The server failed, or the connection.
    Failed,
}

/// What a response says about the account's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) requests: Level,
    /// Of prompts; of prompts and answers together where the provider has one limit for both.
    pub(crate) input_tokens: Level,
    pub(crate) output_tokens: Level,
}

/// One limit, for each minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    /// Until it is whole again.
    pub(crate) reset: Option<Duration>,
}

/// One provider's protocol.
pub(crate) trait Wire: Send + Sync {
    /// Where questions to a judge go.
    fn url(&self, judge: &ApiJudge) -> String;

    /// Headers that every request carries, beside the key's.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The header that carries the key.
    fn key_header(&self, key: &str) -> (&'static str, String);

    /// The request's body.
    fn body(&self, judge: &ApiJudge, question: Question<'_>) -> serde_json::Result<String>;

    /// What a response of status 200 says.
    fn answer(&self, body: &str) -> Result<Answer, Trouble>;

    /// What any other response says.
    fn trouble(&self, response: &RawResponse) -> Trouble;

    /// What a response says about limits; `unix_s` is the time, for those that name a moment.
    fn seen(&self, response: &RawResponse, unix_s: u64) -> Seen;
}

/// The protocol of a provider; none for recorded answers, which name their own.
pub(crate) fn of(provider: Provider) -> Option<&'static dyn Wire> {
    match provider {
        Provider::Anthropic => Some(&anthropic::Anthropic),
        Provider::Openai => Some(&openai_chat::Chat { labs_own: true }),
        Provider::OpenaiResponses => Some(&openai_responses::Responses),
        Provider::Google => Some(&google::Google),
        Provider::OpenaiCompatible => Some(&openai_chat::Chat { labs_own: false }),
        Provider::Replay => None,
    }
}

/// What a response says.
pub(crate) fn read(wire: &dyn Wire, response: &RawResponse) -> Result<Answer, Trouble> {
    if response.status == 200 { wire.answer(&response.body) } else { Err(wire.trouble(response)) }
}

/// A response of status 200 that is not what it should be: half of one, or a proxy's page.
fn unreadable(error: impl std::fmt::Display, body: &str) -> Trouble {
    let why = format!("an answer that is not the API's ({error}): {}", quoted(body));
    Trouble::Again { why, after: None, cause: Cause::Failed }
}

/// The start of a text.
fn quoted(text: &str) -> &str {
    &text[..text.floor_char_boundary(QUOTED_BYTES_MAX)]
}
