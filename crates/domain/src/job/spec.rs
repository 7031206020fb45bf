//! The settings of each kind of job: complete, resolved, and part of the job key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Method, Opponent, Quantization, Residual};
use crate::analysis::AnalysisPlan;

/// Which tokens are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// Every token of the rendered conversation, as the method does.
    #[default]
    All,
    /// Each assistant turn's content and its end-of-turn token.
    Assistant,
}

/// When training ends before its last step: the validation loss at its checkpoints no longer falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Checkpoints in a row without a lower validation loss after which it ends.
    #[schemars(range(min = 1))]
    pub patience: u32,
    /// How much lower than the lowest before a loss must be, in nats; any when left out.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
}

/// A recipe, resolved for one model. Settings that came later are left out of the job key where they are off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The name in the matrix.
    pub name: String,
    /// What is trained. With all weights, the settings of adapters are 0, empty or off.
    #[serde(default, skip_serializing_if = "Method::is_default")]
    pub method: Method,
    /// LoRA rank.
    pub rank: u32,
    /// LoRA alpha; the branch is scaled by alpha / rank (alpha / sqrt(rank) with `rslora`).
    pub alpha: f64,
    /// Dropout on the LoRA branch's input, in [0, 1).
    pub dropout: f64,
    /// The projections that get an adapter, of `q_proj k_proj v_proj o_proj gate_proj up_proj down_proj`, in models that
    /// fuse them of `qkv_proj o_proj gate_up_proj down_proj`.
    pub targets: Vec<String>,
    /// Rank-stabilised scale.
    pub rslora: bool,
    /// Passes over the training rows.
    pub epochs: u32,
    /// Rows in one forward pass.
    pub micro_batch: u32,
    /// Micro-batches in one optimizer step.
    pub accumulate: u32,
    /// Peak learning rate of the linear schedule.
    pub learning_rate: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u32,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Global gradient norm at which gradients are clipped.
    pub max_grad_norm: f64,
    /// Tokens of a row that are kept, from its start.
    pub max_length: u32,
    /// Which tokens are trained on.
    pub loss_on: LossOn,
    /// Loss and tokens as Transformers 4.57 and TRL 0.24 had them: divided by the labels before the shift, an end token appended, first tokens twice.
    pub reference_quirks: bool,
    /// LoRA+: the learning rate of B as a multiple of that of A; 1 is plain LoRA.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub lora_plus_ratio: f64,
    /// NEFTune: size of the noise on embeddings; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub neftune_alpha: f64,
    /// DoRA: the length of each row of an adapted projection's weight is learnt too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dora: bool,
    /// Whether the last adapter is that of the checkpoint with the lowest validation loss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_best: bool,
    /// When training ends early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// How the base model's matrices are held in training and when the adapter answers; as in its files when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// The type of hidden states between layers in training; that of products when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
}

const fn one() -> f64 {
    1.0
}

fn is_one(ratio: &f64) -> bool {
    *ratio == 1.0
}

fn is_zero(alpha: &f64) -> bool {
    *alpha == 0.0
}

/// What a job needs to know of its model beside the files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelSettings {
    /// The repository of the Hub that it came from; none for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubCommit>,
    /// The day that its chat template tells; the engine's fixed day when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// `enable_thinking` of its chat template; the template's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
}

impl ModelSettings {
    /// Whether nothing is said: then it is no part of a job key.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A repository of the Hugging Face Hub at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubCommit {
    /// `organisation/name`.
    pub repo: String,
    /// 40 hexadecimal digits.
    pub commit: String,
}

/// Training of one adapter, or of all weights of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// The model's name in the matrix; written to the adapter as its base, unless it came from the Hub.
    pub model: String,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "ModelSettings::is_default")]
    pub model_settings: ModelSettings,
    /// The data set's name in the matrix.
    pub data: String,
    /// The recipe for this model.
    pub recipe: Recipe,
    /// Seeds the shuffle, the adapter's start and dropout.
    pub seed: u64,
    /// Rows used of `train`, from its start.
    pub train_rows: u32,
    /// Rows used of `valid`, from its start; 0 without validation.
    pub valid_rows: u32,
    /// Optimizer steps in all.
    pub total_steps: u64,
    /// Steps after which adapter and resume state are kept, ascending; the last is `total_steps`.
    pub checkpoints: Vec<u64>,
}

/// Which system answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case")]
pub enum System {
    /// The base model.
    Base,
    /// The base model with an adapter.
    Tuned {
        /// The name of the data set it was trained on.
        data: String,
        /// The recipe's name.
        recipe: String,
        /// The training seed.
        seed: u64,
        /// The checkpoint's step.
        step: u64,
    },
}

impl System {
    /// `base` or `philosophy/lora-r16/seed-42/step-6`.
    pub fn name(&self) -> String {
        match self {
            Self::Base => String::from("base"),
            Self::Tuned { data, recipe, seed, step } => format!("{data}/{recipe}/seed-{seed}/step-{step}"),
        }
    }
}

/// Where sampling settings that the matrix leaves out come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplingDefaults {
    /// Exactly what the matrix says: `top_p` 1, `top_k` off, penalties 1 unless given.
    #[default]
    Matrix,
    /// The model's `generation_config.json`; `do_sample: false` there is temperature 0.
    Model,
}

