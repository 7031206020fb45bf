//! `assay judge resume`: submits a finished matrix again; of its judging only what has no verdict is asked.

use anyhow::Context as _;
use assay_domain::matrix::ResolvedMatrix;

use crate::exit::Failed;
use crate::records::get;
use crate::{args, connect, submit};

/// Runs the command.
pub(crate) async fn run(args: &args::JudgeResume) -> anyhow::Result<()> {
    let Some(budget) = args.budget_usd else { return submit::retry(&args.retry).await };
    if !(budget.is_finite() && budget > 0.0) {
        return Err(
            Failed::Input(format!("--budget-usd is {budget}: a number of USD above 0 is needed")).into()
        );
    }
    let coordinator = connect::Coordinator::find(&args.retry.connection)?;
    let matrix = get(&coordinator, &args.retry.matrix).await?;
    let mut resolved: ResolvedMatrix = serde_json::from_str(&matrix.resolved_json)
        .context("the matrix was stored by another version of assay")?;
    resolved.matrix.panel.budget_usd = Some(budget);
    submit::again(&coordinator, &resolved, &args.retry).await
}
