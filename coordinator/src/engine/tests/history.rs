//! Forgetting finished matrices: what of their jobs is still taken, and what a snapshot of a long history costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_domain::state::FinishedJob;

use super::churn::{Calendar, engine, matrix, run_one, submitted};
use crate::engine::*;

const DAY_MS: u64 = 86_400_000;

/// A matrix all of whose jobs are taken from another's.
fn take_all(engine: &mut Engine, number: u64, plan: &[assay_domain::PlannedJob], from: &str) {
    let at = engine.clock.unix();
    let earlier = engine.archive.matrix(&assay_domain::MatrixId::new(from)).unwrap().unwrap();
    let matrix = submitted(number, plan, at);
    let id = matrix.id.clone();
    engine.record(Event::MatrixSubmitted { matrix: Box::new(matrix) }).unwrap();
    for planned in plan {
        let FinishedJob { job: from, outputs, usage } = earlier.finished_job(planned.ordinal).unwrap();
        let job = JobId { matrix: id.clone(), ordinal: planned.ordinal };
        engine.record(Event::JobReused { job, from, outputs, usage, at }).unwrap();
    }
    engine.record(Event::MatrixArchived { matrix: id, at }).unwrap();
    engine.commit().unwrap();
}

fn plan() -> Vec<assay_domain::PlannedJob> {
    let resolved = serde_json::from_value(matrix::resolved(0)).unwrap();
    assay_domain::plan::plan(&resolved).unwrap()
}

#[test]
fn a_job_is_taken_as_long_as_a_matrix_that_has_it_is_kept_whichever_ran_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Calendar::default());
    let plan = plan();
    let mut engine = engine(folder.path(), Limits::default(), Arc::clone(&clock));
    let first = "m-000000000001";
    run_one(&mut engine, 1, &plan);
    let ran = engine.archive.finished(&plan[0].key).unwrap().unwrap();
    let mut ends = Vec::new();
    for number in [2, 3] {
        clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
        take_all(&mut engine, number, &plan, first);
        ends.push(engine.clock.unix());
    }
    for (before, kept) in [(ends[0], true), (ends[1], true), (UnixMillis(ends[1].0 + 1), false)] {
        engine.record(Event::HistoryForgotten { before, at: engine.clock.unix() }).unwrap();
        engine.commit().unwrap();
        for planned in &plan {
            let found = engine.archive.finished(&planned.key).unwrap();
            assert_eq!(found.is_some(), kept, "{} before {}", planned.label, before.0);
        }
        let found = engine.archive.finished(&plan[0].key).unwrap();
        assert!(!kept || found.is_some_and(|found| found.job == ran.job && found.outputs == ran.outputs));
        // Whoever replays the journal over an empty index has the same.
        let probe = ProbeCommand {
            program: "unused".into(),
            arguments: Vec::new(),
            deadline: Duration::from_secs(1),
        };
        let copy = tempfile::tempdir().unwrap();
        copy_files(&folder.path().join("journal"), &copy.path().join("journal"));
        let disk: Arc<dyn Disk> = Arc::new(crate::disk::RealDisk);
        let again = recovery::recover(&disk, copy.path(), &probe, Limits::default().journal()).unwrap();
        assert_eq!(again.archive.finished(&plan[0].key).unwrap().is_some(), kept);
    }
    assert!(engine.archive.all().unwrap().is_empty());
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// How long the engine stands still for a snapshot with so many finished jobs; `ASSAY_SNAPSHOT_JOBS=100000` for the figure in
/// `docs/operations.md`.
#[test]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_snapshot_of_a_long_history_is_written_and_measured() {
    let jobs: u64 =
        std::env::var("ASSAY_SNAPSHOT_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(700);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Calendar::default());
    let plan = plan();
    let limits = Limits { snapshot_records: u64::MAX, ..Limits::default() };
    let mut engine = engine(folder.path(), limits, clock);
    for number in 0..jobs.div_ceil(plan.len() as u64) {
        run_one(&mut engine, number, &plan);
    }
    engine.limits.snapshot_records = 1;
    engine.snapshot_sequence = 0;
    let started = std::time::Instant::now();
    engine.snapshot_if_due().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let snapshots = std::fs::read_dir(folder.path().join("snapshots")).unwrap().flatten();
    let bytes: u64 = snapshots.map(|entry| entry.metadata().unwrap().len()).sum();
    println!("a snapshot of {jobs} finished jobs: {bytes} bytes, {seconds:.2} s");
    assert!(bytes > jobs * 100, "{bytes} bytes hold no history");
}
