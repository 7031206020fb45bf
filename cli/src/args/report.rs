//! The arguments of `assay report`.

use std::path::PathBuf;

use assay_judging::report::import::Format;
use clap::{Args as ClapArgs, Subcommand};

use super::Connection;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Report {
    #[command(subcommand)]
    pub(crate) from: Option<ReportFrom>,
    /// The matrix's id.
    #[arg(required = true)]
    pub(crate) matrix: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Add the verdicts of all who have judged it with `assay judge annotate`, and their agreement with the judges.
    #[arg(long)]
    pub(crate) people: bool,
    #[command(flatten)]
    pub(crate) output: ReportOutput,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportFrom {
    /// Make a report of verdicts that were made elsewhere, without a coordinator and without a call.
    #[command(after_help = crate::import_verdicts::fields_help())]
    Import(Import),
}

/// What a report is written as; for people on the terminal when nothing is given.
#[derive(Debug, Clone, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct ReportOutput {
    /// Write one self-contained HTML file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the report as Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Print the win rates as CSV, or write all tables to a folder.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) csv: Option<PathBuf>,
    /// Print the tables for a paper.
    #[arg(long)]
    pub(crate) latex: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Import {
    /// Verdicts as JSON lines or CSV with a header.
    pub(crate) file: PathBuf,
    /// The file's format, when its name does not say it.
    #[arg(long, value_parser = format)]
    pub(crate) format: Option<Format>,
    /// FIELD=COLUMN: which column holds a field.
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub(crate) map: Vec<String>,
    /// FIELD=VALUE: every row says the same.
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// FIELD:WORD=MEANING: what a word of winner, answer, order or label_a means.
    #[arg(long, value_name = "FIELD:WORD=MEANING")]
    pub(crate) value: Vec<String>,
    /// The system to count from, where rows name two systems without saying which is the base.
    #[arg(long)]
    pub(crate) base: Option<String>,
    /// Leave out rows that cannot be placed; the report names them.
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: ReportOutput,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "jsonl" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        _ => Err(String::from("jsonl or csv")),
    }
}
