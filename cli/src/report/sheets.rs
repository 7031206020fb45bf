//! A report's tables as comma-separated values, one file each: numbers as they are, nothing rounded.
//!
//! A rate that may not be printed (fewer than ten prompts, or withheld) is empty here too; its counts are there.

use assay_judging::report::{Interval, Report, WinRate};

/// (file name, text) of every table that has rows. The win rates come first.
#[must_use]
pub fn sheets(report: &Report) -> Vec<(&'static str, String)> {
    let all = [
        ("win_rates.csv", win_rates(report)),
        ("systems.csv", systems(report)),
        ("checkpoints.csv", checkpoints(report)),
        ("seeds.csv", seeds(report)),
        ("style.csv", style(report)),
        ("agreement.csv", agreement(report)),
        ("scores.csv", scores(report)),
        ("judges.csv", judges(report)),
        ("jobs.csv", jobs(report)),
        ("verdicts.csv", verdicts(report)),
    ];
    all.into_iter().filter(|(_, sheet)| sheet.rows > 0).map(|(name, sheet)| (name, sheet.text())).collect()
}

/// Rows under a header.
struct Sheet {
    writer: csv::Writer<Vec<u8>>,
    rows: usize,
}

impl Sheet {
    fn new(header: &[&str]) -> Sheet {
        let writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        let mut sheet = Sheet { writer, rows: 0 };
        sheet.line(header.iter().map(|name| (*name).to_owned()));
        sheet
    }

    fn push<const N: usize>(&mut self, row: [String; N]) {
        self.line(row.into_iter().map(harmless));
        self.rows += 1;
    }

    fn line(&mut self, cells: impl Iterator<Item = String>) {
        let written = self.writer.write_record(cells.collect::<Vec<_>>());
        debug_assert!(written.is_ok(), "memory takes all, and rows are as long as their header");
    }

    fn text(self) -> String {
        self.writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// A cell that a spreadsheet would take for a formula gets an apostrophe.
fn harmless(cell: String) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula && cell.parse::<f64>().is_err() { format!("'{cell}") } else { cell }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn ends(interval: Option<[f64; 2]>) -> [String; 2] {
    [number(interval.map(|ends| ends[0])), number(interval.map(|ends| ends[1]))]
}

fn ends_of(interval: &Option<Interval>) -> [String; 2] {
    ends(interval.as_ref().map(|interval| [interval.low, interval.high]))
}

const WIN_RATES: [&str; 29] = [
    "comparison",
    "model",
    "data",
    "recipe",
    "seed",
    "checkpoint",
    "prompts_of",
    "sampling",
    "judge",
    "scope_kind",
    "scope",
    "n_prompts",
    "n_pairs",
    "wins",
    "ties",
    "losses",
    "missing",
    "rate",
    "low",
    "high",
    "interval",
    "p",
    "p_holm",
    "ties_dropped",
    "ties_lost",
    "bound_low",
    "bound_high",
    "detectable",
    "withheld",
];

fn win_rates(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&WIN_RATES);
    for comparison in &report.comparisons {
        let c = &comparison.comparison;
        for row in &comparison.rates {
            let printable = !row.few && row.withheld.is_none();
            let shown = |value: Option<f64>| number(value.filter(|_| printable));
            let [low, high] = ends_of(&row.interval.filter(|_| printable));
            let [bound_low, bound_high] = ends(row.bounds.filter(|_| !row.few).map(|b| [b.low, b.high]));
            let method = row.interval.filter(|_| printable).map_or("", |interval| interval.method.name());
            let (kind, scope) = scope(row);
            sheet.push([
                c.id.clone(),
                c.model.clone(),
                c.data.clone(),
                c.recipe.clone(),
                c.seed.to_string(),
                c.checkpoint.clone(),
                c.prompts.clone(),
                c.sampling.clone(),
                Report::judge_label(row.judge.as_deref()).to_owned(),
                kind.to_owned(),
                scope,
                row.prompts.to_string(),
                row.pairs.to_string(),
                row.counts.wins.to_string(),
                row.counts.ties.to_string(),
                row.counts.losses.to_string(),
                row.missing.total().to_string(),
                shown(row.rate),
                low,
                high,
                method.to_owned(),
                number(row.p),
                number(row.p_holm),
                shown(row.ties.and_then(|ties| ties.dropped)),
                shown(row.ties.map(|ties| ties.as_loss)),
                bound_low,
                bound_high,
                number(row.detectable),
                row.withheld.clone().unwrap_or_default(),
            ]);
        }
    }
    sheet
}

fn scope(row: &WinRate) -> (&'static str, String) {
    use assay_judging::report::Scope;
    match &row.scope {
        Scope::All => ("all", String::new()),
        Scope::Split(name) => ("split", name.clone()),
        Scope::Domain(name) => ("domain", name.clone()),
    }
}

fn systems(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&[
        "system",
        "less",
        "prompts_of",
        "n_prompts",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
    ]);
    for row in &report.system_differences {
        let [low, high] = ends_of(&row.interval);
        sheet.push([
            row.other.clone(),
            row.one.clone(),
            row.prompts_of.clone(),
            row.prompts.to_string(),
            row.difference.to_string(),
            low,
            high,
            row.p.to_string(),
            row.p_holm.to_string(),
        ]);
    }
    sheet
}

