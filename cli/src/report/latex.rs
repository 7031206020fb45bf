//! A report's tables for a paper: LaTeX with `booktabs`, and `graphicx` to make wide ones fit.

use assay_judging::report::Report;

use super::document::{Block, Table};
use super::sections;

/// Scales a table down to the width of the text, and never up.
const FIT: &str = "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%\n";

/// Renders the tables of a report. Headings become captions.
#[must_use]
pub fn latex(report: &Report) -> String {
    let mut text =
        format!("% {}\n% needs \\usepackage{{booktabs,graphicx}}\n", one_line(&sections::title(report)));
    for warning in sections::warnings(report) {
        text.push_str(&format!("% {}\n", one_line(&warning)));
    }
    let mut caption = String::new();
    for block in sections::paper(report) {
        match block {
            Block::Heading(heading) => caption = heading,
            Block::Text(note) => text.push_str(&format!("\n% {}\n", one_line(&note))),
            Block::List(items) => {
                items.iter().for_each(|item| text.push_str(&format!("% {}\n", one_line(item))));
            }
            Block::Table(table) => text.push_str(&tabular(&caption, &table, report.smoke)),
            Block::Folded(heading, table) => text.push_str(&tabular(&heading, &table, report.smoke)),
        }
    }
    text
}

fn tabular(caption: &str, table: &Table, smoke: bool) -> String {
    let columns: String = table.columns.iter().map(|column| if column.right { 'r' } else { 'l' }).collect();
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let mut text = String::from("\n\\begin{table}[htbp]\n\\centering\\small\n");
    let marked =
        if smoke { format!("{caption} [smoke: no evidence of quality]") } else { caption.to_owned() };
    text.push_str(&format!(
        "\\caption{{{}}}\n{FIT}\\begin{{tabular}}{{{columns}}}\n\\toprule\n",
        escape(&marked)
    ));
    text.push_str(&line(table.columns.iter().map(|column| escape(column.title)).collect()));
    text.push_str("\\midrule\n");
    for (index, row) in table.rows.iter().enumerate() {
        let shown = |(column, cell): (usize, &String)| {
            if table.repeats(index, column) { String::new() } else { escape(cell) }
        };
        text.push_str(&line(row.iter().enumerate().map(shown).collect()));
    }
    text.push_str("\\bottomrule\n\\end{tabular}}\n\\end{table}\n");
    text
}

/// A comment must not end early.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Keeps names and reasons from becoming commands.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '\u{2013}' => escaped.push_str("--"),
            letter if letter.is_control() => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}
