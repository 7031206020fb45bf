//! A report as Markdown (GitHub's tables).

use assay_judging::report::Report;

use super::document::{Block, Detail, Table};
use super::sections;

/// Renders a report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n", escape(&sections::title(report)));
    if report.smoke {
        text.push_str(&format!("> **{}**\n\n", sections::SMOKE));
    }
    let warnings = sections::warnings(report);
    if !warnings.is_empty() {
        text.push_str(&list(&warnings));
    }
    let all = [
        sections::rates(report, Detail::Full),
        sections::judges(report, Detail::Full),
        sections::training(report),
        sections::responses(report),
        sections::sampling(report, Detail::Full),
        sections::execution(report),
        sections::imported(report, Detail::Full),
        sections::about(report, Detail::Full),
    ];
    for block in all.iter().flatten() {
        match block {
            Block::Heading(heading) => text.push_str(&format!("## {}\n\n", escape(heading))),
            Block::Text(paragraph) => text.push_str(&format!("{}\n\n", escape(paragraph))),
            Block::List(items) => text.push_str(&list(items)),
            Block::Table(table) => text.push_str(&pipes(table)),
            Block::Folded(heading, table) => {
                text.push_str(&format!("### {}\n\n{}", escape(heading), pipes(table)));
            }
        }
    }
    text
}

fn list(items: &[String]) -> String {
    let mut text: String = items.iter().map(|item| format!("- {}\n", escape(item))).collect();
    text.push('\n');
    text
}

fn pipes(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.columns.iter().map(|column| escape(column.title)).collect());
    text.push_str(&line(
        table.columns.iter().map(|column| if column.right { "---:" } else { "---" }.to_owned()).collect(),
    ));
    for row in &table.rows {
        text.push_str(&line(row.iter().map(|cell| escape(cell)).collect()));
    }
    text.push('\n');
    text
}

/// Keeps names and reasons from becoming markup or new cells.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '|' | '#' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}
