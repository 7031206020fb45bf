//! Length, truncation and style of responses.

use std::collections::BTreeMap;

use super::build::ReportError;
use super::inputs::ReportInputs;
use super::types::GenerationReport;
use crate::records::{FinishReason, GenerationRecord};

/// One row per model, prompt set, sampling and system: base first, then systems as the settings list them.
pub(super) fn generations(inputs: &ReportInputs) -> Result<Vec<GenerationReport>, ReportError> {
    let mut sets: BTreeMap<_, BTreeMap<(&str, u32), &GenerationRecord>> = BTreeMap::new();
    for record in &inputs.generations {
        let place = place_of(inputs, &record.model, &record.system);
        let id = (&record.model, &record.prompts, &record.sampling, place, &record.system);
        sets.entry(id).or_default().insert((&record.prompt_id, record.sample), record);
    }
    Ok(sets
        .into_iter()
        .map(|((model, prompts, sampling, _, system), records)| {
            let records: Vec<&GenerationRecord> = records.into_values().collect();
            let count =
                |test: fn(&GenerationRecord) -> bool| records.iter().filter(|r| test(r)).count() as u64;
            let mean = |value: fn(&GenerationRecord) -> usize| {
                records.iter().map(|r| value(r) as f64).sum::<f64>() / records.len() as f64
            };
            GenerationReport {
                model: model.clone(),
                prompts: prompts.clone(),
                sampling: sampling.clone(),
                system: system.clone(),
                responses: records.len() as u64,
                truncated: count(|r| r.finish_reason == FinishReason::Length),
                empty: count(|r| r.text.trim().is_empty()),
                mean_new_tokens: mean(|r| r.new_tokens as usize),
                mean_chars: mean(|r| r.text.chars().count()),
                mean_markdown_marks: mean(|r| markdown_marks(&r.text)),
            }
        })
        .collect())
}

/// 0 for the base, otherwise where the first comparison with this system stands.
fn place_of(inputs: &ReportInputs, model: &str, system: &str) -> usize {
    let found = inputs.spec.comparisons.iter().position(|c| c.model == model && c.tuned().name() == system);
    match found {
        Some(place) => place + 1,
        None if system == "base" || system.starts_with("base-") => 0,
        None => usize::MAX,
    }
}

/// Headings, list items and bold spans.
pub(super) fn markdown_marks(text: &str) -> usize {
    let line_mark = |line: &&str| {
        let line = line.trim_start();
        let digits = line.chars().take_while(char::is_ascii_digit).count();
        let numbered = digits > 0 && line[digits..].starts_with(". ");
        line.starts_with('#') || line.starts_with("- ") || line.starts_with("* ") || numbered
    };
    text.lines().filter(line_mark).count() + text.matches("**").count() / 2
}
