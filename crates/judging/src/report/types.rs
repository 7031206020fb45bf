//! The report's value, as `report.json` holds it. Rates are fractions in [0, 1]; nothing is rounded.

use std::collections::BTreeMap;

use assay_domain::job::{Comparison, JobSummary, JudgeInfo, Training};
use assay_domain::{Fence, MatrixId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::differences::SystemDifference;
use super::import::ImportReport;
use super::leaks::LeakReport;
use super::orders::OrderReport;
use super::preregistration::Preregistration;
use super::sampling::SamplingReport;
use super::scores::{Contradictions, DimensionReport};
use super::seeds::SeedPool;
use super::strengths::StrengthReport;
use super::style::StyleReport;
pub use super::win_rate_types::{
    Bounds, CheckpointDifference, Counts, Interval, IntervalMethod, LeaveOneOut, MissingCounts, Scope,
    TieSensitivity, WinRate,
};
use crate::records::{FinishReason, Label, SideScores, Slot, VerdictStatus, Winner};

/// The report of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `assay-report-v1`.
    pub schema: String,
    /// The matrix's name.
    pub matrix: String,
    /// No judge but local log-probability judges took part: a test of the plumbing, not evidence.
    pub smoke: bool,
    /// How the numbers are made, said in the report itself.
    pub method: Method,
    /// What was fixed at submit.
    #[serde(default)]
    pub preregistration: Preregistration,
    /// The panel.
    pub judges: Vec<JudgeReport>,
    /// Win rates by comparison.
    pub comparisons: Vec<ComparisonReport>,
    /// Win rates where judges compared checkpoints with anything but their own base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direct: Vec<ComparisonReport>,
    /// Paired differences between checkpoints of one training run on the same prompts.
    pub checkpoint_differences: Vec<CheckpointDifference>,
    /// Paired differences between systems at their last checkpoints on shared prompts.
    #[serde(default)]
    pub system_differences: Vec<SystemDifference>,
    /// Systems trained with several seeds: prompt and seed crossed.
    #[serde(default)]
    pub seed_pools: Vec<SeedPool>,
    /// Three systems or more on one scale.
    #[serde(default)]
    pub strengths: Vec<StrengthReport>,
    /// How far judges agree with each other.
    pub agreement: AgreementReport,
    /// The judges' 1 to 5 scores, by dimension.
    #[serde(default)]
    pub scores: Vec<DimensionReport>,
    /// Losses of each training run.
    pub training: Vec<TrainingReport>,
    /// Lengths and truncation of each system's responses.
    pub generations: Vec<GenerationReport>,
    /// How responses were drawn, base and tuned side by side; empty in reports of older builds.
    #[serde(default)]
    pub sampling: Vec<SamplingReport>,
    /// Every pair, with both responses and all verdicts.
    pub pairs: Vec<PairReport>,
    /// Digests, versions and seeds.
    pub reproducibility: Reproducibility,
    /// Where the verdicts come from, if they were made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportReport>,
    /// What depends on when, where and how often jobs ran.
    pub execution: Execution,
}

impl Report {
    /// The report with an empty execution section: what two runs with the same results have in common.
    #[must_use]
    pub fn without_execution(&self) -> Report {
        Report { execution: Execution::default(), ..self.clone() }
    }

    /// All comparisons: of checkpoints with their own base, then those with anything else.
    pub fn all_comparisons(&self) -> impl Iterator<Item = &ComparisonReport> {
        self.comparisons.iter().chain(&self.direct)
    }

    /// Who is in a row: the judge's name, or the panel's.
    #[must_use]
    pub fn judge_label(judge: Option<&str>) -> &str {
        judge.unwrap_or("panel")
    }

    /// Whether a judge of this name (or the panel, for `None`) is a smoke judge.
    #[must_use]
    pub fn is_smoke(&self, judge: Option<&str>) -> bool {
        match judge {
            None => self.smoke,
            Some(name) => self.judges.iter().any(|judge| judge.info.name == name && judge.info.smoke),
        }
    }
}

