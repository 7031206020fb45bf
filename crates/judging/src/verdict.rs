//! Reads an API judge's answer into a [`Verdict`], strictly.
//!
//! Anything but one verdict as its schema says is missing with a status. Nothing is guessed, repaired, or searched
//! for in prose: a judge may be quoting the response, and a response may hold a verdict of its own.

pub(crate) mod lines;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::prompt::Channel;
use crate::records::{Choice, VerdictStatus};

/// Longest answer that is read, in bytes; a longer one is malformed.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A response's scores, each 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Are the ideas fresh?
    pub creativity: u8,
    /// Does it hold together and answer the prompt?
    pub coherence: u8,
    /// Does it see something that is not obvious?
    pub depth: u8,
    /// Does it keep a reader's interest?
    pub engagement: u8,
    /// Is it well written?
    pub quality: u8,
}

impl Scores {
    /// The dimensions by name, in the order of the schema.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u8); 5] {
        [
            ("creativity", self.creativity),
            ("coherence", self.coherence),
            ("depth", self.depth),
            ("engagement", self.engagement),
            ("quality", self.quality),
        ]
    }
}

/// One verdict of an API judge, in its own terms: labels, not systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Written before the scores.
    pub reasoning: String,
    /// Scores of the response labelled A (the template's first label).
    pub scores_a: Scores,
    /// Scores of the response labelled B.
    pub scores_b: Scores,
    /// The label that it prefers.
    pub choice: Choice,
    /// 1 (a guess) to 5 (certain), where the template asks for it.
    pub confidence: Option<u8>,
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", status.name())]
pub struct Missing {
    /// Never `ok`.
    pub status: VerdictStatus,
    /// What was found, and the rule.
    pub detail: String,
}

impl Missing {
    /// A missing verdict with its reason.
    pub fn new(status: VerdictStatus, detail: impl Into<String>) -> Missing {
        Missing { status, detail: detail.into() }
    }
}

/// Why an API stopped writing, with each provider's words translated by its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The answer is complete.
    Stop,
    /// The token limit cut it off (reasoning tokens included).
    Length,
    /// A filter withheld it.
    Filtered,
    /// The model declined by its own signal.
    Refused,
}

/// A provider's answer, before anything is read into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The answer's text, if there is any.
    pub text: Option<&'a str>,
    /// The refusal's text, where the API has a field for it.
    pub refusal: Option<&'a str>,
    /// Why it stopped.
    pub finish: Finish,
    /// The provider's own word for it, such as `PROHIBITED_CONTENT`; empty where it gives none.
    pub said: &'a str,
}

/// Reads a provider's answer. What the API says about it goes before what the text looks like: half of a JSON object
/// that happens to parse is still truncated.
///
/// # Errors
/// Refused, blocked, truncated or malformed.
pub fn from_reply(reply: &Reply<'_>, channel: Channel) -> Result<Verdict, Missing> {
    if let Some(refusal) = reply.refusal.filter(|text| !text.is_empty()) {
        return Err(Missing::new(VerdictStatus::Refused, clip(refusal)));
    }
    let missing = |status, what: &str| match reply.said {
        "" => Missing::new(status, what),
        said => Missing::new(status, format!("{what} ({})", clip(said))),
    };
    match reply.finish {
        Finish::Refused => Err(missing(VerdictStatus::Refused, "the model declined to answer")),
        Finish::Filtered => Err(missing(VerdictStatus::Blocked, "the provider's filter withheld the answer")),
        Finish::Length => {
            Err(missing(VerdictStatus::Truncated, "the answer was cut off at its token limit: raise it"))
        }
        Finish::Stop => parse(reply.text.unwrap_or(""), channel),
    }
}

/// Reads a complete answer as its template asked for it.
///
/// # Errors
/// `malformed`, with what was found and the rule.
pub fn parse(text: &str, channel: Channel) -> Result<Verdict, Missing> {
    if text.len() > ANSWER_BYTES_MAX {
        let detail = format!("{} bytes, more than {ANSWER_BYTES_MAX}", text.len());
        return Err(Missing::new(VerdictStatus::Malformed, detail));
    }
    match channel {
        Channel::Json => parse_json(text),
        Channel::Lines => lines::parse(text),
        Channel::Logprobs => {
            Err(Missing::new(VerdictStatus::Malformed, "text where log-probabilities were asked for"))
        }
    }
}

/// Reads a complete answer: one JSON object as the schema of `assay-v1` says, with nothing around it but white space
/// or one Markdown fence.
///
/// # Errors
/// `malformed`, with what was found and the rule.
fn parse_json(text: &str) -> Result<Verdict, Missing> {
    let malformed = |detail: String| Missing::new(VerdictStatus::Malformed, detail);
    let body = unfenced(text.trim());
    if body.is_empty() {
        return Err(malformed("an empty answer".to_owned()));
    }
    let wire: Wire = serde_json::from_str(body)
        .map_err(|error| malformed(format!("not one verdict object ({error}): {}", clip(body))))?;
    wire.check().map_err(malformed)
}

/// Takes away one pair of Markdown fences around the whole answer; some servers add them in JSON mode.
fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    let Some(inner) = inner.strip_suffix("```") else { return text };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The schema as serde sees it: unknown, repeated and absent members are errors, and so is anything after the object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    reasoning: String,
    response_1: Scores,
    response_2: Scores,
    winner: String,
    confidence: u8,
}

impl Wire {
    fn check(self) -> Result<Verdict, String> {
        for (label, scores) in [("1", &self.response_1), ("2", &self.response_2)] {
            for (name, value) in scores.named() {
                one_to_five(&format!("response_{label}.{name}"), value)?;
            }
        }
        one_to_five("confidence", self.confidence)?;
        let choice = match self.winner.as_str() {
            "1" => Choice::A,
            "2" => Choice::B,
            "tie" => Choice::Tie,
            other => return Err(format!("winner is {other:?}: \"1\", \"2\" or \"tie\" is the rule")),
        };
        Ok(Verdict {
            reasoning: self.reasoning,
            scores_a: self.response_1,
            scores_b: self.response_2,
            choice,
            confidence: Some(self.confidence),
        })
    }
}

fn one_to_five(name: &str, value: u8) -> Result<(), String> {
    if (1..=5).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}: 1 to 5 is the rule")) }
}
