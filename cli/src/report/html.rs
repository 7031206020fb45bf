//! A report as one HTML file: inline style, script and SVG, no request to anywhere.
//!
//! Everything that comes from the report passes [`escape`]. The page works without its script, which only turns the
//! list of pairs into a viewer with one pair at a time.

mod escape;
mod plots;
mod viewer;

use assay_judging::report::Report;

use self::escape::escape;
use super::document::{Block, Column, Detail, Table};
use super::sections;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Renders a report as one self-contained HTML file.
#[must_use]
pub fn html(report: &Report) -> String {
    // Scripts run only with this nonce: markup that a response might smuggle in would have none.
    let nonce: String =
        report.reproducibility.matrix_digest.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let body = body(report);
    let mut page = head(report, &nonce);
    page.push_str("<main>\n");
    page.push_str(&lead(report, &body));
    page.push_str(&body);
    page.push_str("</main>\n");
    page.push_str(&format!("<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n"));
    page
}

fn body(report: &Report) -> String {
    let mut page = String::new();
    page.push_str(&section("win-rates", &rates(report)));
    page.push_str(&section(
        "judges",
        &headed(&sections::judges(report, Detail::Full), plots::agreement(report)),
    ));
    page.push_str(&section("training", &headed(&sections::training(report), plots::losses(report))));
    page.push_str(&viewer::viewer(report));
    page.push_str(&section(
        "responses",
        &[blocks(&sections::responses(report)), blocks(&sections::sampling(report, Detail::Full))],
    ));
    page.push_str(&section("jobs", &[blocks(&sections::execution(report))]));
    page.push_str(&section("imported", &[blocks(&sections::imported(report, Detail::Full))]));
    page.push_str(&section("method", &[blocks(&sections::about(report, Detail::Full))]));
    page
}

fn head(report: &Report, nonce: &str) -> String {
    let title = escape(&sections::title(report));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n"
    )
}

/// Title, warnings, and where the parts of the body are.
fn lead(report: &Report, body: &str) -> String {
    let mut text = format!("<header>\n<h1>{}</h1>\n", escape(&format!("Report of {}", report.matrix)));
    if report.smoke {
        text.push_str(&format!(
            "<p class=\"smoke\"><strong>Smoke</strong> {}</p>\n",
            escape(sections::SMOKE)
        ));
    }
    let warnings = sections::warnings(report);
    if !warnings.is_empty() {
        text.push_str("<details class=\"warnings\" open><summary>Read this first</summary>\n");
        text.push_str(&list(&warnings));
        text.push_str("</details>\n");
    }
    let links = [
        ("win-rates", "Win rates"),
        ("judges", "Judges"),
        ("training", "Training"),
        ("pairs", "Pairs"),
        ("responses", "Responses"),
        ("jobs", "Jobs"),
        ("method", "Method"),
        ("fixed-before-any-response", "Fixed beforehand"),
        ("to-get-the-same-numbers-again", "Reproduce"),
    ];
    let there = |id: &str| body.contains(&format!(" id=\"{id}\""));
    let links = links.iter().filter(|(id, _)| there(id));
    let links: String = links.map(|(id, name)| format!("<a href=\"#{id}\">{name}</a>")).collect();
    text.push_str(&format!("<nav aria-label=\"Sections\">{links}</nav>\n</header>\n"));
    text
}

/// The win rates' heading and explanation, their plots, then the numbers.
fn rates(report: &Report) -> [String; 3] {
    let all = sections::rates(report, Detail::Full);
    let (lead, numbers) = all.split_at(2);
    [
        blocks(lead),
        plots::forest(report) + &plots::checkpoints(report) + &plots::lengths(report),
        blocks(numbers),
    ]
}

/// A plot under the first heading.
fn headed(all: &[Block], plot: String) -> [String; 3] {
    let (heading, rest) = all.split_at(all.len().min(1));
    [blocks(heading), plot, blocks(rest)]
}

fn section(id: &str, parts: &[String]) -> String {
    let body = parts.concat();
    if body.is_empty() { String::new() } else { format!("<section id=\"{id}\">\n{body}</section>\n") }
}

fn blocks(blocks: &[Block]) -> String {
    let block = |block: &Block| match block {
        Block::Heading(heading) => heading_with_id(heading),
        Block::Text(paragraph) => format!("<p>{}</p>\n", escape(paragraph)),
        Block::List(items) => list(items),
        Block::Table(table) => grid(table),
        Block::Folded(heading, table) => {
            format!("<details><summary>{}</summary>\n{}</details>\n", escape(heading), grid(table))
        }
    };
    blocks.iter().map(block).collect()
}

/// Sections have short ids, headings have their words; one that is a section's own has none.
fn heading_with_id(heading: &str) -> String {
    let words = heading.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let id = words.collect::<Vec<_>>().join("-").to_lowercase();
    // With one word it might be the section's.
    let id = if id.contains('-') { format!(" id=\"{id}\"") } else { String::new() };
    format!("<h2{id}>{}</h2>\n", escape(heading))
}

fn list(items: &[String]) -> String {
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// A number or interval of no more characters stays on one line, also on paper: names break before it does.
const KEPT_CHARS_MAX: usize = 14;

fn grid(table: &Table) -> String {
    let head = |column: &Column| {
        let class = match (column.right, column.title.contains(' ')) {
            (true, true) => " class=\"r\"",
            (true, false) => " class=\"r k\"",
            (false, _) => "",
        };
        format!("<th scope=\"col\"{class}>{}</th>", escape(column.title))
    };
    let cell = |row: usize, column: usize| {
        let text = &table.rows[row][column];
        let classes = match (table.columns[column].right, table.repeats(row, column)) {
            (true, _) if text.chars().count() <= KEPT_CHARS_MAX => " class=\"r k\"",
            (true, _) => " class=\"r\"",
            (false, true) => " class=\"again\"",
            (false, false) => "",
        };
        format!("<td{classes}>{}</td>", escape(text))
    };
    let row = |row: usize| {
        let cells: String = (0..table.columns.len()).map(|column| cell(row, column)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head: String = table.columns.iter().map(head).collect();
    let rows: String = (0..table.rows.len()).map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\"><table>\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}
