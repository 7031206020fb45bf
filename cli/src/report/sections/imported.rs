//! Where imported verdicts come from, and every row that is not what it should be.

use assay_judging::report::Report;
use assay_judging::report::import::RowProblem;

use crate::report::document::{Block, Detail, Table, words};

/// Rows of a table that a terminal shows.
const SHORT_ROWS: usize = 20;

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    let Some(import) = &report.import else { return Vec::new() };
    let mut blocks = vec![
        Block::Heading("Imported verdicts".to_owned()),
        Block::Text(format!(
            "{}: {} rows on {} different pairs; SHA-256 {}.",
            import.file, import.rows, import.pairs, import.digest
        )),
    ];
    if detail == Detail::Full {
        blocks.push(Block::List(import.map.clone()));
    }
    let shown = match detail {
        Detail::Short => SHORT_ROWS,
        Detail::Full => usize::MAX,
    };
    let mut push = |title: &str, table: Table| {
        if table.rows.is_empty() {
            return;
        }
        let all = table.rows.len();
        let table = Table { rows: table.rows.into_iter().take(shown).collect(), ..table };
        blocks.push(Block::Folded(format!("{title} ({all})"), table));
        if all > shown {
            blocks.push(Block::Text(format!("{} more: --json, --html and --markdown have all", all - shown)));
        }
    };
    push("Left out: rows that could not be placed", problems(&import.left_out));
    push("Missing: verdicts that could not be read", problems(&import.unreadable));
    let mut duplicates = Table::new(&[words("judge"), words("comparison"), words("item"), words("lines")]);
    for duplicate in &import.duplicates {
        let lines: Vec<String> = duplicate.lines.iter().map(u64::to_string).collect();
        duplicates.push([
            duplicate.judge.clone(),
            duplicate.comparison.clone(),
            duplicate.item.clone(),
            lines.join(", "),
        ]);
    }
    push("Judged more often than the design asks for: counted once", duplicates);
    blocks
}

fn problems(problems: &[RowProblem]) -> Table {
    let mut table = Table::new(&[words("line"), words("column"), words("found"), words("rule")]);
    for problem in problems {
        table.push([
            problem.line.to_string(),
            problem.column.clone(),
            problem.found.clone(),
            problem.rule.clone(),
        ]);
    }
    table
}
