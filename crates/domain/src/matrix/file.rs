//! The matrix file's types: serde for reading, schemars for the JSON Schema that also drives the structural checks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, DirectComparison, Judge, Needs, Places, Preset, Schedule};
use crate::job::{EarlyStopping, LossOn, Method, Orders, Quantization, Residual, SamplingDefaults};

/// A projection that may carry an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the tensors")]
pub enum Target {
    QProj,
    KProj,
    VProj,
    QkvProj,
    OProj,
    GateProj,
    UpProj,
    GateUpProj,
    DownProj,
}

impl Target {
    /// All, in the order in which a layer uses them.
    pub const ALL: [Self; 9] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::QkvProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::GateUpProj,
        Self::DownProj,
    ];

    /// The tensor's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::QkvProj => "qkv_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::GateUpProj => "gate_up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

/// What a name may look like: it becomes part of ids and object keys.
pub(super) const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// An experiment: models x data sets x recipes x seeds x checkpoints x prompt sets x sampling x judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Matrix {
    /// The experiment's name.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// The base models.
    #[schemars(length(min = 1))]
    pub models: Vec<Model>,
    /// The data sets to train on.
    #[schemars(length(min = 1))]
    pub data: Vec<DataSet>,
    /// The recipes.
    #[schemars(length(min = 1))]
    pub recipes: Vec<RecipeEntry>,
    /// The training seeds.
    #[serde(default = "default_seeds")]
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// The checkpoints that answer prompts and are judged against their base.
    #[serde(default)]
    pub evaluate: Evaluate,
    /// The prompts that are answered.
    #[schemars(length(min = 1))]
    pub prompts: Vec<PromptSet>,
    /// How answers are drawn, for base and tuned alike.
    #[schemars(length(min = 1))]
    pub sampling: Vec<SamplingEntry>,
    /// Who judges.
    pub panel: Panel,
    /// What is compared beside each evaluated checkpoint with its own base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<DirectComparison>,
    /// Who it is for and how urgent it is.
    #[serde(default, skip_serializing_if = "Schedule::is_default")]
    pub schedule: Schedule,
    /// What it may cost.
    #[serde(default, skip_serializing_if = "Budget::is_default")]
    pub budget: Budget,
    /// What its jobs need of a worker, where the plan's estimate is not right.
    #[serde(default, skip_serializing_if = "Needs::is_default")]
    pub needs: Needs,
    /// When given, only combinations that one of these rules matches are run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Rule>,
    /// Combinations that one of these rules matches are not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Rule>,
    /// Overlays by name, such as `full` (`--full`): maps are merged, lists of named items are merged by name, `null`
    /// takes a setting away, anything else replaces.
    #[serde(default, skip_serializing)]
    pub variants: BTreeMap<String, Variant>,
    /// Where its parts stand in the file; not part of its value.
    #[serde(skip)]
    #[schemars(skip)]
    pub places: Places,
}

/// A partial matrix.
pub type Variant = serde_json::Map<String, serde_json::Value>;

/// A base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Model {
    /// Its name in this matrix.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// A Hugging Face folder (config.json, model.safetensors, tokenizer.json), relative to this file. This or `hub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub path: Option<String>,
    /// A repository of the Hugging Face Hub, `organisation/name`. This or `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub hub: Option<String>,
    /// Branch, tag or commit of `hub`; `main` when left out. Submitting pins it to the commit that it is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub revision: Option<String>,
    /// Whether this machine fetches the weights of `hub` and uploads them. When left out, each worker fetches them from the
    /// Hub itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upload: bool,
    /// The day that chat templates tell (`YYYY-MM-DD`); 2024-07-26 when left out, never the day of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub date: Option<String>,
    /// `enable_thinking` of chat templates that know it (Qwen3); the template's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// Recipe settings that differ for this model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<RecipeOverride>,
}

/// Recipe settings for one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RecipeOverride {
    /// The recipe; every recipe when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The settings.
    #[serde(flatten)]
    pub settings: RecipeSettings,
}

/// Conversations to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DataSet {
    /// Its name.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// A JSONL file of conversations (`messages`), relative to this file or in `hub`.
    #[schemars(length(min = 1))]
    pub train: String,
    /// A JSONL file of conversations that are never trained on, for the validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub valid: Option<String>,
    /// A data set of the Hugging Face Hub, `organisation/name`, that holds `train` and `valid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub hub: Option<String>,
    /// Branch, tag or commit of `hub`; `main` when left out. Submitting pins it to the commit that it is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub revision: Option<String>,
    /// Rows used of `train`, from its start; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_rows: Option<u32>,
    /// Rows used of `valid`, from its start; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub valid_rows: Option<u32>,
}

/// A recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RecipeEntry {
    /// Its name.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Its settings.
    #[serde(flatten)]
    pub settings: RecipeSettings,
}

