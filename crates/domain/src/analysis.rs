//! How a report analyses verdicts, in numbers and in words. Every plan holds it, so that it is fixed when the matrix is
//! submitted, before any response exists; a report by a later version says where it does otherwise.

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::job::{JudgeInfo, Orders, ReportSpec};

/// Two-sided level of all tests and intervals.
pub const ALPHA: f64 = 0.05;
/// Power for which the detectable rate is given.
pub const POWER: f64 = 0.8;
/// Resamples of the bootstrap.
pub const BOOTSTRAP_REPLICATES: u32 = 10_000;
/// Rates over fewer prompts than this are printed as counts only.
pub const PROMPTS_FOR_PERCENT: usize = 10;
/// A share of missing verdicts above this withholds the headline.
pub const MISSING_SHARE_MAX: f64 = 0.05;

/// What is estimated.
pub const ESTIMAND: &str = "win rate of the tuned system over its own base: the score of a verdict is 1, 1/2 or 0; it is averaged \
    over the passes of a pair, then over the panel's judges, then over the pairs of a prompt, then over prompts";
/// How ties and flips count.
pub const TIES: &str = "a pair counts as won or lost if all its passes agree; if the choice flips with the order it is a tie; a \
    tie is half a win";
/// How intervals are made.
pub const INTERVALS: &str = "95 %, clustered by prompt (Student's t over prompt means); Wilson's where prompts do not vary, and \
    for single pairs per prompt as a second opinion; bootstrap over prompts as a check";
/// How missing verdicts count.
pub const MISSING: &str = "refused, blocked, truncated, malformed, failed and absent verdicts are missing: never a tie, never a \
    loss; bounds say what they could change; above 5 % missing no headline is given";
const TESTS: [&str; 5] = [
    "primary: the panel's win rate over all prompts against one half, by sign flips over prompts; Holm over \
     comparisons",
    "secondary: the same for single judges, splits and domains; Holm over all of them together",
    "differences of checkpoints, and of systems at their last checkpoints: paired by prompt, sign flips; Holm \
     within each table",
    "judges: McNemar's exact test for every two, Holm over them; Cochran's Q for all",
    "position: exact test that flips go to either slot equally often",
];
/// What is estimated where checkpoints are compared with anything but their own base.
pub const ESTIMAND_DIRECT: &str =
    "; in direct comparisons the same, of the first system over the one that it is compared with";
const TEST_DIRECT: &str = "direct comparisons: as primary and secondary; Holm over the panel's rates on all prompts of all of \
     them together, and over all their other rates";

/// The analysis of one matrix.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AnalysisPlan {
    /// What is estimated.
    pub estimand: String,
    /// What is compared, all of it.
    pub comparisons: Vec<String>,
    /// The judges.
    pub judges: Vec<PlannedJudge>,
    /// How ties and flips count.
    pub ties: String,
    /// How intervals are made.
    pub intervals: String,
    /// How missing verdicts count.
    pub missing: String,
    /// Tests, with their families.
    pub tests: Vec<String>,
    /// Rules about what is not said.
    pub rules: Vec<String>,
    /// Two-sided level.
    pub alpha: f64,
    /// Training seeds.
    pub training_seeds: Vec<u64>,
    /// Seed of the bootstrap and of random sign flips.
    pub bootstrap_seed: u64,
    /// Resamples of the bootstrap.
    pub bootstrap_replicates: u32,
}

/// A judge as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJudge {
    /// The name in the panel.
    pub name: String,
    /// The model's name or id.
    pub model: String,
    /// The template.
    pub template: String,
    /// Which orders it sees; absent in matrices of older versions.
    pub orders: Option<String>,
    /// Why it was known at the submission to take no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

impl AnalysisPlan {
    /// What this version does with a matrix, whatever its settings hold of an analysis.
    #[must_use]
    pub fn of(spec: &ReportSpec) -> Self {
        let mut training_seeds: Vec<u64> =
            spec.comparisons.iter().map(|comparison| comparison.seed).collect();
        training_seeds.sort_unstable();
        training_seeds.dedup();
        // A matrix without direct comparisons has the words, and with them the keys, that it had before there were any.
        let direct = !spec.direct.is_empty();
        Self {
            estimand: if direct { format!("{ESTIMAND}{ESTIMAND_DIRECT}") } else { ESTIMAND.to_owned() },
            comparisons: spec.all_comparisons().map(|comparison| comparison.id.clone()).collect(),
            judges: spec.judges.iter().map(PlannedJudge::of).collect(),
            ties: TIES.to_owned(),
            intervals: INTERVALS.to_owned(),
            missing: MISSING.to_owned(),
            tests: TESTS.into_iter().chain(direct.then_some(TEST_DIRECT)).map(str::to_owned).collect(),
            rules: rules(),
            alpha: ALPHA,
            training_seeds,
            bootstrap_seed: spec.bootstrap_seed,
            bootstrap_replicates: BOOTSTRAP_REPLICATES,
        }
    }

    /// By which anybody can tell that it is the one that was fixed.
    ///
    /// # Errors
    /// A number without a JSON form.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Digest::of_value(self)
    }
}

impl PlannedJudge {
    fn of(judge: &JudgeInfo) -> Self {
        let said = |orders: Orders| match orders {
            Orders::Both => "each pair in both orders, labels swapped with the slots",
            Orders::Single => "each pair once, slots and labels balanced within domains",
            Orders::Full => "each pair with each slot and each label",
        };
        Self {
            name: judge.name.clone(),
            model: judge.model.clone(),
            template: judge.template.clone(),
            orders: judge.orders.map(|orders| said(orders).to_owned()),
            unavailable: judge.unavailable.clone(),
        }
    }
}

fn rules() -> Vec<String> {
    vec![
        format!("no percentage for fewer than {PROMPTS_FOR_PERCENT} prompts"),
        format!("no headline with more than {:.0} % of verdicts missing", MISSING_SHARE_MAX * 100.0),
        format!("the detectable rate is that of the sign test at a power of {:.0} %", POWER * 100.0),
        "length- and style-controlled rates, ties dropped or lost, and the panel without one judge are sensitivity \
         analyses, not headlines"
            .to_owned(),
        "people who judge after the submission stand beside the panel, not in it".to_owned(),
    ]
}
