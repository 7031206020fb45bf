//! A ledger's lines, and the key under which an answer is found again.

use std::io;

use assay_domain::Digest;
use assay_domain::job::{ApiJudge, Provider};
use assay_judging::pair::BlindPair;
use assay_judging::prompt::Template;
use assay_judging::records::VerdictStatus;
use serde::{Deserialize, Serialize};

use crate::wire::RawResponse;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A call is about to be made.
    Asked(Asked),
    /// It came back.
    Answered(Box<Answered>),
}

impl Entry {
    /// The key of an answer that stands for its question.
    pub(crate) fn answer(&self) -> Option<&str> {
        match self {
            Self::Answered(answered) if answered.counts() => Some(&answered.key),
            Self::Answered(_) | Self::Asked(_) => None,
        }
    }
}

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The entry's key.
    pub(crate) key: String,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
}

/// A call and what came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The entry's key.
    pub(crate) key: String,
    /// The question's digest, without who was asked and how.
    pub(crate) question: String,
    /// Whose protocol the response is written in.
    pub(crate) provider: Provider,
    /// The model that was asked.
    pub(crate) model: String,
    /// What became of it.
    pub(crate) status: VerdictStatus,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
    /// How long the call took, in seconds.
    pub(crate) seconds: f64,
    /// The request's body, without headers: the key is in none of this.
    pub(crate) request: String,
    /// The response.
    pub(crate) response: RawResponse,
}

impl Answered {
    /// Whether it stands for its question: a refusal or an error is asked again.
    pub(crate) fn counts(&self) -> bool {
        self.status == VerdictStatus::Ok
    }
}

/// Under which an answer is found: the digest of all that decides it. Fences, pair ids and the secret are no part of it, so
/// that the same two responses in the same places under the same labels are the same question in every matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryKey {
    /// Of the question and of who is asked how.
    pub(crate) key: String,
    /// Of the question alone.
    pub(crate) question: String,
}

/// Who is asked how: the digest of the settings that can change an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(Digest);

impl Identity {
    /// The identity of a judge. Where its key is found changes no answer.
    pub(crate) fn of(judge: &ApiJudge) -> serde_json::Result<Self> {
        Digest::of_value(&ApiJudge { key_env: None, ..judge.clone() }).map(Self)
    }
}

impl EntryKey {
    /// The key of one presentation to one judge.
    pub(crate) fn of(
        judge: &Identity,
        template: &Template,
        shown: &BlindPair,
        replicate: u32,
    ) -> serde_json::Result<Self> {
        let question = Self::question(template, shown, replicate)?;
        let key = Digest::of_value(&(judge.0, question))?;
        Ok(Self { key: key.to_string(), question: question.to_string() })
    }

    /// The digest of what is asked, whoever is asked.
    pub(crate) fn question(
        template: &Template,
        shown: &BlindPair,
        replicate: u32,
    ) -> serde_json::Result<Digest> {
        let responses = (&shown.prompt, &shown.first, &shown.second);
        Digest::of_value(&(template.digest(), responses, template.label_text(shown.first_label), replicate))
    }
}

/// All lines of a ledger.
pub(crate) fn read_entries(bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let read = lines.map(|(index, line)| {
        serde_json::from_slice(line).map_err(|error| {
            let what = format!("line {} is no entry of a ledger: {error}", index + 1);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    });
    read.collect()
}
