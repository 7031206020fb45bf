//! The judges' 1 to 5 scores: what tuning changes in each dimension, and how far judges agree on that.

use assay_domain::job::ReportSpec;
use serde::{Deserialize, Serialize};

use super::interval::mean_and_ends;
use super::pairs::JoinedPair;
use super::types::{PairVerdict, PassReport};
use crate::records::Winner;
use crate::stats::agreement::{Weights, weighted_kappa};
use crate::stats::panel::mean_present;
use crate::stats::reliability::{Metric, krippendorff_alpha};

/// The dimensions, in the order of [`crate::verdict::Scores::named`].
const DIMENSIONS: [&str; 5] = ["creativity", "coherence", "depth", "engagement", "quality"];

/// One dimension over all pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionReport {
    /// `creativity`, `coherence`, ...
    pub dimension: String,
    /// Each judge that gave scores.
    pub judges: Vec<DimensionScores>,
    /// Krippendorff's alpha, ordinal, over both responses of each pair; absent for fewer than two judges.
    pub krippendorff_alpha: Option<f64>,
    /// Every two judges on the presentations that both scored.
    pub weighted_kappa: Vec<WeightedKappa>,
}

/// One judge's scores in one dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionScores {
    /// The judge.
    pub judge: String,
    /// Pairs that it scored.
    pub pairs: u64,
    /// Mean score of the tuned responses.
    pub tuned: f64,
    /// Mean score of the base responses.
    pub base: f64,
    /// Tuned less base: mean over prompts.
    pub difference: f64,
    /// Its 95 % interval (Student's t over prompts).
    pub interval: Option<[f64; 2]>,
}

/// Quadratic weighted kappa of two judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedKappa {
    /// The one judge.
    pub one: String,
    /// The other.
    pub other: String,
    /// Responses that both scored in the same presentation.
    pub scores: u64,
    /// Kappa; absent where it is 0/0.
    pub kappa: Option<f64>,
}

/// How often a judge's verdict contradicts its own scores. Nothing is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contradictions {
    /// Verdicts with scores.
    pub scored: u64,
    /// The winner has the lower sum.
    pub opposite: u64,
    /// A tie with unequal sums.
    pub tie_with_unequal: u64,
    /// A winner with equal sums.
    pub winner_with_equal: u64,
}

/// One report for each dimension; empty without scores.
pub(super) fn dimensions(spec: &ReportSpec, joined: &[JoinedPair]) -> Vec<DimensionReport> {
    let scored =
        |judge: &str| verdicts(joined, judge).any(|(_, v)| v.passes.iter().any(|p| p.scores.is_some()));
    let judges: Vec<&str> =
        spec.judges.iter().map(|judge| judge.name.as_str()).filter(|judge| scored(judge)).collect();
    if judges.is_empty() {
        return Vec::new();
    }
    let report = |dimension: usize| DimensionReport {
        dimension: DIMENSIONS[dimension].to_owned(),
        judges: judges.iter().filter_map(|judge| of_judge(judge, dimension, joined)).collect(),
        krippendorff_alpha: alpha(&judges, dimension, joined),
        weighted_kappa: two_by_two(&judges, dimension, joined),
    };
    (0..DIMENSIONS.len()).map(report).collect()
}

/// What one judge's verdicts say against its scores.
pub(super) fn contradictions(judge: &str, joined: &[JoinedPair]) -> Contradictions {
    let mut found = Contradictions::default();
    for pass in verdicts(joined, judge).flat_map(|(_, verdict)| &verdict.passes) {
        let (Some(scores), Some(winner)) = (pass.scores, pass.winner) else { continue };
        let sum =
            |scores: crate::verdict::Scores| scores.named().iter().map(|(_, n)| u32::from(*n)).sum::<u32>();
        let (tuned, base) = (sum(scores.tuned), sum(scores.base));
        found.scored += 1;
        match winner {
            Winner::Tie if tuned != base => found.tie_with_unequal += 1,
            Winner::Tuned | Winner::Base if tuned == base => found.winner_with_equal += 1,
            Winner::Tuned if tuned < base => found.opposite += 1,
            Winner::Base if tuned > base => found.opposite += 1,
            Winner::Tie | Winner::Tuned | Winner::Base => {}
        }
    }
    found
}

