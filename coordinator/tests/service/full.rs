//! Real processes on a disk that is really full: what cannot be stored is refused or ends the coordinator, what was acknowledged stays,
//! and it goes on once there is room.

use assay_domain::{Artifact, Digest, FileRef, ObjectKey};
use reqwest::StatusCode;
use tokio::sync::mpsc;

use super::admin::run_all;
use super::matrix::JOBS;
use super::process::Process;
use super::small_disk::SmallDisk;
use super::worker::{Worker, sign_request};
use super::world::{World, put};

const MIB: u64 = 1 << 20;

fn serve(folder: tempfile::TempDir) -> Process {
    Process::serve(folder, 60_000, None, &["--snapshot-records", "20"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_full_disk_does_not_take_is_refused_and_taken_once_there_is_room() {
    let Some(disk) = SmallDisk::new(96) else { return };
    let process = serve(tempfile::tempdir_in(disk.root()).unwrap());
    let mut worker = Worker::connect(&process.world, "w", &[]).await;
    let finished = process.world.submit("k1", 1).await.matrix_id;
    run_all(&process.world, &mut worker, &finished).await;
    process.world.submit("k2", 2).await;
    let train = worker.offer().await.lease;
    disk.fill(8 * MIB);

    let bytes = vec![7; 20 << 20];
    let request = sign_request(&train, "adapter@2", "adapter.safetensors", &bytes);
    let signed = process.world.artifacts().sign_upload(request).await.unwrap().into_inner().uploads.remove(0);
    let url = signed.request.unwrap().url;
    let free = disk.free_bytes();
    for _ in 0..3 {
        let (status, told) = put(&url, &bytes).await;
        assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{told}");
        assert!(told.contains("disk is full, and nothing of this was stored"), "{told}");
    }
    assert!(free.abs_diff(disk.free_bytes()) < MIB, "nothing of it stays: {free}, {}", disk.free_bytes());
    let file = FileRef {
        path: "adapter.safetensors".into(),
        key: ObjectKey::parse(signed.key).unwrap(),
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        origin: None,
    };
    let adapter = Artifact { name: "adapter@2".into(), files: vec![file] };
    let resume = worker.upload(&train, "resume@2", "state.json", b"{}").await;
    let early = worker.say_checkpoint(&train, 2, &adapter, &resume).await;
    assert!(early.is_err(), "what is not there is not accepted");
    // All else goes on.
    let third = process.world.submit("k3", 3).await.matrix_id;

    disk.make_room();
    assert_eq!(put(&url, &bytes).await.0, StatusCode::CREATED);
    worker.say_checkpoint(&train, 2, &adapter, &resume).await.unwrap();
    let (before, after) = (process.world.view(&finished).await, process.world.view(&third).await);
    drop(worker);
    let process = serve(process.kill_and_keep());
    assert_eq!(process.world.view(&finished).await, before);
    assert_eq!(process.world.view(&third).await.jobs.len(), after.jobs.len());
    let mut worker = Worker::connect(&process.world, "w", std::slice::from_ref(&train)).await;
    worker.checkpoint(&train, 4).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_a_full_disk_does_not_take_ends_the_coordinator_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::new(96) else { return };
    let mut process = serve(tempfile::tempdir_in(disk.root()).unwrap());
    let mut worker = Worker::connect(&process.world, "w", &[]).await;
    let finished = process.world.submit("k0", 0).await.matrix_id;
    run_all(&process.world, &mut worker, &finished).await;
    drop(worker);
    process.world.upload_matrix().await;
    disk.fill(0);
    let mut known = vec![finished];
    while let Ok(matrix) = process.world.try_submit(&format!("k{}", known.len()), known.len() as u64).await {
        known.push(matrix.matrix_id);
    }
    let said = process.ends().await;
    assert!(said.contains("No space left on device"), "{said}");
    disk.make_room();
    let mut process = serve(process.kill_and_keep());
    for matrix in &known {
        process.world.view(matrix).await;
    }
    process.world.submit(&format!("k{}", known.len()), known.len() as u64).await;
    process.serves().await;
    println!("{} submissions acknowledged before the end", known.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_a_full_disk_does_not_take_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::new(16) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::create_dir(disk.root().join("index")).unwrap();
    std::os::unix::fs::symlink(disk.root().join("index"), folder.path().join("data/index")).unwrap();
    let mut process = serve(folder);
    disk.fill(0);
    let (sender, mut told) = mpsc::channel(10_000);
    let working = tokio::spawn(work(another(&process), sender));
    let said = process.ends().await;
    assert!(said.contains("index"), "{said}");
    assert!(working.await.unwrap_err().is_panic(), "it works until there is no coordinator");
    let mut finished = Vec::new();
    while let Some(matrix) = told.recv().await {
        finished.push(matrix);
    }
    disk.make_room();
    let mut process = serve(process.kill_and_keep());
    for matrix in &finished {
        let statuses = process.world.statuses(matrix).await;
        assert!(
            statuses.iter().all(|status| ["succeeded", "reused"].contains(&status.as_str())),
            "{statuses:?}"
        );
    }
    let matrix = process.world.submit("after", 1_000_000).await.matrix_id;
    let mut worker = Worker::connect(&process.world, "after", &[]).await;
    run_all(&process.world, &mut worker, &matrix).await;
    drop(worker);
    process.serves().await;
    println!("{} matrices finished before the end", finished.len());
}

/// Calls to the same coordinator that outlive its value.
fn another(process: &Process) -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/token"), process.world.token()).unwrap();
    World::outside(folder, &process.address())
}

/// One matrix after the other, for ever; panics when the coordinator is gone. Tells those whose jobs are all acknowledged.
async fn work(world: World, finished: mpsc::Sender<String>) {
    let mut worker = Worker::connect(&world, "w", &[]).await;
    for number in 0.. {
        let matrix = world.submit(&format!("k{number}"), number).await.matrix_id;
        for _ in 0..JOBS {
            let assignment = worker.offer().await;
            worker.perform(&assignment).await;
        }
        finished.try_send(matrix).unwrap();
    }
}
