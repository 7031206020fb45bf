//! Budgets: what is set aside, asked for, refused and settled, and what a used-up budget keeps back.

use assay_domain::budget::{Account, Amount, Cap, Month, Scope};
use assay_domain::decide::schedule::{Obstacle, Team};
use assay_domain::decide::{Balance, balances};
use assay_domain::matrix::Schedule;

use super::*;

/// 1 USD for 1,000 s: a thousand millionths a second, one a millisecond.
const USD_PER_HOUR: f64 = 3.6;
const NOVEMBER: UnixMillis = UnixMillis(1_795_300_000_000);
const DECEMBER: UnixMillis = UnixMillis(1_796_200_000_000);

fn priced(name: &str) -> WorkerInfo {
    WorkerInfo { usd_per_hour: Some(USD_PER_HOUR), kinds: WorkKind::ALL.to_vec(), ..worker(name) }
}

fn micros(usd_micros: u64) -> Cap {
    Cap { usd_micros: Some(usd_micros), device_ms: None }
}

/// One matrix with a budget, and two workers with a price.
fn desk(budget: Cap, team: Option<&str>) -> Desk {
    let mut desk = Desk::empty();
    let schedule = Schedule { team: team.map(str::to_owned), ..Schedule::default() };
    let matrix = SubmittedMatrix { budget, schedule, ..submitted("m-1") };
    let (_, events) = decide::submit(&desk.state, &ReadSet::default(), matrix).expect("it is sound");
    desk.record(events);
    for name in ["w-1", "w-2"] {
        desk.record(decide::register(&desk.state, priced(name), AT));
    }
    desk
}

impl Desk {
    /// What the workers get at a time, and what else is told.
    fn round(&mut self, slots: &[(&str, u32)], at: UnixMillis) -> (Vec<(Lease, Account)>, Vec<Scope>) {
        let slots = slots.iter().map(|(name, count)| (WorkerId::new(*name), *count)).collect();
        let moment = Moment {
            slots: &slots,
            offers: &BTreeMap::new(),
            held_ms: &BTreeMap::new(),
            teams: &self.teams,
            at,
        };
        let events = decide::place(&self.state, &moment, &mut self.shares);
        self.record(events.clone());
        let (mut leased, mut reached) = (Vec::new(), Vec::new());
        for event in events {
            if let Event::JobLeased { lease, account, .. } = event {
                leased.push((lease, account));
            } else if let Event::BudgetReached { scope, .. } = event {
                reached.push(scope);
            } else {
                panic!("{event:?}");
            }
        }
        (leased, reached)
    }

    fn ask(&mut self, lease: &Lease, has: Amount) -> Result<Amount, Rejection> {
        let (limit, events) = decide::grant(&self.state, &self.teams, lease, has, NOVEMBER)?;
        self.record(events);
        Ok(limit)
    }

    fn end(&mut self, lease: &Lease, class: FailureClass, used: Option<Amount>) -> Event {
        let failed = Failed { class, reason: String::from("it ended"), lost: Vec::new(), used };
        let events = decide::fail(&self.state, Policy::default(), lease, failed, NOVEMBER).expect("current");
        self.record(events.clone());
        events.into_iter().next().expect("its end")
    }

    fn balance(&self, of: &Scope) -> Balance {
        let all = balances(&self.state, &self.teams, NOVEMBER);
        all.into_iter().find(|balance| balance.scope == *of).expect("a budget")
    }

    fn account(&self, lease: &Lease) -> Account {
        self.state.job(&lease.job).and_then(|job| job.attempt(lease.fence)).expect("an attempt").account
    }

    /// What the training is expected to take on a worker.
    fn training_ms(&mut self) -> u64 {
        let mut free = desk(Cap::default(), None);
        let (leased, _) = free.round(&[("w-1", 1)], NOVEMBER);
        assert!(!leased[0].1.limited);
        leased[0].1.reserved.device_ms * 2 / 3
    }
}

fn of_matrix() -> Scope {
    Scope::Matrix { matrix: MatrixId::new("m-1") }
}

#[test]
fn a_lease_sets_aside_one_and_a_half_times_the_estimate_or_what_is_left() {
    let estimate = Desk::empty().training_ms();
    for (budget, wanted) in [(10 * estimate, estimate * 3 / 2), (estimate * 5 / 4, estimate * 5 / 4)] {
        let mut desk = desk(micros(budget), None);
        let (leased, _) = desk.round(&[("w-1", 1)], NOVEMBER);
        let Account { reserved, limited, usd_micros_per_hour, spent } = leased[0].1;
        assert!(limited && spent.is_none() && usd_micros_per_hour == 3_600_000);
        assert!(reserved.device_ms.abs_diff(wanted) <= 2, "{reserved} of {wanted}");
        assert_eq!(reserved.usd_micros, reserved.device_ms);
        assert!(micros(budget).allows(reserved));
        assert_eq!(desk.balance(&of_matrix()).reserved, reserved);
    }
}