/// How the numbers are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// What a win rate estimates, and in which order it averages.
    pub estimand: String,
    /// Which judges the panel's rows hold.
    pub panel: Vec<String>,
    /// How ties and flips count.
    pub ties: String,
    /// How intervals are made.
    pub intervals: String,
    /// How missing verdicts count.
    pub missing: String,
    /// Two-sided level of all tests and intervals.
    pub alpha: f64,
    /// Seed of the bootstrap.
    pub bootstrap_seed: u64,
    /// Resamples of the bootstrap.
    pub bootstrap_replicates: u32,
    /// What a reader should know first, one sentence each.
    pub warnings: Vec<String>,
}

/// A judge and how it behaved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// Name, kind, model, template, smoke or not, unavailable or not.
    pub info: JudgeInfo,
    /// The models that answered: what the provider returned, or digests.
    pub models: Vec<String>,
    /// Presentations judged.
    pub verdicts: u64,
    /// Presentations without a verdict, by status.
    pub missing: MissingCounts,
    /// Position and label bias.
    pub position: PositionReport,
    /// Verdicts by the order of the responses.
    #[serde(default)]
    pub orders: OrderReport,
    /// Verdicts against the judge's own scores.
    #[serde(default)]
    pub contradictions: Contradictions,
}

/// Position and label bias of one judge.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PositionReport {
    /// Pairs judged in both orders (with four passes, each label assignment counts once).
    pub swaps: u64,
    /// Swaps in which both orders chose the first slot (or one of them did and the other tied).
    pub primacy: u64,
    /// Swaps in which both orders chose the second slot (or one of them did and the other tied).
    pub recency: u64,
    /// Swaps in which both orders chose the same response, or both tied.
    pub consistent: u64,
    /// `consistent / swaps`.
    pub consistency: Option<f64>,
    /// Share of the first slot among choices that were no ties.
    pub first_slot_rate: Option<f64>,
    /// Preference fairness in [-1, 1]: below 0 it favours the first slot, above 0 the second (Shi et al. 2024).
    pub preference_fairness: Option<f64>,
    /// Exact test that a flip goes to either slot equally often.
    pub flip_p: Option<f64>,
    /// Mean logit of the first slot, from log-probabilities: the slot's own bias, since labels are balanced over pairs.
    pub slot_bias_logit: Option<f64>,
    /// Mean logit of label A, from log-probabilities.
    pub label_bias_logit: Option<f64>,
    /// Mean of |slot and label bias| of a pair, in logits.
    pub mean_abs_bias_logit: Option<f64>,
    /// Share of presentations whose label mass is below one half: a failing template.
    pub low_mass_share: Option<f64>,
}

/// One tuned system against its base, or what else it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// What is compared.
    pub comparison: Comparison,
    /// Rows: the panel and each judge, over all prompts, then by split, then by domain.
    pub rates: Vec<WinRate>,
    /// The panel without each of its judges in turn; empty for fewer than two judges.
    pub leave_one_out: Vec<LeaveOneOut>,
    /// Length and style; absent where the responses' texts are not known.
    #[serde(default)]
    pub style: Option<StyleReport>,
    /// Traces of who wrote a response; absent where the texts are not known, and in reports of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<LeakReport>,
}

impl ComparisonReport {
    /// The row of a judge (`None`: the panel) over all prompts.
    #[must_use]
    pub fn overall(&self, judge: Option<&str>) -> Option<&WinRate> {
        self.rates.iter().find(|rate| rate.scope == Scope::All && rate.judge.as_deref() == judge)
    }
}

/// Agreement within the panel, over pairs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgreementReport {
    /// Every two judges.
    pub judges: Vec<JudgeAgreement>,
    /// All judges together; absent for fewer than two.
    pub panel: Option<PanelAgreement>,
}

