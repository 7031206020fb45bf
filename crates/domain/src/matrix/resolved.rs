//! A matrix with its files: artifacts for paths, and the facts that planning needs. The shell that can read files fills it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Budget, Checkpoints, Matrix, Needs, Schedule, Target};
use crate::Artifact;
use crate::job::{Method, Recipe};

/// All that planning reads; a value that travels as canonical JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedMatrix {
    /// The matrix as checked, its variant applied.
    pub matrix: Matrix,
    /// One for each of `matrix.models`, by name.
    pub models: BTreeMap<String, ModelFacts>,
    /// One for each of `matrix.data`, by name.
    pub data: BTreeMap<String, DataFacts>,
    /// One for each of `matrix.prompts`, by name.
    pub prompts: BTreeMap<String, PromptFacts>,
    /// One for each of the panel's judges, by name.
    pub judges: BTreeMap<String, JudgeFacts>,
}

/// What a model folder says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The folder's files, with their digests.
    pub artifact: Artifact,
    /// `model_type` of config.json.
    pub model_type: String,
    /// Transformer layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Attention heads x their width.
    pub attention_width: u32,
    /// Key-value heads x their width.
    pub kv_width: u32,
    /// `max_position_embeddings`.
    pub max_positions: u32,
    /// Parameters of all projections inside the layers.
    pub linear_parameters: u64,
    /// Parameters of the embedding.
    pub embedding_parameters: u64,
    /// Parameters that the output head multiplies with (the embedding's, when tied).
    pub head_parameters: u64,
    /// Whether head and embedding are the same tensor.
    pub tied: bool,
    /// Output and input width of each projection that can carry an adapter, one layer's.
    pub projections: BTreeMap<String, (u32, u32)>,
}

/// What a data set's files hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// The training file.
    pub train: Artifact,
    /// The validation file.
    pub valid: Option<Artifact>,
    /// Rows in the training file.
    pub train_rows: u32,
    /// Rows in the validation file; 0 without one.
    pub valid_rows: u32,
    /// Tokens by model and `max_length`: what [`Matrix::token_counts_needed`] asks for.
    pub tokens: Vec<TokenCount>,
}

/// Tokens of the rows that a matrix uses, for one model's tokenizer and template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// The model's name.
    pub model: String,
    /// Tokens of a row that are kept.
    pub max_length: u32,
    /// Tokens of the training rows used, each row cut at `max_length`.
    pub train_tokens: u64,
    /// Tokens of the validation rows used, each row cut at `max_length`.
    pub valid_tokens: u64,
    /// Rows used that are longer than `max_length`.
    pub rows_cut: u32,
    /// Tokens kept of the longest rows used, longest first, [`LONGEST_KEPT`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub longest: Vec<u32>,
}

/// Rows whose length is kept: passes of more rows than that are rare.
const LONGEST_KEPT: usize = 16;

impl TokenCount {
    /// Counts from the uncut length of each row that is used, in tokens.
    pub fn of(model: &str, max_length: u32, train: &[u32], valid: &[u32]) -> Self {
        let kept = |rows: &[u32]| rows.iter().map(|length| u64::from((*length).min(max_length))).sum();
        let cut = train.iter().chain(valid).filter(|length| **length > max_length).count();
        let mut longest: Vec<u32> =
            train.iter().chain(valid).map(|length| (*length).min(max_length)).collect();
        longest.sort_unstable_by(|a, b| b.cmp(a));
        longest.truncate(LONGEST_KEPT);
        Self {
            model: model.to_owned(),
            max_length,
            train_tokens: kept(train),
            valid_tokens: kept(valid),
            rows_cut: u32::try_from(cut).unwrap_or(u32::MAX),
            longest,
        }
    }
}

/// What a prompt file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptFacts {
    /// The file.
    pub artifact: Artifact,
    /// All its prompts, in the file's order.
    pub records: Vec<PromptRecord>,
}

/// One prompt, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptRecord {
    /// Its id.
    pub id: String,
    /// Its domain.
    pub domain: String,
    /// `in-domain`, `out-of-domain`.
    pub split: String,
    /// Tokens of the rendered prompt (system turn and template included) by model.
    pub tokens: BTreeMap<String, u32>,
}

/// Whether a judge can take part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JudgeFacts {
    /// Why it cannot, such as `environment variable OPENAI_API_KEY is not set`.
    pub unavailable: Option<String>,
    /// The recorded ledger that a `replay` judge answers from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Artifact>,
}

impl ResolvedMatrix {
    /// What it is about, without who it is for, what it may cost, where it runs and how that is estimated: two of the same have the same report.
    pub fn essence(&self) -> Self {
        let mut essence = self.clone();
        let matrix = &mut essence.matrix;
        (matrix.schedule, matrix.needs, matrix.budget) =
            (Schedule::default(), Needs::default(), Budget::default());
        // Where a model's bytes come from does not change them.
        matrix.models.iter_mut().for_each(|model| model.upload = false);
        for file in essence.models.values_mut().flat_map(|facts| &mut facts.artifact.files) {
            file.origin = None;
        }
        for count in essence.data.values_mut().flat_map(|facts| &mut facts.tokens) {
            count.longest.clear();
        }
        essence
    }

    /// A recipe for a model, complete: targets that are left out are all projections of the model.
    pub fn recipe_for(&self, model: &str, recipe: &str) -> Option<(Recipe, Checkpoints)> {
        let (mut recipe, checkpoints) = self.matrix.recipe_for(model, recipe)?;
        if recipe.targets.is_empty() && recipe.method == Method::Lora {
            let present = |name: &&str| {
                self.models.get(model).is_some_and(|facts| facts.projections.contains_key(*name))
            };
            recipe.targets =
                Target::ALL.map(Target::as_str).into_iter().filter(present).map(str::to_owned).collect();
        }
        Some((recipe, checkpoints))
    }

    /// Rows of a data set that are used: (training, validation).
    pub fn rows_of(&self, data: &str) -> Option<(u32, u32)> {
        let set = self.matrix.data.iter().find(|set| set.name == data)?;
        let facts = self.data.get(data)?;
        let valid = if set.valid.is_some() { facts.valid_rows } else { 0 };
        let used = |asked: Option<u32>, known: u32| asked.unwrap_or(known).min(known);
        Some((used(set.train_rows, facts.train_rows), used(set.valid_rows, valid)))
    }

    /// The prompts that a prompt set takes, in the file's order; none when it asks for what its file does not have.
    pub fn selected(&self, prompts: &str) -> Option<Vec<&PromptRecord>> {
        let set = self.matrix.prompts.iter().find(|set| set.name == prompts)?;
        let facts = self.prompts.get(prompts)?;
        let taken = super::select_prompts(set, &facts.records).ok()?;
        Some(taken.into_iter().filter_map(|place| facts.records.get(place)).collect())
    }

    /// Why a judge takes no part, when it does not.
    pub fn unavailable(&self, judge: &str) -> Option<&str> {
        self.judges.get(judge)?.unavailable.as_deref()
    }
}

impl DataFacts {
    /// The token count for a model and `max_length`.
    pub fn count(&self, model: &str, max_length: u32) -> Option<&TokenCount> {
        self.tokens.iter().find(|count| count.model == model && count.max_length == max_length)
    }
}
