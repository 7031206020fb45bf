//! Which job goes to which worker, whose turn it is, and why a job is not on a worker.

use assay_domain::decide::schedule::{Explanation, Obstacle, Team, explain};
use assay_domain::matrix::Schedule;
use assay_domain::{PlannedJob, Source};

use super::*;

/// A matrix of another model than the others', if its name is not `a`.
fn of(id: &str, model: &str, schedule: Schedule) -> SubmittedMatrix {
    let mut matrix = SubmittedMatrix { schedule, ..submitted(id) };
    let inputs = matrix.plan.iter_mut().flat_map(|job| &mut job.inputs);
    for input in inputs.filter(|input| input.name == "model") {
        if let Source::Upload { artifact } = &mut input.source {
            artifact.files[0].digest = Digest::of(model.as_bytes());
        }
    }
    matrix
}

fn team(name: &str) -> Schedule {
    Schedule { team: Some(name.to_owned()), ..Schedule::default() }
}

pub(crate) fn desk(matrices: Vec<SubmittedMatrix>, workers: &[(&str, u64)]) -> Desk {
    let mut desk = Desk::empty();
    for matrix in matrices {
        let (_, events) = decide::submit(&desk.state, &ReadSet::default(), matrix).expect("it is sound");
        desk.record(events);
    }
    for (name, memory_mib) in workers {
        let worker = WorkerInfo { memory_mib: *memory_mib, kinds: WorkKind::ALL.to_vec(), ..worker(name) };
        desk.record(decide::register(&desk.state, worker, AT));
    }
    desk
}

pub(crate) fn names(leased: &[(Lease, WorkerId)]) -> Vec<String> {
    leased.iter().map(|(lease, worker)| format!("{} {worker}", lease.job)).collect()
}

/// How many attempts each matrix gets of `count`, one after the other.
fn turns(desk: &mut Desk, count: usize) -> BTreeMap<String, usize> {
    let mut turns = BTreeMap::new();
    for _ in 0..count {
        let leased = desk.place(&[("w", 1)]);
        let (lease, _) = leased.first().expect("something is ready");
        *turns.entry(lease.job.matrix.to_string()).or_default() += 1;
        // Ready again at once: only the turns are looked at.
        desk.fail(lease, FailureClass::Released).expect("it is current");
    }
    turns
}

#[test]
fn a_job_goes_where_its_model_is_warm_then_where_it_is_cached_then_to_the_smallest_that_does() {
    let plain = Schedule::default;
    let mut desk = desk(
        vec![of("m-1", "a", plain()), of("m-2", "b", plain()), of("m-3", "a", plain())],
        &[("large", 64), ("middle", 32), ("small", 16)],
    );
    // Nobody has any: the smallest.
    let first = desk.place(&[("large", 1), ("middle", 1), ("small", 1)]);
    assert_eq!(names(&first), ["m-1/0 small", "m-2/0 middle", "m-3/0 large"]);
    for (lease, _) in &first {
        desk.fail(lease, FailureClass::Released).unwrap();
    }
    // `a` is warm at small and large, `b` at middle: each again its own, whoever comes first.
    let again = desk.place(&[("large", 1), ("middle", 1)]);
    assert_eq!(names(&again), ["m-1/0 large", "m-2/0 middle"]);
    for (lease, _) in &again {
        desk.fail(lease, FailureClass::Released).unwrap();
    }
    // Now `middle` has had `a` after `b`: b is cached there, warm nowhere else.
    let turn = desk.place(&[("middle", 1)]);
    assert_eq!(names(&turn), ["m-3/0 middle"]);
    desk.fail(&turn[0].0, FailureClass::Released).unwrap();
    let models = &desk.state.standings[&WorkerId::new("middle")].models;
    assert_eq!(models.len(), 2);
    desk.record(decide::pause(&desk.state, &MatrixId::new("m-1"), AT).unwrap());
    desk.record(decide::pause(&desk.state, &MatrixId::new("m-3"), AT).unwrap());
    let cached = desk.place(&[("large", 1), ("middle", 1), ("small", 1)]);
    assert_eq!(names(&cached)[0], "m-2/0 middle");
}

#[test]
fn turns_follow_the_weights_of_teams_and_matrices_and_whoever_comes_later_catches_nothing_up() {
    let weighted = |weight| Schedule { weight, ..team("x") };
    let mut desk = desk(vec![of("x-1", "a", weighted(1)), of("x-2", "a", weighted(3))], &[("w", 8)]);
    let teams = [("x", Team::default()), ("y", Team { weight: 3, ..Team::default() })];
    desk.teams.named = teams.map(|(name, team)| (name.to_owned(), team)).into();
    assert_eq!(turns(&mut desk, 40), BTreeMap::from([("x-1".into(), 10), ("x-2".into(), 30)]));
    let (_, events) = decide::submit(&desk.state, &ReadSet::default(), of("y-1", "a", team("y"))).unwrap();
    desk.record(events);
    let turns = turns(&mut desk, 80);
    assert!((58..=62).contains(&turns["y-1"]), "three of four: {turns:?}");
    assert!(turns["x-1"] >= 4 && turns["x-2"] >= 12, "{turns:?}");
}

