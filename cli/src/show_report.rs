//! `assay report`: fetches `report.json`, checks its digest, renders it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay_domain::Artifact;
use assay_judging::report::{Report, build_report};
use assay_proto::v1::MatrixView;

use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::judge::people;
use crate::{args, fetch, print, records, report, view};

/// Runs the command.
pub(crate) async fn run(args: &args::Report) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let matrix = records::get(&coordinator, args.matrix.as_deref().unwrap_or_default()).await?;
    let (mut text, mut value) = fetch(&coordinator, &matrix).await?;
    if args.people {
        value = with_people(&coordinator, &matrix, &value).await?;
        text = serde_json::to_string_pretty(&value)?;
    }
    emit(&args.output, &text, &value)
}

/// The report computed again with the verdicts of people.
async fn with_people(
    coordinator: &Coordinator,
    matrix: &MatrixView,
    report: &Report,
) -> anyhow::Result<Report> {
    let mut inputs = records::inputs(coordinator, matrix, report).await?;
    let id = matrix.summary.as_ref().map_or("", |summary| summary.matrix_id.as_str());
    people::join(coordinator, id, &mut inputs).await?;
    let mut built = build_report(&inputs)?;
    built.execution.unfinished.clone_from(&report.execution.unfinished);
    Ok(built)
}

/// Prints or writes a report; `text` is its JSON.
pub(crate) fn emit(output: &args::ReportOutput, text: &str, value: &Report) -> anyhow::Result<()> {
    if let Some(path) = &output.html {
        write(path, &report::html(value))?;
        print::say(format!("written to {}", path.display()));
    } else if let Some(folder) = &output.csv {
        emit_csv(folder, value)?;
    } else if output.json {
        print::line(text);
    } else if output.markdown {
        print::line(report::markdown(value));
    } else if output.latex {
        print::line(report::latex(value));
    } else {
        print::line(report::terminal(value));
    }
    Ok(())
}

/// The first table to standard output, or all of them to a folder.
fn emit_csv(folder: &Path, value: &Report) -> anyhow::Result<()> {
    let sheets = report::sheets(value);
    if folder == Path::new("-") {
        print::line(sheets.first().map_or("", |(_, text)| text.trim_end()));
        return Ok(());
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, text) in sheets {
        let path = folder.join(name);
        write(&path, &text)?;
        print::say(format!("written to {}", path.display()));
    }
    Ok(())
}

/// Prints a finished matrix's report and writes it to `DATA_DIR/reports`.
pub(crate) async fn print_and_write(
    coordinator: &Coordinator,
    matrix: &MatrixView,
    data_dir: &Path,
    json: bool,
) -> anyhow::Result<()> {
    let (text, value) = fetch(coordinator, matrix).await?;
    let name = matrix.summary.as_ref().map_or("matrix", |summary| summary.matrix_id.as_str());
    let folder = data_dir.join("reports");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let html = folder.join(format!("{name}.html"));
    write(&folder.join(format!("{name}.json")), &text)?;
    write(&html, &report::html(&value))?;
    if json {
        print::line(text);
    } else {
        print::line(report::terminal(&value));
    }
    print::say(format!("report: {}", absolute(&html).display()));
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(crate) async fn fetch(
    coordinator: &Coordinator,
    matrix: &MatrixView,
) -> anyhow::Result<(String, Report)> {
    let text = fetch::text(coordinator, &report_artifact(matrix)?).await?;
    let value = serde_json::from_str(&text).context("the report was written by another version of assay")?;
    Ok((text, value))
}

fn report_artifact(matrix: &MatrixView) -> Result<Artifact, Failed> {
    let name = matrix.summary.as_ref().map_or("", |summary| summary.matrix_id.as_str());
    let job = matrix.jobs.iter().find(|job| job.kind == "report");
    let job = job.ok_or_else(|| Failed::Input(format!("matrix {name} has no report job")))?;
    view::outputs(job).into_iter().find(|artifact| artifact.name == "report").ok_or_else(|| {
        Failed::Matrix(format!(
            "matrix {name} has no report yet: its report job is {}; `assay watch {name}` follows it",
            job.status
        ))
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(|| path.display().to_string())?;
    file.persist(path).with_context(|| path.display().to_string())?;
    Ok(())
}
