//! A report's tables as comma-separated values, one file each: numbers as they are, nothing rounded.
//!
//! A rate that may not be printed (fewer than ten prompts, or withheld) is empty here too; its counts are there.

use assay_judging::report::{ComparisonReport, Interval, Report, WinRate};

/// (file name, text) of every table that has rows. The win rates come first.
#[must_use]
pub fn sheets(report: &Report) -> Vec<(&'static str, String)> {
    let all = [
        ("win_rates.csv", win_rates(&report.comparisons)),
        ("direct.csv", win_rates(&report.direct)),
        ("systems.csv", systems(report)),
        ("checkpoints.csv", checkpoints(report)),
        ("seeds.csv", seeds(report)),
        ("style.csv", style(report)),
        ("traces.csv", traces(report)),
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
    fn new() -> Sheet {
        let writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        Sheet { writer, rows: 0 }
    }

    /// A row of (column, cell); the first one's columns are the header.
    fn push<const N: usize>(&mut self, row: [(&str, String); N]) {
        if self.rows == 0 {
            self.line(row.iter().map(|(column, _)| (*column).to_owned()));
        }
        self.line(row.into_iter().map(|(_, cell)| harmless(cell)));
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

fn win_rates(comparisons: &[ComparisonReport]) -> Sheet {
    let mut sheet = Sheet::new();
    for comparison in comparisons {
        let c = &comparison.comparison;
        for row in &comparison.rates {
            let printable = !row.few && row.withheld.is_none();
            let shown = |value: Option<f64>| number(value.filter(|_| printable));
            let [low, high] = ends_of(&row.interval.filter(|_| printable));
            let [bound_low, bound_high] = ends(row.bounds.filter(|_| !row.few).map(|b| [b.low, b.high]));
            let method = row.interval.filter(|_| printable).map_or("", |interval| interval.method.name());
            let (kind, scope) = scope(row);
            sheet.push([
                ("comparison", c.id.clone()),
                ("model", c.model.clone()),
                ("data", c.data.clone()),
                ("recipe", c.recipe.clone()),
                ("seed", c.seed.to_string()),
                ("checkpoint", c.checkpoint.clone()),
                ("prompts_of", c.prompts.clone()),
                ("sampling", c.sampling.clone()),
                ("judge", Report::judge_label(row.judge.as_deref()).to_owned()),
                ("scope_kind", kind.to_owned()),
                ("scope", scope),
                ("n_prompts", row.prompts.to_string()),
                ("n_pairs", row.pairs.to_string()),
                ("wins", row.counts.wins.to_string()),
                ("ties", row.counts.ties.to_string()),
                ("losses", row.counts.losses.to_string()),
                ("missing", row.missing.total().to_string()),
                ("rate", shown(row.rate)),
                ("low", low),
                ("high", high),
                ("interval", method.to_owned()),
                ("p", number(row.p)),
                ("p_holm", number(row.p_holm)),
                ("ties_dropped", shown(row.ties.and_then(|ties| ties.dropped))),
                ("ties_lost", shown(row.ties.map(|ties| ties.as_loss))),
                ("bound_low", bound_low),
                ("bound_high", bound_high),
                ("detectable", number(row.detectable)),
                ("withheld", row.withheld.clone().unwrap_or_default()),
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
    let mut sheet = Sheet::new();
    for row in &report.system_differences {
        let [low, high] = ends_of(&row.interval);
        sheet.push([
            ("system", row.other.clone()),
            ("less", row.one.clone()),
            ("prompts_of", row.prompts_of.clone()),
            ("n_prompts", row.prompts.to_string()),
            ("difference", row.difference.to_string()),
            ("low", low),
            ("high", high),
            ("p", row.p.to_string()),
            ("p_holm", row.p_holm.to_string()),
        ]);
    }
    sheet
}

fn checkpoints(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for row in &report.checkpoint_differences {
        let [low, high] = ends_of(&row.interval);
        sheet.push([
            ("comparison", row.to.clone()),
            ("checkpoint", row.to_checkpoint.clone()),
            ("less", row.from_checkpoint.clone()),
            ("n_prompts", row.prompts.to_string()),
            ("difference", row.difference.to_string()),
            ("low", low),
            ("high", high),
            ("p", row.p.to_string()),
            ("p_holm", row.p_holm.to_string()),
        ]);
    }
    sheet
}

fn seeds(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for pool in &report.seed_pools {
        let [low, high] = ends_of(&pool.interval.filter(|_| !pool.few));
        let seeds: Vec<String> = pool.seeds.iter().map(u64::to_string).collect();
        sheet.push([
            ("comparisons", pool.comparisons.join(" ")),
            ("checkpoint", pool.checkpoint.clone()),
            ("seeds", seeds.join(" ")),
            ("n_prompts", pool.prompts.to_string()),
            ("rate", number(Some(pool.rate).filter(|_| !pool.few))),
            ("low", low),
            ("high", high),
            ("seed_sd", pool.seed_sd.to_string()),
        ]);
    }
    sheet
}

fn style(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for comparison in report.all_comparisons() {
        let Some(style) = &comparison.style else { continue };
        let few = comparison.overall(None).is_none_or(|row| row.few);
        let [chars_low, chars_high] = ends(style.chars.interval);
        let [marks_low, marks_high] = ends(style.markdown_marks.interval);
        sheet.push([
            ("comparison", comparison.comparison.id.clone()),
            ("n_pairs", style.pairs.to_string()),
            ("tuned_truncated", style.tuned_truncated.to_string()),
            ("base_truncated", style.base_truncated.to_string()),
            ("chars_difference", style.chars.mean.to_string()),
            ("chars_low", chars_low),
            ("chars_high", chars_high),
            ("marks_difference", style.markdown_marks.mean.to_string()),
            ("marks_low", marks_low),
            ("marks_high", marks_high),
            ("longer_won", style.longer_won.to_string()),
            ("unequal_lengths", style.unequal_lengths.to_string()),
            ("length_controlled", number(style.length_controlled.filter(|_| !few).map(|rate| rate.rate))),
            ("style_controlled", number(style.style_controlled.filter(|_| !few).map(|rate| rate.rate))),
        ]);
    }
    sheet
}

fn traces(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for comparison in report.all_comparisons() {
        let Some(leaks) = &comparison.leaks else { continue };
        for one in &leaks.found {
            sheet.push([
                ("comparison", comparison.comparison.id.clone()),
                ("kind", super::sections::trace_kind(one.kind).to_owned()),
                ("words", one.found.clone()),
                ("tuned", one.tuned.to_string()),
                ("base", one.base.to_string()),
                ("pairs_with_any", leaks.pairs_with_traces.to_string()),
                ("n_pairs", leaks.pairs.to_string()),
                ("win_rate_without", number(leaks.rate_without)),
            ]);
        }
    }
    sheet
}

fn agreement(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for row in &report.agreement.judges {
        let few = row.pairs < assay_judging::report::PROMPTS_FOR_PERCENT as u64;
        let [kappa_low, kappa_high] = ends(row.kappa_interval);
        let [ac1_low, ac1_high] = ends(row.ac1_interval);
        sheet.push([
            ("judge", row.one.clone()),
            ("other", row.other.clone()),
            ("n_pairs", row.pairs.to_string()),
            ("raw", number(row.raw.filter(|_| !few))),
            ("kappa", number(row.kappa)),
            ("kappa_low", kappa_low),
            ("kappa_high", kappa_high),
            ("ac1", number(row.ac1)),
            ("ac1_low", ac1_low),
            ("ac1_high", ac1_high),
            ("mcnemar_p", number(row.mcnemar_p)),
            ("mcnemar_p_holm", number(row.mcnemar_p_holm)),
        ]);
    }
    sheet
}

fn scores(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for dimension in &report.scores {
        for row in &dimension.judges {
            let [low, high] = ends(row.interval);
            sheet.push([
                ("dimension", dimension.dimension.clone()),
                ("judge", row.judge.clone()),
                ("n_pairs", row.pairs.to_string()),
                ("tuned", row.tuned.to_string()),
                ("base", row.base.to_string()),
                ("difference", row.difference.to_string()),
                ("low", low),
                ("high", high),
            ]);
        }
    }
    sheet
}

fn judges(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for judge in &report.judges {
        let (position, orders) = (&judge.position, &judge.orders);
        let used = report.execution.judge_usage.get(&judge.info.name).copied().unwrap_or_default();
        sheet.push([
            ("judge", judge.info.name.clone()),
            ("kind", judge.info.kind.clone()),
            ("model", judge.info.model.clone()),
            ("models_that_answered", judge.models.join(" ")),
            ("verdicts", judge.verdicts.to_string()),
            ("missing", judge.missing.total().to_string()),
            ("swaps", position.swaps.to_string()),
            ("consistent", position.consistent.to_string()),
            ("first_slot_rate", number(position.first_slot_rate)),
            ("tuned_first_wins", orders.tuned_first.wins.to_string()),
            ("tuned_first_decided", orders.tuned_first.decided.to_string()),
            ("tuned_second_wins", orders.tuned_second.wins.to_string()),
            ("tuned_second_decided", orders.tuned_second.decided.to_string()),
            ("fisher_p", number(orders.fisher_p)),
            ("prompt_tokens", used.prompt_tokens.to_string()),
            ("new_tokens", used.new_tokens.to_string()),
            ("seconds", used.seconds.to_string()),
            ("usd", number(used.usd)),
        ]);
    }
    sheet
}

fn jobs(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
    for job in &report.execution.jobs {
        let usage = job.usage.clone().unwrap_or_default();
        let outcome = job.attempts.last().map_or("", |attempt| attempt.outcome.as_str());
        sheet.push([
            ("job", job.label.clone()),
            ("kind", job.kind.as_str().to_owned()),
            ("attempts", job.attempts.len().to_string()),
            ("outcome", outcome.to_owned()),
            ("tokens", usage.tokens.to_string()),
            ("tokens_per_s", usage.tokens_per_s.to_string()),
            ("peak_memory_mib", usage.peak_memory_mib.to_string()),
            ("environment", usage.environment),
            ("usd_per_hour", number(usage.usd_per_hour)),
        ]);
    }
    sheet
}

/// Every verdict, in a form that `assay report import` reads again.
fn verdicts(report: &Report) -> Sheet {
    let mut sheet = Sheet::new();
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
                    ("comparison", pair.comparison.clone()),
                    ("item", pair.prompt_id.clone()),
                    ("sample", pair.sample.to_string()),
                    ("domain", pair.domain.clone()),
                    ("split", pair.split.clone()),
                    ("judge", verdict.judge.clone()),
                    ("first", first.to_owned()),
                    ("replicate", pass.replicate.to_string()),
                    ("winner", winner.to_owned()),
                ]);
            }
        }
    }
    sheet
}
