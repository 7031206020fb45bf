//! What is left of the budgets at a moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SET_ASIDE_PERMILLE, need};
use crate::budget::{Account, Amount, Cap, Month, Scope};
use crate::decide::schedule::{Obstacle, Teams};
use crate::event::WorkerInfo;
use crate::state::{JobState, Matrix, Phase};
use crate::{MatrixId, PlannedJob, State, UnixMillis};

/// What all matrices, teams and the month take of their budgets.
pub(in crate::decide) struct Books<'a> {
    teams: &'a Teams,
    month: Month,
    /// In the month, by team; empty where nobody has a budget for a month.
    held: BTreeMap<&'a str, Amount>,
    total: Amount,
    /// What was given in this round.
    given: BTreeMap<&'a MatrixId, Amount>,
}

impl<'a> Books<'a> {
    pub(in crate::decide) fn new(state: &'a State, teams: &'a Teams, at: UnixMillis) -> Self {
        let month = Month::of(at);
        let mut books =
            Self { teams, month, held: BTreeMap::new(), total: Amount::ZERO, given: BTreeMap::new() };
        if !teams.has_budgets() {
            return books;
        }
        for (team, spent) in state.spent.get(&month).into_iter().flatten() {
            books.hold(team, *spent);
        }
        for matrix in &state.matrices {
            books.hold(matrix.team(), running(matrix, month));
        }
        books
    }

    fn hold(&mut self, team: &'a str, amount: Amount) {
        let held = self.held.entry(team).or_default();
        *held = held.plus(amount);
        self.total = self.total.plus(amount);
    }

    /// Whether any budget counts what a matrix costs.
    pub(in crate::decide) fn covers(&self, matrix: &Matrix) -> bool {
        let Teams { month, .. } = self.teams;
        !(matrix.budget.is_none() && month.is_none() && self.teams.of(matrix.team()).budget.is_none())
    }

    /// What is left for a matrix of each budget that counts it.
    pub(in crate::decide) fn left(&self, matrix: &Matrix) -> Vec<(Scope, Cap)> {
        if !self.covers(matrix) {
            return Vec::new();
        }
        let (id, team, month) = (&matrix.submitted.id, matrix.team(), self.month);
        let mut left = Vec::new();
        if !matrix.budget.is_none() {
            let given = self.given.get(id).copied().unwrap_or_default();
            let held = matrix.holds().plus(given);
            left.push((Scope::Matrix { matrix: id.clone() }, matrix.budget.left(held)));
        }
        let of_team = self.teams.of(team).budget;
        if !of_team.is_none() {
            let held = self.held.get(team).copied().unwrap_or_default();
            left.push((Scope::Team { team: team.to_owned(), month }, of_team.left(held)));
        }
        if !self.teams.month.is_none() {
            left.push((Scope::Month { month }, self.teams.month.left(self.total)));
        }
        left
    }

    /// The account of a lease of a job to a worker, or the budget that has not enough left for it.
    pub(in crate::decide) fn account(
        &self,
        matrix: &Matrix,
        planned: &PlannedJob,
        known: &JobState,
        worker: &WorkerInfo,
    ) -> Result<Account, Box<Obstacle>> {
        let need = need::of(planned, known, worker);
        let (mut room, mut limited) = (Cap::default(), false);
        for (scope, left) in self.left(matrix) {
            if left.usd_micros.is_some() && !need.priced {
                return Err(Box::new(Obstacle::Unpriced { scope }));
            }
            if !left.allows(need.amount) {
                return Err(Box::new(Obstacle::Budget { scope, needs: need.amount, left }));
            }
            limited |= left.usd_micros.is_some() && need.amount.usd_micros > 0
                || left.device_ms.is_some() && need.amount.device_ms > 0;
            room = room.and(left);
        }
        let most = Cap {
            usd_micros: need.usd_micros_max.filter(|most| *most >= need.amount.usd_micros),
            device_ms: None,
        };
        let reserved = need.amount.permille(SET_ASIDE_PERMILLE).within(room.and(most));
        Ok(Account { reserved, usd_micros_per_hour: need.usd_micros_per_hour, limited, spent: None })
    }

    /// A lease is given.
    pub(in crate::decide) fn give(&mut self, matrix: &'a Matrix, account: Account) {
        let given = self.given.entry(&matrix.submitted.id).or_default();
        *given = given.plus(account.reserved);
        if self.teams.has_budgets() {
            self.hold(matrix.team(), account.reserved);
        }
    }
}

/// What is set aside for the running attempts of a matrix that were leased in a month.
fn running(matrix: &Matrix, month: Month) -> Amount {
    let running = matrix.jobs.iter().filter(|job| matches!(job.phase, Phase::Leased { .. }));
    let attempts = running.filter_map(|job| job.attempts.last()).filter(|attempt| attempt.month() == month);
    attempts.fold(Amount::ZERO, |sum, attempt| sum.plus(attempt.account.holds()))
}

/// One budget with what it is used for, or what was spent where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What it is of.
    pub scope: Scope,
    /// The most.
    pub budget: Cap,
    /// What attempts that have ended cost.
    pub spent: Amount,
    /// What is set aside for attempts that run.
    pub reserved: Amount,
}

impl Balance {
    /// What is left.
    pub fn left(&self) -> Cap {
        self.budget.left(self.spent.plus(self.reserved))
    }

    /// A matrix, finished or not.
    pub fn of(matrix: &Matrix) -> Self {
        let attempts = || matrix.jobs.iter().flat_map(|job| &job.attempts);
        let spent = attempts().filter_map(|attempt| attempt.account.spent);
        let open = attempts().filter(|attempt| attempt.account.spent.is_none());
        Self {
            scope: Scope::Matrix { matrix: matrix.submitted.id.clone() },
            budget: matrix.budget,
            spent: spent.fold(Amount::ZERO, Amount::plus),
            reserved: open.fold(Amount::ZERO, |sum, attempt| sum.plus(attempt.account.reserved)),
        }
    }
}

/// All budgets: of the month, of each team that has one or spent something in it, and of each matrix under way that has one.
pub fn balances(state: &State, teams: &Teams, at: UnixMillis) -> Vec<Balance> {
    let month = Month::of(at);
    let mut by_team: BTreeMap<&str, (Amount, Amount)> = BTreeMap::new();
    for (team, spent) in state.spent.get(&month).into_iter().flatten() {
        by_team.entry(team.as_str()).or_default().0 = *spent;
    }
    for matrix in &state.matrices {
        let (_, reserved) = by_team.entry(matrix.team()).or_default();
        *reserved = reserved.plus(running(matrix, month));
    }
    for team in teams.named.keys() {
        by_team.entry(team.as_str()).or_default();
    }
    let sum =
        |pick: fn(&(Amount, Amount)) -> Amount| by_team.values().map(pick).fold(Amount::ZERO, Amount::plus);
    let (spent, reserved) = (sum(|sums| sums.0), sum(|sums| sums.1));
    let mut all = vec![Balance { scope: Scope::Month { month }, budget: teams.month, spent, reserved }];
    all.extend(by_team.into_iter().filter_map(|(team, (spent, reserved))| {
        let (scope, budget) = (Scope::Team { team: team.to_owned(), month }, teams.of(team).budget);
        let idle = budget.is_none() && spent.is_zero() && reserved.is_zero();
        (!idle).then_some(Balance { scope, budget, spent, reserved })
    }));
    all.extend(state.matrices.iter().filter(|matrix| !matrix.budget.is_none()).map(Balance::of));
    all
}
