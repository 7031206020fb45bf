//! How the numbers were made, and what is needed to make them again.

use assay_judging::report::Report;

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
    let seeds: Vec<String> = fixed.training_seeds.iter().map(u64::to_string).collect();
    let mut items = vec![
        format!("Fixed by {}.", fixed.fixed_by),
        format!("Estimand: {}.", fixed.estimand),
        format!("Ties: {}.", fixed.ties),
        format!(
            "Training seeds {}; bootstrap seed {}; two-sided level {}.",
            seeds.join(", "),
            fixed.bootstrap_seed,
            fixed.alpha
        ),
    ];
    items.extend(fixed.judges.iter().map(|judge| {
        let orders = judge.orders.as_deref().unwrap_or("orders not recorded");
        format!("Judge {}: {}, {}; {orders}.", judge.name, judge.model, judge.template)
    }));
    items.extend(fixed.tests.iter().map(|test| format!("Test: {test}.")));
    items.extend(fixed.rules.iter().map(|rule| format!("Rule: {rule}.")));
    items.push(format!("Comparisons: {}.", fixed.comparisons.join(", ")));
    vec![Block::Heading("Fixed before any response".to_owned()), Block::List(items)]
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