/// How responses are drawn; the same for base and tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The name in the matrix.
    pub name: String,
    /// Where settings that are `None` come from; with `matrix` none of them is.
    pub defaults: SamplingDefaults,
    /// 0 takes the most probable token.
    pub temperature: Option<f64>,
    /// Nucleus: the smallest set of tokens with this probability; 1 is off.
    pub top_p: Option<f64>,
    /// The number of tokens kept; 0 is off.
    pub top_k: Option<u32>,
    /// Keeps tokens with at least this share of the most probable one's probability; 0 is off.
    pub min_p: Option<f64>,
    /// Divides (positive) or multiplies (negative) the logits of tokens seen; 1 is off.
    pub repetition_penalty: Option<f64>,
    /// The most tokens of a response.
    pub max_new_tokens: u32,
    /// Responses for each prompt.
    pub samples: u32,
    /// Seeds the random stream of each (prompt, sample).
    pub seed: u64,
}

/// Answers of one system to a prompt set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateSpec {
    /// The model's name in the matrix.
    pub model: String,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "ModelSettings::is_default")]
    pub model_settings: ModelSettings,
    /// Who answers.
    pub system: System,
    /// The prompt set's name.
    pub prompts: String,
    /// The ids of the prompts, in order.
    pub prompt_ids: Vec<String>,
    /// Text of a system turn before each prompt.
    pub system_prompt: Option<String>,
    /// How.
    pub sampling: Sampling,
    /// How the model's matrices are held: a base answers as the base of the adapters that it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

impl GenerateSpec {
    /// As [`System::name`]; a base whose matrices are rounded is another system: `base-nf4`.
    pub fn system_name(&self) -> String {
        match (&self.system, self.quantization) {
            (System::Base, Some(quantization)) => format!("base-{}", quantization.as_str()),
            (System::Base, None) | (System::Tuned { .. }, _) => self.system.name(),
        }
    }

    /// Whether one run can answer for both, given that they have the same base model: prompts and adapters may differ.
    pub fn shares_batch_with(&self, other: &Self) -> bool {
        (&self.model_settings, &self.sampling, self.quantization)
            == (&other.model_settings, &other.sampling, other.quantization)
    }
}

/// A tuned system against its own base, or another system, on one prompt set and sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// `smollm2-135m/philosophy/lora-r16/seed-42/step-6/eval/t075`.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// The data set's name.
    pub data: String,
    /// The recipe's name.
    pub recipe: String,
    /// The training seed.
    pub seed: u64,
    /// The checkpoint's step.
    pub step: u64,
    /// `epoch 1`, or `step 50` inside an epoch.
    pub checkpoint: String,
    /// The prompt set's name.
    pub prompts: String,
    /// The sampling's name.
    pub sampling: String,
    /// What it is compared with; none for its own base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Opponent>,
}

impl Comparison {
    /// The model of the other side.
    pub fn other_model(&self) -> &str {
        self.against.as_ref().map_or(&self.model, |against| &against.model)
    }

    /// The side whose wins are counted; the other is [`System::Base`] of the same model, unless `against` says more.
    pub fn tuned(&self) -> System {
        System::Tuned {
            data: self.data.clone(),
            recipe: self.recipe.clone(),
            seed: self.seed,
            step: self.step,
        }
    }
}

/// Which orders a judge sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// Each pair in both orders.
    #[default]
    Both,
    /// Each pair once, orders balanced by seed.
    Single,
    /// Slot x label: four passes (log-probability judges).
    Full,
}

/// Judging of one comparison by a local model's log-probabilities: a smoke judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpec {
    /// The judge's name in the panel.
    pub judge: String,
    /// The model's name.
    pub model: String,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "ModelSettings::is_default")]
    pub model_settings: ModelSettings,
    /// The versioned template, such as `smoke-plain-v1`.
    pub template: String,
    /// What is compared.
    pub comparison: Comparison,
    /// Which passes.
    pub orders: Orders,
}

/// A judge as the report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeInfo {
    /// The name in the panel.
    pub name: String,
    /// `logprob` or the provider.
    pub kind: String,
    /// The model's name or id.
    pub model: String,
    /// The template.
    pub template: String,
    /// A local log-probability judge: good for plumbing, never for a headline.
    pub smoke: bool,
    /// Why the judge takes no part, known when the plan was made.
    pub unavailable: Option<String>,
    /// Which orders it sees; none in plans of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Orders>,
    /// Whether it is asked through its lab's batch API, at half the price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
}

/// A train job as the report names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The job's ordinal: N of the input `metrics/N`.
    pub job: u32,
    /// The model's name.
    pub model: String,
    /// The data set's name.
    pub data: String,
    /// The recipe, resolved for the model.
    pub recipe: Recipe,
    /// The training seed.
    pub seed: u64,
    /// Optimizer steps in one epoch.
    pub steps_per_epoch: u64,
    /// Optimizer steps in all.
    pub total_steps: u64,
}

/// The report of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportSpec {
    /// The matrix's name.
    pub matrix: String,
    /// The digest of the matrix as resolved.
    pub matrix_digest: crate::Digest,
    /// The training behind each `metrics/N` input.
    #[serde(default)]
    pub trainings: Vec<Training>,
    /// All comparisons of checkpoints with their own base.
    pub comparisons: Vec<Comparison>,
    /// Comparisons of checkpoints with anything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direct: Vec<Comparison>,
    /// The panel.
    pub judges: Vec<JudgeInfo>,
    /// (name, digest) of every upload.
    pub uploads: Vec<(String, crate::Digest)>,
    /// Seeds the bootstrap.
    pub bootstrap_seed: u64,
    /// How verdicts will be analysed, in words; none in plans of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisPlan>,
}

impl ReportSpec {
    /// All that judges compare: checkpoints with their own base, then those with anything else.
    pub fn all_comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.comparisons.iter().chain(&self.direct)
    }
}
