//! Backups of a running coordinator, the restore drill, and what is wrong being named.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assay_coordinator::admin::{Backup, backup, verify};
use assay_coordinator::config::Limits;
use assay_domain::{Lease, UnixMillis};
use assay_proto::v1;

use super::matrix::JOBS;
use super::worker::Worker;
use super::world::{World, probe};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

/// `assay-coordinator admin ARGS`; its exit code and all it said.
pub(crate) fn admin(args: &[&str], data_dir: &Path) -> (Option<i32>, String) {
    admin_in(&[], args, data_dir)
}

/// The same in an environment.
pub(crate) fn admin_in(
    environment: &[(&str, String)],
    args: &[&str],
    data_dir: &Path,
) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-coordinator"));
    command.envs(environment.iter().cloned()).arg("admin").args(args).arg("--data-dir").arg(data_dir);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Does whatever is offered until a matrix has ended.
pub(crate) async fn run_all(world: &World, worker: &mut Worker<'_>, matrix: &str) {
    while world
        .statuses(matrix)
        .await
        .iter()
        .any(|status| !["succeeded", "reused"].contains(&status.as_str()))
    {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
}

/// Finishes one matrix, takes a backup in the middle of a second, finishes that and submits a third.
async fn before_the_loss(world: &World, target: &Path) -> (String, v1::MatrixView, String, Lease) {
    let finished = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(world, "w", &[]).await;
    run_all(world, &mut worker, &finished).await;
    let running = world.submit("k2", 2).await.matrix_id;
    let train = worker.offer().await;
    worker.checkpoint(&train.lease, 2).await.unwrap();
    let view = world.view(&finished).await;

    let (code, said) = admin(&["backup", text(target)], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 matrices"), "{said}");

    worker.perform(&train).await;
    run_all(world, &mut worker, &running).await;
    world.submit("k3", 3).await;
    (finished, view, running, train.lease)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restore_drill_loses_what_came_after_the_backup_and_nothing_else() {
    let mut world = World::new().await;
    let target = world.folder.path().join("backup");
    let (finished, view, running, old) = before_the_loss(&world, &target).await;
    world.stop().await;
    std::fs::remove_dir_all(world.data_dir()).unwrap();

    let (code, said) = admin(&["restore", text(&target)], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 matrices") && said.contains("submit again what was submitted later"), "{said}");
    world.start().await;

    // What was finished before is there, with its objects: an equal submission takes all of it.
    assert_eq!(world.view(&finished).await, view);
    assert!(world.submit("k1", 1).await.repeated);
    // What came later is lost, as was said: the attempt is void, the third submission unknown.
    assert_eq!(world.statuses(&running).await[old.job.ordinal as usize], "ready");
    let third = world.submit("k3", 3).await;
    assert!(!third.repeated);
    let mut worker = Worker::connect(&world, "w", std::slice::from_ref(&old)).await;
    assert_eq!(worker.welcome.stale.len(), 1, "an attempt of the lost history is not current");

    // It goes on: from the checkpoint in the backup, under a token that the lost history never gave out.
    let train = worker.offer().await;
    assert_eq!(train.lease.job, old.job);
    assert_eq!(train.resume.as_ref().map(|(step, _)| *step), Some(2));
    assert!(train.lease.fence.epoch > old.fence.epoch);
    worker.perform(&train).await;
    run_all(&world, &mut worker, &running).await;
    run_all(&world, &mut worker, &third.matrix_id).await;
    drop(worker);
    world.restart().await;
    let found = verify(&world.data_dir(), true, &probe()).unwrap();
    assert_eq!(found.wrong, Vec::<String>::new());
    assert_eq!(world.submit("k4", 1).await.reused as usize, JOBS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_while_work_goes_on_holds_all_that_was_answered_before() {
    let limits = Limits { snapshot_records: 6, drain_ms: 500, ..Limits::default() };
    let world = World::with(limits).await;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let mut sequence = 0;
    for round in 0..6 {
        let matrix = world.submit(&format!("k{round}"), round).await.matrix_id;
        let (data_dir, target) = (world.data_dir(), world.folder.path().join(format!("backup-{round}")));
        let to = target.clone();
        let taken = tokio::task::spawn_blocking(move || backup(&data_dir, &to, true, NOW));
        run_all(&world, &mut worker, &matrix).await;
        let taken: Backup = taken.await.unwrap().unwrap();
        assert!(taken.matrices > round as usize, "the submission before it is in it: {taken:?}");
        assert!(taken.last_sequence > sequence && taken.wrong_objects.is_empty(), "{taken:?}");
        sequence = taken.last_sequence;
        let found = verify(&target, true, &probe()).unwrap();
        assert_eq!(found.wrong, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_overwrites_nothing_takes_no_half_backup_and_leaves_nothing_behind() {
    let mut world = World::new().await;
    world.submit("k1", 1).await;
    let target = world.folder.path().join("backup");
    backup(&world.data_dir(), &target, true, NOW).unwrap();
    world.stop().await;
    let (code, said) = admin(&["restore", text(&target)], &world.data_dir());
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("is not empty, and nothing is ever overwritten"), "{said}");
    let again = backup(&world.data_dir(), &target, true, NOW).unwrap_err().to_string();
    assert!(again.contains("is not empty"), "{again}");

    // A byte of its journal flipped, and the description gone: neither is restored, and nothing is left of the try.
    let journal = segment(&target);
    let whole = std::fs::read(&journal).unwrap();
    let mut bytes = whole.clone();
    bytes[60] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let elsewhere = world.folder.path().join("restored");
    let (code, said) = admin(&["restore", text(&target)], &elsewhere);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not as it was backed up"), "{said}");
    std::fs::write(&journal, whole).unwrap();
    std::fs::rename(target.join("backup.json"), target.join("x")).unwrap();
    let (code, said) = admin(&["restore", text(&target)], &elsewhere);
    assert_eq!((code, said.contains("is no finished backup")), (Some(2), true), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(world.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_served() {
    let mut world = World::new().await;
    world.submit("k1", 1).await;
    let target = world.folder.path().join("backup");
    backup(&world.data_dir(), &target, true, NOW).unwrap();
    world.stop().await;
    std::fs::remove_dir_all(world.data_dir()).unwrap();
    std::fs::rename(&target, world.data_dir()).unwrap();
    let refused = world.try_start().await.unwrap_err().to_string();
    assert!(refused.contains("is a backup") && refused.contains("assay admin restore"), "{refused}");
}

/// The newest file of a journal.
fn segment(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "journal")).max().unwrap()
}

fn shorten(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lost_what_the_index_proves_is_refused_named_and_salvaged() {
    let mut world = World::new().await;
    let matrix = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    run_all(&world, &mut worker, &matrix).await;
    drop(worker);
    world.stop().await;
    shorten(&segment(&world.data_dir()));

    let refused = assay_domain::chain(&world.try_start().await.unwrap_err());
    for part in ["sequence", "a snapshot or the index shows that sequence", "assay admin restore"] {
        assert!(refused.contains(part), "{part:?} is not in {refused:?}");
    }
    let (code, said) = admin(&["verify"], &world.data_dir());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WRONG  the index shows that sequence"), "{said}");

    let damaged = world.folder.path().join("damaged");
    std::fs::rename(world.data_dir(), &damaged).unwrap();
    let (code, said) = admin(&["restore", "--salvage", text(&damaged)], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    world.start().await;
    assert_eq!(world.view(&matrix).await.jobs.len(), JOBS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lost_what_a_snapshot_proves_is_refused_and_named() {
    let limits = Limits { snapshot_records: 4, drain_ms: 500, ..Limits::default() };
    let mut world = World::with(limits).await;
    let matrix = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    run_all(&world, &mut worker, &matrix).await;
    drop(worker);
    world.stop().await;
    std::fs::remove_dir_all(world.data_dir().join("index")).unwrap();
    // Header alone: every batch is gone, and only the snapshots know that there were some.
    let journal = segment(&world.data_dir());
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..28]).unwrap();
    let refused = assay_domain::chain(&world.try_start().await.unwrap_err());
    assert!(refused.contains("ends at sequence 0") && refused.contains("assay admin restore"), "{refused}");
    let (code, said) = admin(&["verify"], &world.data_dir());
    assert_eq!((code, said.contains("WRONG")), (Some(1), true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_each_object_that_is_missing_or_changed() {
    let mut world = World::new().await;
    let matrix = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    run_all(&world, &mut worker, &matrix).await;
    drop(worker);
    let (code, said) = admin(&["verify"], &world.data_dir());
    assert_eq!(code, Some(0), "a running coordinator is looked at: {said}");
    assert!(said.contains("index: not looked at"), "{said}");
    world.stop().await;
    let uploads = world.data_dir().join("objects/sha256");
    let mut files: Vec<_> = std::fs::read_dir(uploads).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    std::fs::remove_file(&files[0]).unwrap();
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&files[1], bytes).unwrap();
    let (code, said) = admin(&["verify"], &world.data_dir());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is missing") && said.contains("has sha256") && said.contains("2 things"),
        "{said}"
    );
    let (_, quick) = admin(&["verify", "--quick"], &world.data_dir());
    assert!(quick.contains("1 thing is wrong"), "{quick}");
    let target = world.folder.path().join("backup");
    let (code, said) = admin(&["backup", text(&target)], &world.data_dir());
    assert_eq!((code, said.matches("not in it: ").count()), (Some(1), 2), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compact_forgets_old_history_and_removes_what_nothing_names_and_export_tells_what_is_left() {
    let mut world = World::new().await;
    let old = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    run_all(&world, &mut worker, &old).await;
    world.upload(b"never submitted").await;
    let (code, said) = admin(&["compact"], &world.data_dir());
    assert_eq!(code, Some(4), "a running coordinator is not touched: {said}");
    drop(worker);
    world.stop().await;

    // What nobody submitted, and the resume states of a training that is done.
    let before = objects(&world.data_dir());
    let (code, said) = admin(&["compact"], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 finished matrices forgotten, 1 kept; 3 objects of 19 bytes"), "{said}");
    assert_eq!(objects(&world.data_dir()), before - 3);
    world.start().await;
    assert_eq!(world.view(&old).await.jobs.len(), JOBS);
    world.stop().await;

    // It ended days ago: the clock of these tests is behind the machine's.
    let (code, said) = admin(&["compact", "--history-days", "1"], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 finished matrices forgotten, 0 kept"), "{said}");
    assert_eq!(objects(&world.data_dir()), 0);
    for _ in 0..2 {
        world.start().await;
        let request = v1::GetMatrixRequest { matrix_id: old.clone() };
        assert!(world.matrices().get(request).await.is_err(), "it is forgotten");
        let again = world.submit("k1", 1).await;
        assert!(again.reused == 0, "nothing of it is left to reuse: {again:?}");
        world.stop().await;
        std::fs::remove_dir_all(world.data_dir().join("index")).unwrap();
    }
    assert_eq!(verify(&world.data_dir(), true, &probe()).unwrap().wrong, Vec::<String>::new());

    let file = world.folder.path().join("all.jsonl");
    let (code, said) = admin(&["export", text(&file)], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    let exported = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let matrices: Vec<_> = lines.iter().filter(|line| line["line"] == "matrix").collect();
    assert_eq!((lines[0]["line"].as_str(), matrices.len()), (Some("state"), 1));
    assert_eq!(matrices[0]["matrix"]["jobs"].as_array().unwrap().len(), JOBS);
    assert!(!exported.contains("secret"), "secrets stay");
    let (code, said) = admin(&["export", text(&file)], &world.data_dir());
    assert_eq!(code, Some(4), "nothing is overwritten: {said}");
}

/// How many objects lie in the store.
fn objects(data_dir: &Path) -> usize {
    fn count(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let shown = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        shown.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&data_dir.join("objects"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_history_that_is_damaged_is_named_and_the_rest_is_salvaged() {
    let limits = Limits { snapshot_records: 1, drain_ms: 500, ..Limits::default() };
    let mut world = World::with(limits).await;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let mut finished = Vec::new();
    for seed in 0..3 {
        finished.push(world.submit(&format!("k{seed}"), seed).await.matrix_id);
        run_all(&world, &mut worker, &finished[finished.len() - 1]).await;
    }
    drop(worker);
    world.stop().await;
    let parts = std::fs::read_dir(world.data_dir().join("snapshots")).unwrap();
    let parts = parts.map(|entry| entry.unwrap().path());
    let first = parts.filter(|path| path.extension().is_some_and(|end| end == "history")).min().unwrap();
    shorten(&first);
    // A coordinator that has its index does not need it.
    world.start().await;
    assert_eq!(listed(&world).await, sorted(&finished));
    world.stop().await;

    let name = first.file_name().unwrap().to_str().unwrap().to_owned();
    let (code, said) = admin(&["verify"], &world.data_dir());
    assert!(code == Some(1) && said.contains("WRONG") && said.contains(&name), "{said}");
    let refused = backup(&world.data_dir(), &world.folder.path().join("backup"), true, NOW);
    assert!(refused.unwrap_err().to_string().contains(&name));

    let damaged = world.folder.path().join("damaged");
    std::fs::rename(world.data_dir(), &damaged).unwrap();
    let (code, said) = admin(&["restore", "--salvage", text(&damaged)], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("given up:") && said.contains(&name), "{said}");
    world.start().await;
    assert_eq!(listed(&world).await, sorted(&finished[1..]));
}

async fn listed(world: &World) -> Vec<String> {
    let listed = world.matrices().list(v1::ListMatricesRequest::default()).await.unwrap().into_inner();
    let ids: Vec<String> = listed.matrices.into_iter().map(|matrix| matrix.matrix_id).collect();
    sorted(&ids)
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}