#[test]
fn within_a_team_the_higher_priority_goes_first_and_what_cannot_run_blocks_nobody() {
    let urgent = Schedule { priority: 5, ..team("x") };
    let mut desk =
        desk(vec![of("x-1", "a", team("x")), of("x-2", "a", urgent), of("y-1", "a", team("y"))], &[("w", 8)]);
    let all = |desk: &mut Desk| -> Vec<String> {
        let leased = desk.place(&[("w", 64)]);
        leased.iter().map(|(lease, _)| lease.job.matrix.to_string()).collect()
    };
    desk.teams.named.insert(String::from("x"), Team { running_max: Some(3), ..Team::default() });
    let order = all(&mut desk);
    assert_eq!(order, ["x-2", "y-1", "x-2", "y-1", "x-1"], "the third of x is its last");
    let held = desk.explain("x-1", 1, &[("w", 64)]);
    let limit = Obstacle::TeamLimit { team: String::from("x"), running: 3, limit: 3 };
    assert_eq!(held.reasons[0].obstacle, limit);
}

#[test]
fn an_explanation_names_each_worker_with_what_would_change_it() {
    let mut desk = desk(vec![submitted("m-1")], &[("small", 8), ("large", 24), ("gone", 64), ("out", 64)]);
    let judges = WorkerInfo { kinds: vec![WorkKind::Judge, WorkKind::Report], ..worker("judges") };
    desk.record(decide::register(&desk.state, judges, AT));
    desk.record(decide::drain(&desk.state, &WorkerId::new("out"), DrainMode::Finish, AT).unwrap());
    let (lease, _) = desk.place(&[("small", 1)]).remove(0);
    desk.fail(&lease, FailureClass::OutOfMemory).unwrap();
    let there = [("small", 1), ("large", 0), ("out", 1), ("judges", 4)];
    let explanation = desk.explain("m-1", 0, &there);
    let of = |name: &str| -> Vec<String> {
        let known = explanation.workers.iter().find(|worker| worker.worker.as_str() == name).unwrap();
        known.reasons.iter().map(|reason| reason.text.clone()).collect()
    };
    assert_eq!(of("small"), ["8 MiB of memory were not enough for it, and the worker has 8"]);
    assert_eq!(of("large"), ["the worker has no free place"]);
    assert_eq!(of("gone"), ["the worker is not connected"]);
    assert_eq!(of("out"), ["the worker is drained"]);
    assert_eq!(of("judges")[0], "the worker does not run train jobs");
    assert!(explanation.reasons.is_empty(), "{explanation:?}");

    let waits = desk.explain("m-1", 4, &there);
    assert_eq!(waits.reasons.len(), 2, "{waits:?}");
    assert!(waits.reasons[0].remedy.contains("assay explain m-1/"), "{waits:?}");
    desk.record(decide::pause(&desk.state, &MatrixId::new("m-1"), AT).unwrap());
    assert_eq!(desk.explain("m-1", 0, &there).reasons[0].text, "its matrix is paused");
    let (matrix, nobody) = (&desk.state.matrices[0], BTreeMap::new());
    let (offers, held_ms) = (&BTreeMap::new(), &BTreeMap::new());
    let moment = Moment { slots: &nobody, offers, held_ms, teams: &desk.teams, at: AT };
    let unknown = explain(&desk.state, matrix, 99, &moment);
    assert!(matches!(unknown, Err(Rejection::UnknownJob { .. })));
}

impl Desk {
    pub(crate) fn explain(&self, matrix: &str, ordinal: u32, slots: &[(&str, u32)]) -> Explanation {
        let slots = slots.iter().map(|(name, count)| (WorkerId::new(*name), *count)).collect();
        let (offers, held_ms) = (&self.offers, &BTreeMap::new());
        let moment = Moment { slots: &slots, offers, held_ms, teams: &self.teams, at: AT };
        let matrix = self.state.matrix(&MatrixId::new(matrix)).expect("a known matrix");
        explain(&self.state, matrix, ordinal, &moment).expect("a job of it")
    }

    fn status_of(&self, ordinal: u32) -> Status {
        self.state.matrices[0].status(ordinal)
    }