#[test]
fn leases_of_one_round_do_not_share_the_same_money() {
    let both = [("w-1", 1), ("w-2", 1)];
    let (unlimited, _) = desk(Cap::default(), None).round(&both, NOVEMBER);
    assert_eq!(unlimited.len(), 2, "both workers have something to do");
    // All of it goes to the first.
    let budget = micros(Desk::empty().training_ms() * 5 / 4);
    let (leased, _) = desk(budget, None).round(&both, NOVEMBER);
    assert_eq!(leased.len(), 1, "{leased:?}");
    assert!(budget.allows(leased[0].1.reserved));
}

#[test]
fn where_less_than_the_estimate_is_left_nothing_is_leased_and_that_is_told_once() {
    let estimate = Desk::empty().training_ms();
    let mut desk = desk(micros(estimate - 2), None);
    // The base's answers are cheaper and fit; then nothing does.
    let (leased, reached) = desk.round(&[("w-1", 4)], NOVEMBER);
    assert_eq!((leased.len(), reached), (1, vec![of_matrix()]));
    assert_eq!(leased[0].0.job.ordinal, 1);
    assert_eq!(desk.state.matrices[0].held_by, Some(of_matrix()));
    let before = desk.events;
    let (leased, reached) = desk.round(&[("w-1", 4)], NOVEMBER);
    assert_eq!((leased.len(), reached.len(), desk.events), (0, 0, before));

    let slots = BTreeMap::from([(WorkerId::new("w-1"), 1)]);
    let (offers, held_ms) = (&BTreeMap::new(), &BTreeMap::new());
    let moment = Moment { slots: &slots, offers, held_ms, teams: &desk.teams, at: NOVEMBER };
    let explained = decide::schedule::explain(&desk.state, &desk.state.matrices[0], 0, &moment).unwrap();
    let reason = &explained.workers[0].reasons[0];
    assert!(
        matches!(&reason.obstacle, Obstacle::Budget { scope, .. } if *scope == of_matrix()),
        "{reason:?}"
    );
    assert!(reason.remedy.contains("assay budget m-1 --usd"), "{}", reason.remedy);
    assert_eq!(serde_json::to_value(reason).unwrap()["why"], "budget");

    // More of it lets it go on.
    let id = MatrixId::new("m-1");
    desk.record(decide::set_budget(&desk.state, &id, micros(100 * estimate), NOVEMBER).unwrap());
    assert_eq!(decide::set_budget(&desk.state, &id, micros(100 * estimate), NOVEMBER), Ok(Vec::new()));
    assert_eq!(desk.state.matrices[0].held_by, None);
    let (leased, reached) = desk.round(&[("w-1", 4)], NOVEMBER);
    assert_eq!((leased[0].0.job.ordinal, reached.len()), (0, 0));
}

#[test]
fn an_attempt_asks_for_as_much_again_until_nothing_is_left_and_a_repeat_gets_nothing_more() {
    let estimate = Desk::empty().training_ms();
    let mut desk = desk(micros(4 * estimate), None);
    let (leased, _) = desk.round(&[("w-1", 1)], NOVEMBER);
    let (lease, Account { reserved, .. }) = leased[0].clone();
    let more = desk.ask(&lease, reserved).unwrap();
    assert_eq!(more, reserved.plus(reserved));
    let before = desk.events;
    assert_eq!(desk.ask(&lease, reserved), Ok(more), "the answer was lost");
    assert_eq!(desk.events, before);
    let all = desk.ask(&lease, more).unwrap();
    assert!(all.usd_micros <= 4 * estimate && all.usd_micros + 1 >= 4 * estimate, "{all}");
    let refused = desk.ask(&lease, all).unwrap_err();
    assert_eq!(refused, Rejection::OverBudget { lease: lease.clone(), scope: of_matrix() });
    assert!(refused.to_string().contains("assay budget m-1"), "{refused}");

    // It ends, counts against nothing, and is not tried again with as little.
    let event =
        desk.end(&lease, FailureClass::Budget, Some(Amount { usd_micros: 0, device_ms: all.device_ms }));
    let Event::AttemptFailed { class: FailureClass::Budget, needs_permille: Some(needs), .. } = event else {
        panic!("{event:?}")
    };
    assert!((5_900..6_100).contains(&needs), "one and a half times four: {needs}");
    assert_eq!(desk.account(&lease).spent, Some(all));
    let job = &desk.state.matrices[0].jobs[0];
    assert_eq!((job.attempts_counted(), job.phase.clone()), (0, Phase::Waiting));
    let id = MatrixId::new("m-1");
    for (budget, goes_on) in [(9, false), (11, true)] {
        desk.record(decide::set_budget(&desk.state, &id, micros(budget * estimate), NOVEMBER).unwrap());
        let (leased, _) = desk.round(&[("w-1", 1)], NOVEMBER);
        assert_eq!(leased.iter().any(|(lease, _)| lease.job.ordinal == 0), goes_on, "{budget}");
        for (lease, _) in leased {
            desk.end(&lease, FailureClass::Released, Some(Amount::ZERO));
        }
    }
}

