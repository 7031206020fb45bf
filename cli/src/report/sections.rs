//! The sections of a report as blocks, in reading order.

mod about;
mod direct;
mod imported;
mod judges;
mod leaks;
mod rates;
mod runs;
mod sampling;
mod scores;
mod style;
mod systems;
mod tables;

use assay_judging::report::Report;

use super::document::{Block, Detail};

pub(super) use direct::groups as direct_groups;
pub(super) use leaks::kind as trace_kind;
pub(super) use rates::{Group, groups};

/// The title, with the marker of a smoke report.
pub(super) fn title(report: &Report) -> String {
    if report.smoke {
        format!("Report of {} [SMOKE]", report.matrix)
    } else {
        format!("Report of {}", report.matrix)
    }
}

/// One sentence under the title of a smoke report.
pub(super) const SMOKE: &str = "Smoke report: every judge is a small local model read by its log-probabilities. It shows \
                                that the pipeline works; it is no evidence of quality.";

/// What a reader should know first.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    // The first warning of a smoke report repeats its banner.
    report.method.warnings.iter().filter(|warning| !warning.starts_with("smoke:")).cloned().collect()
}

/// Win rates, sensitivity, checkpoints.
pub(super) fn rates(report: &Report, detail: Detail) -> Vec<Block> {
    rates::blocks(report, detail)
}

/// Agreement and bias of judges.
pub(super) fn judges(report: &Report, detail: Detail) -> Vec<Block> {
    judges::blocks(report, detail)
}

/// Losses, responses.
pub(super) fn training(report: &Report) -> Vec<Block> {
    runs::training(report)
}

/// Lengths and truncation.
pub(super) fn responses(report: &Report) -> Vec<Block> {
    runs::responses(report)
}

/// How responses were drawn.
pub(super) fn sampling(report: &Report, detail: Detail) -> Vec<Block> {
    sampling::blocks(report, detail)
}

/// Times and speeds.
pub(super) fn execution(report: &Report) -> Vec<Block> {
    [runs::execution(report), tables::cost(report)].concat()
}

/// Method, digests, versions, seeds.
pub(super) fn about(report: &Report, detail: Detail) -> Vec<Block> {
    about::blocks(report, detail)
}

/// Where imported verdicts come from; empty for a matrix.
pub(super) fn imported(report: &Report, detail: Detail) -> Vec<Block> {
    imported::blocks(report, detail)
}

/// The tables of a paper.
pub(super) fn paper(report: &Report) -> Vec<Block> {
    [
        tables::by_architecture(report),
        tables::others(report),
        rates::differences(report),
        direct::blocks(report, Detail::Full),
        systems::blocks(report),
        judges::blocks(report, Detail::Full),
        style::blocks(report),
        leaks::blocks(report),
        tables::cost(report),
    ]
    .concat()
}
