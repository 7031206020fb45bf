//! Agreement between judges over pairs.

use super::inputs::ReportInputs;
use super::pairs::JoinedPair;
use super::types::{AgreementReport, JudgeAgreement, PanelAgreement};
use crate::records::Winner;
use crate::stats::agreement::{agreement as of_table, mcnemar};
use crate::stats::reliability::{Metric, cochran_q, fleiss_kappa, krippendorff_alpha};

use super::method::ALPHA;

fn code(winner: Winner) -> usize {
    match winner {
        Winner::Tuned => 0,
        Winner::Base => 1,
        Winner::Tie => 2,
    }
}

pub(super) fn agreement(inputs: &ReportInputs, joined: &[JoinedPair]) -> AgreementReport {
    let available = inputs.spec.judges.iter().filter(|judge| judge.unavailable.is_none());
    let judges: Vec<&str> = available.map(|judge| judge.name.as_str()).collect();
    let winner =
        |pair: &JoinedPair, judge: &str| pair.verdict(judge).and_then(|verdict| verdict.winner).map(code);
    let raters: Vec<Vec<Option<usize>>> =
        judges.iter().map(|judge| joined.iter().map(|pair| winner(pair, judge)).collect()).collect();
    let mut report = AgreementReport::default();
    for i in 0..judges.len() {
        for j in i + 1..judges.len() {
            report.judges.push(two_judges(judges[i], judges[j], &raters[i], &raters[j]));
        }
    }
    if judges.len() > 1 {
        report.panel = Some(all_judges(&raters));
    }
    report
}

fn two_judges(
    one: &str,
    other: &str,
    verdicts: &[Option<usize>],
    others: &[Option<usize>],
) -> JudgeAgreement {
    let mut table = [[0u64; 3]; 3];
    for (a, b) in verdicts.iter().zip(others) {
        if let (Some(a), Some(b)) = (a, b) {
            table[*a][*b] += 1;
        }
    }
    let result = of_table(&table);
    // Tuned wins against the rest: discordant pairs on either side.
    let only_one: u64 = table[0][1] + table[0][2];
    let only_other: u64 = table[1][0] + table[2][0];
    let pairs = table.iter().flatten().sum();
    JudgeAgreement {
        one: one.to_owned(),
        other: other.to_owned(),
        pairs,
        table,
        raw: result.map(|result| result.observed),
        kappa: result.and_then(|result| result.kappa),
        kappa_interval: result.and_then(|result| result.kappa_interval(ALPHA)),
        ac1: result.and_then(|result| result.ac1),
        mcnemar_p: (pairs > 0).then(|| mcnemar(only_one, only_other).exact),
    }
}

fn all_judges(raters: &[Vec<Option<usize>>]) -> PanelAgreement {
    let units = raters[0].len();
    let unit = |u: usize| raters.iter().map(|rater| rater[u]).collect::<Option<Vec<usize>>>();
    let complete: Vec<Vec<usize>> = (0..units).filter_map(unit).collect();
    let counts: Vec<Vec<u64>> = complete
        .iter()
        .map(|codes| (0..3).map(|code| codes.iter().filter(|c| **c == code).count() as u64).collect())
        .collect();
    let wins: Vec<Vec<bool>> =
        complete.iter().map(|codes| codes.iter().map(|code| *code == 0).collect()).collect();
    let values: Vec<Vec<Option<f64>>> =
        raters.iter().map(|rater| rater.iter().map(|code| code.map(|code| code as f64)).collect()).collect();
    let judged_by = |u: usize| raters.iter().filter(|rater| rater[u].is_some()).count();
    PanelAgreement {
        pairs: (0..units).filter(|u| judged_by(*u) >= 2).count() as u64,
        krippendorff_alpha: krippendorff_alpha(&values, Metric::Nominal),
        fleiss_kappa: fleiss_kappa(&counts),
        cochran_q_p: cochran_q(&wins).map(|q| q.p),
        unanimous: complete.iter().filter(|codes| codes.iter().all(|code| *code == codes[0])).count() as u64,
        complete: complete.len() as u64,
    }
}
