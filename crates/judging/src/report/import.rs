//! Verdicts made elsewhere, as JSON lines or CSV: the same report, without a call.
//!
//! A map says which column holds what, and what its words mean. Nothing is guessed where a guess could turn a winner
//! round: `A` means nothing until the map says whether it is a system, a place or a label. A row that cannot be placed
//! is an error; a verdict that cannot be read is missing; every one of them is named.

mod answer;
mod map;
mod pairs;
mod rows;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::Digest;
use assay_domain::job::{Comparison, JudgeInfo, ReportSpec};
use serde::{Deserialize, Serialize};

pub use self::map::{ColumnMap, FIELDS, MapError};
use self::rows::{ComparisonKey, Row};
pub use self::table::Format;
use super::build::{assemble, finish};
use super::types::{Report, Reproducibility};

/// Where the verdicts come from, and how to read them.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportSettings {
    /// The file's name, for errors and the report.
    pub file: String,
    /// Its format.
    pub format: Format,
    /// Its columns.
    pub map: ColumnMap,
    /// The system to count from, where rows name two systems without saying which is the base.
    pub base: Option<String>,
    /// Leave out rows that cannot be placed; the report still names them.
    pub skip_unreadable: bool,
    /// Seeds the bootstrap.
    pub bootstrap_seed: u64,
}

/// A row, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProblem {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The column's name, or its number where the line is no row at all.
    pub column: String,
    /// What was found there, shortened.
    pub found: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl std::fmt::Display for RowProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column `{}`: {:?}: {}", self.line, self.column, self.found, self.rule)
    }
}

/// A pair that a judge judged more often than the file's design asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The comparison.
    pub comparison: String,
    /// The item.
    pub item: String,
    /// The judge.
    pub judge: String,
    /// The lines, in the file's order.
    pub lines: Vec<u64>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// The file.
    pub file: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// The map, one entry each.
    pub map: Vec<String>,
    /// Rows in the file.
    pub rows: u64,
    /// Different pairs among them.
    pub pairs: u64,
    /// Rows that could not be placed and were left out.
    pub left_out: Vec<RowProblem>,
    /// Rows whose verdict could not be read: missing.
    pub unreadable: Vec<RowProblem>,
    /// Pairs judged more often than the design asks for; each counts once, as the mean of its verdicts.
    pub duplicates: Vec<Duplicate>,
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The map does not fit the file.
    #[error("{file}")]
    Map {
        /// The file.
        file: String,
        /// What is wrong.
        #[source]
        source: MapError,
    },
    /// Rows that cannot be placed.
    #[error("{file}: {} rows cannot be placed (`--skip-unreadable` leaves them out, named in the report):\n{}", problems.len(), list(problems))]
    Rows {
        /// The file.
        file: String,
        /// All of them.
        problems: Vec<RowProblem>,
    },
    /// The winner's column says the opposite of the judge's own words: labels were probably undone twice.
    #[error("{file}: in {} of {rows} rows the winner contradicts the judge's own words; map one of the two columns:\n{}", problems.len(), list(problems))]
    Inverted {
        /// The file.
        file: String,
        /// Rows that have both.
        rows: u64,
        /// All contradictions.
        problems: Vec<RowProblem>,
    },
    /// Nothing to report on.
    #[error("{file}: no row")]
    Empty {
        /// The file.
        file: String,
    },
}

