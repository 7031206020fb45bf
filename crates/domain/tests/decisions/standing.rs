//! Workers in quarantine, drained and open again.

use assay_domain::decide::schedule::Obstacle;
use assay_domain::state::Standing;

use super::*;

fn fleet(names: &[&str]) -> Desk {
    let mut desk = Desk::empty();
    for id in ["m-1", "m-2", "m-3", "m-4"] {
        let (_, events) =
            decide::submit(&desk.state, &ReadSet::default(), submitted(id)).expect("it is sound");
        desk.record(events);
    }
    for name in names {
        let worker = WorkerInfo { kinds: WorkKind::ALL.to_vec(), ..worker(name) };
        desk.record(decide::register(&desk.state, worker, AT));
    }
    desk
}

/// A job of this matrix fails on a worker.
fn fails(desk: &mut Desk, worker: &str, matrix: &str, class: FailureClass) {
    let leased = desk.place(&[(worker, 64)]);
    let (wanted, others): (Vec<_>, Vec<_>) = leased
        .into_iter()
        .partition(|(lease, _)| lease.job.matrix.as_str() == matrix && lease.job.ordinal == 0);
    for (lease, _) in others {
        desk.fail(&lease, FailureClass::Released).expect("it is current");
    }
    desk.fail(&wanted[0].0, class).expect("it is current");
}

fn standing(desk: &Desk, worker: &str) -> Standing {
    desk.state.standings.get(&WorkerId::new(worker)).cloned().unwrap_or_default()
}

#[test]
fn different_jobs_that_fail_in_a_row_quarantine_their_worker_and_one_job_does_not() {
    let mut desk = fleet(&["bad", "good"]);
    for class in [FailureClass::Transient, FailureClass::Crashed] {
        fails(&mut desk, "bad", "m-1", class);
    }
    fails(&mut desk, "bad", "m-2", FailureClass::Stalled);
    // What is the job's own fault says nothing about the worker.
    fails(&mut desk, "bad", "m-3", FailureClass::OutOfMemory);
    assert_eq!(standing(&desk, "bad").quarantine, None);
    fails(&mut desk, "bad", "m-4", FailureClass::Crashed);
    let reason = standing(&desk, "bad").quarantine.unwrap().reason;
    assert!(reason.starts_with("3 different jobs failed on it in a row; the last, m-4/0"), "{reason}");
    assert_eq!(desk.place(&[("bad", 4)]), []);
    let slots = BTreeMap::from([(WorkerId::new("bad"), 1)]);
    let (offers, held_ms) = (&BTreeMap::new(), &BTreeMap::new());
    let moment = Moment { slots: &slots, offers, held_ms, teams: &desk.teams, at: AT };
    let explained = decide::schedule::explain(&desk.state, &desk.state.matrices[0], 0, &moment).unwrap();
    let of_bad = explained.workers.iter().find(|known| known.worker.as_str() == "bad").unwrap();
    assert!(matches!(of_bad.reasons[0].obstacle, Obstacle::Quarantined { .. }), "{explained:?}");

    let stored = serde_json::to_string(&desk.state).unwrap();
    desk.state = serde_json::from_str(&stored).unwrap();
    assert_eq!(desk.place(&[("bad", 4)]), [], "also after a restart");
    let bad = WorkerId::new("bad");
    desk.record(decide::lift(&desk.state, &bad, AT).unwrap());
    assert_eq!(decide::lift(&desk.state, &bad, AT), Ok(Vec::new()));
    assert_ne!(desk.place(&[("bad", 4)]), []);
    let unknown = decide::lift(&desk.state, &WorkerId::new("none"), AT);
    assert!(matches!(unknown, Err(Rejection::UnknownWorker { .. })));
}

#[test]
fn a_success_in_between_forgives_what_failed_before() {
    let mut desk = fleet(&["w", "other"]);
    fails(&mut desk, "w", "m-1", FailureClass::Crashed);
    fails(&mut desk, "w", "m-2", FailureClass::Crashed);
    let answers = desk.lease_by("w", &[WorkKind::Generate]).unwrap();
    desk.complete(&answers, &["generations"]).unwrap();
    fails(&mut desk, "w", "m-3", FailureClass::Crashed);
    assert_eq!((standing(&desk, "w").quarantine, standing(&desk, "w").failed.len()), (None, 1));
}

