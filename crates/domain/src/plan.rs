//! A resolved matrix expanded to a DAG of jobs: a value, made once, stored, and never made again.
//!
//! train -> its checkpoints -> generate (each base once) -> score or judge -> one report.

use crate::job::PlannedJob;
use crate::matrix::{CELLS_MAX, MatrixError, ResolvedMatrix};

pub use check::PLAN_JOBS_MAX;
pub use kept::keep_analysis;
pub(crate) use pace::{Lasts, lasts_on_each, rate_of};
pub use price::{PriceTable, WorkerRate};
pub use steps::{BEST, Schedule, steps_per_epoch};
pub use table::{KindTotal, PlanRow, PlanTable, WorkerTotal};

pub(crate) use check::schedule_errors;

mod budget;
mod check;
mod demand;
mod direct;
mod estimate;
mod expand;
mod held;
mod kept;
mod label;
mod pace;
mod price;
mod steps;
mod table;

/// Expands a matrix into its jobs, priced with the table that comes with this version. Judges that are unavailable get no
/// jobs; the report names them with the reason.
///
/// # Errors
/// Everything that is wrong with the matrix now that its files are known.
pub fn plan(resolved: &ResolvedMatrix) -> Result<Vec<PlannedJob>, Vec<MatrixError>> {
    let whole = |what: String, rule: String| vec![resolved.matrix.places.error("", what, rule)];
    let cells = resolved.matrix.cells_before_rules();
    if cells > CELLS_MAX {
        return Err(whole(
            format!("the matrix has {cells} combinations"),
            format!("{CELLS_MAX} at most: split it"),
        ));
    }
    let errors = check::check(resolved);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut jobs = expand::Plan::of(resolved, PriceTable::builtin()).map_err(|error| {
        whole(format!("the plan has no JSON form ({error})"), String::from("use finite numbers"))
    })?;
    if let Some(budget) = resolved.matrix.panel.budget_usd {
        budget::share(&mut jobs, budget).map_err(|what| {
            let rule = format!("panel.budget_usd allows {budget}: raise it, or ask fewer or cheaper judges");
            vec![resolved.matrix.places.error("panel/budget_usd", what, rule)]
        })?;
    }
    if let Some(usd) = resolved.matrix.budget.usd {
        budget::check(&jobs, usd).map_err(|what| {
            let rule = format!("budget.usd allows {usd}: raise it, or ask fewer or cheaper judges");
            vec![resolved.matrix.places.error("budget/usd", what, rule)]
        })?;
    }
    if jobs.len() > PLAN_JOBS_MAX {
        let rule = format!("{PLAN_JOBS_MAX} at most: split the matrix");
        return Err(whole(format!("the plan has {} jobs", jobs.len()), rule));
    }
    Ok(jobs)
}
