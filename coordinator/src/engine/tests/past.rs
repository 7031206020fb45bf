//! The history beside the snapshots: a snapshot costs what has changed since the one before, and whatever index was lost comes back
//! from its parts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_domain::segment::Lines;
use assay_domain::state::Matrix;
use assay_domain::{Digest, LogSegment};

use super::churn::{Calendar, DAY_MS, engine, matrix, run_one};
use crate::disk::RealDisk;
use crate::engine::*;
use crate::journal::JournalConfig;

fn plan() -> Vec<assay_domain::PlannedJob> {
    let resolved = serde_json::from_value(matrix::resolved(0)).unwrap();
    assay_domain::plan::plan(&resolved).unwrap()
}

/// Each matrix of five jobs ends with a snapshot.
fn limits() -> Limits {
    Limits { snapshot_records: 1, ..Limits::default() }
}

/// The names and sizes of the files that end so.
fn files(folder: &Path, end: &str) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder.join("snapshots")).unwrap().map(|entry| entry.unwrap());
    let named = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().unwrap().len()));
    let mut files: Vec<_> = named.filter(|(name, _)| name.ends_with(end)).collect();
    files.sort();
    files
}

/// What another process finds whose index was lost.
fn without_index(folder: &Path, clock: &Arc<Calendar>) -> Engine {
    std::fs::remove_dir_all(folder.join("index")).unwrap();
    engine(folder, limits(), Arc::clone(clock))
}

#[test]
fn a_snapshot_does_not_grow_with_the_past_and_what_is_lost_of_the_index_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let mut now = engine(folder.path(), limits(), Arc::clone(&clock));
    for number in 0..30 {
        run_one(&mut now, number, &plan);
    }
    let all = now.archive.all().unwrap();
    drop(now);
    let parts = files(folder.path(), ".history");
    assert_eq!(parts.len(), 30, "one for each snapshot");
    let (_, first) = parts[0];
    assert!(parts.iter().all(|(_, bytes)| *bytes < 2 * first), "{parts:?}");
    let snapshots = files(folder.path(), ".snapshot");
    assert!(
        snapshots.iter().all(|(_, bytes)| *bytes < first),
        "{snapshots:?} hold the past: a part has {first}"
    );

    // A line that comes after the end, then a loss of the index before any snapshot, and after one.
    let mut now = without_index(folder.path(), &clock);
    assert_eq!(now.archive.all().unwrap(), all);
    now.limits.snapshot_records = u64::MAX;
    late_line(&mut now, &all[3]);
    let amended = now.archive.all().unwrap();
    assert_ne!(amended, all);
    drop(now);
    let mut now = without_index(folder.path(), &clock);
    assert_eq!(now.archive.all().unwrap(), amended);
    run_one(&mut now, 30, &plan);
    let all = now.archive.all().unwrap();
    drop(now);
    assert_eq!(without_index(folder.path(), &clock).archive.all().unwrap(), all);
}

/// A part of the log of a job that has ended.
pub(super) fn late_line(engine: &mut Engine, matrix: &Matrix) {
    let job = JobId { matrix: matrix.submitted.id.clone(), ordinal: 0 };
    let lease = assay_domain::Lease { job, fence: matrix.jobs[0].attempts[0].fence };
    let (digest, of) = (Digest::of(b"late"), Lines::Log);
    let segment = LogSegment { number: 2, last_line: 60, digest, bytes: 400, of };
    engine.record(Event::Logged { lease, segment, at: engine.clock.unix() }).unwrap();
    engine.commit().unwrap();
}

#[test]
fn what_is_forgotten_goes_with_its_parts_and_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let kept = Limits { history_ms: 10 * DAY_MS, ..limits() };
    let mut now = engine(folder.path(), kept, Arc::clone(&clock));
    for number in 0..30 {
        clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
        run_one(&mut now, number, &plan);
    }
    let all = now.archive.all().unwrap();
    assert!((10..=11).contains(&all.len()), "{} matrices of ten days", all.len());
    drop(now);
    // Those that the snapshot before lists are there too.
    assert!(files(folder.path(), ".history").len() <= 13, "{:?}", files(folder.path(), ".history"));
    assert_eq!(without_index(folder.path(), &clock).archive.all().unwrap(), all);
}

#[test]
fn a_snapshot_of_version_1_is_read_and_its_matrices_go_on_to_the_next() {
    let (folder, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let mut before = engine(old.path(), limits(), Arc::clone(&clock));
    for number in 0..3 {
        run_one(&mut before, number, &plan);
    }
    let (all, sequence) = (before.archive.all().unwrap(), before.journal.last_sequence());
    let version_1 = serde_json::json!({ "version": 1, "state": &before.state, "archived": &all });
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mut snapshots, _) = Snapshots::open(Arc::clone(&disk), &folder.path().join("snapshots")).unwrap();
    snapshots.write(sequence, version_1.to_string().as_bytes()).unwrap();
    drop(snapshots);
    let journal = folder.path().join("journal");
    drop(Journal::create_after(disk, &journal, JournalConfig::default(), sequence).unwrap());

    let mut now = engine(folder.path(), limits(), Arc::clone(&clock));
    assert_eq!(now.archive.all().unwrap(), all);
    run_one(&mut now, 3, &plan);
    let more = now.archive.all().unwrap();
    assert_eq!(more.len(), 4);
    drop(now);
    assert_eq!(files(folder.path(), ".history").len(), 1);
    assert_eq!(without_index(folder.path(), &clock).archive.all().unwrap(), more);
}

#[test]
fn an_index_is_not_rebuilt_from_a_damaged_part_and_the_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, plan) = (Arc::new(Calendar::default()), plan());
    let mut now = engine(folder.path(), limits(), Arc::clone(&clock));
    for number in 0..3 {
        run_one(&mut now, number, &plan);
    }
    drop(now);
    let (name, _) = files(folder.path(), ".history").remove(1);
    let path = folder.path().join("snapshots").join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let probe =
        ProbeCommand { program: "unused".into(), arguments: Vec::new(), deadline: Duration::from_secs(1) };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let refused =
        recovery::recover(&disk, folder.path(), &probe, limits().journal()).unwrap_err().to_string();
    for part in [name.as_str(), "checksum of block 0", "assay admin restore"] {
        assert!(refused.contains(part), "{part:?} is not in {refused:?}");
    }
}
