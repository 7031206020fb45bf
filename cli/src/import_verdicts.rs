//! `assay report import`: verdicts made elsewhere become a report, without a coordinator and without a call.

use std::path::Path;

use assay_judging::report::Report;
use assay_judging::report::import::{ColumnMap, FIELDS, Format, ImportSettings, MapError, import};

use crate::exit::Failed;
use crate::{args, show_report};

/// Runs the command.
pub(crate) fn run(args: &args::Import) -> anyhow::Result<()> {
    let mut report = read(args)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    report.reproducibility.versions.insert("assay".to_owned(), version);
    report.reproducibility.commands.push(std::env::args().map(shell_word).collect::<Vec<_>>().join(" "));
    let text = serde_json::to_string_pretty(&report)?;
    show_report::emit(&args.output, &text, &report)
}

/// A word as a shell takes it.
fn shell_word(word: String) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,@+%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn read(args: &args::Import) -> anyhow::Result<Report> {
    let path = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failed::Input(format!("verdicts file {path}: {error}")))?;
    let settings = ImportSettings {
        file: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        format: args.format.map_or_else(|| format_of(&args.file), Ok)?,
        map: map(args).map_err(|error| Failed::Input(error.to_string()))?,
        base: args.base.clone(),
        skip_unreadable: args.skip_unreadable,
        bootstrap_seed: args.seed,
    };
    import(&text, &settings).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failed::Input(format!("{error}{cause}")).into()
    })
}

fn format_of(file: &Path) -> Result<Format, Failed> {
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "csv" => Ok(Format::Csv),
        "jsonl" | "ndjson" | "json" => Ok(Format::Jsonl),
        _ => Err(Failed::Input(format!(
            "{}: the name does not say what it is; give `--format jsonl` or `--format csv`",
            file.display()
        ))),
    }
}

fn map(args: &args::Import) -> Result<ColumnMap, MapError> {
    let mut map = ColumnMap::default();
    args.map.iter().try_for_each(|entry| map.column(entry))?;
    args.set.iter().try_for_each(|entry| map.fixed(entry))?;
    args.value.iter().try_for_each(|entry| map.word(entry))?;
    Ok(map)
}

/// The fields of `--map`, for the command's help.
pub(crate) fn fields_help() -> String {
    let width = FIELDS.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> = FIELDS.iter().map(|(name, what)| format!("  {name:width$}  {what}")).collect();
    format!(
        "Fields of --map and --set:\n{}\n\nMeanings of --value: tuned, base, system_a, system_b, first, second, label_a, label_b, \
         tie, refused, blocked, truncated, malformed, error.\ndocs/import.md has examples.",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::report::{html, latex, markdown, sheets, terminal};

    fn import_args(words: &[&str]) -> args::Import {
        let all = ["assay", "report", "import"].iter().chain(words);
        let parsed = args::Args::try_parse_from(all).unwrap();
        let args::Command::Report(args::Report { from: Some(args::ReportFrom::Import(import)), .. }) =
            parsed.command
        else {
            panic!("an import")
        };
        import
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn the_verdicts_of_a_report_read_back_to_the_same_rates() {
        let sample = include_str!("../../crates/judging/tests/fixtures/report.json");
        let sample: Report = serde_json::from_str(sample).unwrap();
        let all = sheets(&sample);
        let (_, verdicts) = all.iter().find(|(name, _)| *name == "verdicts.csv").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, "verdicts.csv", verdicts);
        let columns = [
            "item=item",
            "sample=sample",
            "domain=domain",
            "split=split",
            "judge=judge",
            "order=first",
            "replicate=replicate",
            "winner=winner",
            "checkpoint=comparison",
        ];
        let mut words = vec![file.as_str(), "--set", "tuned=tuned", "--set", "base=base"];
        columns.iter().for_each(|column| words.extend(["--map", column]));
        let report = read(&import_args(&words)).unwrap();
        assert_eq!(report.comparisons.len(), sample.comparisons.len());
        for (ours, theirs) in report.comparisons.iter().zip(&sample.comparisons) {
            for judge in [None, Some("smoke-plain"), Some("smoke-rubric")] {
                let (ours, theirs) = (ours.overall(judge).unwrap(), theirs.overall(judge).unwrap());
                assert_eq!((ours.rate, ours.counts, ours.p), (theirs.rate, theirs.counts, theirs.p));
                let (ours, theirs) = (ours.interval.unwrap(), theirs.interval.unwrap());
                assert!((ours.low - theirs.low).abs() < 1e-12 && (ours.high - theirs.high).abs() < 1e-12);
            }
        }
        assert_eq!(report.import.as_ref().unwrap().duplicates, []);
        for text in [terminal(&report), markdown(&report), html(&report), latex(&report)] {
            assert!(text.contains("verdicts.csv"), "{text}");
        }
    }

    #[test]
    fn wrong_rows_are_named_and_wrong_maps_say_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, "v.csv", "id,w\n1,new\n,new\n");
        let words = [file.as_str(), "--map", "item=id", "--map", "winner=w", "--set", "judge=j"];
        let systems = ["--set", "tuned=new", "--set", "base=old"];
        let error = |words: &[&str]| format!("{:#}", read(&import_args(words)).unwrap_err());
        assert!(error(&words).contains("field `tuned` is needed"), "{}", error(&words));
        let named = [&words[..], &systems].concat();
        assert!(error(&named).contains("line 3, column `id`"), "{}", error(&named));
        let skipping = [&named[..], &["--skip-unreadable"]].concat();
        let report = read(&import_args(&skipping)).unwrap();
        assert!(terminal(&report).contains("rows that could not be placed (1)"));
        let odd = write(&folder, "verdicts.txt", "id\n1\n");
        assert!(error(&[odd.as_str()]).contains("--format"));
        assert_eq!(shell_word("it's".to_owned()), "'it'\\''s'");
    }
}
