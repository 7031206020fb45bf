//! `assay judge resume`: submits a finished matrix again; of its judging only what has no verdict is asked.

use crate::exit::Failed;
use crate::{args, submit};

/// Runs the command.
pub(crate) async fn run(args: &args::JudgeResume) -> anyhow::Result<()> {
    if let Some(budget) = args.budget_usd
        && !(budget.is_finite() && budget > 0.0)
    {
        return Err(
            Failed::Input(format!("--budget-usd is {budget}: a number of USD above 0 is needed")).into()
        );
    }
    submit::retry(&args.retry, args.budget_usd).await
}
