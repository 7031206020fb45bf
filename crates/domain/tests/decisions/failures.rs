//! What each class of failure does to its job. `docs/failures.md` says the same in words.

use super::*;
use assay_domain::decide::BackOff;

const TRAIN: u32 = 0;

fn with_workers(workers: &[(&str, u64)]) -> Desk {
    let mut desk = Desk::with_one();
    for (name, memory_mib) in workers {
        register(&mut desk, name, *memory_mib);
    }
    desk
}

fn register(desk: &mut Desk, name: &str, memory_mib: u64) {
    let worker = WorkerInfo { memory_mib, ..worker(name) };
    desk.record(decide::register(&desk.state, worker, AT));
}

fn forget(desk: &mut Desk, name: &str) {
    let memory = Memory { gone_ms: 0, gone_workers_max: 0 };
    let gone = BTreeMap::from([(WorkerId::new(name), 0)]);
    desk.record(decide::forget(&desk.state, memory, &gone, 1, AT));
    assert!(!desk.state.workers.contains_key(&WorkerId::new(name)));
}

fn train_by(desk: &mut Desk, worker: &str) -> Option<Lease> {
    desk.lease_by(worker, &[WorkKind::Train])
}

fn reason(desk: &Desk) -> String {
    let phase = &desk.state.matrices[0].jobs[TRAIN as usize].phase;
    let Phase::Failed { reason } = phase else { panic!("{phase:?}") };
    reason.clone()
}

#[test]
fn what_needs_more_memory_goes_to_a_larger_worker_only() {
    let mut desk = with_workers(&[("small", 8), ("equal", 8), ("middle", 16), ("large", 24)]);
    let lease = train_by(&mut desk, "small").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::OutOfMemory), Ok(1));
    assert_eq!((train_by(&mut desk, "small"), train_by(&mut desk, "equal")), (None, None));
    let lease = train_by(&mut desk, "middle").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::OutOfMemory), Ok(1));
    // Another failure, elsewhere, does not make it smaller.
    let lease = train_by(&mut desk, "large").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::Transient), Ok(1));
    assert_eq!((train_by(&mut desk, "small"), train_by(&mut desk, "middle")), (None, None));
    // Other jobs have nothing to do with that.
    assert!(desk.lease_by("small", &[WorkKind::Generate]).is_some());
    let lease = train_by(&mut desk, "large").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::OutOfMemory), Ok(2));
    let reason = reason(&desk);
    assert!(reason.starts_with("24 MiB of memory were not enough and no worker for train jobs"), "{reason}");
    assert!(reason.ends_with("it broke"), "{reason}");
}

#[test]
fn without_a_larger_worker_of_its_kind_memory_that_ran_out_ends_a_job_at_once() {
    let mut desk = with_workers(&[("small", 8), ("equal", 8)]);
    let judges = WorkerInfo { memory_mib: 64, kinds: vec![WorkKind::Judge], ..worker("judges") };
    desk.record(decide::register(&desk.state, judges, AT));
    let lease = train_by(&mut desk, "small").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::OutOfMemory), Ok(2));
    assert_eq!(desk.status(TRAIN), Status::Failed);
}

#[test]
fn a_job_does_not_wait_for_ever_for_a_larger_worker_that_is_gone() {
    let mut desk = with_workers(&[("small", 8), ("large", 24)]);
    let lease = train_by(&mut desk, "small").unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::OutOfMemory), Ok(1));
    assert_eq!(train_by(&mut desk, "small"), None);
    forget(&mut desk, "large");
    let last = train_by(&mut desk, "small").unwrap();
    assert_eq!(desk.fail(&last, FailureClass::OutOfMemory), Ok(2));
    assert_eq!(desk.status(TRAIN), Status::Failed);
}