#[test]
fn an_end_is_settled_with_what_was_used_and_one_without_a_word_in_full() {
    let mut desk = desk(Cap::of(Some(100.0), Some(100.0)), Some("research"));
    desk.teams
        .named
        .insert(String::from("research"), Team { budget: Cap::of(Some(50.0), None), ..Team::default() });
    let (leased, _) = desk.round(&[("w-1", 1), ("w-2", 1)], NOVEMBER);
    let [(train, of_train), (base, of_base)] = leased.as_slice() else { panic!("{leased:?}") };
    let used = Amount { usd_micros: 7, device_ms: 1_000 };
    let usage = Usage { used: Some(used), ..Usage::default() };
    let outputs = vec![made(base, "generations")];
    let events = decide::complete(&desk.state, &ReadSet::default(), base, outputs, usage, NOVEMBER).unwrap();
    desk.record(events);
    let cost = Amount { usd_micros: 1_007, device_ms: 1_000 };
    assert_eq!(desk.account(base).spent, Some(cost));
    assert!(of_base.reserved.device_ms > 0);
    desk.record(decide::expire(&desk.state, Policy::default(), std::slice::from_ref(train), NOVEMBER));
    assert_eq!(desk.account(train).spent, Some(of_train.reserved), "nobody knows what a lost worker does");

    let team = Scope::Team { team: String::from("research"), month: Month::of(NOVEMBER) };
    let (sum, none) = (cost.plus(of_train.reserved), Amount::ZERO);
    for scope in [of_matrix(), team, Scope::Month { month: Month::of(NOVEMBER) }] {
        let balance = desk.balance(&scope);
        assert_eq!((balance.spent, balance.reserved), (sum, none), "{scope}");
    }
    let by_worker = |name: &str| desk.state.standings[&WorkerId::new(name)].spent;
    assert_eq!((by_worker("w-1"), by_worker("w-2")), (of_train.reserved, cost));

    // A cancelled one costs its time until then.
    let (leased, _) = desk.round(&[("w-2", 1)], NOVEMBER);
    let later = UnixMillis(NOVEMBER.0 + 250);
    desk.record(decide::cancel_job(&desk.state, &leased[0].0.job, true, later).unwrap());
    let stopped = Amount { usd_micros: 250, device_ms: 250 };
    assert_eq!(desk.state.standings[&WorkerId::new("w-2")].spent, cost.plus(stopped));
    let stored = serde_json::to_string(&desk.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&stored).unwrap(), desk.state);
}

#[test]
fn a_month_has_its_own_budget_and_what_was_leased_before_counts_to_the_month_before() {
    let estimate = Desk::empty().training_ms();
    let mut desk = desk(Cap::default(), Some("research"));
    desk.teams.other.budget = Cap { usd_micros: None, device_ms: Some(estimate + estimate / 8) };
    let team = |at| Scope::Team { team: String::from("research"), month: Month::of(at) };
    let (leased, reached) = desk.round(&[("w-1", 4)], NOVEMBER);
    assert_eq!((leased.len(), reached), (1, vec![team(NOVEMBER)]));
    assert_eq!(leased[0].1.reserved.device_ms, estimate + estimate / 8);
    // The training runs into December, which has a budget of its own.
    let (again, _) = desk.round(&[("w-1", 4)], DECEMBER);
    assert!(!again.is_empty());
    let (training, account) = &leased[0];
    let refused = decide::grant(&desk.state, &desk.teams, training, account.reserved, DECEMBER).unwrap_err();
    assert_eq!(refused, Rejection::OverBudget { lease: training.clone(), scope: team(NOVEMBER) });
    assert!(refused.to_string().contains("--team-budget research="), "{refused}");
    desk.end(training, FailureClass::Released, Some(Amount { usd_micros: 0, device_ms: 5 }));
    assert_eq!(desk.balance(&team(NOVEMBER)).spent.device_ms, 5);
}

#[test]
fn the_budget_of_all_teams_stops_every_team_and_a_machine_without_a_price_costs_no_money() {
    let mut desk = desk(Cap::default(), None);
    desk.teams.month = micros(1);
    let (leased, reached) = desk.round(&[("w-1", 4)], NOVEMBER);
    assert_eq!((leased.len(), reached), (0, vec![Scope::Month { month: Month::of(NOVEMBER) }]));
    let free = WorkerInfo { usd_per_hour: None, ..priced("free") };
    desk.record(decide::register(&desk.state, free, AT));
    let (leased, _) = desk.round(&[("w-1", 4), ("free", 1)], NOVEMBER);
    assert_eq!(leased.len(), 1);
    assert!(!leased[0].1.limited, "it is counted by nothing");
    // Nobody without a limit comes to it.
    let event = desk.end(&leased[0].0, FailureClass::Budget, None);
    assert!(matches!(event, Event::AttemptFailed { class: FailureClass::Crashed, .. }), "{event:?}");
    assert_eq!(desk.state.matrices[0].jobs[leased[0].0.job.ordinal as usize].attempts_counted(), 1);
}
