//! The agreement matrix: raw agreement above, kappa and AC1 below it, shaded by kappa.

use assay_judging::report::{JudgeAgreement, PROMPTS_FOR_PERCENT, Report};

use crate::report::format;
use crate::report::html::escape::escape;

/// A table, not a picture: its cells hold numbers that a reader wants to copy.
pub(in crate::report::html) fn agreement(report: &Report) -> String {
    let available = report.judges.iter().filter(|judge| judge.info.unavailable.is_none());
    let judges: Vec<&str> = available.map(|judge| judge.info.name.as_str()).collect();
    if judges.len() < 2 {
        return String::new();
    }
    let named = |judge: &str| escape(&format::judge(report, Some(judge)));
    let head: String =
        judges.iter().map(|judge| format!("<th scope=\"col\">{}</th>", named(judge))).collect();
    let row = |one: &&str| {
        let cells: String = judges.iter().map(|other| cell(report, one, other)).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", named(one))
    };
    let rows: String = judges.iter().map(row).collect();
    format!(
        "<figure>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Agreement matrix\">\
         <table class=\"matrix\">\n<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n\
         <figcaption>Share of pairs with the same verdict; below it Cohen\u{2019}s kappa and Gwet\u{2019}s AC1. The \
         shade is kappa: agreement that frequent wins alone would give is no agreement.</figcaption>\n</figure>\n"
    )
}

fn cell(report: &Report, one: &str, other: &str) -> String {
    if one == other {
        return "<td class=\"self\">\u{2013}</td>".to_owned();
    }
    let matches = |row: &&JudgeAgreement| {
        (row.one == one && row.other == other) || (row.one == other && row.other == one)
    };
    let Some(row) = report.agreement.judges.iter().find(matches) else { return "<td></td>".to_owned() };
    let same: u64 = (0..3).map(|i| row.table[i][i]).sum();
    let share = match row.raw {
        Some(raw) if row.pairs >= PROMPTS_FOR_PERCENT as u64 => format::percent(raw),
        Some(_) | None => format!("{same} of {}", row.pairs),
    };
    let shade = row.kappa.map_or(0.0, |kappa| kappa.clamp(0.0, 1.0) * 55.0);
    format!(
        "<td style=\"--shade:{shade:.0}%\"><b>{}</b><br><small>\u{3ba} {}, AC1 {}, n {}</small></td>",
        escape(&share),
        format::number(row.kappa, 2),
        format::number(row.ac1, 2),
        row.pairs
    )
}
