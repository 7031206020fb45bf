//! Strengths of three systems or more on one scale, by Bradley and Terry's model over the panel's scores.

use assay_domain::analysis::ALPHA;
use std::collections::BTreeMap;

use assay_domain::job::{Comparison, ReportSpec};
use serde::{Deserialize, Serialize};

use super::pairs::JoinedPair;
use crate::stats::bradley_terry::{BradleyTerryError, bradley_terry};
use crate::stats::cluster::{percentile, seeded_resamples};

/// Resamples of the bootstrap of strengths.
const REPLICATES: u32 = 1_000;

/// Half a win each way between every two systems, added where the likelihood has no maximum.
const PRIOR: f64 = 0.5;

/// Systems that were compared with each other, directly or through others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrengthReport {
    /// What they have in common: model, prompt set, sampling.
    pub group: String,
    /// Strongest first.
    pub systems: Vec<Strength>,
    /// Some system never lost to, or never beat, the rest (Ford's condition fails): half a win each way was added.
    pub prior_used: bool,
    /// Why there are no strengths, if there are none.
    pub not_estimated: Option<String>,
}

/// One system's strength.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strength {
    /// The system.
    pub system: String,
    /// Log strength; the mean over systems is 0.
    pub log_strength: f64,
    /// 95 % by bootstrap over prompts.
    pub interval: Option<[f64; 2]>,
    /// Sum of the scores it won, ties one half.
    pub wins: f64,
    /// Sum of the scores it lost.
    pub losses: f64,
}

/// A pair's prompt, systems (by index) and the first one's score.
struct Game<'a> {
    prompt: &'a str,
    tuned: usize,
    base: usize,
    score: f64,
}

/// One table for each group of at least three systems.
pub(super) fn strengths(spec: &ReportSpec, joined: &[JoinedPair], panel: &[String]) -> Vec<StrengthReport> {
    let mut groups: BTreeMap<String, Vec<&Comparison>> = BTreeMap::new();
    for c in &spec.comparisons {
        groups.entry(group_name(c)).or_default().push(c);
    }
    let report = |(group, comparisons): (String, Vec<&Comparison>)| {
        let (names, games) = games(&comparisons, joined, panel);
        (names.len() >= 3).then(|| estimate(group, names, &games, spec.bootstrap_seed))
    };
    groups.into_iter().filter_map(report).collect()
}

fn group_name(c: &Comparison) -> String {
    let words = [c.model.as_str(), c.prompts.as_str(), c.sampling.as_str()];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn games<'a>(
    comparisons: &[&Comparison],
    joined: &'a [JoinedPair],
    panel: &[String],
) -> (Vec<&'a str>, Vec<Game<'a>>) {
    let mut names: Vec<&str> = Vec::new();
    let mut games = Vec::new();
    for pair in joined.iter().filter(|pair| comparisons.iter().any(|c| c.id == pair.report.comparison)) {
        let Some(score) = pair.score(panel) else { continue };
        let mut place = |name: &'a str| {
            names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let (base, tuned) = (place(&pair.base), place(&pair.tuned));
        games.push(Game { prompt: &pair.report.prompt, tuned, base, score });
    }
    (names, games)
}

fn estimate(group: String, names: Vec<&str>, games: &[Game<'_>], seed: u64) -> StrengthReport {
    let table = table(names.len(), games.iter());
    let plain = bradley_terry(&table, 0.0);
    let prior_used = matches!(plain, Err(BradleyTerryError::Separable(_)));
    let fitted = if prior_used { bradley_terry(&table, PRIOR) } else { plain };
    let fitted = match fitted {
        Ok(fitted) => fitted,
        Err(error) => {
            return StrengthReport {
                group,
                systems: Vec::new(),
                prior_used,
                not_estimated: Some(error.to_string()),
            };
        }
    };
    let draws = bootstrap(names.len(), games, seed);
    let system = |(index, name): (usize, &&str)| {
        let column: Vec<f64> = draws.iter().map(|draw| draw[index]).collect();
        let ends = |share: f64| percentile(&column, share);
        Strength {
            system: (*name).to_owned(),
            log_strength: fitted.centred[index],
            interval: ends(ALPHA / 2.0).zip(ends(1.0 - ALPHA / 2.0)).map(|(low, high)| [low, high]),
            wins: table[index].iter().sum(),
            losses: table.iter().map(|row| row[index]).sum(),
        }
    };
    let mut systems: Vec<Strength> = names.iter().enumerate().map(system).collect();
    systems.sort_by(|a, b| b.log_strength.total_cmp(&a.log_strength));
    StrengthReport { group, systems, prior_used, not_estimated: None }
}

fn table<'a, 'b: 'a>(systems: usize, games: impl Iterator<Item = &'a Game<'b>>) -> Vec<Vec<f64>> {
    let mut wins = vec![vec![0.0; systems]; systems];
    for game in games {
        wins[game.tuned][game.base] += game.score;
        wins[game.base][game.tuned] += 1.0 - game.score;
    }
    wins
}

/// Centred strengths of resampled prompts; a resample that separates systems gets the prior.
fn bootstrap(systems: usize, games: &[Game<'_>], seed: u64) -> Vec<Vec<f64>> {
    let mut prompts: BTreeMap<&str, Vec<&Game<'_>>> = BTreeMap::new();
    for game in games {
        prompts.entry(game.prompt).or_default().push(game);
    }
    let prompts: Vec<Vec<&Game<'_>>> = prompts.into_values().collect();
    if prompts.len() < 2 {
        return Vec::new();
    }
    let fit = |indices: &Vec<usize>| {
        let table = table(systems, indices.iter().flat_map(|index| prompts[*index].iter().copied()));
        bradley_terry(&table, 0.0).or_else(|_| bradley_terry(&table, PRIOR)).ok().map(|fit| fit.centred)
    };
    seeded_resamples(prompts.len(), REPLICATES, seed).iter().filter_map(fit).collect()
}
