//! Several training seeds: each one's effect stands in its own rows; here they are pooled, prompt and seed crossed.

use assay_domain::job::{Comparison, Opponent, ReportSpec, System};
use serde::{Deserialize, Serialize};

use super::PROMPTS_FOR_PERCENT;
use super::interval::pooled_interval;
use super::pairs::JoinedPair;
use super::rates::prompt_means;
use super::types::Interval;
use crate::stats::crossed::crossed_mean;

/// One system trained with several seeds, in the panel's eyes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPool {
    /// The comparisons that differ in nothing but the seed.
    pub comparisons: Vec<String>,
    /// Their training seeds.
    pub seeds: Vec<u64>,
    /// The checkpoint, as the comparisons name it.
    pub checkpoint: String,
    /// Each seed's win rate over the prompts counted here.
    pub rates: Vec<f64>,
    /// Prompts with a verdict for every seed: the n of everything here.
    pub prompts: u64,
    /// Prompts that some seed lacks.
    pub prompts_left_out: u64,
    /// Mean over prompts and seeds.
    pub rate: f64,
    /// Its interval: prompts and seeds are both samples.
    pub interval: Option<Interval>,
    /// Standard deviation between seeds beyond chance.
    pub seed_sd: f64,
    /// Fewer than ten prompts: not to be printed as a percentage.
    pub few: bool,
}

/// One row for each system at each checkpoint that was trained with more than one seed.
pub(super) fn pools(spec: &ReportSpec, joined: &[JoinedPair], panel: &[String]) -> Vec<SeedPool> {
    let mut groups: Vec<Vec<&Comparison>> = Vec::new();
    for c in spec.all_comparisons() {
        match groups.iter_mut().find(|group| but_for_the_seed(group[0], c)) {
            Some(group) => group.push(c),
            None => groups.push(vec![c]),
        }
    }
    groups.iter().filter(|group| group.len() > 1).filter_map(|group| pool(group, joined, panel)).collect()
}

fn but_for_the_seed(a: &Comparison, b: &Comparison) -> bool {
    (&a.model, &a.data, &a.recipe, a.step, &a.prompts, &a.sampling)
        == (&b.model, &b.data, &b.recipe, b.step, &b.prompts, &b.sampling)
        && with_the_seed(&a.against, a.seed, b.seed) == b.against
}

/// What a comparison is with, had its training another seed: what is of that seed too changes with it.
fn with_the_seed(against: &Option<Opponent>, from: u64, to: u64) -> Option<Opponent> {
    let mut against = against.clone()?;
    if let System::Tuned { seed, .. } = &mut against.system
        && *seed == from
    {
        *seed = to;
    }
    Some(against)
}

fn pool(group: &[&Comparison], joined: &[JoinedPair], panel: &[String]) -> Option<SeedPool> {
    let of_seed = |c: &&Comparison| {
        let pairs: Vec<&JoinedPair> = joined.iter().filter(|p| p.report.comparison == c.id).collect();
        prompt_means(&pairs, panel)
    };
    let by_seed: Vec<_> = group.iter().map(of_seed).collect();
    let mut prompts: Vec<&str> = by_seed.iter().flat_map(|means| means.keys().copied()).collect();
    prompts.sort_unstable();
    prompts.dedup();
    let row = |prompt: &&str| by_seed.iter().map(|means| means.get(prompt).copied()).collect();
    let cells: Vec<Vec<f64>> = prompts.iter().filter_map(row).collect();
    let mean = crossed_mean(&cells)?;
    let rate = |seed: usize| cells.iter().map(|row| row[seed]).sum::<f64>() / cells.len() as f64;
    Some(SeedPool {
        comparisons: group.iter().map(|c| c.id.clone()).collect(),
        seeds: group.iter().map(|c| c.seed).collect(),
        checkpoint: group[0].checkpoint.clone(),
        rates: (0..group.len()).map(rate).collect(),
        prompts: cells.len() as u64,
        prompts_left_out: (prompts.len() - cells.len()) as u64,
        rate: mean.mean,
        interval: pooled_interval(&cells),
        seed_sd: mean.seed_sd,
        few: cells.len() < PROMPTS_FOR_PERCENT,
    })
}