    fn kind_of(&self, ordinal: u32) -> WorkKind {
        self.state.matrices[0].submitted.plan[ordinal as usize].work.kind()
    }
}

#[test]
fn a_cancelled_job_leaves_what_has_its_checkpoint_and_its_branch_leaves_nothing() {
    let mut desk = desk(vec![submitted("m-1")], &[("w", 8)]);
    let train = desk.lease(&[WorkKind::Train]).unwrap();
    desk.checkpoint(&train, 6).unwrap();
    let on_first = (0..).find(|ordinal| {
        let needs: Vec<(u32, &str)> = desk.plan(*ordinal).needs().collect();
        needs == [(0, "adapter@6")]
    });
    let on_first = on_first.unwrap();
    let mut alone = desk.state.clone();
    for event in decide::cancel_job(&desk.state, &train.job, false, AT).unwrap() {
        alone.apply(&event);
    }
    let statuses = alone.matrices[0].statuses();
    assert_eq!((statuses[0], statuses[on_first as usize]), (Status::Cancelled, Status::Ready));
    assert!(statuses.contains(&Status::Blocked), "what needs the rest of it: {statuses:?}");

    desk.record(decide::cancel_job(&desk.state, &train.job, true, AT).unwrap());
    assert_eq!(desk.status_of(on_first), Status::Cancelled);
    assert!(matches!(decide::renew(&desk.state, &train), Err(Rejection::StaleAttempt { .. })));
    assert_eq!(decide::cancel_job(&desk.state, &train.job, true, AT), Ok(Vec::new()));
    let left =
        (0..desk.state.matrices[0].jobs.len() as u32).filter(|job| desk.status_of(*job) == Status::Ready);
    let left: Vec<WorkKind> = left.map(|ordinal| desk.kind_of(ordinal)).collect();
    assert_eq!(left, [WorkKind::Generate], "the base's answers need no training");
    let unknown = JobId { ordinal: 99, ..train.job };
    assert!(matches!(decide::cancel_job(&desk.state, &unknown, true, AT), Err(Rejection::UnknownJob { .. })));
}

impl Desk {
    fn plan(&self, ordinal: u32) -> &PlannedJob {
        &self.state.matrices[0].submitted.plan[ordinal as usize]
    }
}

#[test]
fn a_paused_matrix_gets_nothing_and_what_runs_goes_on() {
    let mut desk = Desk::with_one();
    let id = MatrixId::new("m-1");
    let running = desk.lease(&[WorkKind::Train]).unwrap();
    desk.record(decide::pause(&desk.state, &id, AT).unwrap());
    assert_eq!(decide::pause(&desk.state, &id, AT), Ok(Vec::new()));
    assert_eq!(desk.lease(&WorkKind::ALL), None);
    assert_eq!(desk.checkpoint(&running, 6), Ok(1));
    let stored = serde_json::to_string(&desk.state).unwrap();
    desk.state = serde_json::from_str(&stored).unwrap();
    assert_eq!(desk.lease(&WorkKind::ALL), None);
    desk.record(decide::unpause(&desk.state, &id, AT).unwrap());
    assert!(desk.lease(&WorkKind::ALL).is_some());
}

#[test]
fn generate_jobs_join_the_batch_of_another_where_no_worker_is_free() {
    let ready = |seats: u32| {
        let plain = Schedule::default;
        let mut desk = desk(vec![of("m-1", "a", plain()), of("m-2", "b", plain())], &[("w", 64), ("x", 64)]);
        for _ in 0..2 {
            let (training, _) = desk.place(&[("w", 1)]).remove(0);
            for step in [6, 12] {
                desk.checkpoint(&training, step).unwrap();
            }
            desk.complete(&training, &["metrics", "adapter@6", "adapter@12"]).unwrap();
        }
        desk.offers("w", Offer { seats, ..Offer::default() });
        desk
    };
    let workers = |leased: Vec<(Lease, WorkerId)>| names(&leased);
    // The base and both checkpoints of one model; never those of another model.
    assert_eq!(workers(ready(5).place(&[("w", 1)])), ["m-1/1 w", "m-1/2 w", "m-1/3 w"]);
    assert_eq!(workers(ready(1).place(&[("w", 1)])), ["m-1/1 w", "m-1/2 w"]);
    assert_eq!(workers(ready(0).place(&[("w", 1)])), ["m-1/1 w"]);
    assert_eq!(ready(5).place(&[("w", 0)]), []);
    // A free worker is better than a seat.
    let spread = workers(ready(5).place(&[("w", 1), ("x", 1)]));
    assert_eq!(spread.iter().filter(|name| name.ends_with('x')).count(), 1, "{spread:?}");
    assert!(spread.len() >= 3, "{spread:?}");
}
