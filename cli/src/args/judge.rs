//! The arguments of `assay judge`.

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

/// The coordinator keeps verdicts one by one: stop whenever you like, and go on with the same command, from wherever you are.
#[derive(Debug, ClapArgs)]
pub(crate) struct JudgeAnnotate {
    /// The matrix's id.
    pub(crate) matrix: String,
    /// Your name in the report.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: String,
    /// How often you see each pair, fixed when you begin: `single`, `both` orders, `full`; as the panel when left out.
    #[arg(long, value_parser = ["single", "both", "full"])]
    pub(crate) orders: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