fn checkpoints(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&[
        "comparison",
        "checkpoint",
        "less",
        "n_prompts",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
    ]);
    for row in &report.checkpoint_differences {
        let [low, high] = ends_of(&row.interval);
        sheet.push([
            row.to.clone(),
            row.to_checkpoint.clone(),
            row.from_checkpoint.clone(),
            row.prompts.to_string(),
            row.difference.to_string(),
            low,
            high,
            row.p.to_string(),
            row.p_holm.to_string(),
        ]);
    }
    sheet
}

fn seeds(report: &Report) -> Sheet {
    let mut sheet =
        Sheet::new(&["comparisons", "checkpoint", "seeds", "n_prompts", "rate", "low", "high", "seed_sd"]);
    for pool in &report.seed_pools {
        let [low, high] = ends_of(&pool.interval.filter(|_| !pool.few));
        let seeds: Vec<String> = pool.seeds.iter().map(u64::to_string).collect();
        sheet.push([
            pool.comparisons.join(" "),
            pool.checkpoint.clone(),
            seeds.join(" "),
            pool.prompts.to_string(),
            number(Some(pool.rate).filter(|_| !pool.few)),
            low,
            high,
            pool.seed_sd.to_string(),
        ]);
    }
    sheet
}

const STYLE: [&str; 14] = [
    "comparison",
    "n_pairs",
    "tuned_truncated",
    "base_truncated",
    "chars_difference",
    "chars_low",
    "chars_high",
    "marks_difference",
    "marks_low",
    "marks_high",
    "longer_won",
    "unequal_lengths",
    "length_controlled",
    "style_controlled",
];

fn style(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&STYLE);
    for comparison in &report.comparisons {
        let Some(style) = &comparison.style else { continue };
        let few = comparison.overall(None).is_none_or(|row| row.few);
        let [chars_low, chars_high] = ends(style.chars.interval);
        let [marks_low, marks_high] = ends(style.markdown_marks.interval);
        sheet.push([
            comparison.comparison.id.clone(),
            style.pairs.to_string(),
            style.tuned_truncated.to_string(),
            style.base_truncated.to_string(),
            style.chars.mean.to_string(),
            chars_low,
            chars_high,
            style.markdown_marks.mean.to_string(),
            marks_low,
            marks_high,
            style.longer_won.to_string(),
            style.unequal_lengths.to_string(),
            number(style.length_controlled.filter(|_| !few).map(|rate| rate.rate)),
            number(style.style_controlled.filter(|_| !few).map(|rate| rate.rate)),
        ]);
    }
    sheet
}

const AGREEMENT: [&str; 12] = [
    "judge",
    "other",
    "n_pairs",
    "raw",
    "kappa",
    "kappa_low",
    "kappa_high",
    "ac1",
    "ac1_low",
    "ac1_high",
    "mcnemar_p",
    "mcnemar_p_holm",
];

