//! How far judges agree, and how steady they are.

use assay_judging::report::{JudgeReport, Report};

use crate::report::document::{Block, Column, Detail, Table, numbers, words};
use crate::report::format;

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    let mut blocks = agreement(report);
    blocks.extend(position(report, detail));
    if detail == Detail::Full {
        blocks.extend(orders(report));
        blocks.extend(super::scores::blocks(report));
    }
    blocks
}

/// An interval of a coefficient.
fn ends(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(|| format::NOTHING.to_owned(), |[low, high]| format!("{low:.2} to {high:.2}"))
}

/// Verdicts by the order of the responses.
fn orders(report: &Report) -> Vec<Block> {
    let mut table = Table::new(&[
        words("judge"),
        numbers("tuned won, shown first"),
        numbers("shown second"),
        numbers("second less first"),
        numbers("half of each"),
        numbers("Fisher p"),
    ]);
    for judge in &report.judges {
        let (first, second) = (judge.orders.tuned_first, judge.orders.tuned_second);
        if first.decided + second.decided == 0 {
            continue;
        }
        let few = first.decided.min(second.decided) < assay_judging::report::PROMPTS_FOR_PERCENT as u64;
        let nothing = || format::NOTHING.to_owned();
        table.push([
            format::judge(report, Some(&judge.info.name)),
            format!("{} of {}", first.wins, first.decided),
            format!("{} of {}", second.wins, second.decided),
            judge.orders.difference.filter(|_| !few).map_or_else(nothing, format::points),
            judge.orders.balanced_rate.filter(|_| !few).map_or_else(nothing, format::percent),
            judge.orders.fisher_p.map_or_else(nothing, format::p_value),
        ]);
    }
    if table.rows.is_empty() {
        Vec::new()
    } else {
        vec![Block::Folded("By order, ties left out".to_owned(), table)]
    }
}

fn agreement(report: &Report) -> Vec<Block> {
    if report.agreement.judges.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("judges"),
        numbers("pairs"),
        numbers("same verdict"),
        numbers("kappa"),
        numbers("95 % interval"),
        numbers("AC1"),
        numbers("95 % interval"),
        numbers("McNemar p (Holm)"),
    ]);
    for row in &report.agreement.judges {
        let few = row.pairs < assay_judging::report::PROMPTS_FOR_PERCENT as u64;
        let same: u64 = (0..3).map(|i| row.table[i][i]).sum();
        let raw =
            row.raw.filter(|_| !few).map_or_else(|| format!("{same} of {}", row.pairs), format::percent);
        table.push([
            format!(
                "{} / {}",
                format::judge(report, Some(&row.one)),
                format::judge(report, Some(&row.other))
            ),
            row.pairs.to_string(),
            raw,
            format::number(row.kappa, 2),
            ends(row.kappa_interval),
            format::number(row.ac1, 2),
            ends(row.ac1_interval),
            row.mcnemar_p_holm.map_or_else(|| format::NOTHING.to_owned(), format::p_value),
        ]);
    }
    let mut blocks = vec![Block::Heading("Agreement between judges".to_owned()), Block::Table(table)];
    if let Some(panel) = &report.agreement.panel {
        blocks.push(Block::Text(format!(
            "All judges: Krippendorff's alpha {} ({}), Fleiss' kappa {}, unanimous on {} of {} pairs; Cochran's Q p {}. Intervals of AC1 and alpha are \
             by bootstrap over prompts; that of kappa and the tests take pairs as independent.",
            format::number(panel.krippendorff_alpha, 2),
            ends(panel.krippendorff_interval),
            format::number(panel.fleiss_kappa, 2),
            panel.unanimous,
            panel.complete,
            panel.cochran_q_p.map_or_else(|| format::NOTHING.to_owned(), format::p_value),
        )));
    }
    blocks
}

fn position(report: &Report, detail: Detail) -> Vec<Block> {
    let mut blocks = vec![Block::Heading("Judges".to_owned())];
    match detail {
        Detail::Short => {
            let columns = [
                words("judge"),
                numbers("verdicts"),
                words("missing"),
                numbers("same in both orders"),
                numbers("first slot"),
                numbers("low mass"),
            ];
            let mut table = Table::new(&columns);
            for judge in &report.judges {
                let [name, _, verdicts, missing, steady, first, _, _, _, mass] = row(report, judge);
                table.push([name, verdicts, missing, steady, first, mass]);
            }
            blocks.push(Block::Table(table));
        }
        Detail::Full => {
            let mut table = Table::new(&ALL_COLUMNS);
            report.judges.iter().for_each(|judge| table.push(row(report, judge)));
            blocks.push(Block::Table(table));
            blocks.push(Block::Text(
                "Same in both orders: swaps of the two slots that left the verdict as it was. First slot: its share of \
                 choices that were no ties. Slot and label bias in logits (0 is none). Low mass: presentations in which \
                 the model put less than half of its probability on the labels."
                    .to_owned(),
            ));
        }
    }
    blocks
}

const ALL_COLUMNS: [Column; 10] = [
    words("judge"),
    words("model, template"),
    numbers("verdicts"),
    words("missing"),
    numbers("same in both orders"),
    numbers("first slot"),
    numbers("flip p"),
    numbers("slot bias"),
    numbers("label bias"),
    numbers("low mass"),
];

fn row(report: &Report, judge: &JudgeReport) -> [String; 10] {
    let p = &judge.position;
    let dash = || format::NOTHING.to_owned();
    let percent = |share: Option<f64>| share.map_or_else(dash, format::percent);
    let steady = match p.consistency {
        Some(share) if p.swaps >= 10 => format!("{} of {} ({:.0} %)", p.consistent, p.swaps, share * 100.0),
        Some(_) => format!("{} of {}", p.consistent, p.swaps),
        None => dash(),
    };
    let unavailable = judge.info.unavailable.as_ref().map(|_| "unavailable".to_owned());
    [
        format::judge(report, Some(&judge.info.name)),
        format!("{}, {}", judge.info.model, judge.info.template),
        judge.verdicts.to_string(),
        unavailable.unwrap_or_else(|| format::missing(&judge.missing)),
        steady,
        percent(p.first_slot_rate),
        p.flip_p.map_or_else(dash, format::p_value),
        format::number(p.slot_bias_logit, 2),
        format::number(p.label_bias_logit, 2),
        percent(p.low_mass_share),
    ]
}
