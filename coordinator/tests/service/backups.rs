//! Backups that the coordinator takes by itself: the drill after a kill, what is kept, and a target that fails.

use std::path::{Path, PathBuf};

use assay_coordinator::admin::{Backup, BackupPlace, BackupSchedule, verify};
use assay_domain::JobId;
use assay_proto::v1;
use assay_proto::v1::events_client::EventsClient;
use tonic::Streaming;

use super::admin::{admin, run_all};
use super::process::Process;
use super::worker::Worker;
use super::world::{PATIENCE, World, probe};

const EVERY_MS: u64 = 3_600_000;

pub(crate) async fn follow(world: &World, kind: &str) -> Streaming<v1::ReadEventsResponse> {
    let request = v1::ReadEventsRequest { kind: kind.into(), follow: true, ..Default::default() };
    EventsClient::new(world.channel()).read(request).await.unwrap().into_inner()
}

pub(crate) async fn next(stream: &mut Streaming<v1::ReadEventsResponse>) -> v1::ReadEventsResponse {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("an event in time").unwrap().unwrap()
}

/// The backups in a folder, oldest first.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<PathBuf> = entries.collect();
    kept.sort();
    kept
}

fn manifest(backup: &Path) -> Backup {
    serde_json::from_slice(&std::fs::read(backup.join("backup.json")).unwrap()).unwrap()
}

async fn scheduled(folder: &Path, keep: usize) -> World {
    let mut world = World::new().await;
    world.stop().await;
    world.backups =
        Some(BackupSchedule { to: BackupPlace::Folder(folder.to_owned()), every_ms: EVERY_MS, keep });
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_backups_are_kept_also_over_a_restart_which_takes_none_before_it_is_due() {
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().join("backups");
    std::fs::create_dir_all(folder.join("backup-0000000000001.unfinished/objects")).unwrap();
    let mut world = scheduled(&folder, 2).await;
    world.submit("k", 1).await;
    let mut taken = follow(&world, "backup_taken").await;
    let mut last = next(&mut taken).await.sequence;
    for round in 0..3 {
        if round == 1 {
            drop(taken);
            world.restart().await;
            taken = follow(&world, "backup_taken").await;
            // Those from before are told again.
            while next(&mut taken).await.sequence != last {}
        }
        world.pass(EVERY_MS).await;
        let told = next(&mut taken).await;
        assert!(told.sequence > last && told.what.contains("read back"), "{told:?}");
        last = told.sequence;
    }
    let kept = kept(&folder);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(manifest(&kept[0]).last_sequence < manifest(&kept[1]).last_sequence);
    for backup in &kept {
        assert_eq!(verify(backup, true, &probe()).unwrap().wrong, Vec::<String>::new());
    }
    assert_eq!(manifest(&kept[1]).matrices, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_is_told_and_tried_again_and_harms_nothing() {
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().join("backups");
    std::fs::write(&folder, "not a folder").unwrap();
    let world = scheduled(&folder, 2).await;
    let mut failed = follow(&world, "backup_failed").await;
    let told = next(&mut failed).await;
    assert!(told.what.contains("backups"), "{told:?}");
    assert!(!world.submit("k", 1).await.repeated, "it serves");
    std::fs::remove_file(&folder).unwrap();
    let mut taken = follow(&world, "backup_taken").await;
    // Sooner than the next would be due.
    world.pass(600_000).await;
    next(&mut taken).await;
    assert_eq!(kept(&folder).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drill_after_a_kill_under_load_loses_nothing_that_was_answered_before_the_backup() {
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().join("backups");
    let flags = ["--backup-to", folder.to_str().unwrap(), "--backup-every", "1s", "--backup-keep", "3"];
    let process = Process::start_with(60_000, None, &flags);
    let mut taken = follow(&process.world, "backup_taken").await;
    let counting = tokio::spawn(async move {
        for _ in 0..3 {
            next(&mut taken).await;
        }
    });
    let mut worker = Worker::connect(&process.world, "w", &[]).await;
    let mut round = 0;
    while !counting.is_finished() {
        let matrix = process.world.submit(&format!("k{round}"), round).await.matrix_id;
        run_all(&process.world, &mut worker, &matrix).await;
        round += 1;
    }
    counting.await.unwrap();
    let request = v1::ReadEventsRequest { limit: 10_000, ..Default::default() };
    let told = super::events::all(&process.world, request).await;
    drop(worker);
    process.kill();

    let newest = kept(&folder).into_iter().rfind(|backup| backup.join("backup.json").exists()).unwrap();
    let backup = manifest(&newest);
    let restored = tempfile::tempdir().unwrap();
    let (code, said) = admin(&["restore", newest.to_str().unwrap()], &restored.path().join("data"));
    assert_eq!(code, Some(0), "{said}");
    let world = World::on(restored).await;
    let before: Vec<_> = told.iter().filter(|event| event.sequence <= backup.last_sequence).collect();
    let of_kind = |kind: &str| before.iter().filter(|event| event.kind == kind).cloned().collect::<Vec<_>>();
    let (submitted, succeeded) = (of_kind("matrix_submitted"), of_kind("job_succeeded"));
    println!(
        "backup {} as of sequence {}: {} submissions and {} results in {round} rounds",
        newest.display(),
        backup.last_sequence,
        submitted.len(),
        succeeded.len()
    );
    assert!(submitted.len() > 1 && succeeded.len() > 1);
    for event in submitted {
        world.view(&event.matrix_id).await;
    }
    for event in succeeded {
        let job: JobId = event.job_id.parse().unwrap();
        let status = &world.statuses(&event.matrix_id).await[job.ordinal as usize];
        assert!(["succeeded", "reused"].contains(&status.as_str()), "{job} is {status}");
    }
    let found = verify(&world.data_dir(), true, &probe()).unwrap();
    assert_eq!(found.wrong, Vec::<String>::new());
}
