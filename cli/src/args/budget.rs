//! The arguments of `assay budget`.

use clap::Args as ClapArgs;

use super::Connection;

/// Without a matrix: what is left this month. With one: what it has cost; with a number: what it may cost from now on.
#[derive(Debug, ClapArgs)]
pub(crate) struct Budget {
    /// The matrix's id.
    pub(crate) matrix: Option<String>,
    /// USD that the matrix may cost in all, what it has cost so far included.
    #[arg(long, requires = "matrix", value_parser = above_zero)]
    pub(crate) usd: Option<f64>,
    /// Hours of workers that the matrix may take in all, those so far included.
    #[arg(long, requires = "matrix", value_parser = above_zero)]
    pub(crate) hours: Option<f64>,
    /// Nothing bounds the matrix any more but its team's and the month's budget.
    #[arg(long, requires = "matrix", conflicts_with_all = ["usd", "hours"])]
    pub(crate) unlimited: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| String::from("a number above 0 is needed"))
}
