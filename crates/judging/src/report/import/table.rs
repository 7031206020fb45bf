//! A file's rows as text by column.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RowProblem;
use super::map::{ColumnMap, MapError};

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON object on each line.
    Jsonl,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// A row's text by column; empty and null cells are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) cells: BTreeMap<String, String>,
    /// All columns, those of empty cells too.
    columns: Vec<String>,
}

/// All rows, and lines that are none.
pub(super) fn read(text: &str, format: Format) -> (Vec<Line>, Vec<RowProblem>) {
    match format {
        Format::Jsonl => read_jsonl(text),
        Format::Csv => read_csv(text),
    }
}

/// Every column of the map must be one of the file's.
pub(super) fn check_columns(lines: &[Line], map: &ColumnMap) -> Result<(), MapError> {
    let known: BTreeSet<&str> = lines.iter().flat_map(|line| &line.columns).map(String::as_str).collect();
    match map.columns().find(|(_, column)| !known.contains(column)) {
        None => Ok(()),
        Some((field, column)) => Err(MapError::Column {
            column: column.to_owned(),
            field: field.to_owned(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

fn read_jsonl(text: &str) -> (Vec<Line>, Vec<RowProblem>) {
    let (mut lines, mut broken) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index as u64 + 1;
        match serde_json::from_str::<serde_json::Map<String, Value>>(line) {
            Ok(object) => {
                let mut row = Line { number, cells: BTreeMap::new(), columns: Vec::new() };
                for (name, value) in &object {
                    add(&mut row, name.clone(), value);
                }
                lines.push(row);
            }
            Err(error) => broken.push(RowProblem {
                line: number,
                column: error.column().to_string(),
                found: clip(line),
                rule: format!("each line is one JSON object ({error})"),
            }),
        }
    }
    (lines, broken)
}

/// A member and the members inside it, as `outer.inner`.
fn add(row: &mut Line, name: String, value: &Value) {
    let text = match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Some(value.to_string()),
        Value::Object(members) => {
            members.iter().for_each(|(inner, value)| add(row, format!("{name}.{inner}"), value));
            return;
        }
    };
    if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
        row.cells.insert(name.clone(), text);
    }
    row.columns.push(name);
}

fn read_csv(text: &str) -> (Vec<Line>, Vec<RowProblem>) {
    let (mut lines, mut broken) = (Vec::new(), Vec::new());
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect(),
        Err(_) => Vec::new(),
    };
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                broken.push(RowProblem {
                    line,
                    column: "1".to_owned(),
                    found: String::new(),
                    rule: error.to_string(),
                });
                continue;
            }
        };
        let number = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            broken.push(RowProblem {
                line: number,
                column: record.len().min(header.len()).to_string(),
                found: clip(&record.iter().collect::<Vec<_>>().join(",")),
                rule: format!("a row has {} fields, as the header; this has {}", header.len(), record.len()),
            });
            continue;
        }
        let cells = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.trim().is_empty());
        let cells = cells.map(|(name, cell)| (name.clone(), cell.to_owned())).collect();
        lines.push(Line { number, cells, columns: header.clone() });
    }
    (lines, broken)
}

/// The start of a text, for messages.
pub(super) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
