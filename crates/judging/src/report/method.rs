//! What the report says about itself: how its numbers are made, and what to be wary of.

use assay_domain::analysis::{self, ALPHA, BOOTSTRAP_REPLICATES};

use super::sampling;
use super::types::{Method, Report};

/// Consistency below which a judge is called unsteady.
const CONSISTENCY_MIN: f64 = 0.7;

/// Share of cut-off responses above which judges score fragments.
const TRUNCATED_SHARE_MAX: f64 = 0.2;

pub(super) fn method(panel: &[String], bootstrap_seed: u64) -> Method {
    Method {
        estimand: analysis::ESTIMAND.to_owned(),
        panel: panel.to_vec(),
        ties: analysis::TIES.to_owned(),
        intervals: analysis::INTERVALS.to_owned(),
        missing: analysis::MISSING.to_owned(),
        alpha: ALPHA,
        bootstrap_seed,
        bootstrap_replicates: BOOTSTRAP_REPLICATES,
        warnings: Vec::new(),
    }
}

/// What a reader should know first.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.smoke && !report.method.panel.is_empty() {
        warnings.push(
            "smoke: all judges are local models read by log-probabilities; they test the pipeline and are no evidence \
             of quality"
                .to_owned(),
        );
    }
    if report.method.panel.is_empty() {
        warnings.push("no judge took part: there are no win rates".to_owned());
    }
    about_judges(report, &mut warnings);
    about_rows(report, &mut warnings);
    about_responses(report, &mut warnings);
    about_leaks(report, &mut warnings);
    warnings.extend(sampling::warnings(&report.sampling));
    about_import(report, &mut warnings);
    warnings
}

fn about_judges(report: &Report, warnings: &mut Vec<String>) {
    for judge in &report.judges {
        let name = &judge.info.name;
        if let Some(reason) = &judge.info.unavailable {
            warnings.push(format!("judge {name} did not take part: {reason}"));
        }
        if judge.models.len() > 1 {
            warnings.push(format!(
                "judge {name} drifted: {} different models answered ({})",
                judge.models.len(),
                judge.models.join(", ")
            ));
        }
        if let Some(share) = judge.position.consistency.filter(|share| *share < CONSISTENCY_MIN) {
            warnings.push(format!(
                "judge {name} gave the same verdict in both orders in only {} of {} swaps ({:.0} %)",
                judge.position.consistent,
                judge.position.swaps,
                share * 100.0
            ));
        }
        if let Some(share) = judge.position.low_mass_share.filter(|share| *share > 0.0) {
            warnings.push(format!(
                "judge {name} put less than half of its probability on the labels in {:.0} % of presentations: its \
                 template fails there",
                share * 100.0
            ));
        }
    }
}

fn about_rows(report: &Report, warnings: &mut Vec<String>) {
    for comparison in report.all_comparisons() {
        let Some(row) = comparison.overall(None) else { continue };
        let name = &comparison.comparison.id;
        if let Some(reason) = &row.withheld {
            warnings.push(format!("{name}: no headline, {reason}"));
        }
        if row.prompts > 0 && row.few {
            warnings.push(format!("{name}: {} prompts are too few for percentages", row.prompts));
        }
    }
}

fn about_leaks(report: &Report, warnings: &mut Vec<String>) {
    for comparison in report.all_comparisons() {
        let Some(leaks) = comparison.leaks.as_ref().filter(|leaks| leaks.pairs_with_traces > 0) else {
            continue;
        };
        warnings.push(format!(
            "{}: {} of {} pairs hold traces of who wrote them, or words to the judge; they are listed below",
            comparison.comparison.id, leaks.pairs_with_traces, leaks.pairs
        ));
    }
}

fn about_responses(report: &Report, warnings: &mut Vec<String>) {
    for set in &report.generations {
        let share = set.truncated as f64 / set.responses.max(1) as f64;
        if share > TRUNCATED_SHARE_MAX {
            warnings.push(format!(
                "{} {}: {} of {} responses were cut off by the token limit, so judges read fragments",
                set.model, set.system, set.truncated, set.responses
            ));
        }
        if set.empty > 0 {
            warnings.push(format!("{} {}: {} responses are empty", set.model, set.system, set.empty));
        }
    }
}

fn about_import(report: &Report, warnings: &mut Vec<String>) {
    let Some(import) = &report.import else { return };
    let mut say = |count: usize, what: &str| {
        if count > 0 {
            warnings.push(format!("{}: {count} {what}", import.file));
        }
    };
    say(import.left_out.len(), "rows could not be placed and were left out; they are listed below");
    say(import.unreadable.len(), "verdicts could not be read and are missing; they are listed below");
    say(
        import.duplicates.len(),
        "times a judge judged a pair more often than its design asks for; such a pair counts once, as the mean of its \
         verdicts; they are listed below",
    );
}