/// Two judges on the pairs that both judged. Categories: tuned, base, tie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeAgreement {
    /// The one judge.
    pub one: String,
    /// The other judge.
    pub other: String,
    /// Pairs that both judged.
    pub pairs: u64,
    /// Counts: rows by `one`, columns by `other`, in the order tuned, base, tie.
    pub table: [[u64; 3]; 3],
    /// Share of equal verdicts.
    pub raw: Option<f64>,
    /// Cohen's kappa; absent when it is 0/0.
    pub kappa: Option<f64>,
    /// 95 % interval of kappa.
    pub kappa_interval: Option<[f64; 2]>,
    /// Gwet's AC1, which prevalence does not depress.
    pub ac1: Option<f64>,
    /// 95 % interval of AC1, by bootstrap over prompts.
    #[serde(default)]
    pub ac1_interval: Option<[f64; 2]>,
    /// Exact McNemar p: do they find tuned wins equally often?
    pub mcnemar_p: Option<f64>,
    /// Holm's correction of it over all rows of this table.
    #[serde(default)]
    pub mcnemar_p_holm: Option<f64>,
}

/// All judges together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PanelAgreement {
    /// Pairs with at least two verdicts.
    pub pairs: u64,
    /// Krippendorff's alpha, nominal; missing verdicts allowed.
    pub krippendorff_alpha: Option<f64>,
    /// Its 95 % interval, by bootstrap over prompts.
    #[serde(default)]
    pub krippendorff_interval: Option<[f64; 2]>,
    /// Fleiss' kappa over pairs that all judged.
    pub fleiss_kappa: Option<f64>,
    /// Cochran's Q p over pairs that all judged: do judges find tuned wins equally often?
    pub cochran_q_p: Option<f64>,
    /// Pairs on which all judges gave the same verdict, of those that all judged.
    pub unanimous: u64,
    /// Pairs that all judged.
    pub complete: u64,
}

/// Losses of one training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingReport {
    /// Model, data set, resolved recipe, seed and steps.
    pub training: Training,
    /// Validation losses, the base model's (step 0) first.
    pub evals: Vec<EvalPoint>,
    /// The training loss after each step.
    pub steps: Vec<LossPoint>,
    /// Where memory was not enough for passes as the recipe has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smaller_passes: Vec<SmallerPasses>,
    /// Where it went on and is not bit for bit what one machine computes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Moved>,
    /// How it ended, where not with the adapter of its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<TrainingEnd>,
}

/// The end of a training before its last step, or with another adapter than its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingEnd {
    /// Optimizer steps done.
    pub step: u64,
    /// The step whose adapter it ends with.
    pub kept: u64,
}

/// A training went on where sums may differ in their last bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Optimizer steps done before.
    pub step: u64,
    /// What is not as it was: device, instructions, LibTorch, threads.
    pub changes: Vec<String>,
}

/// Memory was not enough: passes hold less from a step on, at the same rows a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallerPasses {
    /// Optimizer steps done before.
    pub step: u64,
    /// Rows of a pass from there on.
    pub rows: u64,
    /// Whether activations are computed twice from there on.
    pub recompute: bool,
}

/// A validation loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalPoint {
    /// `base`, or the checkpoint as the comparison names it (`epoch 1`).
    pub checkpoint: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the training rows.
    pub epoch: f64,
    /// Mean loss per predicted token, in nats.
    pub loss: f64,
    /// Predicted tokens.
    pub tokens: u64,
}

/// A training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the training rows.
    pub epoch: f64,
    /// Mean loss per predicted token, in nats.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Predicted tokens.
    pub tokens: u64,
}

/// One system's responses to one prompt set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationReport {
    /// The model's name.
    pub model: String,
    /// The prompt set's name.
    pub prompts: String,
    /// The sampling's name.
    pub sampling: String,
    /// `base`, or the tuned system's name.
    pub system: String,
    /// Responses.
    pub responses: u64,
    /// Responses that the token limit cut off.
    pub truncated: u64,
    /// Responses with no text but white space.
    pub empty: u64,
    /// Mean tokens generated.
    pub mean_new_tokens: f64,
    /// Mean characters of a response.
    pub mean_chars: f64,
    /// Mean Markdown marks (headings, list items, bold) of a response: style is the strongest known judge bias.
    pub mean_markdown_marks: f64,
}

