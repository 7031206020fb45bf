//! Traces of who wrote a response, and words to the judge.

use assay_judging::leaks::LeakKind;
use assay_judging::report::Report;

use crate::report::document::{Block, Table, numbers, words};
use crate::report::format;

pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let scanned: u64 = report.all_comparisons().filter_map(|c| Some(c.leaks.as_ref()?.pairs)).sum();
    if scanned == 0 {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("system"),
        words("checkpoint"),
        words("kind"),
        words("words"),
        numbers("tuned"),
        numbers("base"),
        numbers("pairs with any"),
        numbers("win rate without them"),
    ]);
    for comparison in report.all_comparisons() {
        let Some(leaks) = &comparison.leaks else { continue };
        let without = leaks.rate_without.map_or_else(|| format::NOTHING.to_owned(), format::percent);
        for one in &leaks.found {
            table.push([
                format::system(&comparison.comparison),
                format::checkpoint(&comparison.comparison),
                kind(one.kind).to_owned(),
                one.found.clone(),
                one.tuned.to_string(),
                one.base.to_string(),
                format!("{} of {}", leaks.pairs_with_traces, leaks.pairs),
                without.clone(),
            ]);
        }
    }
    let heading = Block::Heading("Traces of identity".to_owned());
    if table.rows.is_empty() {
        let said = format!(
            "The responses of {scanned} pairs were scanned for names of models and labs, tokens of chat templates and verdicts: none was found."
        );
        return vec![heading, Block::Text(said)];
    }
    let said = "Responses that hold a name of a model or lab, a token of a chat template, or a verdict: a judge may know or be told by \
                them whom to prefer. Nothing was taken out; the last column is a sensitivity analysis.";
    vec![heading, Block::Text(said.to_owned()), Block::Table(table)]
}

/// A kind in words.
pub(in crate::report) const fn kind(kind: LeakKind) -> &'static str {
    match kind {
        LeakKind::Identity => "identity",
        LeakKind::ChatToken => "chat token",
        LeakKind::Verdict => "verdict",
    }
}