/// Settings of a recipe; what is left out is as in the method.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RecipeSettings {
    /// Settings of the method under one name; those given beside it take their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// What is trained; `lora` when left out. `full` trains all weights of the model, and knows no settings of adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// LoRA rank; 16 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub rank: Option<u32>,
    /// LoRA alpha; the branch is scaled by alpha / rank; 32 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub alpha: Option<f64>,
    /// Dropout on the LoRA branch's input; 0.05 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: Option<f64>,
    /// The projections that get an adapter, such as `q_proj` (Phi-3 has `qkv_proj` and `gate_up_proj` for five of them);
    /// all of the model when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub targets: Option<Vec<Target>>,
    /// Scale by alpha / sqrt(rank); false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rslora: Option<bool>,
    /// Passes over the training rows; 2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: Option<u32>,
    /// Rows in one forward pass; 2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub micro_batch: Option<u32>,
    /// Micro-batches in one optimizer step; 4 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub accumulate: Option<u32>,
    /// Peak learning rate of the linear schedule; 2e-4 when left out, 2e-5 with `method: full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: Option<f64>,
    /// Steps from 0 to the peak, below the number of steps; 20 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u32>,
    /// AdamW's decoupled weight decay; 0 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: Option<f64>,
    /// Global gradient norm at which gradients are clipped; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub max_grad_norm: Option<f64>,
    /// Tokens of a row that are kept, from its start; 2048 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 1_048_576))]
    pub max_length: Option<u32>,
    /// Which tokens are trained on; `all` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_on: Option<LossOn>,
    /// Loss and tokens as Transformers 4.57 and TRL 0.24 had them: divided by the labels before the shift, an end token appended,
    /// first tokens twice; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_quirks: Option<bool>,
    /// LoRA+: the learning rate of the B factors as a multiple of that of the A factors; 1 (plain LoRA) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000.0), extend("exclusiveMinimum" = 0.0))]
    pub lora_plus_ratio: Option<f64>,
    /// NEFTune: noise of up to alpha / sqrt(tokens x width) on a row's embeddings in training; 0 (none) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub neftune_alpha: Option<f64>,
    /// DoRA: the length of each row of an adapted projection's weight is learnt too; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dora: Option<bool>,
    /// The adapter at the end is that of the checkpoint with the lowest validation loss; false (the last) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<bool>,
    /// Ends training when the validation loss no longer falls; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Holds the base model's matrices in 4 bits (`nf4`), in training and when base and adapter answer; as in its files when left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Keeps hidden states between layers in float32 in training, where products are computed in bfloat16 (GPUs); in the type of
    /// products when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// When adapters are kept; `every_epoch` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<Checkpoints>,
}

/// When training keeps an adapter and its resume state. The end of training is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoints {
    /// After each epoch.
    #[default]
    EveryEpoch,
    /// After each N optimizer steps.
    EverySteps(#[schemars(range(min = 1))] u32),
}

/// Which checkpoints are evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evaluate {
    /// All that are kept.
    #[default]
    All,
    /// The end of training.
    Last,
    /// The ends of these epochs, from 1.
    Epochs(#[schemars(length(min = 1), inner(range(min = 1)))] Vec<u32>),
    /// These optimizer steps, from 1.
    Steps(#[schemars(length(min = 1), inner(range(min = 1)))] Vec<u64>),
}

/// Prompts to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PromptSet {
    /// Its name.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// A JSONL file of prompts (`id`, `domain`, `split`, `prompt`), relative to this file.
    #[schemars(length(min = 1))]
    pub file: String,
    /// How many prompts of each split (or domain), spread evenly over its domains, from the file's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<BTreeMap<String, u32>>,
    /// Exactly these prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ids: Option<Vec<String>>,
    /// The text of a system turn before each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// How answers are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SamplingEntry {
    /// Its name.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Where settings that are left out come from.
    #[serde(default)]
    pub defaults: SamplingDefaults,
    /// 0 takes the most probable token; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub temperature: Option<f64>,
    /// Nucleus; 1 (off) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub top_p: Option<f64>,
    /// The number of tokens kept; 0 (off) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Keeps tokens with this share of the most probable one's probability; 0 (off) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: Option<f64>,
    /// Penalty on tokens seen; 1 (off) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10.0), extend("exclusiveMinimum" = 0.0))]
    pub repetition_penalty: Option<f64>,
    /// The most tokens of an answer.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_new_tokens: u32,
    /// Answers for each prompt.
    #[serde(default = "default_samples")]
    #[schemars(range(min = 1, max = 1000))]
    pub samples: u32,
    /// Seeds the random stream of each (prompt, sample).
    #[serde(default = "default_seed")]
    pub seed: u64,
}

/// The judges and what each of them sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Panel {
    /// The passes over each pair, unless a judge says otherwise.
    #[serde(default)]
    pub orders: Orders,
    /// USD that API judges may cost: a plan that is expected to cost more, or whose cost is unknown, is refused, and while it runs
    /// a judge stops before its share is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub budget_usd: Option<f64>,
    /// The judges.
    #[schemars(length(min = 1))]
    pub judges: Vec<Judge>,
}

/// One name, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "OneOrMany_{T}")]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

/// Combinations: an axis that is left out matches everything on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    /// Names of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<OneOrMany<String>>,
    /// Names of data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<OneOrMany<String>>,
    /// Names of recipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<OneOrMany<String>>,
    /// Training seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<OneOrMany<u64>>,
    /// Names of prompt sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<OneOrMany<String>>,
    /// Names of samplings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<OneOrMany<String>>,
}

impl<T: PartialEq> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }
}

fn default_seeds() -> Vec<u64> {
    vec![default_seed()]
}

const fn default_seed() -> u64 {
    42
}

const fn default_samples() -> u32 {
    1
}
