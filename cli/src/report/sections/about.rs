//! How the numbers were made, and what is needed to make them again.

use std::collections::BTreeSet;

use assay_domain::WorkKind;
use assay_domain::analysis::PlannedJudge;
use assay_domain::job::JobSummary;
use assay_judging::report::Report;

use crate::events::time;
use crate::report::document::{Block, Detail, Table, words};

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    let method = &report.method;
    let panel = if method.panel.is_empty() { "nobody".to_owned() } else { method.panel.join(", ") };
    let mut blocks = vec![Block::Heading("Method".to_owned())];
    blocks.push(Block::List(vec![
        format!("Estimand: {}.", method.estimand),
        format!("Panel: {panel}."),
        format!("Ties: {}.", method.ties),
        format!("Intervals: {}.", method.intervals),
        format!("Missing: {}.", method.missing),
        format!(
            "Tests are two-sided at {}; bootstrap of {} resamples with seed {}.",
            method.alpha, method.bootstrap_replicates, method.bootstrap_seed
        ),
    ]));
    if detail == Detail::Full {
        blocks.extend(preregistration(report));
        blocks.extend(reproducibility(report));
    }
    blocks
}

fn preregistration(report: &Report) -> Vec<Block> {
    let fixed = &report.preregistration;
    if fixed.fixed_by.is_empty() {
        return Vec::new();
    }
    let plan = &fixed.plan;
    let seeds: Vec<String> = plan.training_seeds.iter().map(u64::to_string).collect();
    let at = report.execution.fixed_at.map(|at| format!(", on {}", time(at.0))).unwrap_or_default();
    let digest = fixed.digest.as_ref().map(|digest| format!(" SHA-256 of this plan of analysis: {digest}."));
    let mut items = vec![
        format!("Fixed by {}{at}.{}", fixed.fixed_by, digest.unwrap_or_default()),
        format!("Estimand: {}.", plan.estimand),
        format!("Ties: {}.", plan.ties),
    ];
    let said = [("Intervals", &plan.intervals), ("Missing", &plan.missing)];
    items.extend(
        said.iter().filter(|(_, said)| !said.is_empty()).map(|(what, said)| format!("{what}: {said}.")),
    );
    items.push(format!(
        "Training seeds {}; bootstrap seed {}; two-sided level {}.",
        seeds.join(", "),
        plan.bootstrap_seed,
        plan.alpha
    ));
    items.extend(plan.judges.iter().map(planned_judge));
    items.extend(plan.tests.iter().map(|test| format!("Test: {test}.")));
    items.extend(plan.rules.iter().map(|rule| format!("Rule: {rule}.")));
    items.push(format!("Comparisons: {}.", plan.comparisons.join(", ")));
    let mut blocks = vec![Block::Heading("Fixed before any response".to_owned()), Block::List(items)];
    blocks.push(Block::Text(match (fixed.digest.is_some(), fixed.differences.is_empty()) {
        (true, true) => "Everything was analysed as planned.".to_owned(),
        (true, false) => "Not as planned:".to_owned(),
        (false, _) => {
            "Whether it was analysed as planned cannot be said: no plan of analysis was stored.".to_owned()
        }
    }));
    if !fixed.differences.is_empty() {
        blocks.push(Block::List(fixed.differences.clone()));
    }
    blocks.extend(taken(report));
    blocks
}

fn planned_judge(judge: &PlannedJudge) -> String {
    let orders = judge.orders.as_deref().unwrap_or("orders not recorded");
    let gone = judge.unavailable.as_ref().map(|why| format!("; known to be unavailable: {why}"));
    format!(
        "Judge {}: {}, {}; {orders}{}.",
        judge.name,
        judge.model,
        judge.template,
        gone.unwrap_or_default()
    )
}

/// Results of earlier matrices may be older than the plan of analysis.
fn taken(report: &Report) -> Option<Block> {
    let made = |job: &&JobSummary| job.kind != WorkKind::Train && job.kind != WorkKind::Report;
    let jobs = &report.execution.jobs;
    let from: BTreeSet<&str> =
        jobs.iter().filter(made).filter_map(|job| Some(job.reused_from.as_ref()?.matrix.as_str())).collect();
    let count = jobs.iter().filter(made).filter(|job| job.reused_from.is_some()).count();
    (count > 0).then(|| {
        let from = from.into_iter().collect::<Vec<_>>().join(", ");
        Block::Text(format!(
            "{count} of {} jobs that answer or judge were taken from equal jobs of {from}: what they made may be older than \
             this plan.",
            jobs.iter().filter(made).count()
        ))
    })
}

fn reproducibility(report: &Report) -> Vec<Block> {
    let known = &report.reproducibility;
    let mut table = Table::new(&[words("what"), words("name"), words("value")]);
    table.push(["matrix".to_owned(), report.matrix.clone(), known.matrix_digest.clone()]);
    for (name, digest) in &known.uploads {
        table.push(["upload".to_owned(), name.clone(), digest.clone()]);
    }
    for (name, digest) in &known.templates {
        table.push(["judge template".to_owned(), name.clone(), digest.clone()]);
    }
    for judge in &report.judges {
        table.push(["judge model".to_owned(), judge.info.name.clone(), judge.models.join(", ")]);
    }
    let seeds: Vec<String> = known.seeds.iter().map(u64::to_string).collect();
    table.push(["seeds".to_owned(), "training".to_owned(), seeds.join(", ")]);
    for (name, version) in &known.versions {
        table.push(["version".to_owned(), name.clone(), version.clone()]);
    }
    for price in &known.prices {
        table.push(["price".to_owned(), "judge".to_owned(), price.clone()]);
    }
    for command in &known.commands {
        table.push(["command".to_owned(), "this report".to_owned(), command.clone()]);
    }
    if let Some(matrix) = &report.execution.matrix {
        let submit =
            "assay submit FILE: the matrix and its uploads are these if the digests above are the same";
        table.push(["command".to_owned(), "the whole run".to_owned(), submit.to_owned()]);
        let show = format!("assay report {matrix} --json");
        table.push(["command".to_owned(), "this report".to_owned(), show]);
    }
    vec![Block::Heading("To get the same numbers again".to_owned()), Block::Table(table)]
}
