//! Budgets: what the attempts of a matrix, a team and a month take of them, and how much an attempt may have. A lease sets aside one
//! and a half times what its job is expected to cost, or what is left, and none is given where less than the expected is left.

mod books;
mod need;

pub use books::{Balance, balances};

pub(super) use books::Books;
pub(super) use need::nominal;

use crate::budget::{Account, Amount, Cap};
use crate::job::FailureClass;
use crate::state::{AttemptRecord, JobState};
use crate::{Event, Lease, MatrixId, PlannedJob, Rejection, State, UnixMillis};

use super::current_job;
use super::schedule::Teams;

/// What is set aside, in thousandths of what is expected.
const SET_ASIDE_PERMILLE: u32 = 1_500;

/// A person changes what a matrix may cost, what it has cost so far included.
pub fn set_budget(
    state: &State,
    matrix: &MatrixId,
    budget: Cap,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    let known = state.matrix(matrix).ok_or_else(|| Rejection::UnknownMatrix { matrix: matrix.clone() })?;
    if known.budget == budget {
        return Ok(Vec::new());
    }
    Ok(vec![Event::MatrixBudgeted { matrix: matrix.clone(), budget, at }])
}

/// An attempt comes to its limit `has` and asks for more: what it may cost from now on. It gets as much again, or what is left;
/// with nothing left it is refused. One whose limit is higher already has not heard the answer.
pub fn grant(
    state: &State,
    teams: &Teams,
    lease: &Lease,
    has: Amount,
    at: UnixMillis,
) -> Result<(Amount, Vec<Event>), Rejection> {
    let (matrix, job) = current_job(state, lease)?;
    let Some(attempt) = job.attempt(lease.fence) else {
        return Err(Rejection::StaleAttempt { lease: lease.clone(), current: job.current() });
    };
    let reserved = attempt.account.reserved;
    if !attempt.account.limited
        || !(Cap { usd_micros: Some(has.usd_micros), device_ms: Some(has.device_ms) }).allows(reserved)
    {
        return Ok((reserved, Vec::new()));
    }
    // The month of its lease, as for all that it costs.
    let books = Books::new(state, teams, attempt.started_at);
    let left = books.left(matrix);
    let room = left.iter().fold(Cap::default(), |room, (_, left)| room.and(*left));
    let more = reserved.within(room);
    if more.is_zero() {
        let emptiest = left.into_iter().find(|(_, left)| reserved.within(*left).is_zero());
        let Some((scope, _)) = emptiest else { return Ok((reserved, Vec::new())) };
        return Err(Rejection::OverBudget { lease: lease.clone(), scope });
    }
    Ok((reserved.plus(more), vec![Event::SpendGranted { lease: lease.clone(), more, at }]))
}

/// What a failure is, seen from here: only an attempt that has a limit can come to it.
pub(super) fn class(attempt: Option<&AttemptRecord>, said: FailureClass) -> FailureClass {
    let limited = attempt.is_some_and(|attempt| attempt.account.limited);
    if said == FailureClass::Budget && !limited { FailureClass::Crashed } else { said }
}

/// How much more than its estimate a job takes whose attempt was not enough, in thousandths: one and a half times what it had. Each
/// further such end raises it, so that nothing is tried again with as little.
pub(super) fn needs_permille(
    state: &State,
    planned: Option<&PlannedJob>,
    job: &JobState,
    lease: &Lease,
    class: FailureClass,
) -> Option<u32> {
    let attempt = job.attempt(lease.fence).filter(|_| class == FailureClass::Budget)?;
    let worker = state.workers.get(&attempt.worker)?;
    let fresh = JobState { checkpoints: job.checkpoints.clone(), ..JobState::default() };
    let expected = need::of(planned?, &fresh, worker).amount;
    let Account { reserved, .. } = attempt.account;
    let times = |had: u64, expected: u64| had.saturating_mul(1_000).checked_div(expected).unwrap_or(0);
    let had =
        times(reserved.usd_micros, expected.usd_micros).max(times(reserved.device_ms, expected.device_ms));
    let least = u64::from(job.needs_permille.unwrap_or(1_000));
    let needs = had.max(least).saturating_mul(SET_ASIDE_PERMILLE.into()) / 1_000;
    Some(u32::try_from(needs).unwrap_or(u32::MAX))
}
