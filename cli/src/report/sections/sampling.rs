//! How responses were drawn: the matrix's word and what was in effect, base and tuned side by side.

use assay_judging::records::{EffectiveSampling, texts_in_matrix};
use assay_judging::report::{Report, SamplingReport, SystemSampling};

use crate::report::document::{Block, Detail, Table, words};
use crate::report::format;

const NOT_RECORDED: &str = "not recorded";

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    if report.sampling.is_empty() {
        return Vec::new();
    }
    let body = match detail {
        Detail::Short => Block::List(report.sampling.iter().map(line).collect()),
        Detail::Full => Block::Table(table(&report.sampling)),
    };
    vec![Block::Heading("Sampling".to_owned()), body]
}

/// One sentence for each set of responses.
fn line(set: &SamplingReport) -> String {
    let known = set.systems.iter().find_map(|system| system.effective.as_ref());
    let drawn = known.map_or_else(|| NOT_RECORDED.to_owned(), joined);
    let alike = match (set.differing.as_slice(), set.systems.iter().all(|system| system.effective.is_some()))
    {
        ([], true) => "base and tuned alike".to_owned(),
        ([], false) => "not recorded for all systems".to_owned(),
        (differing, _) => format!("BASE AND TUNED DIFFER in {}", differing.join(", ")),
    };
    format!("{} {}, {}: {drawn}; {alike}.", set.model, set.prompts, set.sampling)
}

fn joined(known: &EffectiveSampling) -> String {
    let named = EffectiveSampling::NAMES.iter().zip(known.texts());
    named.map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>().join(", ")
}

fn table(sets: &[SamplingReport]) -> Table {
    let mut table = Table::new(&[
        words("model"),
        words("prompts, sampling"),
        words("setting"),
        words("matrix"),
        words("base"),
        words("tuned"),
        words("alike"),
    ]);
    for set in sets {
        let (base, tuned): (Vec<_>, Vec<_>) = set.systems.iter().partition(|system| system.system == "base");
        for (place, name) in EffectiveSampling::NAMES.iter().enumerate() {
            let matrix = set.matrix.as_ref().map(|matrix| {
                texts_in_matrix(matrix)[place].clone().unwrap_or_else(|| "left to the model".to_owned())
            });
            let differs = set.differing.iter().any(|differing| differing == name);
            table.push([
                set.model.clone(),
                format!("{}, {}", set.prompts, set.sampling),
                (*name).to_owned(),
                matrix.unwrap_or_else(|| NOT_RECORDED.to_owned()),
                side(&base, place),
                side(&tuned, place),
                if differs { "NO" } else { "yes" }.to_owned(),
            ]);
        }
    }
    table
}

/// A setting of one side's systems: once where they agree, each with its system where they do not.
fn side(systems: &[&SystemSampling], place: usize) -> String {
    let value = |system: &SystemSampling| match &system.effective {
        Some(effective) => effective.texts()[place].clone(),
        None => NOT_RECORDED.to_owned(),
    };
    let mut values: Vec<String> = systems.iter().map(|system| value(system)).collect();
    values.sort_unstable();
    values.dedup();
    match values.as_slice() {
        [] => format::NOTHING.to_owned(),
        [value] => value.clone(),
        _ => {
            let each = systems.iter().map(|system| format!("{}: {}", system.system, value(system)));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}
