//! Jobs of finished matrices in groups: read, amended and forgotten as if each had a record of its own, as those of earlier builds have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_domain::state::{Matrix, Phase};
use assay_domain::{JobId, PlannedJob};

use super::churn::{Calendar, DAY_MS, engine, matrix, run_one};
use super::past::late_line;
use crate::engine::*;

/// More jobs than some groups hold.
fn plan() -> Vec<PlannedJob> {
    let mut resolved = matrix::resolved(0);
    resolved["matrix"]["seeds"] = (0..70).collect();
    let plan = assay_domain::plan::plan(&serde_json::from_value(resolved).unwrap()).unwrap();
    assert!(plan.len() > 64, "{}", plan.len());
    plan
}

fn start(folder: &Path, clock: &Arc<Calendar>) -> Engine {
    engine(folder, Limits::default(), Arc::clone(clock))
}

/// Each job by itself is as it is in its matrix.
fn all(engine: &Engine) -> Vec<Matrix> {
    let all = engine.archive.all().unwrap();
    for matrix in &all {
        for (planned, state) in matrix.submitted.plan.iter().zip(&matrix.jobs) {
            let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal };
            let record = engine.archive.job(&id).unwrap().unwrap();
            assert_eq!((&record.planned, &record.state), (planned, state));
        }
        let ordinal = matrix.jobs.len() as u32;
        let id = JobId { matrix: matrix.submitted.id.clone(), ordinal };
        assert!(engine.archive.job(&id).unwrap().is_none());
    }
    all
}

#[test]
fn jobs_of_earlier_builds_are_read_amended_and_forgotten_beside_those_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let mut now = start(folder.path(), &clock);
    for number in 0..2 {
        run_one(&mut now, number, &plan);
    }
    let before = all(&now);
    assert_eq!((before.len(), now.archive.ungrouped()), (2, 0));
    now.archive.ungroup();
    assert_eq!((all(&now), now.archive.ungrouped()), (before.clone(), 2 * plan.len()));

    clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
    run_one(&mut now, 2, &plan);
    assert_eq!(now.archive.ungrouped(), 2 * plan.len());
    let newest = all(&now).remove(0);
    assert_eq!(newest.submitted.plan, plan);
    for matrix in [&before[0], &newest] {
        late_line(&mut now, matrix);
        let amended = now.archive.matrix(&matrix.submitted.id).unwrap().unwrap();
        assert_eq!(amended.jobs[0].attempts[0].log.segments.len(), 2);
        assert_eq!(amended.jobs[1..], matrix.jobs[1..]);
    }
    let amended = all(&now);

    now.archive.forget(clock.unix()).unwrap();
    assert_eq!((all(&now), now.archive.ungrouped()), (amended[..1].to_vec(), 0));
    now.archive.forget(UnixMillis(clock.unix().0 + 1)).unwrap();
    assert_eq!(all(&now), []);
}

#[test]
fn jobs_that_are_too_large_for_a_group_are_stored_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let mut now = start(folder.path(), &clock);
    run_one(&mut now, 0, &plan);
    let mut large = all(&now).remove(0);
    for job in &mut large.jobs[..40] {
        job.phase = Phase::Failed { reason: "x".repeat(200_000) };
    }
    now.archive.add_finished(std::slice::from_ref(&large)).unwrap();
    assert_eq!((all(&now), now.archive.ungrouped()), (vec![large.clone()], 32));
    late_line(&mut now, &large);
    assert_eq!(all(&now)[0].jobs[0].attempts[0].log.segments.len(), 2);
    now.archive.forget(UnixMillis(clock.unix().0 + 1)).unwrap();
    assert_eq!((all(&now), now.archive.ungrouped()), (Vec::new(), 0));
}
