//! Judge prompts: versioned template files, rendered in one pass from a [`BlindPair`].
//!
//! A template never names a system. Changed words are a new version, since the digest is part of job keys.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pair::BlindPair;
use crate::records::Label;

/// How a template's verdict is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// From the next-token log-probabilities after an assistant prefill.
    Logprobs,
    /// From a JSON object that the judge writes.
    Json,
    /// From lines of a fixed form that the judge writes.
    Lines,
}

/// A versioned judge prompt.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// Name with version, as matrix files and records spell it.
    pub name: &'static str,
    /// How its verdict is read.
    pub channel: Channel,
    /// The text of label A and of label B.
    pub labels: [&'static str; 2],
    /// The JSON Schema of the answer, verbatim; key order is generation order, so send these bytes and do not
    /// re-serialise them through a sorted map. Only for [`Channel::Json`].
    pub schema: Option<&'static str>,
    source: &'static str,
}

static TEMPLATES: [Template; 4] = [
    Template {
        name: "smoke-plain-v1",
        channel: Channel::Logprobs,
        labels: ["A", "B"],
        schema: None,
        source: include_str!("prompt/templates/smoke-plain-v1.txt"),
    },
    Template {
        name: "smoke-rubric-v1",
        channel: Channel::Logprobs,
        labels: ["A", "B"],
        schema: None,
        source: include_str!("prompt/templates/smoke-rubric-v1.txt"),
    },
    Template {
        name: "assay-v1",
        channel: Channel::Json,
        labels: ["1", "2"],
        schema: Some(include_str!("prompt/templates/assay-v1.schema.json")),
        source: include_str!("prompt/templates/assay-v1.txt"),
    },
    Template {
        name: "paper-v1",
        channel: Channel::Lines,
        labels: ["A", "B"],
        schema: None,
        source: include_str!("prompt/templates/paper-v1.txt"),
    },
];

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The request.
    User,
    /// The start of the judge's own answer: a prefill that it goes on from.
    Assistant,
}

impl Role {
    /// The name that chat templates and APIs use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One message of a judge's chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A rendered judge prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgePrompt {
    /// System and user messages, in order.
    pub messages: Vec<Message>,
    /// How the judge's answer begins, without trailing space; the label follows as " A" or "A". `None` for JSON.
    pub prefill: Option<String>,
}

/// A template name that does not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown judge template {name:?}: known are {known}")]
pub struct UnknownTemplate {
    name: String,
    known: String,
}

/// All templates.
#[must_use]
pub fn templates() -> &'static [Template] {
    &TEMPLATES
}

/// The template of a name.
///
/// # Errors
/// A name that no template has; the message lists those that exist.
pub fn template(name: &str) -> Result<&'static Template, UnknownTemplate> {
    TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| UnknownTemplate {
        name: name.to_owned(),
        known: TEMPLATES.iter().map(|template| template.name).collect::<Vec<_>>().join(", "),
    })
}

impl Template {
    /// SHA-256 of name, labels, text and schema, in hexadecimal: part of the keys of score and judge jobs.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [self.name, self.labels[0], self.labels[1], self.source, self.schema.unwrap_or("")] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hex::encode(hasher.finalize())
    }

    /// The text of a label.
    #[must_use]
    pub fn label_text(&self, label: Label) -> &'static str {
        match label {
            Label::A => self.labels[0],
            Label::B => self.labels[1],
        }
    }

    /// The strings that count as a label right after the prefill. A log-probability judge takes those that are one
    /// token of its tokenizer in that place and sums their probabilities ([`crate::logprob::log_sum_exp`]).
    #[must_use]
    pub fn label_variants(&self, label: Label) -> Vec<String> {
        let text = self.label_text(label);
        vec![format!(" {text}"), text.to_owned()]
    }

    /// Fills the template from one presentation.
    #[must_use]
    pub fn render(&self, pair: &BlindPair) -> JudgePrompt {
        let values = [
            ("prompt", pair.prompt.as_str()),
            ("first", pair.first.as_str()),
            ("second", pair.second.as_str()),
            ("first_label", self.label_text(pair.first_label)),
            ("second_label", self.label_text(pair.first_label.other())),
            ("fence", pair.fence.as_str()),
        ];
        let mut prompt = JudgePrompt { messages: Vec::new(), prefill: None };
        for (role, body) in sections(self.source) {
            let content = fill(body, &values);
            match role {
                Role::System | Role::User => prompt.messages.push(Message { role, content }),
                Role::Assistant => prompt.prefill = Some(content),
            }
        }
        prompt
    }
}

/// Splits a template file at its `=== role` lines. A test keeps the files to these three roles.
fn sections(source: &'static str) -> Vec<(Role, &'static str)> {
    let mut found = Vec::new();
    for part in source.split("=== ").skip(1) {
        let (role, body) = part.split_once('\n').unwrap_or((part, ""));
        let role = match role {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        found.push((role, body.trim_end()));
    }
    found
}

/// Replaces `{{name}}` in one pass over the template, so that a response which contains a placeholder stays as it is.
fn fill(body: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    text
}
