//! `assay budget`: what is left of budgets, and what a matrix may cost from now on.

use anyhow::Context as _;
use assay_domain::budget::{Amount, Cap};
use assay_domain::decide::Balance;
use assay_proto::v1::{BudgetsRequest, GetMatrixRequest, SetBudgetRequest};
use serde_json::json;

use crate::connect::Coordinator;
use crate::plan::new_table;
use crate::{args, print, view};

/// Runs the command.
pub(crate) async fn run(args: &args::Budget) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let Some(matrix) = &args.matrix else {
        let balances = balances(&coordinator).await?;
        return show(&balances, args.json);
    };
    let request = GetMatrixRequest { matrix_id: matrix.clone() };
    let answer = coordinator.matrices().get(request).await.map_err(|status| coordinator.failed(&status))?;
    let known = answer.into_inner().matrix.unwrap_or_default();
    let balance = view::balance(&known)
        .context("the coordinator's answer cannot be read: is it of another version?")?;
    if args.usd.is_none() && args.hours.is_none() && !args.unlimited {
        return show(&[balance], args.json);
    }
    // What is not said stays as it is.
    let now = |number: Option<f64>| number.filter(|_| !args.unlimited);
    let Cap { usd_micros, device_ms } = balance.budget;
    let amount =
        Amount { usd_micros: usd_micros.unwrap_or_default(), device_ms: device_ms.unwrap_or_default() };
    let request = SetBudgetRequest {
        matrix_id: matrix.clone(),
        usd: args.usd.or(now(usd_micros.map(|_| amount.usd()))),
        hours: args.hours.or(now(device_ms.map(|_| amount.hours()))),
    };
    let answer = coordinator.matrices().set_budget(request).await;
    let changed = answer.map_err(|status| coordinator.failed(&status))?.into_inner().changed;
    if args.json {
        return print::json(&json!({ "matrix": matrix, "changed": changed }));
    }
    let what = if changed { "has another budget" } else { "had ended, or had this budget: nothing changed" };
    print::say(format!("{matrix}: {what}"));
    Ok(())
}

/// All budgets of a coordinator.
pub(crate) async fn balances(coordinator: &Coordinator) -> anyhow::Result<Vec<Balance>> {
    let answer = coordinator.matrices().budgets(BudgetsRequest {}).await;
    let json = answer.map_err(|status| coordinator.failed(&status))?.into_inner().balances_json;
    serde_json::from_str(&json).context("the coordinator's answer cannot be read: is it of another version?")
}

fn show(balances: &[Balance], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print::json(&balances);
    }
    let mut table = new_table(&["of", "budget", "spent", "set aside", "left"], &[]);
    for balance in balances {
        let of =
            [&balance.budget as &dyn std::fmt::Display, &balance.spent, &balance.reserved, &balance.left()];
        let cells = of.map(ToString::to_string);
        table.add_row([vec![balance.scope.to_string()], cells.to_vec()].concat());
    }
    print::line(table);
    Ok(())
}