fn list(problems: &[RowProblem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// Reads verdicts made elsewhere and computes their report.
///
/// # Errors
/// A map that does not fit, rows that cannot be placed, or winners that contradict the judge's own words.
pub fn import(text: &str, settings: &ImportSettings) -> Result<Report, ImportError> {
    let file = || settings.file.clone();
    let wrong_map = |source| ImportError::Map { file: file(), source };
    settings.map.check().map_err(wrong_map)?;
    let (lines, broken) = table::read(text, settings.format);
    let total = (lines.len() + broken.len()) as u64;
    if total == 0 {
        return Err(ImportError::Empty { file: file() });
    }
    table::check_columns(&lines, &settings.map).map_err(wrong_map)?;
    let mut read = rows::read(&lines, settings);
    read.unplaced.extend(broken);
    read.unplaced.sort_by_key(|problem| problem.line);
    if !read.contradictions.is_empty() {
        return Err(ImportError::Inverted {
            file: file(),
            rows: read.compared,
            problems: read.contradictions,
        });
    }
    if !read.unplaced.is_empty() && !settings.skip_unreadable {
        return Err(ImportError::Rows { file: file(), problems: read.unplaced });
    }
    if read.rows.is_empty() {
        return Err(ImportError::Empty { file: file() });
    }
    let spec = spec(text, settings, &read.rows);
    let pairs = pairs::join(&spec, &read.rows);
    let known = ImportReport {
        file: file(),
        digest: Digest::of(text.as_bytes()).to_string(),
        map: settings.map.entries(),
        rows: total,
        pairs: pairs.joined.len() as u64,
        left_out: read.unplaced,
        unreadable: read.unreadable,
        duplicates: pairs.duplicates,
    };
    let mut report = assemble(&spec, pairs.joined, &BTreeMap::new());
    report.reproducibility = Reproducibility {
        matrix_digest: known.digest.clone(),
        uploads: vec![(file(), known.digest.clone())],
        ..Reproducibility::default()
    };
    report.import = Some(known);
    Ok(finish(report))
}

fn spec(text: &str, settings: &ImportSettings, rows: &[Row]) -> ReportSpec {
    let keys: BTreeSet<&ComparisonKey> = rows.iter().map(|row| &row.comparison).collect();
    let mut checkpoints: Vec<&str> = keys.iter().map(|key| key.checkpoint.as_str()).collect();
    checkpoints.sort_by_key(|name| natural(name));
    checkpoints.dedup();
    let judges: BTreeSet<&str> = rows.iter().map(|row| row.judge.as_str()).collect();
    let digest = Digest::of(text.as_bytes());
    let comparison = |key: &&ComparisonKey| Comparison {
        id: key.id(),
        model: key.model.clone(),
        data: String::new(),
        recipe: key.systems(),
        seed: key.seed,
        step: checkpoints.iter().position(|known| *known == key.checkpoint).unwrap_or_default() as u64,
        checkpoint: if key.checkpoint.is_empty() { key.tuned.clone() } else { key.checkpoint.clone() },
        prompts: settings.file.clone(),
        sampling: String::new(),
        against: None,
    };
    let judge = |name: &&str| JudgeInfo {
        name: (*name).to_owned(),
        kind: "imported".to_owned(),
        model: (*name).to_owned(),
        template: "not known".to_owned(),
        smoke: false,
        unavailable: None,
        orders: None,
        batch: false,
    };
    let mut comparisons: Vec<Comparison> = keys.iter().map(comparison).collect();
    comparisons
        .sort_by(|a, b| (&a.model, &a.recipe, a.seed, a.step).cmp(&(&b.model, &b.recipe, b.seed, b.step)));
    ReportSpec {
        matrix: settings.file.clone(),
        matrix_digest: digest,
        trainings: Vec::new(),
        comparisons,
        direct: Vec::new(),
        judges: judges.iter().map(judge).collect(),
        uploads: vec![(settings.file.clone(), digest)],
        bootstrap_seed: settings.bootstrap_seed,
        analysis: None,
    }
}

/// Part of a name: numbers count as numbers, so that epoch 10 comes after epoch 2.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

fn natural(name: &str) -> Vec<Part> {
    let letters: Vec<char> = name.chars().collect();
    let runs = letters.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let part = |run: &[char]| {
        let text: String = run.iter().collect();
        text.parse().map_or(Part::Text(text), Part::Number)
    };
    runs.map(part).collect()
}
