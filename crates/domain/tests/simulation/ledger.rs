//! A second set of books: what is set aside and spent, by matrix, team and month, kept from the events alone.

use std::collections::BTreeMap;

use assay_domain::budget::{Account, Amount, Cap, Month};
use assay_domain::decide::schedule::Teams;
use assay_domain::{Event, JobId, Lease, MatrixId, State, UnixMillis};

/// An attempt that runs.
#[derive(Debug, Clone)]
struct Open {
    lease: Lease,
    account: Account,
    from: UnixMillis,
    team: String,
}

/// What counts to one budget.
#[derive(Debug, Clone, Default)]
struct Sum {
    /// What ended costs.
    spent: Amount,
    /// How far workers went over what was set aside for them.
    over: Amount,
}

#[derive(Default, Clone)]
pub(crate) struct Ledger {
    open: BTreeMap<JobId, Open>,
    matrices: BTreeMap<MatrixId, Sum>,
    teams: BTreeMap<(Month, String), Sum>,
}

fn times(price: u64, ms: u64) -> u64 {
    (u128::from(price) * u128::from(ms)).div_ceil(3_600_000) as u64
}

fn exceeds(sum: Amount, cap: Cap, over: Amount) -> bool {
    cap.usd_micros.is_some_and(|most| sum.usd_micros > most + over.usd_micros)
        || cap.device_ms.is_some_and(|most| sum.device_ms > most + over.device_ms)
}

impl Ledger {
    /// Before an event is applied; `month` and `team` caps are those of now.
    pub(crate) fn note(&mut self, state: &State, event: &Event) {
        if let Event::JobLeased { lease, account, at, .. } = event {
            let matrix = state.matrix(&lease.job.matrix).expect("a known matrix");
            let team = matrix.submitted.schedule.team.clone().unwrap_or_default();
            let open = Open { lease: lease.clone(), account: *account, from: *at, team };
            assert!(self.open.insert(lease.job.clone(), open).is_none(), "{lease} was leased twice");
        } else if let Event::SpendGranted { lease, more, .. } = event {
            let open = self.open.get_mut(&lease.job).expect("a current attempt");
            assert_eq!(open.lease, *lease);
            open.account.reserved = open.account.reserved.plus(*more);
        } else if let Event::JobSucceeded { lease, usage, .. } = event {
            self.end(&lease.job, usage.used);
        } else if let Event::AttemptFailed { lease, used, .. } = event {
            self.end(&lease.job, *used);
        } else if let Event::AttemptLost { lease, .. } = event {
            self.end(&lease.job, None);
        }
    }

    /// After an event: what was cut off by it is settled with its time until then.
    pub(crate) fn note_cut(&mut self, state: &State, event: &Event) {
        let (at, in_full) = if let Event::MatrixCancelled { at, .. }
        | Event::JobCancelled { at, .. }
        | Event::ArtifactLost { at, .. } = event
        {
            (*at, false)
        } else if matches!(event, Event::EpochRaised { .. }) {
            (UnixMillis(0), true)
        } else {
            return;
        };
        let gone = |open: &&Open| {
            state.job(&open.lease.job).is_none_or(|job| job.current() != Some(open.lease.fence))
        };
        let gone: Vec<Open> = self.open.values().filter(gone).cloned().collect();
        for Open { lease, account, from, .. } in gone {
            let Account { reserved, usd_micros_per_hour: price, limited, .. } = account;
            let elapsed = at.0.saturating_sub(from.0);
            let time = if reserved.device_ms == 0 {
                0
            } else if limited {
                elapsed.min(reserved.device_ms)
            } else {
                elapsed
            };
            let calls = reserved.usd_micros.saturating_sub(times(price, reserved.device_ms));
            let cut = Amount { usd_micros: calls, device_ms: time };
            self.end(&lease.job, (!in_full).then_some(cut));
        }
    }

    fn end(&mut self, job: &JobId, used: Option<Amount>) {
        let Open { account, from, team, .. } = self.open.remove(job).expect("a current attempt");
        let cost = used.map_or(account.reserved, |used| Amount {
            usd_micros: used.usd_micros + times(account.usd_micros_per_hour, used.device_ms),
            ..used
        });
        let over = Amount {
            usd_micros: cost.usd_micros.saturating_sub(account.reserved.usd_micros),
            device_ms: cost.device_ms.saturating_sub(account.reserved.device_ms),
        };
        let of_matrix = self.matrices.entry(job.matrix.clone()).or_default();
        (of_matrix.spent, of_matrix.over) = (of_matrix.spent.plus(cost), of_matrix.over.plus(over));
        let of_team = self.teams.entry((Month::of(from), team)).or_default();
        (of_team.spent, of_team.over) = (of_team.spent.plus(cost), of_team.over.plus(over));
    }

    fn held(&self, which: impl Fn(&Open) -> bool) -> Amount {
        let open = self.open.values().filter(|open| which(open));
        open.fold(Amount::default(), |sum, open| sum.plus(open.account.reserved))
    }

    /// No budget is passed by what is set aside and spent, but for what workers went over their limits.
    pub(crate) fn is_kept(&self, state: &State, teams: &Teams, event: &Event) {
        let (Event::JobLeased { lease, .. } | Event::SpendGranted { lease, .. }) = event else { return };
        let open = &self.open[&lease.job];
        let (month, none) = (Month::of(open.from), Sum::default());
        let of_matrix = self.matrices.get(&lease.job.matrix).unwrap_or(&none);
        let held = self.held(|other| other.lease.job.matrix == lease.job.matrix).plus(of_matrix.spent);
        let budget = state.matrix(&lease.job.matrix).expect("a known matrix").budget;
        assert!(!exceeds(held, budget, of_matrix.over), "{lease}: {held} of {budget}");
        let of_team = self.teams.get(&(month, open.team.clone())).unwrap_or(&none);
        let held = self.held(|other| other.team == open.team && Month::of(other.from) == month);
        let (held, budget) = (held.plus(of_team.spent), teams.of(&open.team).budget);
        assert!(!exceeds(held, budget, of_team.over), "{lease}: {held} of {budget} for its team");
        let mut all = Sum::default();
        for ((_, _), sum) in self.teams.iter().filter(|((other, _), _)| *other == month) {
            (all.spent, all.over) = (all.spent.plus(sum.spent), all.over.plus(sum.over));
        }
        let held = self.held(|other| Month::of(other.from) == month).plus(all.spent);
        assert!(!exceeds(held, teams.month, all.over), "{lease}: {held} of {} in {month}", teams.month);
    }

    /// The state's own books say the same.
    pub(crate) fn agrees(&self, state: &State) {
        for matrix in &state.matrices {
            let id = &matrix.submitted.id;
            let spent = self.matrices.get(id).map(|sum| sum.spent).unwrap_or_default();
            let held = self.held(|open| open.lease.job.matrix == *id).plus(spent);
            assert_eq!(matrix.holds(), held, "the books of {id}");
        }
        for ((month, team), sum) in &self.teams {
            let known = state.spent.get(month).and_then(|teams| teams.get(team)).copied().unwrap_or_default();
            assert_eq!(known, sum.spent, "the books of `{team}` in {month}");
        }
    }
}