fn verdicts<'a>(
    joined: &'a [JoinedPair],
    judge: &'a str,
) -> impl Iterator<Item = (&'a JoinedPair, &'a PairVerdict)> {
    joined.iter().filter_map(move |pair| Some((pair, pair.verdict(judge)?)))
}

/// (tuned, base) of one presentation.
fn of_pass(pass: &PassReport, dimension: usize) -> Option<(u8, u8)> {
    let scores = pass.scores?;
    Some((scores.tuned.named()[dimension].1, scores.base.named()[dimension].1))
}

/// (tuned, base), each the mean over presentations.
fn of_pair(verdict: &PairVerdict, dimension: usize) -> Option<(f64, f64)> {
    let passes: Vec<(u8, u8)> = verdict.passes.iter().filter_map(|pass| of_pass(pass, dimension)).collect();
    let mean =
        |side: fn(&(u8, u8)) -> u8| mean_present(passes.iter().map(|pass| Some(f64::from(side(pass)))));
    Some((mean(|pass| pass.0)?, mean(|pass| pass.1)?))
}

fn of_judge(judge: &str, dimension: usize, joined: &[JoinedPair]) -> Option<DimensionScores> {
    let mut by_prompt: std::collections::BTreeMap<&str, Vec<Option<f64>>> = std::collections::BTreeMap::new();
    let (mut tuned, mut base) = (Vec::new(), Vec::new());
    for (pair, verdict) in verdicts(joined, judge) {
        let Some((of_tuned, of_base)) = of_pair(verdict, dimension) else { continue };
        tuned.push(Some(of_tuned));
        base.push(Some(of_base));
        by_prompt.entry(&pair.report.prompt).or_default().push(Some(of_tuned - of_base));
    }
    let means: Vec<f64> = by_prompt.into_values().filter_map(mean_present).collect();
    let (difference, interval) = mean_and_ends(&means)?;
    Some(DimensionScores {
        judge: judge.to_owned(),
        pairs: tuned.len() as u64,
        tuned: mean_present(tuned)?,
        base: mean_present(base)?,
        difference,
        interval,
    })
}

fn alpha(judges: &[&str], dimension: usize, joined: &[JoinedPair]) -> Option<f64> {
    let rater = |judge: &&str| {
        let scores = |pair: &JoinedPair| pair.verdict(judge).and_then(|verdict| of_pair(verdict, dimension));
        let both = joined.iter().map(scores);
        both.flat_map(|scores| [scores.map(|s| s.0), scores.map(|s| s.1)]).collect()
    };
    let raters: Vec<Vec<Option<f64>>> = judges.iter().map(rater).collect();
    krippendorff_alpha(&raters, Metric::Ordinal).filter(|_| judges.len() > 1)
}

fn two_by_two(judges: &[&str], dimension: usize, joined: &[JoinedPair]) -> Vec<WeightedKappa> {
    let mut rows = Vec::new();
    for (index, other) in judges.iter().enumerate() {
        for one in &judges[..index] {
            let mut table = [[0u64; 5]; 5];
            for pair in joined {
                let (Some(a), Some(b)) = (pair.verdict(one), pair.verdict(other)) else { continue };
                for (a, b) in same_presentations(a, b) {
                    let (Some(a), Some(b)) = (of_pass(a, dimension), of_pass(b, dimension)) else { continue };
                    for (a, b) in [(a.0, b.0), (a.1, b.1)] {
                        table[usize::from(a.clamp(1, 5)) - 1][usize::from(b.clamp(1, 5)) - 1] += 1;
                    }
                }
            }
            rows.push(WeightedKappa {
                one: (*one).to_owned(),
                other: (*other).to_owned(),
                scores: table.iter().flatten().sum(),
                kappa: weighted_kappa(&table, Weights::Quadratic),
            });
        }
    }
    rows
}

/// Presentations in the same order and replicate; labels may differ between judges.
fn same_presentations<'a>(
    one: &'a PairVerdict,
    other: &'a PairVerdict,
) -> impl Iterator<Item = (&'a PassReport, &'a PassReport)> {
    let place = |pass: &PassReport| (pass.tuned_slot, pass.replicate);
    one.passes.iter().filter_map(move |a| Some((a, other.passes.iter().find(|b| place(a) == place(b))?)))
}
