//! Backups to a bucket, over real HTTP to a store that speaks S3's wire format: the schedule, the restore, and what goes wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assay_coordinator::admin::{Backup, verify};
use assay_domain::{Artifact, Lease};
use axum::http::Method;

use super::admin::{admin_in, run_all};
use super::backups::{follow, next};
use super::process::Process;
use super::worker::Worker;
use super::world::{World, probe};
use s3::{S3, SECRET_KEY};
use signed::BEARER;

mod cutter;
mod s3;
mod signed;
mod xml;

/// Of three parts.
const BIG_BYTES: usize = 20 << 20;
const URL: &str = "s3://assay-test/team/a";

/// Bytes that no two blocks have alike.
fn big() -> Vec<u8> {
    (0..BIG_BYTES / 8)
        .flat_map(|number: usize| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

/// One finished matrix, and one whose training has a checkpoint of many bytes.
async fn work(world: &World) -> (String, Lease, Artifact) {
    let mut worker = Worker::connect(world, "w", &[]).await;
    let finished = world.submit("k1", 1).await.matrix_id;
    run_all(world, &mut worker, &finished).await;
    world.submit("k2", 2).await;
    let train = worker.offer().await.lease;
    let adapter = worker.upload(&train, "adapter@2", "adapter.safetensors", &big()).await;
    let resume = worker.upload(&train, "resume@2", "state.json", b"{}").await;
    worker.say_checkpoint(&train, 2, &adapter, &resume).await.unwrap();
    (finished, train, adapter)
}

/// A folder for a restore, and a data folder in it.
fn elsewhere() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

fn object(data_dir: &Path, artifact: &Artifact) -> Vec<u8> {
    std::fs::read(data_dir.join("objects").join(artifact.files[0].key.as_str())).unwrap()
}

/// The finished backups of a prefix, oldest first.
fn finished(s3: &S3, prefix: &str) -> Vec<String> {
    let keys = s3.keys();
    let names = keys.iter().filter_map(|key| key.strip_prefix(prefix)?.strip_suffix("/backup.json"));
    names.map(str::to_owned).collect()
}

fn manifest(s3: &S3, name: &str) -> Backup {
    let key = format!("team/a/{name}/backup.json");
    serde_json::from_slice(&s3.with(|stored| stored.objects[&key].clone())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_keeps_the_newest_in_a_bucket_and_a_restore_has_what_was_answered_before() {
    let s3 = S3::start().await;
    s3.with(|stored| {
        stored.faults.slow_down = 3;
        stored.objects.insert("team/a/backup-0000000000001/objects/x".into(), "unfinished".into());
        stored.objects.insert("team/another".into(), "not ours".into());
    });
    let flags = ["--backup-to", URL, "--backup-every", "1s", "--backup-keep", "2"];
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve_in(&S3::environment(&s3.address), folder, 60_000, None, &flags);
    let (matrix, train, adapter) = work(&process.world).await;
    let view = process.world.view(&matrix).await;
    let mut taken = follow(&process.world, "backup_taken").await;
    let (mut count, mut newest) = (0, String::new());
    while count < 4 || manifest(&s3, &newest).object_bytes < BIG_BYTES as u64 {
        let told = next(&mut taken).await;
        assert!(told.what.contains("read back"), "{told:?}");
        count += 1;
        newest = finished(&s3, "team/a/").pop().unwrap();
    }
    drop(taken);
    process.kill();

    // One that is kept may just have got its successor.
    let kept = finished(&s3, "team/a/");
    assert!((2..=3).contains(&kept.len()), "{kept:?}");
    let (keys, completed) = (s3.keys(), s3.with(|stored| stored.completed));
    assert!(keys.contains(&"team/another".to_owned()) && completed > 0);
    assert!(!keys.iter().any(|key| key.contains("backup-0000000000001")), "{keys:?}");
    removed_as_said(&s3);

    let url = format!("{URL}/{newest}");
    let environment = S3::environment(&s3.address);
    let (code, said) = admin_in(&environment, &["verify", "--backup", &url], Path::new("none"));
    assert_eq!(code, Some(0), "{said}");
    let (folder, data_dir) = elsewhere();
    let (code, said) = admin_in(&environment, &["restore", &url], &data_dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(object(&data_dir, &adapter) == big(), "the object of many parts is whole");
    let world = World::on(folder).await;
    assert_eq!(world.view(&matrix).await, view);
    assert_eq!(world.statuses(&train.job.matrix.to_string()).await[train.job.ordinal as usize], "ready");
    assert_eq!(verify(&world.data_dir(), true, &probe()).unwrap().wrong, Vec::<String>::new());
    println!(
        "{count} backups, {completed} objects in parts, {} requests",
        s3.with(|stored| stored.asked.len())
    );
}

/// Of each backup that went, its description went first, and only after a later one was there.
fn removed_as_said(s3: &S3) {
    let asked = s3.with(|stored| stored.asked.clone());
    let folder = |key: &str| key.split('/').nth(2).map(str::to_owned);
    let mut gone = BTreeSet::new();
    for (place, (method, key, _)) in asked.iter().enumerate() {
        let name = folder(key).unwrap_or_default();
        if method != Method::DELETE || name == "backup-0000000000001" || !gone.insert(name.clone()) {
            continue;
        }
        assert!(key.ends_with("/backup.json"), "{key} went first");
        let later = |(method, key, _): &(Method, String, _)| {
            *method == Method::PUT
                && key.ends_with("/backup.json")
                && folder(key).is_some_and(|other| other > name)
        };
        assert!(asked[..place].iter().any(later), "{name} went before a later one was there");
    }
    assert!(gone.len() > 1, "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_with_the_way_out_and_tried_again_and_harms_nothing() {
    let s3 = S3::start().await;
    s3.with(|stored| stored.faults.forbidden = Some(Method::PUT));
    let flags = ["--backup-to", URL, "--backup-every", "1s"];
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve_in(&S3::environment(&s3.address), folder, 60_000, None, &flags);
    process.world.submit("k", 1).await;
    let mut failed = follow(&process.world, "backup_failed").await;
    let mut told = next(&mut failed).await.what;
    // Before the submission there was nothing to back up.
    while told.contains("no state") {
        told = next(&mut failed).await.what;
    }
    for part in
        [URL, "AccessDenied", "does not take the credentials of the environment, or they may not do that"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains(SECRET_KEY), "{told}");
    assert!(!process.world.submit("k2", 2).await.repeated, "it serves");
    assert_eq!(s3.keys(), Vec::<String>::new());
    s3.with(|stored| stored.faults.forbidden = None);
    let mut taken = follow(&process.world, "backup_taken").await;
    next(&mut taken).await;
    assert_eq!(manifest(&s3, &finished(&s3, "team/a/")[0]).matrices, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_and_a_busy_store_are_tried_again() {
    let s3 = S3::start().await;
    let world = World::new().await;
    let (_, _, adapter) = work(&world).await;
    s3.with(|stored| (stored.faults.cut, stored.faults.slow_down) = (3, 2));
    let way = cutter::start(&s3.address, 5, 1 << 20).await;
    let environment = S3::environment(&way);
    let (code, said) = admin_in(&environment, &["backup", URL], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(s3.with(|stored| stored.faults.cut), 0, "reading back was cut");
    s3.with(|stored| stored.faults.cut = 3);
    let (_folder, data_dir) = elsewhere();
    let (code, said) = admin_in(&environment, &["restore", URL], &data_dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(object(&data_dir, &adapter) == big());
    let unwell = s3.with(|stored| stored.asked.iter().filter(|(.., status)| !status.is_success()).count());
    assert!(unwell >= 2, "{unwell}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_back_as_it_was_written_is_no_backup_and_nothing_of_it_stays() {
    let s3 = S3::start().await;
    let world = World::new().await;
    let (_, _, adapter) = work(&world).await;
    let key = adapter.files[0].key.to_string();
    let key: &'static str = key.leak();
    let environment = S3::environment(&s3.address);
    let faults = [
        ("flipped", "journal/", "is not as it was backed up"),
        ("lost", "journal/", "is not as it was backed up"),
        ("flipped", key, "has sha256"),
        ("lost", key, "is missing"),
        ("flipped", "backup.json", "backup.json is another"),
        ("lost", "backup.json", "backup.json is another"),
    ];
    for (fault, what, reason) in faults {
        s3.with(|stored| match fault {
            "flipped" => stored.faults.flipped = Some(what),
            _ => stored.faults.lost = Some(what),
        });
        let (code, said) = admin_in(&environment, &["backup", URL], &world.data_dir());
        assert_eq!(code, Some(2), "{fault} {what}: {said}");
        assert!(said.contains("is not what was read") && said.contains(reason), "{fault} {what}: {said}");
        assert_eq!(s3.keys(), Vec::<String>::new(), "{fault} {what}");
        s3.with(|stored| (stored.faults.flipped, stored.faults.lost) = (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_unfinished_backup_is_named_and_only_salvaged() {
    let s3 = S3::start().await;
    let world = World::new().await;
    let (_, _, adapter) = work(&world).await;
    let key: &'static str = adapter.files[0].key.to_string().leak();
    let environment = S3::environment(&s3.address);
    let admin = |args: &[&str], data_dir: &Path| admin_in(&environment, args, data_dir);
    let (code, said) = admin(&["backup", URL], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = admin(&["backup", URL], &world.data_dir());
    assert!(code == Some(4) && said.contains(&format!("{URL} is not empty")), "{said}");

    s3.with(|stored| stored.faults.flipped = Some(key));
    let (code, said) = admin(&["verify", "--backup", URL], Path::new("none"));
    assert!(
        code == Some(1) && said.contains(&format!("object {key}")) && said.contains("has sha256"),
        "{said}"
    );
    let (code, said) = admin(&["verify", "--quick", "--backup", URL], Path::new("none"));
    assert_eq!(code, Some(0), "{said}");
    let (_folder, data_dir) = elsewhere();
    let (code, said) = admin(&["restore", URL], &data_dir);
    assert!(code == Some(1) && said.contains(&format!("not there: {key}")), "{said}");

    s3.with(|stored| stored.faults.flipped = Some("journal/"));
    let (_folder, data_dir) = elsewhere();
    let (code, said) = admin(&["restore", URL], &data_dir);
    let damaged = said.contains(&format!("{URL}/journal/")) && said.contains("is not as it was backed up");
    assert!(code == Some(2) && damaged && !data_dir.exists(), "{said}");

    s3.with(|stored| {
        stored.faults.flipped = None;
        stored.objects.remove("team/a/backup.json");
    });
    let (code, said) = admin(&["restore", URL], &data_dir);
    let unfinished = said.contains(&format!("{URL} has no backup.json"));
    assert!(code == Some(2) && unfinished && !data_dir.exists(), "{said}");
    let (code, said) = admin(&["restore", "--salvage", URL], &data_dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(object(&data_dir, &adapter) == big());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_bucket_or_wrong_credentials_are_named_and_no_secret_is_told() {
    let s3 = S3::start().await;
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut environment = S3::environment(&s3.address);
    let (code, said) = admin_in(&environment, &["backup", "s3://another/p"], &world.data_dir());
    assert!(code == Some(2) && said.contains("s3://another/p") && said.contains("NoSuchBucket"), "{said}");
    environment.push(("AWS_SECRET_ACCESS_KEY", String::from("a-wrong-secret")));
    let (code, said) = admin_in(&environment, &["backup", URL], &world.data_dir());
    assert!(code == Some(2) && said.contains("SignatureDoesNotMatch"), "{said}");
    assert!(said.contains("credentials of the environment") && !said.contains("a-wrong-secret"), "{said}");
    let with_secret = format!("s3://KEY:{SECRET_KEY}@assay-test/p");
    let (code, said) =
        admin_in(&environment, &["verify", "--quick", "--backup", &with_secret], &world.data_dir());
    assert!(code == Some(2) && said.contains("s3://BUCKET/PREFIX"), "{said}");
    assert_eq!(s3.keys(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_store_is_another_dialect_of_the_same() {
    let s3 = S3::start().await;
    let world = World::new().await;
    let (matrix, _, adapter) = work(&world).await;
    let environment = [
        ("GOOGLE_BASE_URL", format!("http://{}", s3.address)),
        ("GOOGLE_BEARER_TOKEN", String::from(BEARER)),
    ];
    let url = "gs://assay-test/p";
    let (code, said) = admin_in(&environment, &["backup", url], &world.data_dir());
    assert_eq!(code, Some(0), "{said}");
    let (folder, data_dir) = elsewhere();
    let (code, said) = admin_in(&environment, &["restore", url], &data_dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(object(&data_dir, &adapter) == big());
    World::on(folder).await.view(&matrix).await;
}
