//! Durable before answered: on a disk whose syncs fail and whose power goes, no answer is ever lost and none is false.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use assay_domain::event::SubmittedMatrix;
use assay_domain::{Digest, MatrixId, Rejection, SubmitKey, UnixMillis};

use super::command::{Mode, Submission, Submitted};
use super::*;
use crate::disk::{CrashDisk, Fault};

mod churn;
mod groups;
mod past;

#[derive(Debug, Default)]
struct Still(AtomicU64);

impl Clock for Still {
    fn monotonic_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(1)
    }
}

/// The journal's disk is simulated; the index, which may always be lost, is in a real folder, new for each process.
fn start_on(disk: &CrashDisk, data_dir: &Path) -> Result<Running, EngineError> {
    let _ = std::fs::remove_dir_all(data_dir.join("index"));
    let probe =
        ProbeCommand { program: "unused".into(), arguments: Vec::new(), deadline: Duration::from_secs(1) };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let limits = Limits { snapshot_records: 5, ..Limits::default() };
    start(&disk, data_dir, &probe, limits, Arc::new(Still::default()))
}

async fn submit(handle: &Handle, name: &str) -> Result<Result<Submitted, Rejection>, Stopped> {
    let matrix = SubmittedMatrix {
        id: MatrixId::new(name),
        submit_key: SubmitKey::new(name),
        name: name.into(),
        spec_digest: Digest::of(b"{}"),
        spec_json: "{}".into(),
        secret: Digest::of(b"secret"),
        plan: Vec::new(),
        budget: assay_domain::budget::Cap::default(),
        schedule: Default::default(),
        fixed_at: None,
        at: UnixMillis(1),
    };
    let submission = Box::new(Submission {
        matrix,
        finished: BTreeMap::new(),
        absent: BTreeSet::new(),
        mode: Mode::Lacking,
    });
    handle.ask(|reply| Command::Submit { submission, reply }).await
}

#[tokio::test]
async fn a_failed_sync_answers_nothing_and_ends_the_engine_and_what_was_answered_survives_the_power_cut() {
    let mut ended_early = 0;
    for failing in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let disk = CrashDisk::new();
        let running = start_on(&disk, folder.path()).unwrap();
        disk.inject(Fault::Sync { after: failing, kind: std::io::ErrorKind::StorageFull });
        let mut answered = Vec::new();
        for number in 0..20 {
            let name = format!("m-{number}");
            match submit(&running.handle, &name).await {
                Ok(outcome) => answered.push(outcome.unwrap().matrix),
                Err(Stopped) => break,
            }
        }
        // A snapshot's own file may fail to sync without harm: the journal is kept, and the engine goes on.
        running.handle.stop();
        match running.ended.await.unwrap() {
            Ok(()) => assert_eq!(answered.len(), 20),
            Err(EngineError::Journal(_) | EngineError::Snapshot(_)) => ended_early += 1,
            Err(other) => panic!("{other}"),
        }
        let disk = disk.power_cut(failing);
        let running = start_on(&disk, folder.path()).unwrap();
        for matrix in answered {
            let found = running.handle.ask(|reply| Command::Get { matrix, reply }).await.unwrap();
            found.unwrap();
        }
        running.handle.stop();
        running.ended.await.unwrap().unwrap();
    }
    assert!(ended_early >= 8, "{ended_early}");
}
