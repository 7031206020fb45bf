//! Whose turn it is: weighted fair shares between teams, and between the matrices of a team.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996) with an attempt as the unit of service: each flow has the virtual time at which
//! its last attempt ends, 1/weight after its start; the flow that would start first is next, and one that was idle starts now.
//! Nobody saves up turns, and nobody that has a job that fits waits for ever.

use std::collections::BTreeMap;

use crate::budget::Cap;
use crate::state::{Matrix, Phase};
use crate::{MatrixId, State};

/// One attempt of a flow of weight 1, in virtual time.
const UNIT: u64 = 1 << 20;
/// The largest weight.
pub const WEIGHT_MAX: u32 = 1_000;

/// What one team may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Team {
    /// Its turns against those of others.
    pub weight: u32,
    /// Jobs that it may run at once.
    pub running_max: Option<u32>,
    /// What it may cost in a calendar month.
    pub budget: Cap,
}

impl Default for Team {
    fn default() -> Self {
        Self { weight: 1, running_max: None, budget: Cap::default() }
    }
}

/// What teams may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Teams {
    /// By name.
    pub named: BTreeMap<String, Team>,
    /// Each of all others.
    pub other: Team,
    /// What all of them together may cost in a calendar month.
    pub month: Cap,
}

impl Teams {
    /// Whether anyone has a budget for a month.
    pub fn has_budgets(&self) -> bool {
        let mut teams = self.named.values().chain([&self.other]);
        !self.month.is_none() || teams.any(|team| !team.budget.is_none())
    }

    /// What a team may have.
    pub fn of(&self, team: &str) -> Team {
        self.named.get(team).copied().unwrap_or(self.other)
    }
}

/// Jobs that run for a matrix.
pub(super) fn running_of(matrix: &Matrix) -> u32 {
    matrix.jobs.iter().filter(|job| matches!(job.phase, Phase::Leased { .. })).count() as u32
}

/// Jobs that run for a team.
pub(super) fn running(state: &State, team: &str) -> u32 {
    state.matrices.iter().filter(|matrix| matrix.team() == team).map(running_of).sum()
}

/// The turns had so far. Not stored: after a restart all begin equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shares {
    teams: Flows<String>,
    matrices: BTreeMap<String, Flows<MatrixId>>,
}

/// Flows that share something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flows<K> {
    /// The virtual time.
    now: u64,
    /// When the last attempt of each ends, virtually.
    ends: BTreeMap<K, u64>,
}

impl<K> Default for Flows<K> {
    fn default() -> Self {
        Self { now: 0, ends: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Flows<K> {
    fn start<Q: Ord + ?Sized>(&self, flow: &Q) -> u64
    where
        K: std::borrow::Borrow<Q>,
    {
        self.ends.get(flow).copied().unwrap_or_default().max(self.now)
    }

    fn take(&mut self, flow: &K, weight: u32) {
        let start = self.start(flow);
        self.now = start;
        self.ends.insert(flow.clone(), start + UNIT / u64::from(weight.clamp(1, WEIGHT_MAX)));
    }
}

impl Shares {
    /// What decides between two matrices that have a job that fits, the smaller first: the team's turn, the priority, the
    /// matrix's turn.
    pub fn rank(&self, matrix: &Matrix) -> (u64, i32, u64) {
        let team = matrix.team();
        let within = self.matrices.get(team);
        let turn = within.map_or(0, |flows| flows.start(&matrix.submitted.id));
        (self.teams.start(team), -matrix.submitted.schedule.priority, turn)
    }

    /// A matrix has its turn.
    pub(super) fn take(&mut self, matrix: &Matrix, teams: &Teams) {
        let (team, id) = (matrix.team().to_owned(), &matrix.submitted.id);
        self.teams.take(&team, teams.of(&team).weight);
        self.matrices.entry(team).or_default().take(id, matrix.submitted.schedule.weight);
    }

    /// Who has nothing under way has no turns either.
    pub(super) fn forget_ended(&mut self, state: &State) {
        let here = |team: &str| state.matrices.iter().any(|matrix| matrix.team() == team);
        self.teams.ends.retain(|team, _| here(team));
        self.matrices.retain(|team, _| here(team));
        for flows in self.matrices.values_mut() {
            flows.ends.retain(|id, _| state.matrix(id).is_some());
        }
    }
}