/// A pair with both responses and all verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// The comparison's id.
    pub comparison: String,
    /// The prompt's id.
    pub prompt_id: String,
    /// The prompt's domain.
    pub domain: String,
    /// The prompt's split.
    pub split: String,
    /// Ordinal of the sample.
    pub sample: u32,
    /// The prompt.
    pub prompt: String,
    /// The base system's response.
    pub base: ResponseReport,
    /// The tuned system's response.
    pub tuned: ResponseReport,
    /// One for each judge that took part, in the panel's order.
    pub verdicts: Vec<PairVerdict>,
}

/// A response as the viewer shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseReport {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens generated.
    pub new_tokens: u32,
}

/// One judge on one pair, all its passes together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairVerdict {
    /// The judge.
    pub judge: String,
    /// `ok` only if every pass is; otherwise the first status that is not.
    pub status: VerdictStatus,
    /// The response that every pass preferred; a flip is a tie. Absent unless `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
    /// Mean over passes of 1 for tuned, one half for a tie, 0 for base. Absent unless `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// P(tuned is better), debiased, from log-probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_tuned: Option<f64>,
    /// The least P(A) + P(B) of the passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_mass_min: Option<f64>,
    /// The passes, tuned first, then tuned second.
    pub passes: Vec<PassReport>,
}

/// One presentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassReport {
    /// The slot that showed the tuned response; absent where an imported file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_slot: Option<Slot>,
    /// The label that the tuned response carried; absent where an imported file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_label: Option<Label>,
    /// Repetition of the same presentation.
    pub replicate: u32,
    /// Whether there is a verdict.
    pub status: VerdictStatus,
    /// Who won this pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
    /// P(tuned) in this pass alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_tuned: Option<f64>,
    /// Confidence, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
    /// Scores of both responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<SideScores>,
    /// The reasoning, or why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What is needed to get the same numbers again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reproducibility {
    /// SHA-256 of the matrix as resolved.
    pub matrix_digest: String,
    /// (name, SHA-256) of every upload.
    pub uploads: Vec<(String, String)>,
    /// (template, SHA-256) of every judge template used.
    pub templates: BTreeMap<String, String>,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// Versions of what computed this.
    pub versions: BTreeMap<String, String>,
    /// What the judges' models cost when this was computed, with the source and its date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<String>,
    /// The commands that made it, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

/// When, where and how often jobs ran. Nothing here is a result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Execution {
    /// The matrix as submitted.
    pub matrix: Option<MatrixId>,
    /// When its analysis was fixed: its first submission's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_at: Option<UnixMillis>,
    /// Its jobs with attempts, times, speeds and environments.
    pub jobs: Vec<JobSummary>,
    /// What judging took, by judge.
    #[serde(default)]
    pub judge_usage: BTreeMap<String, JudgeUsage>,
    /// Training attempts that did not finish, from what they had stored of their metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<UnfinishedTraining>,
}

/// The steps of a training attempt that did not finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnfinishedTraining {
    /// The job's label.
    pub job: String,
    /// The attempt.
    pub fence: Fence,
    /// How it ended.
    pub outcome: String,
    /// The first step it stored.
    pub first_step: u64,
    /// The last step it stored; it may have done a few more.
    pub last_step: u64,
    /// Steps that a later attempt went on from.
    pub kept: u64,
    /// Steps that a later attempt computed again.
    pub again: u64,
    /// Largest difference in loss (nats) or gradient norm between a step and its repetition; 0: equal to the last bit.
    pub largest_difference: Option<f64>,
}

/// What the verdicts of one judge took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct JudgeUsage {
    /// Presentations judged.
    pub calls: u64,
    /// Tokens of its prompts.
    pub prompt_tokens: u64,
    /// Tokens that it wrote.
    pub new_tokens: u64,
    /// Wall seconds of its calls, one after the other.
    pub seconds: f64,
    /// What its tokens cost at the list price; absent where the model has no known price. Batches cost half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}
