//! The preview as people read it. What rows hold is shown, never obeyed: a terminal gets no control characters from them.

use std::fmt::Write as _;

use assay_text::rows::{LossOn, Run};

use super::{Counts, Preview, Row};
use crate::print::count;

/// What stands around trained text.
pub(super) struct Marks {
    before: &'static str,
    after: &'static str,
    legend: &'static str,
}

/// On a terminal: trained text is green.
pub(super) const COLOUR: Marks =
    Marks { before: "\u{1b}[32m", after: "\u{1b}[0m", legend: "trained text is \u{1b}[32mgreen\u{1b}[0m" };

/// In a pipe or file.
pub(super) const PLAIN: Marks =
    Marks { before: "⟦", after: "⟧", legend: "trained text stands in ⟦ and ⟧" };

/// All of it.
pub(super) fn text(preview: &Preview, marks: &Marks) -> String {
    let settings = &preview.settings;
    let mut text = format!(
        "{} as {} sees it; loss on {}, rows cut at {} tokens, date {}; {}\n",
        preview.data.display(),
        preview.model.display(),
        match settings.loss_on {
            LossOn::All => "all tokens",
            LossOn::Assistant => "the assistant's turns",
        },
        count(settings.max_length as u64),
        settings.render.date,
        marks.legend,
    );
    for one in &preview.rows {
        row(&mut text, one, marks);
    }
    counts(&mut text, &preview.counts);
    text.truncate(text.trim_end().len());
    text
}

// Writing to a String does not fail, here and below.
fn row(text: &mut String, row: &Row, marks: &Marks) {
    let cut = row.full_tokens - row.tokens;
    let tokens = format!("{} tokens, {} trained", count(row.tokens as u64), count(row.trained_tokens as u64));
    let lost = if cut > 0 { format!(", {} cut off at the end", count(cut as u64)) } else { String::new() };
    let _ = writeln!(text, "\n--- {}: {tokens}{lost}", harmless(&row.id));
    for Run { trained, text: words } in &row.runs {
        match trained {
            true => text.extend([marks.before, &harmless(words), marks.after]),
            false => text.push_str(&harmless(words)),
        }
    }
    text.push('\n');
}

fn counts(text: &mut String, counts: &Counts) {
    let share = 100.0 * counts.trained_tokens as f64 / counts.tokens.max(1) as f64;
    let _ = writeln!(
        text,
        "\n{} rows: {} tokens, {} of them trained ({share:.1} %); the longest row has {}",
        count(counts.rows as u64),
        count(counts.tokens as u64),
        count(counts.trained_tokens as u64),
        count(counts.longest_row as u64),
    );
    if counts.rows_cut > 0 {
        let (rows, tokens) = (count(counts.rows_cut as u64), count(counts.tokens_cut as u64));
        let _ = writeln!(text, "cut: {rows} rows lose {tokens} tokens at their ends");
    }
    if counts.rows_without_training > 0 {
        let rows = count(counts.rows_without_training as u64);
        let _ = writeln!(text, "warning: {rows} rows train nothing: raise max_length or leave them out");
    }
    for (control, rows) in &counts.control_text {
        let _ = writeln!(
            text,
            "warning: messages of {} rows write out {}, which becomes the control token itself",
            count(*rows as u64),
            harmless(control)
        );
    }
}

/// Without what a terminal would act on.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.extend(control.escape_unicode()),
            other => out.push(other),
        }
    }
    out
}