#[test]
fn memory_that_ran_out_survives_a_snapshot_and_ends_with_success() {
    let mut desk = with_workers(&[("small", 8), ("large", 24)]);
    let lease = desk.lease_by("small", &[WorkKind::Generate]).unwrap();
    desk.fail(&lease, FailureClass::OutOfMemory).unwrap();
    let stored = serde_json::to_string(&desk.state).unwrap();
    desk.state = serde_json::from_str(&stored).unwrap();
    assert_eq!(desk.lease_by("small", &[WorkKind::Generate]), None);
    let lease = desk.lease_by("large", &[WorkKind::Generate]).unwrap();
    desk.complete(&lease, &["generations"]).unwrap();
    assert_eq!(desk.state.job(&lease.job).unwrap().memory_exceeded_mib, None);
}

#[test]
fn a_job_that_brings_its_workers_down_stops_after_three() {
    let mut desk = Desk::with_one();
    let lose = |desk: &mut Desk| {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        desk.record(decide::expire(&desk.state, Policy::default(), &[lease], AT));
    };
    lose(&mut desk);
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    desk.fail(&lease, FailureClass::Stalled).unwrap();
    // What is nobody's crash neither counts as one nor ends it.
    for class in [FailureClass::Released, FailureClass::Transient] {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        assert_eq!(desk.fail(&lease, class), Ok(1));
    }
    assert_eq!(desk.status(TRAIN), Status::Ready);
    lose(&mut desk);
    let reason = reason(&desk);
    assert!(reason.starts_with("given up after 3 attempts that crashed, stalled or lost"), "{reason}");
    assert!(reason.ends_with("the worker was lost"), "{reason}");
}

#[test]
fn crashes_of_the_engine_count_as_those_of_its_worker() {
    let mut desk = Desk::with_one();
    for expected in [1, 1, 2] {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        assert_eq!(desk.fail(&lease, FailureClass::Crashed), Ok(expected));
    }
    assert_eq!(desk.status(TRAIN), Status::Failed);
}

#[test]
fn pauses_double_up_to_the_longest_and_are_drawn_from_job_and_attempt() {
    let back_off = BackOff { first_ms: 1_000, longest_ms: 6_000 };
    let mut desk = Desk::with_one();
    let mut failed_once = None;
    for whole in [1_000, 2_000, 4_000, 6_000] {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        desk.fail(&lease, FailureClass::Transient).unwrap();
        let job = desk.state.job(&lease.job).unwrap();
        let pause = back_off.pause_ms(&lease.job, job);
        assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        assert_eq!(back_off.pause_ms(&lease.job, job), pause, "the same again");
        failed_once.get_or_insert_with(|| job.clone());
    }
    // Two hundred jobs that failed together do not come back together.
    let job = failed_once.unwrap();
    let ids = (0..200).map(|ordinal| JobId { matrix: MatrixId::new("m"), ordinal });
    let drawn: Vec<u64> = ids.map(|id| back_off.pause_ms(&id, &job)).collect();
    assert!(drawn.iter().all(|pause| (500..=1_000).contains(pause)), "{drawn:?}");
    let early = drawn.iter().filter(|pause| **pause < 750).count();
    assert!((60..140).contains(&early), "{early} of 200 in the first half");
}

#[test]
fn a_pause_of_any_limits_is_within_them() {
    let desk = Desk::with_one();
    let (id, job) = (JobId { matrix: MatrixId::new("m"), ordinal: 0 }, &desk.state.matrices[0].jobs[0]);
    for (first_ms, longest_ms) in [(0, 0), (1, 1), (u64::MAX, u64::MAX), (5, 2)] {
        let pause = BackOff { first_ms, longest_ms }.pause_ms(&id, job);
        assert!(pause <= first_ms.min(longest_ms), "{pause} of {first_ms} and {longest_ms}");
    }
}

#[test]
fn failures_stored_before_memory_was_kept_can_be_read() {
    let stored = r#"{"event":"attempt_failed","lease":{"job":"m/0","fence":{"epoch":1,"attempt":1}},"class":"crashed","reason":"r","at":1}"#;
    let event: Event = serde_json::from_str(stored).unwrap();
    assert!(matches!(event, Event::AttemptFailed { memory_mib: None, .. }));
    assert_eq!(serde_json::to_string(&event).unwrap(), stored);
}
