//! What was fixed when the matrix was submitted, before any response existed: from the report job's stored settings.

use assay_domain::job::{JudgeInfo, Orders, ReportSpec};
use serde::{Deserialize, Serialize};

use super::method::{ALPHA, POWER};
use super::types::Method;
use super::{MISSING_SHARE_MAX, PROMPTS_FOR_PERCENT};

/// The pre-registration block.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Preregistration {
    /// Where it was fixed.
    pub fixed_by: String,
    /// What is estimated.
    pub estimand: String,
    /// What is compared, all of it.
    pub comparisons: Vec<String>,
    /// The judges.
    pub judges: Vec<PlannedJudge>,
    /// How ties and flips count.
    pub ties: String,
    /// Tests and intervals, with their families.
    pub tests: Vec<String>,
    /// Rules about what is not said.
    pub rules: Vec<String>,
    /// Two-sided level.
    pub alpha: f64,
    /// Training seeds.
    pub training_seeds: Vec<u64>,
    /// Seed of the bootstrap and of random sign flips.
    pub bootstrap_seed: u64,
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
}

pub(super) fn preregistration(spec: &ReportSpec, method: &Method) -> Preregistration {
    let mut training_seeds: Vec<u64> = spec.comparisons.iter().map(|comparison| comparison.seed).collect();
    training_seeds.sort_unstable();
    training_seeds.dedup();
    Preregistration {
        fixed_by: format!("the matrix of digest {}, when it was submitted", spec.matrix_digest),
        estimand: method.estimand.clone(),
        comparisons: spec.comparisons.iter().map(|comparison| comparison.id.clone()).collect(),
        // People judge what was submitted, whenever they come.
        judges: spec.judges.iter().filter(|judge| judge.kind != super::HUMAN).map(planned).collect(),
        ties: method.ties.clone(),
        tests: tests(),
        rules: rules(),
        alpha: ALPHA,
        training_seeds,
        bootstrap_seed: spec.bootstrap_seed,
    }
}

fn planned(judge: &JudgeInfo) -> PlannedJudge {
    let said = |orders: Orders| match orders {
        Orders::Both => "each pair in both orders, labels swapped with the slots",
        Orders::Single => "each pair once, slots and labels balanced within domains",
        Orders::Full => "each pair with each slot and each label",
    };
    PlannedJudge {
        name: judge.name.clone(),
        model: judge.model.clone(),
        template: judge.template.clone(),
        orders: judge.orders.map(|orders| said(orders).to_owned()),
    }
}

fn tests() -> Vec<String> {
    [
        "primary: the panel's win rate over all prompts against one half, by sign flips over prompts; Holm over \
         comparisons",
        "secondary: the same for single judges, splits and domains; Holm over all of them together",
        "differences of checkpoints, and of systems at their last checkpoints: paired by prompt, sign flips; Holm \
         within each table",
        "judges: McNemar's exact test for every two, Holm over them; Cochran's Q for all",
        "position: exact test that flips go to either slot equally often",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn rules() -> Vec<String> {
    vec![
        format!("no percentage for fewer than {PROMPTS_FOR_PERCENT} prompts"),
        format!("no headline with more than {:.0} % of verdicts missing", MISSING_SHARE_MAX * 100.0),
        format!("the detectable rate is that of the sign test at a power of {:.0} %", POWER * 100.0),
        "length- and style-controlled rates, ties dropped or lost, and the panel without one judge are sensitivity \
         analyses, not headlines"
            .to_owned(),
    ]
}
