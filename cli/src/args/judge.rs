//! The arguments of `assay judge`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{Connection, Retry};

#[derive(Debug, Subcommand)]
pub(crate) enum Judge {
    /// Show calls done, missing, refused and under way, and what was spent, by judge.
    Status(JudgeStatus),
    /// Submit a finished matrix again: of its judging only what has no verdict is asked.
    Resume(JudgeResume),
    /// Judge the panel's pairs yourself, blind, on this terminal.
    Annotate(JudgeAnnotate),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct JudgeStatus {
    /// The matrix's id.
    pub(crate) matrix: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON, a value for each judge job.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct JudgeResume {
    #[command(flatten)]
    pub(crate) retry: Retry,
    /// The panel's budget from now on, USD; that of the matrix when left out.
    #[arg(long, value_name = "USD")]
    pub(crate) budget_usd: Option<f64>,
}

/// Verdicts are kept one by one: stop whenever you like, and go on with the same command.
#[derive(Debug, ClapArgs)]
pub(crate) struct JudgeAnnotate {
    /// The matrix's id.
    pub(crate) matrix: String,
    /// Your name in the report.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: String,
    /// How often you see each pair: `single`, `both` orders, `full`; as the panel when left out.
    #[arg(long, value_parser = crate::judge::orders)]
    pub(crate) orders: Option<assay_domain::job::Orders>,
    /// Where your verdicts are kept; default: `annotations/MATRIX/NAME` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