fn agreement(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&AGREEMENT);
    for row in &report.agreement.judges {
        let few = row.pairs < assay_judging::report::PROMPTS_FOR_PERCENT as u64;
        let [kappa_low, kappa_high] = ends(row.kappa_interval);
        let [ac1_low, ac1_high] = ends(row.ac1_interval);
        sheet.push([
            row.one.clone(),
            row.other.clone(),
            row.pairs.to_string(),
            number(row.raw.filter(|_| !few)),
            number(row.kappa),
            kappa_low,
            kappa_high,
            number(row.ac1),
            ac1_low,
            ac1_high,
            number(row.mcnemar_p),
            number(row.mcnemar_p_holm),
        ]);
    }
    sheet
}

fn scores(report: &Report) -> Sheet {
    let mut sheet =
        Sheet::new(&["dimension", "judge", "n_pairs", "tuned", "base", "difference", "low", "high"]);
    for dimension in &report.scores {
        for row in &dimension.judges {
            let [low, high] = ends(row.interval);
            sheet.push([
                dimension.dimension.clone(),
                row.judge.clone(),
                row.pairs.to_string(),
                row.tuned.to_string(),
                row.base.to_string(),
                row.difference.to_string(),
                low,
                high,
            ]);
        }
    }
    sheet
}

const JUDGES: [&str; 18] = [
    "judge",
    "kind",
    "model",
    "models_that_answered",
    "verdicts",
    "missing",
    "swaps",
    "consistent",
    "first_slot_rate",
    "tuned_first_wins",
    "tuned_first_decided",
    "tuned_second_wins",
    "tuned_second_decided",
    "fisher_p",
    "prompt_tokens",
    "new_tokens",
    "seconds",
    "usd",
];

fn judges(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&JUDGES);
    for judge in &report.judges {
        let (position, orders) = (&judge.position, &judge.orders);
        let used = report.execution.judge_usage.get(&judge.info.name).copied().unwrap_or_default();
        sheet.push([
            judge.info.name.clone(),
            judge.info.kind.clone(),
            judge.info.model.clone(),
            judge.models.join(" "),
            judge.verdicts.to_string(),
            judge.missing.total().to_string(),
            position.swaps.to_string(),
            position.consistent.to_string(),
            number(position.first_slot_rate),
            orders.tuned_first.wins.to_string(),
            orders.tuned_first.decided.to_string(),
            orders.tuned_second.wins.to_string(),
            orders.tuned_second.decided.to_string(),
            number(orders.fisher_p),
            used.prompt_tokens.to_string(),
            used.new_tokens.to_string(),
            used.seconds.to_string(),
            number(used.usd),
        ]);
    }
    sheet
}

fn jobs(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&[
        "job",
        "kind",
        "attempts",
        "outcome",
        "tokens",
        "tokens_per_s",
        "peak_memory_mib",
        "environment",
    ]);
    for job in &report.execution.jobs {
        let usage = job.usage.clone().unwrap_or_default();
        let outcome = job.attempts.last().map_or("", |attempt| attempt.outcome.as_str());
        sheet.push([
            job.label.clone(),
            job.kind.as_str().to_owned(),
            job.attempts.len().to_string(),
            outcome.to_owned(),
            usage.tokens.to_string(),
            usage.tokens_per_s.to_string(),
            usage.peak_memory_mib.to_string(),
            usage.environment,
        ]);
    }
    sheet
}

/// Every verdict, in a form that `assay report import` reads again.
fn verdicts(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&[
        "comparison",
        "item",
        "sample",
        "domain",
        "split",
        "judge",
        "first",
        "replicate",
        "winner",
    ]);
    for pair in &report.pairs {
        for verdict in &pair.verdicts {
            for pass in &verdict.passes {
                use assay_judging::records::{Slot, Winner};
                let first = match pass.tuned_slot {
                    Some(Slot::First) => "tuned",
                    Some(Slot::Second) => "base",
                    None => "",
                };
                let winner = match pass.winner {
                    Some(Winner::Tuned) => "tuned",
                    Some(Winner::Base) => "base",
                    Some(Winner::Tie) => "tie",
                    None => pass.status.name(),
                };
                sheet.push([
                    pair.comparison.clone(),
                    pair.prompt_id.clone(),
                    pair.sample.to_string(),
                    pair.domain.clone(),
                    pair.split.clone(),
                    verdict.judge.clone(),
                    first.to_owned(),
                    pass.replicate.to_string(),
                    winner.to_owned(),
                ]);
            }
        }
    }
    sheet
}