#[test]
fn the_last_worker_of_a_kind_is_never_quarantined_and_a_quarantine_ends_after_a_time() {
    let mut desk = fleet(&["first", "second"]);
    for worker in ["first", "second"] {
        for matrix in ["m-1", "m-2", "m-3"] {
            fails(&mut desk, worker, matrix, FailureClass::Transient);
        }
    }
    assert!(standing(&desk, "first").quarantine.is_some());
    assert_eq!(standing(&desk, "second").quarantine, None, "nothing would run");
    let since = BTreeMap::from([(WorkerId::new("first"), 100), (WorkerId::new("second"), 0)]);
    assert_eq!(decide::lift_due(&desk.state, 50, &since, 149, AT), []);
    desk.record(decide::lift_due(&desk.state, 50, &since, 150, AT));
    assert!(standing(&desk, "first").is_open());
}

#[test]
fn a_drained_worker_gets_nothing_and_hands_back_what_its_mode_says() {
    let mut desk = fleet(&["w"]);
    let id = WorkerId::new("w");
    let train = desk.lease_by("w", &[WorkKind::Train]).unwrap();
    let answers = desk.lease_by("w", &[WorkKind::Generate]).unwrap();
    let drain = |desk: &mut Desk, mode| {
        desk.record(decide::drain(&desk.state, &id, mode, AT).unwrap());
        assert_eq!(decide::drain(&desk.state, &id, mode, AT), Ok(Vec::new()));
        assert_eq!(desk.place(&[("w", 8)]), []);
        let saves = decide::to_save(&desk.state, &id);
        let expected = if mode == DrainMode::Checkpoint { vec![train.clone()] } else { Vec::new() };
        assert_eq!(saves, expected, "{mode:?}");
        (decide::to_hand_back(&desk.state, &id, None), decide::to_hand_back(&desk.state, &id, Some(&train)))
    };
    assert_eq!(drain(&mut desk, DrainMode::Finish), (Vec::new(), Vec::new()));
    let both = vec![train.clone(), answers.clone()];
    assert_eq!(drain(&mut desk, DrainMode::Checkpoint), (vec![answers.clone()], both.clone()));
    assert_eq!(drain(&mut desk, DrainMode::Now), (both.clone(), both));
    // Both are still its own until it says so, and then go elsewhere without being counted.
    assert_eq!(desk.fail(&train, FailureClass::Released), Ok(1));
    assert_eq!(desk.state.job(&train.job).unwrap().attempts_counted(), 0);
    assert_eq!(desk.place(&[("w", 8)]), []);
    desk.record(decide::lift(&desk.state, &id, AT).unwrap());
    assert_ne!(desk.place(&[("w", 8)]), []);
}

/// Between two checkpoints of the plan: the next attempt goes on from there, and it is no output.
#[test]
fn a_checkpoint_that_was_asked_for_is_gone_on_from_and_is_no_output() {
    let mut desk = Desk::with_one();
    let first = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(desk.checkpoint(&first, 6), Ok(1));
    assert_eq!(desk.checkpoint(&first, 8), Ok(1));
    assert_eq!(desk.checkpoint(&first, 8), Ok(0), "said again");
    desk.fail(&first, FailureClass::Released).unwrap();
    let second = desk.lease(&[WorkKind::Train]).unwrap();
    let job = |desk: &Desk| desk.state.job(&second.job).unwrap().clone();
    assert_eq!(job(&desk).attempts.iter().map(|one| one.resumed_from).collect::<Vec<_>>(), [None, Some(8)]);
    assert_eq!(job(&desk).resume().unwrap().0, 8);
    assert!(job(&desk).output("adapter@6").is_some() && job(&desk).output("adapter@8").is_none());
    assert_eq!(desk.checkpoint(&second, 12), Ok(1));
    desk.complete(&second, &["metrics"]).unwrap();
    let Phase::Succeeded { outputs, .. } = job(&desk).phase else { panic!("{:?}", job(&desk).phase) };
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["metrics", "adapter@6", "adapter@12"]);
}
