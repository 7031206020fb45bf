//! Settings of a judge job: whom to ask, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Comparison, Orders};

/// Who serves a judge's model: it decides the protocol.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions.
    #[default]
    Openai,
    /// OpenAI's Responses.
    OpenaiResponses,
    /// Google's Gemini, `generateContent`.
    Google,
    /// A server that speaks Chat Completions: vLLM, Ollama.
    OpenaiCompatible,
    /// No one: the answers stand in a recorded ledger.
    Replay,
}

impl Provider {
    /// The word in matrix files and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::OpenaiResponses => "openai-responses",
            Self::Google => "google",
            Self::OpenaiCompatible => "openai-compatible",
            Self::Replay => "replay",
        }
    }

    /// The lab's own address, up to its version; none where there is no one such.
    pub const fn base_url(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Openai | Self::OpenaiResponses => Some("https://api.openai.com/v1"),
            Self::Google => Some("https://generativelanguage.googleapis.com/v1beta"),
            Self::OpenaiCompatible | Self::Replay => None,
        }
    }

    /// Whether it has a batch API.
    pub const fn has_batches(self) -> bool {
        match self {
            Self::Anthropic | Self::Openai | Self::OpenaiResponses | Self::Google => true,
            Self::OpenaiCompatible | Self::Replay => false,
        }
    }

    /// The variable in which the lab's own tools look for a key; none where no key is needed.
    pub const fn key_env(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Openai | Self::OpenaiResponses => Some("OPENAI_API_KEY"),
            Self::Google => Some("GEMINI_API_KEY"),
            Self::OpenaiCompatible | Self::Replay => None,
        }
    }
}

/// How much a model may think before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// Not at all.
    // `off` would be read as `false` by some YAML readers.
    None,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

/// A judge behind an API. All of it is part of the job key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiJudge {
    /// The protocol.
    pub provider: Provider,
    /// The provider's model id.
    pub model: String,
    /// The API's base URL, up to its version; empty for `replay`.
    pub base_url: String,
    /// The variable that holds the key, on the judge-runner's host; none for a server that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// None leaves it out of the request.
    pub temperature: Option<f64>,
    /// None leaves it to the model, or turns it off where a temperature needs that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// The most tokens of a verdict, thinking included.
    pub max_tokens: u32,
    /// Through the lab's batch API: half the price, an answer within a day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
}

/// Judging of one comparison by an API judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeSpec {
    /// The judge's name in the panel.
    pub judge: String,
    /// Where it is.
    pub api: ApiJudge,
    /// The versioned template, such as `assay-v1`.
    pub template: String,
    /// What is compared.
    pub comparison: Comparison,
    /// Which orders.
    pub orders: Orders,
}

/// The value of a name in the text of a keys file: lines `NAME=VALUE`, with or without `export` and quotes, and `#` comments.
pub fn key_in_file<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut values = text.lines().filter_map(|line| {
        let line = line.trim();
        let (given, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        (given.trim() == name).then(|| value.trim().trim_matches(['"', '\'']))
    });
    values.rfind(|value| !value.is_empty())
}
