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
    /// It did not: the connection was cut.
    Cut(CutOff),
    /// A batch is about to be made.
    BatchIntended(Intent),
    /// It was made, or found.
    BatchMade(Made),
    /// Its lab was told to cancel it, since the job was cancelled.
    BatchCancelled(BatchCancel),
    /// Nothing more comes of it.
    BatchEnded(BatchEnd),
    /// The judge is not asked any more.
    Stopped(Stop),
}

impl Entry {
    /// What tells it from all others, so that one that was stored is known again.
    pub(super) fn mark(&self) -> String {
        match self {
            Self::Asked(one) => format!("asked {} {}", one.key, one.at_unix_ms),
            // A batch's results may be read twice.
            Self::Answered(one) => match &one.batch {
                Some(tag) => format!("answered {} {tag}", one.key),
                None => format!("answered {} {} {}", one.key, one.at_unix_ms, one.status.name()),
            },
            Self::Cut(one) => format!("cut {} {}", one.key, one.at_unix_ms),
            Self::BatchIntended(one) => format!("intended {}", one.tag),
            Self::BatchMade(one) => format!("made {}", one.tag),
            Self::BatchCancelled(one) => format!("cancelled {}", one.tag),
            Self::BatchEnded(one) => format!("ended {}", one.tag),
            Self::Stopped(one) => format!("stopped {}", one.at_unix_ms),
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
    /// What it costs at most, USD; 0 where no price is known.
    #[serde(default)]
    pub(crate) usd_max: f64,
}

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CutOff {
    /// The entry's key.
    pub(crate) key: String,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
    /// Why.
    pub(crate) why: String,
    /// Whether the server was reached: then it may have to be paid.
    pub(crate) reached: bool,
}

/// A batch that is about to be made: on disk and in the store before the call that makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// By which it is found again; its questions' ids are this and their places in `keys`.
    pub(crate) tag: String,
    /// The entries' keys.
    pub(crate) keys: Vec<String>,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
    /// What it costs at most, USD; 0 where no price is known.
    #[serde(default)]
    pub(crate) usd_max: f64,
}

/// A batch that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) tag: String,
    /// The lab's id.
    pub(crate) id: String,
}

/// A batch that its lab was told to cancel: what it leaves without an answer may be asked again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchCancel {
    pub(crate) tag: String,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
    /// What the lab said, for people.
    pub(crate) how: String,
}

/// A batch of which nothing more comes: its answers stand before this line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchEnd {
    pub(crate) tag: String,
    /// How, for people.
    pub(crate) how: String,
}

/// Why a judge is not asked any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// What kind of reason it is.
    pub(crate) class: StopClass,
    /// The reason, for people.
    pub(crate) why: String,
    /// When, milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
}

/// What kind of reason stopped a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopClass {
    /// Its key, model or quota is gone.
    Provider,
    /// The first, canned call had no answer.
    Probe,
    /// The next call could pass the budget.
    Budget,
    /// Somebody cancelled its batch at the lab.
    Cancelled,
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
    /// Tokens of the prompt, as the response counts them.
    #[serde(default)]
    pub(crate) prompt_tokens: u32,
    /// Tokens of the answer, thinking included.
    #[serde(default)]
    pub(crate) new_tokens: u32,
    /// What it cost at the list price, USD; none where no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usd: Option<f64>,
    /// The tag of the batch that it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<String>,
    /// Whether it is the answer to the canned first call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) probe: bool,
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
    /// The identity of a judge. Where its key is found changes no answer, nor whether it is asked in batches.
    pub(crate) fn of(judge: &ApiJudge) -> serde_json::Result<Self> {
        Digest::of_value(&ApiJudge { key_env: None, batch: false, ..judge.clone() }).map(Self)
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
