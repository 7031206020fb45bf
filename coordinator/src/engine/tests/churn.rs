//! A year of matrices that come and end: what the folders hold stays bounded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_domain::matrix::ResolvedMatrix;
use assay_domain::{Attempt, Event, Fence, JobId, Lease, PlannedJob, UnixMillis};

use crate::disk::RealDisk;
use crate::engine::*;

#[path = "../../../tests/service/matrix.rs"]
#[expect(dead_code, reason = "the tests of the services use more of it")]
pub(super) mod matrix;
#[path = "../../../tests/service/past.rs"]
mod past;

use past::{life, submitted};

pub(super) const DAY_MS: u64 = 86_400_000;
const DAYS: u64 = 365;
const MATRICES_A_DAY: u64 = 3;
/// Reported and compared by months of so many days.
const MONTH_DAYS: u64 = 30;

#[derive(Debug, Default)]
pub(super) struct Calendar(pub(super) AtomicU64);

impl Clock for Calendar {
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.0.load(Ordering::SeqCst))
    }
}

pub(super) fn engine(data_dir: &Path, limits: Limits, clock: Arc<Calendar>) -> Engine {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let probe =
        ProbeCommand { program: "unused".into(), arguments: Vec::new(), deadline: Duration::from_secs(1) };
    let recovered = recovery::recover(&disk, data_dir, &probe, limits.journal()).unwrap();
    let mut engine = Engine::new(recovered, limits, clock, watch::channel(0).0);
    engine.begin().unwrap();
    engine
}

/// One matrix from its submission to its end.
pub(super) fn run_one(engine: &mut Engine, number: u64, plan: &[PlannedJob]) {
    let at = engine.clock.unix();
    let matrix = submitted(number, plan, at);
    let id = matrix.id.clone();
    engine.record(Event::MatrixSubmitted { matrix: Box::new(matrix) }).unwrap();
    for planned in plan {
        let job = JobId { matrix: id.clone(), ordinal: planned.ordinal };
        let lease = Lease { job, fence: Fence { epoch: engine.state.epoch, attempt: Attempt(1) } };
        engine.record_all(life(&lease, &planned.work, at)).unwrap();
    }
    engine.record(Event::MatrixArchived { matrix: id, at }).unwrap();
    engine.commit().unwrap();
    engine.snapshot_if_due().unwrap();
}

fn bytes(path: &Path) -> u64 {
    match path.is_dir() {
        true => std::fs::read_dir(path).unwrap().map(|entry| bytes(&entry.unwrap().path())).sum(),
        false => path.metadata().unwrap().len(),
    }
}

/// What journal, snapshots and index hold at the end of each month, KiB, and how many jobs ended in the year.
fn year(history_days: u64) -> (Vec<[u64; 3]>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Calendar::default());
    let limits = Limits {
        history_ms: history_days * DAY_MS,
        snapshot_records: 2_000,
        journal_segment_bytes: 1 << 20,
        ..Limits::default()
    };
    let resolved: ResolvedMatrix = serde_json::from_value(matrix::resolved(0)).unwrap();
    let plan = assay_domain::plan::plan(&resolved).unwrap();
    let mut engine = engine(folder.path(), limits, Arc::clone(&clock));
    let mut months = Vec::new();
    for day in 1..=DAYS {
        clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
        for matrix in 0..MATRICES_A_DAY {
            run_one(&mut engine, day * MATRICES_A_DAY + matrix, &plan);
        }
        if day % MONTH_DAYS == 0 {
            engine.archive.flush().unwrap();
            months.push(["journal", "snapshots", "index"].map(|name| bytes(&folder.path().join(name)) >> 10));
        }
    }
    (months, DAYS * MATRICES_A_DAY * plan.len() as u64)
}

#[test]
fn a_year_of_churn_stays_bounded_where_history_is_and_grows_by_little_where_it_is_not() {
    let (kept, jobs) = year(0);
    let (bounded, _) = year(MONTH_DAYS);
    println!("KiB in journal, snapshots, index after each month of a year of {jobs} jobs");
    for (month, (kept, bounded)) in kept.iter().zip(&bounded).enumerate() {
        println!("month {:2}: history kept {kept:?}, history of {MONTH_DAYS} days {bounded:?}", month + 1);
    }
    let total = |month: &[u64; 3]| month.iter().sum::<u64>();
    let [_, snapshots, index] = kept[kept.len() - 1];
    let of_a_job = (snapshots + index) * 1024 / jobs;
    println!("with history kept: {of_a_job} bytes on disk for each finished job, besides the journal");
    // The journal never depends on the history.
    assert!(kept.iter().chain(&bounded).all(|month| month[0] < 16 << 10), "journal");
    assert!(of_a_job < 32 << 10, "{of_a_job} bytes for a finished job");
    // With a limit, the year's end is no larger than its first months.
    let early = bounded[1..4].iter().map(total).max().unwrap();
    let late = bounded[8..].iter().map(total).max().unwrap();
    assert!(late <= early + early / 2, "{early} KiB became {late} KiB");
}
