//! Length and style of responses, and the win rate without their difference: a sensitivity row, not the headline.

use assay_domain::analysis::ALPHA;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interval::mean_and_ends;
use super::lengths::markdown_marks;
use super::pairs::JoinedPair;
use crate::records::{FinishReason, Winner};
use crate::stats::logistic::{Item, clustered_logistic};
use crate::stats::panel::mean_present;

/// How the tuned responses of a comparison differ from the base's in form, and what that is worth to the panel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StyleReport {
    /// Pairs whose two texts are known.
    pub pairs: u64,
    /// Tuned responses that the token limit cut off.
    pub tuned_truncated: u64,
    /// Base responses that the token limit cut off.
    pub base_truncated: u64,
    /// Characters, tuned less base.
    pub chars: MeanDifference,
    /// Markdown marks (headings, list items, bold), tuned less base.
    pub markdown_marks: MeanDifference,
    /// Pairs decided by the panel whose texts differ in length.
    pub unequal_lengths: u64,
    /// Those of them that the longer response won.
    pub longer_won: u64,
    /// The panel's win rate at equal length; absent where it cannot be estimated.
    pub length_controlled: Option<ControlledRate>,
    /// The panel's win rate at equal length and equally many Markdown marks.
    pub style_controlled: Option<ControlledRate>,
}

/// A mean over prompts of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanDifference {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval (Student's t over prompts).
    pub interval: Option<[f64; 2]>,
}

/// A win rate from a logistic regression, with an interval clustered by prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ControlledRate {
    /// The rate where the covariates are 0.
    pub rate: f64,
    /// 95 %.
    pub interval: [f64; 2],
}

/// The style of one comparison's pairs; `None` without texts.
pub(super) fn style(pairs: &[&JoinedPair], panel: &[String]) -> Option<StyleReport> {
    let known: Vec<&JoinedPair> = pairs.iter().copied().filter(|pair| pair.has_texts).collect();
    if known.is_empty() {
        return None;
    }
    let cut = |side: fn(&JoinedPair) -> FinishReason| {
        known.iter().filter(|pair| side(pair) == FinishReason::Length).count() as u64
    };
    let (unequal_lengths, longer_won) = longer(&known, panel);
    Some(StyleReport {
        pairs: known.len() as u64,
        tuned_truncated: cut(|pair| pair.report.tuned.finish_reason),
        base_truncated: cut(|pair| pair.report.base.finish_reason),
        chars: difference(&known, chars)?,
        markdown_marks: difference(&known, marks)?,
        unequal_lengths,
        longer_won,
        length_controlled: controlled(&known, panel, &[chars]),
        style_controlled: controlled(&known, panel, &[chars, marks]),
    })
}

fn chars(pair: &JoinedPair) -> f64 {
    let count = |text: &str| text.chars().count() as f64;
    count(&pair.report.tuned.text) - count(&pair.report.base.text)
}

fn marks(pair: &JoinedPair) -> f64 {
    markdown_marks(&pair.report.tuned.text) as f64 - markdown_marks(&pair.report.base.text) as f64
}

fn difference(pairs: &[&JoinedPair], of: fn(&JoinedPair) -> f64) -> Option<MeanDifference> {
    let mut by_prompt: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for pair in pairs {
        by_prompt.entry(&pair.report.prompt).or_default().push(Some(of(pair)));
    }
    let means: Vec<f64> = by_prompt.into_values().filter_map(mean_present).collect();
    let (mean, interval) = mean_and_ends(&means)?;
    Some(MeanDifference { mean, interval })
}

/// Pairs with a winner and unequal lengths, and how many of them the longer response won.
fn longer(pairs: &[&JoinedPair], panel: &[String]) -> (u64, u64) {
    let tuned_longer = |pair: &&&JoinedPair| {
        let difference = chars(pair);
        (difference != 0.0).then_some(difference > 0.0)
    };
    let won: Vec<bool> = pairs
        .iter()
        .filter_map(|pair| match pair.winner(panel)? {
            Winner::Tuned => tuned_longer(&pair),
            Winner::Base => tuned_longer(&pair).map(|longer| !longer),
            Winner::Tie => None,
        })
        .collect();
    (won.len() as u64, won.iter().filter(|won| **won).count() as u64)
}

/// logit P(win) = b0 + sum of b_k tanh(d_k / sd(d_k)), as AlpacaEval controls for length; the rate is that of b0.
fn controlled(
    pairs: &[&JoinedPair],
    panel: &[String],
    covariates: &[fn(&JoinedPair) -> f64],
) -> Option<ControlledRate> {
    let scored: Vec<(&JoinedPair, f64)> =
        pairs.iter().filter_map(|pair| Some((*pair, pair.score(panel)?))).collect();
    let mut prompts: Vec<&str> = scored.iter().map(|(pair, _)| pair.report.prompt.as_str()).collect();
    prompts.sort_unstable();
    prompts.dedup();
    let mut columns = Vec::new();
    for covariate in covariates {
        let values: Vec<f64> = scored.iter().map(|(pair, _)| covariate(pair)).collect();
        let sd = sample_sd(&values).filter(|sd| *sd > 0.0)?;
        columns.push(values.iter().map(|value| (value / sd).tanh()).collect::<Vec<f64>>());
    }
    let item = |(index, (pair, y)): (usize, &(&JoinedPair, f64))| {
        let x = std::iter::once(1.0).chain(columns.iter().map(|column| column[index])).collect();
        let cluster = prompts.binary_search(&pair.report.prompt.as_str()).unwrap_or_default();
        Item { x, y: *y, cluster }
    };
    let fit = clustered_logistic(&scored.iter().enumerate().map(item).collect::<Vec<_>>())?;
    Some(ControlledRate { rate: fit.base_rate(), interval: fit.base_interval(ALPHA) })
}

fn sample_sd(values: &[f64]) -> Option<f64> {
    let mean = mean_present(values.iter().copied().map(Some))?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() as f64 - 1.0)).sqrt())
}
