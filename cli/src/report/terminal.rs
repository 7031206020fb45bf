//! A report for a terminal: plain text, at most 100 columns wide.

use assay_judging::report::Report;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table as Grid, TableStyle};

use super::document::{Block, Detail, Table};
use super::sections;

const COLUMNS_MAX: u16 = 100;

/// Renders a report as plain text, no line longer than 100 columns.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = format!("{}\n", sections::title(report));
    if report.smoke {
        text.push_str(&wrap(sections::SMOKE, "", ""));
    }
    for warning in sections::warnings(report) {
        text.push_str(&wrap(&warning, "! ", "  "));
    }
    let all = [
        sections::rates(report, Detail::Short),
        sections::judges(report, Detail::Short),
        sections::training(report),
        sections::sampling(report, Detail::Short),
        sections::execution(report),
        sections::imported(report, Detail::Short),
    ];
    for block in all.iter().flatten() {
        match block {
            Block::Heading(heading) => text.push_str(&format!("\n{}\n", heading.to_uppercase())),
            Block::Text(paragraph) => text.push_str(&wrap(paragraph, "", "")),
            Block::List(items) => items.iter().for_each(|item| text.push_str(&wrap(item, "- ", "  "))),
            Block::Table(table) => text.push_str(&grid(table)),
            Block::Folded(heading, table) => text.push_str(&format!("{heading}\n{}", grid(table))),
        }
    }
    text
}

fn grid(table: &Table) -> String {
    let mut grid = Grid::new();
    grid.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')))
        .force_no_tty()
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS_MAX)
        .set_header(table.columns.iter().map(|column| column.title));
    for (index, column) in table.columns.iter().enumerate() {
        if let Some(shown) = grid.column_mut(index) {
            shown.set_padding((0, 1));
            shown.set_cell_alignment(if column.right { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    for (index, row) in table.rows.iter().enumerate() {
        let shown = |(column, cell): (usize, &String)| {
            if table.repeats(index, column) { String::new() } else { cell.clone() }
        };
        grid.add_row(row.iter().enumerate().map(shown));
    }
    format!("{}\n", grid.trim_fmt())
}

/// Breaks a paragraph at spaces.
fn wrap(paragraph: &str, first: &str, rest: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in paragraph.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > usize::from(COLUMNS_MAX) {
            text.push_str(&line);
            text.push('\n');
            line = rest.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&line);
    text.push('\n');
    text
}
