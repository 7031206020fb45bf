//! Strengths of three systems or more on one scale, by Bradley and Terry's model over the panel's scores.

use assay_domain::analysis::ALPHA;
use std::collections::{BTreeMap, BTreeSet};

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
    /// What they have in common: models, prompt set, sampling.
    pub group: String,
    /// Strongest first.
    pub systems: Vec<Strength>,
    /// Some system never lost to, or never beat, the rest (Ford's condition fails): half a win each way was added.
    pub prior_used: bool,
    /// Why there are no strengths, if there are none.
    pub not_estimated: Option<String>,
    /// Systems that answered the same prompts and that no comparison connects with these: strengths say nothing about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconnected: Vec<String>,
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

/// A model's name and its system's.
type Player<'a> = (&'a str, &'a str);

/// A pair with its systems, before they are numbered.
struct Met<'a> {
    prompt: &'a str,
    tuned: Player<'a>,
    base: Player<'a>,
    score: f64,
}

/// A pair's prompt, systems (by index) and the first one's score.
struct Game<'a> {
    prompt: &'a str,
    tuned: usize,
    base: usize,
    score: f64,
}

/// One table for each group of at least three systems that comparisons connect.
pub(super) fn strengths(spec: &ReportSpec, joined: &[JoinedPair], panel: &[String]) -> Vec<StrengthReport> {
    let mut sets: BTreeMap<(&str, &str), Vec<&Comparison>> = BTreeMap::new();
    for c in spec.all_comparisons() {
        sets.entry((&c.prompts, &c.sampling)).or_default().push(c);
    }
    let mut reports = Vec::new();
    for ((prompts, sampling), comparisons) in sets {
        let met = met(&comparisons, joined, panel);
        let groups = connected(&met);
        let direct = comparisons.iter().any(|c| c.against.is_some());
        for group in groups.iter().filter(|group| group.len() >= 3) {
            // Models that are never compared with each other are not news; where some are, it is said of the rest.
            let apart = groups.iter().filter(|other| direct && *other != group).flatten();
            let mut report = one(group, &met, [prompts, sampling], spec.bootstrap_seed);
            report.unconnected =
                apart.map(|(model, system)| format!("{model} {system}").trim().to_owned()).collect();
            reports.push(report);
        }
        if direct && !groups.is_empty() && groups.iter().all(|group| group.len() < 3) {
            reports.push(nobody(&groups, [prompts, sampling]));
        }
    }
    reports.sort_by(|a, b| a.group.cmp(&b.group));
    reports
}

/// Direct comparisons were asked for, but no verdicts connect three systems.
fn nobody(groups: &[Vec<Player<'_>>], set: [&str; 2]) -> StrengthReport {
    let systems = groups.iter().map(Vec::len).sum::<usize>();
    StrengthReport {
        group: set.join(" ").trim().to_owned(),
        systems: Vec::new(),
        prior_used: false,
        not_estimated: Some(format!(
            "verdicts connect no three of {systems} systems, so that there is no scale that they share"
        )),
        unconnected: Vec::new(),
    }
}

fn met<'a>(comparisons: &[&'a Comparison], joined: &'a [JoinedPair], panel: &[String]) -> Vec<Met<'a>> {
    let by_id: BTreeMap<&str, &Comparison> = comparisons.iter().map(|c| (c.id.as_str(), *c)).collect();
    let met = |pair: &'a JoinedPair| {
        let c = by_id.get(pair.report.comparison.as_str())?;
        Some(Met {
            prompt: &pair.report.prompt,
            tuned: (&c.model, &pair.tuned),
            base: (c.other_model(), &pair.base),
            score: pair.score(panel)?,
        })
    };
    joined.iter().filter_map(met).collect()
}

/// Systems that met, directly or through others, in the order of their first pair; groups by their first system.
fn connected<'a>(met: &[Met<'a>]) -> Vec<Vec<Player<'a>>> {
    let mut groups: Vec<Vec<Player<'a>>> = Vec::new();
    for pair in met {
        for player in [pair.base, pair.tuned] {
            if !groups.iter().any(|group| group.contains(&player)) {
                groups.push(vec![player]);
            }
        }
        let place = |player| groups.iter().position(|group: &Vec<Player<'a>>| group.contains(&player));
        if let (Some(one), Some(other)) = (place(pair.base), place(pair.tuned))
            && one != other
        {
            let later = groups.remove(one.max(other));
            groups[one.min(other)].extend(later);
        }
    }
    groups
}

fn one(group: &[Player<'_>], met: &[Met<'_>], set: [&str; 2], seed: u64) -> StrengthReport {
    let models: BTreeSet<&str> = group.iter().map(|(model, _)| *model).collect();
    let several = models.len() > 1;
    let models: Vec<&str> = models.into_iter().collect();
    let words = [models.join(", "), set[0].to_owned(), set[1].to_owned()];
    let name = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let named = |(model, system): &Player<'_>| {
        if several { format!("{model} {system}") } else { (*system).to_owned() }
    };
    let place = |player: &Player<'_>| group.iter().position(|known| known == player);
    let games = met.iter().filter_map(|pair| {
        let (tuned, base) = (place(&pair.tuned)?, place(&pair.base)?);
        Some(Game { prompt: pair.prompt, tuned, base, score: pair.score })
    });
    estimate(name, group.iter().map(named).collect(), &games.collect::<Vec<_>>(), seed)
}

fn estimate(group: String, names: Vec<String>, games: &[Game<'_>], seed: u64) -> StrengthReport {
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
                unconnected: Vec::new(),
            };
        }
    };
    let draws = bootstrap(names.len(), games, seed);
    let system = |(index, name): (usize, &String)| {
        let column: Vec<f64> = draws.iter().map(|draw| draw[index]).collect();
        let ends = |share: f64| percentile(&column, share);
        Strength {
            system: name.clone(),
            log_strength: fitted.centred[index],
            interval: ends(ALPHA / 2.0).zip(ends(1.0 - ALPHA / 2.0)).map(|(low, high)| [low, high]),
            wins: table[index].iter().sum(),
            losses: table.iter().map(|row| row[index]).sum(),
        }
    };
    let mut systems: Vec<Strength> = names.iter().enumerate().map(system).collect();
    systems.sort_by(|a, b| b.log_strength.total_cmp(&a.log_strength));
    StrengthReport { group, systems, prior_used, not_estimated: None, unconnected: Vec::new() }
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
