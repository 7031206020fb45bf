//! A judge of the panel, as a matrix file describes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::NAME_PATTERN;
use crate::job::{ApiJudge, Orders, Provider, Thinking};

/// A judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(deny_unknown_fields)]
pub enum Judge {
    /// A local model's next-token log-probabilities: a smoke judge.
    Logprob {
        /// The judge's name.
        #[schemars(regex(pattern = NAME_PATTERN))]
        name: String,
        /// One of `models`.
        model: String,
        /// The versioned template.
        template: String,
        /// The passes over each pair; the panel's when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        orders: Option<Orders>,
    },
    /// A model behind an API, or its recorded answers.
    // Matrices stored before there were several providers say `openai`.
    #[serde(alias = "openai")]
    Api {
        /// The judge's name.
        #[schemars(regex(pattern = NAME_PATTERN))]
        name: String,
        /// Who serves the model: it decides the protocol.
        #[serde(default)]
        provider: Provider,
        /// The provider's model id; a dated one, since an alias may change what it stands for.
        #[schemars(length(min = 1))]
        model: String,
        /// The API's URL, up to its version (`/v1`, `/v1beta`); the lab's own when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1))]
        base_url: Option<String>,
        /// The variable that holds the key, in the environment or the keys file of the judge-runner's host; the lab's
        /// usual one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1))]
        key_env: Option<String>,
        /// The versioned template.
        template: String,
        /// Left out of the request when not given; some models refuse any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0.0, max = 2.0))]
        temperature: Option<f64>,
        /// How much the model may think first; left to the model when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thinking: Option<Thinking>,
        /// The most tokens of a verdict, thinking included.
        #[serde(default = "default_verdict_tokens")]
        #[schemars(range(min = 16, max = 65_536))]
        max_tokens: u32,
        /// Ask through the lab's batch API: half the price, and an answer within a day instead of seconds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        batch: bool,
        /// For `replay`: the recorded ledger, relative to this file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1))]
        ledger: Option<String>,
        /// The passes over each pair; the panel's when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        orders: Option<Orders>,
    },
}

/// A judge's kind, without its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeKind {
    /// A local model.
    Logprob,
    /// An API.
    Api,
}

impl Judge {
    /// Its name in the panel.
    pub fn name(&self) -> &str {
        match self {
            Self::Logprob { name, .. } | Self::Api { name, .. } => name,
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> JudgeKind {
        match self {
            Self::Logprob { .. } => JudgeKind::Logprob,
            Self::Api { .. } => JudgeKind::Api,
        }
    }

    /// Its template's name.
    pub fn template(&self) -> &str {
        match self {
            Self::Logprob { template, .. } | Self::Api { template, .. } => template,
        }
    }

    /// The passes it makes over each pair, in a panel with these.
    pub fn orders(&self, panel: Orders) -> Orders {
        match self {
            Self::Logprob { orders, .. } | Self::Api { orders, .. } => orders.unwrap_or(panel),
        }
    }

    /// Its API with everything that was left out filled in; none for a local model.
    pub fn api(&self) -> Option<ApiJudge> {
        let Self::Api {
            provider, model, base_url, key_env, temperature, thinking, max_tokens, batch, ..
        } = self
        else {
            return None;
        };
        let base_url = base_url.as_deref().or(provider.base_url()).unwrap_or_default();
        Some(ApiJudge {
            provider: *provider,
            model: model.clone(),
            base_url: base_url.to_owned(),
            key_env: key_env.as_deref().or(provider.key_env()).map(str::to_owned),
            temperature: *temperature,
            thinking: *thinking,
            max_tokens: *max_tokens,
            batch: *batch,
        })
    }

    /// Asks it through its lab's batch API, if there is one.
    pub fn use_batches(&mut self) {
        if let Self::Api { provider, batch, .. } = self {
            *batch = provider.has_batches();
        }
    }

    /// The recorded ledger that it replays, relative to the matrix file.
    pub fn ledger(&self) -> Option<&str> {
        match self {
            Self::Logprob { .. } => None,
            Self::Api { ledger, .. } => ledger.as_deref(),
        }
    }
}

/// Room for thinking: a model that thinks through its budget answers nothing.
const fn default_verdict_tokens() -> u32 {
    2048
}
