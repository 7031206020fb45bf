//! The records that jobs exchange as JSON lines: generations, keys, raw verdicts, resolved verdicts.
//!
//! Raw verdict, key and resolved winner are stored apart: a raw verdict names labels only, a key names
//! systems only, and only [`crate::pair::resolve`] joins them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use sampling::{
    EffectiveSampling, GENERATIONS_FILE, SAMPLING_FILE, SamplingRecord, Setting, SettingSource,
    texts_in_matrix,
};

mod sampling;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// The limit on new tokens cut the response off.
    Length,
}

/// One response of one system to one prompt: a line of a generate job's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationRecord {
    /// The model's name in the matrix.
    pub model: String,
    /// The prompt set's name in the matrix.
    pub prompts: String,
    /// The sampling's name in the matrix.
    pub sampling: String,
    /// The prompt's id in its prompt set.
    pub prompt_id: String,
    /// The prompt's domain, as the prompt set names it ("philosophy", "coding").
    pub domain: String,
    /// The prompt's split, as the prompt set names it ("in-domain", "out-of-domain").
    pub split: String,
    /// The prompt's text, before the chat template.
    pub prompt: String,
    /// Ordinal of the sample for this prompt, from 0.
    pub sample: u32,
    /// Who answered, as [`assay_domain::job::System::name`] spells it: "base" or "RECIPE/seed-N/step-N".
    pub system: String,
    /// The response's text, without the end-of-turn token.
    pub text: String,
    /// Why the generation ended; `length` counts as truncated.
    pub finish_reason: FinishReason,
    /// Tokens of the rendered prompt.
    pub prompt_tokens: u32,
    /// Tokens generated, the end-of-turn token included where it was generated.
    pub new_tokens: u32,
    /// Wall time of this response (a batch's time divided by its size), in seconds.
    pub seconds: f64,
}

/// One line of a train job's `metrics.jsonl`. A resumed attempt may repeat steps: the last line of a step counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum MetricRecord {
    /// After an optimizer step.
    Step {
        /// Optimizer steps done, from 1.
        step: u64,
        /// Passes over the training rows so far, as a fraction.
        epoch: f64,
        /// Mean loss of the step's predicted tokens, in nats.
        loss: f64,
        /// Global gradient norm before clipping.
        grad_norm: f64,
        /// Learning rate that the step used.
        learning_rate: f64,
        /// Predicted tokens of the step.
        tokens: u64,
        /// Wall time of the step, in seconds.
        seconds: f64,
    },
    /// After a pass over the validation rows.
    Eval {
        /// Optimizer steps done; 0 is the base model.
        step: u64,
        /// Passes over the training rows so far, as a fraction.
        epoch: f64,
        /// Mean loss of the validation rows' predicted tokens, in nats.
        loss: f64,
        /// Predicted tokens of the validation rows.
        tokens: u64,
    },
    /// Memory was not enough for passes as they were: they hold less from here on, at the same rows a step.
    Memory {
        /// Optimizer steps done before.
        step: u64,
        /// Rows of a pass from here on.
        rows: u64,
        /// Whether activations are computed twice from here on.
        recompute: bool,
    },
    /// It went on where sums may differ in their last bits from there on: on other hardware, with other threads or software.
    Moved {
        /// Optimizer steps done before.
        step: u64,
        /// What is not as it was, in words.
        changes: Vec<String>,
    },
    /// Training ended before its last step, or with another adapter than its last.
    End {
        /// Optimizer steps done.
        step: u64,
        /// The step whose adapter it ends with.
        kept: u64,
    },
}

/// Which of a template's two labels: `A` is the first label it lists, whatever its text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Label {
    /// The template's first label.
    A,
    /// The template's second label.
    B,
}

impl Label {
    /// The other label.
    #[must_use]
    pub fn other(self) -> Label {
        match self {
            Label::A => Label::B,
            Label::B => Label::A,
        }
    }
}

/// Which of the two places in a judge's prompt: `First` is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// Shown first.
    First,
    /// Shown second.
    Second,
}

impl Slot {
    /// The other slot.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::First => Slot::Second,
            Slot::Second => Slot::First,
        }
    }
}

/// What a judge chose, in its own terms: labels, never systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// The response that carried label A.
    A,
    /// The response that carried label B.
    B,
    /// Neither is better.
    Tie,
}

/// What a choice means once the key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The tuned system's response is better.
    Tuned,
    /// The base system's response is better.
    Base,
    /// Neither is better.
    Tie,
}

/// Whether a verdict exists. Anything but `ok` is missing: never a tie, never a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStatus {
    /// A verdict that its schema accepts.
    Ok,
    /// The judge declined to answer.
    Refused,
    /// The provider's filter withheld the prompt or the answer.
    Blocked,
    /// The answer was cut off by a token limit.
    Truncated,
    /// There is an answer, but not one verdict as its schema says.
    Malformed,
    /// No answer: transport, quota, or a retired model.
    Error,
}

impl VerdictStatus {
    /// All statuses, in the order in which tables list them.
    pub const ALL: [VerdictStatus; 6] = [
        VerdictStatus::Ok,
        VerdictStatus::Refused,
        VerdictStatus::Blocked,
        VerdictStatus::Truncated,
        VerdictStatus::Malformed,
        VerdictStatus::Error,
    ];

    /// The name used in files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            VerdictStatus::Ok => "ok",
            VerdictStatus::Refused => "refused",
            VerdictStatus::Blocked => "blocked",
            VerdictStatus::Truncated => "truncated",
            VerdictStatus::Malformed => "malformed",
            VerdictStatus::Error => "error",
        }
    }
}

