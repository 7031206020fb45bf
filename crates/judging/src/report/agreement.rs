//! Agreement between judges over pairs.

use assay_domain::analysis::ALPHA;
use std::collections::BTreeMap;

use assay_domain::job::ReportSpec;

use super::differences::correct;
use super::pairs::JoinedPair;
use super::types::{AgreementReport, JudgeAgreement, PanelAgreement};
use crate::records::Winner;
use crate::stats::agreement::{agreement as of_table, mcnemar};
use crate::stats::cluster::bootstrap_statistic;
use crate::stats::reliability::{Metric, cochran_q, fleiss_kappa, krippendorff_alpha};

/// Resamples of the bootstrap of agreement.
const REPLICATES: u32 = 2_000;

fn code(winner: Winner) -> usize {
    match winner {
        Winner::Tuned => 0,
        Winner::Base => 1,
        Winner::Tie => 2,
    }
}

/// Each judge's verdicts over all pairs, and the pairs of each prompt.
struct Raters<'a> {
    judges: Vec<&'a str>,
    verdicts: Vec<Vec<Option<usize>>>,
    prompts: Vec<Vec<usize>>,
    seed: u64,
}

impl<'a> Raters<'a> {
    fn of(spec: &'a ReportSpec, joined: &[JoinedPair]) -> Raters<'a> {
        let available = spec.judges.iter().filter(|judge| judge.unavailable.is_none());
        let judges: Vec<&str> = available.map(|judge| judge.name.as_str()).collect();
        let winner =
            |pair: &JoinedPair, judge: &str| pair.verdict(judge).and_then(|verdict| verdict.winner).map(code);
        let verdicts =
            judges.iter().map(|judge| joined.iter().map(|pair| winner(pair, judge)).collect()).collect();
        let mut prompts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, pair) in joined.iter().enumerate() {
            prompts.entry(&pair.report.prompt).or_default().push(index);
        }
        Raters { judges, verdicts, prompts: prompts.into_values().collect(), seed: spec.bootstrap_seed }
    }

    /// A statistic of pairs, resampled by prompt.
    fn interval(&self, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<[f64; 2]> {
        bootstrap_statistic(&self.prompts, REPLICATES, self.seed, ALPHA, statistic)
    }

    fn table(&self, one: usize, other: usize, pairs: impl Iterator<Item = usize>) -> [[u64; 3]; 3] {
        let mut table = [[0u64; 3]; 3];
        for pair in pairs {
            if let (Some(a), Some(b)) = (self.verdicts[one][pair], self.verdicts[other][pair]) {
                table[a][b] += 1;
            }
        }
        table
    }

    fn pairs(&self) -> std::ops::Range<usize> {
        0..self.verdicts.first().map_or(0, Vec::len)
    }
}

pub(super) fn agreement(spec: &ReportSpec, joined: &[JoinedPair]) -> AgreementReport {
    let raters = Raters::of(spec, joined);
    let mut report = AgreementReport::default();
    for i in 0..raters.judges.len() {
        for j in i + 1..raters.judges.len() {
            report.judges.push(two_judges(&raters, i, j));
        }
    }
    correct(
        &mut report.judges,
        |row| row.mcnemar_p.unwrap_or(1.0),
        |row, p| {
            row.mcnemar_p_holm = row.mcnemar_p.map(|_| p);
        },
    );
    if raters.judges.len() > 1 {
        report.panel = Some(all_judges(&raters));
    }
    report
}

fn two_judges(raters: &Raters<'_>, one: usize, other: usize) -> JudgeAgreement {
    let table = raters.table(one, other, raters.pairs());
    let result = of_table(&table);
    // Tuned wins against the rest: discordant pairs on either side.
    let only_one: u64 = table[0][1] + table[0][2];
    let only_other: u64 = table[1][0] + table[2][0];
    let pairs = table.iter().flatten().sum();
    let ac1 = |pairs: &[usize]| of_table(&raters.table(one, other, pairs.iter().copied()))?.ac1;
    JudgeAgreement {
        one: raters.judges[one].to_owned(),
        other: raters.judges[other].to_owned(),
        pairs,
        table,
        raw: result.map(|result| result.observed),
        kappa: result.and_then(|result| result.kappa),
        kappa_interval: result.and_then(|result| result.kappa_interval(ALPHA)),
        ac1: result.and_then(|result| result.ac1),
        ac1_interval: raters.interval(ac1),
        mcnemar_p: (pairs > 0).then(|| mcnemar(only_one, only_other).exact),
        mcnemar_p_holm: None,
    }
}

/// Krippendorff's nominal alpha of some pairs, which may repeat.
fn alpha(raters: &Raters<'_>, pairs: &[usize]) -> Option<f64> {
    let value = |verdicts: &Vec<Option<usize>>, pair: &usize| verdicts[*pair].map(|code| code as f64);
    let chosen: Vec<Vec<Option<f64>>> = raters
        .verdicts
        .iter()
        .map(|verdicts| pairs.iter().map(|pair| value(verdicts, pair)).collect())
        .collect();
    krippendorff_alpha(&chosen, Metric::Nominal)
}

fn all_judges(raters: &Raters<'_>) -> PanelAgreement {
    let verdicts = &raters.verdicts;
    let units: Vec<usize> = raters.pairs().collect();
    let unit = |u: &usize| verdicts.iter().map(|rater| rater[*u]).collect::<Option<Vec<usize>>>();
    let complete: Vec<Vec<usize>> = units.iter().filter_map(unit).collect();
    let counts: Vec<Vec<u64>> = complete
        .iter()
        .map(|codes| (0..3).map(|code| codes.iter().filter(|c| **c == code).count() as u64).collect())
        .collect();
    let wins: Vec<Vec<bool>> =
        complete.iter().map(|codes| codes.iter().map(|code| *code == 0).collect()).collect();
    let judged_by = |u: usize| verdicts.iter().filter(|rater| rater[u].is_some()).count();
    PanelAgreement {
        pairs: units.iter().filter(|u| judged_by(**u) >= 2).count() as u64,
        krippendorff_alpha: alpha(raters, &units),
        krippendorff_interval: raters.interval(|pairs| alpha(raters, pairs)),
        fleiss_kappa: fleiss_kappa(&counts),
        cochran_q_p: cochran_q(&wins).map(|q| q.p),
        unanimous: complete.iter().filter(|codes| codes.iter().all(|code| *code == codes[0])).count() as u64,
        complete: complete.len() as u64,
    }
}