/// Where the two responses of one presentation stand: a line of the key, which no judge ever sees.
///
/// Slot and label are one bit each, so that a key cannot contradict itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The opaque id of the pair of responses; the same for all passes over it.
    pub pair_id: String,
    /// Which presentation of the pair, from 0.
    pub pass: u8,
    /// The comparison: one tuned system against its base.
    pub comparison: String,
    /// The prompt's id in its prompt set.
    pub prompt_id: String,
    /// Ordinal of the sample for this prompt.
    pub sample: u32,
    /// Name of the tuned system.
    pub tuned: String,
    /// Name of the base system.
    pub base: String,
    /// The slot that shows the tuned system's response; the base's is in the other.
    pub tuned_slot: Slot,
    /// The label that the first slot carries; the second carries the other.
    pub first_slot_label: Label,
}

impl KeyRecord {
    /// The label that the tuned system's response carries.
    #[must_use]
    pub fn tuned_label(&self) -> Label {
        match self.tuned_slot {
            Slot::First => self.first_slot_label,
            Slot::Second => self.first_slot_label.other(),
        }
    }

    /// The system in a slot.
    #[must_use]
    pub fn system_in(&self, slot: Slot) -> &str {
        if slot == self.tuned_slot { &self.tuned } else { &self.base }
    }
}

/// Natural-log next-token probabilities of the two labels, not normalised: each is the log-sum-exp over
/// the label's token variants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelLogprobs {
    /// ln P(label A).
    pub a: f64,
    /// ln P(label B).
    pub b: f64,
}

/// What a judge gave back, before anything is read into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Evidence {
    /// A local judge's next-token log-probabilities.
    Logprobs(LabelLogprobs),
    /// An API judge's answer, verbatim.
    Text {
        /// The answer's bytes as text.
        text: String,
    },
    /// Nothing came back.
    None,
}

/// One judge, one presentation, one replicate: a line of a score or judge job's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVerdictRecord {
    /// The pair's opaque id.
    pub pair_id: String,
    /// Which presentation of the pair.
    pub pass: u8,
    /// The judge's name in the panel.
    pub judge: String,
    /// The prompt template's name, with its version.
    pub template: String,
    /// SHA-256 of the template's bytes, in hexadecimal.
    pub template_digest: String,
    /// Repetition of the same presentation, from 0.
    pub replicate: u32,
    /// The model that answered: a dated snapshot as the provider returned it, or a model folder's digest.
    pub model: String,
    /// Whether there is a verdict, as the job that wrote this line saw it. The report reads the evidence again
    /// and keeps the worse of the two.
    pub status: VerdictStatus,
    /// Why the status is not `ok`; absent if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the judge gave back.
    pub evidence: Evidence,
    /// Tokens of the judge's prompt.
    pub prompt_tokens: u32,
    /// Tokens of the judge's answer; 0 for log-probabilities.
    pub new_tokens: u32,
    /// Wall time of this call, in seconds.
    pub seconds: f64,
}

/// A raw verdict joined with its key: one judge, one presentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedRecord {
    /// The pair's opaque id.
    pub pair_id: String,
    /// Which presentation of the pair.
    pub pass: u8,
    /// The judge's name in the panel.
    pub judge: String,
    /// Repetition of the same presentation.
    pub replicate: u32,
    /// The comparison that the pair belongs to.
    pub comparison: String,
    /// The prompt's id.
    pub prompt_id: String,
    /// Ordinal of the sample.
    pub sample: u32,
    /// The slot that showed the tuned system's response.
    pub tuned_slot: Slot,
    /// The label that the tuned system's response carried.
    pub tuned_label: Label,
    /// Whether there is a verdict.
    pub status: VerdictStatus,
    /// Who won; absent unless the status is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
    /// P(tuned is better) in this one presentation, from log-probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_tuned: Option<f64>,
    /// P(A) + P(B), not normalised, from log-probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_mass: Option<f64>,
    /// The judge's confidence, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
    /// Mean of the judge's scores for the tuned and the base response, each 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<SideScores>,
    /// The judge's reasoning, or why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The five dimension scores of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideScores {
    /// Scores of the tuned system's response.
    pub tuned: crate::verdict::Scores,
    /// Scores of the base system's response.
    pub base: crate::verdict::Scores,
}

/// A line of a JSONL file that is not the record it should be.
#[derive(Debug, thiserror::Error)]
#[error("{file}: line {line} is not a valid {record} (write it again with the same version of assay)")]
pub struct RecordError {
    file: String,
    line: usize,
    record: &'static str,
    #[source]
    source: serde_json::Error,
}

/// Reads all lines of a JSONL text. `file` is only used in errors. Blank lines are skipped.
///
/// # Errors
/// The first line that is not a `T`.
pub fn from_jsonl<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<T>, RecordError> {
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(line).map_err(|source| RecordError {
            file: file.to_owned(),
            line: index + 1,
            record: short_name::<T>(),
            source,
        })?;
        records.push(record);
    }
    Ok(records)
}

/// One JSON object per line, each ended with a newline.
///
/// # Errors
/// A float that JSON cannot hold makes serde_json write `null`, so only a broken `Serialize` errs.
pub fn to_jsonl<T: Serialize>(records: &[T]) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for record in records {
        text.push_str(&serde_json::to_string(record)?);
        text.push('\n');
    }
    Ok(text)
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}
