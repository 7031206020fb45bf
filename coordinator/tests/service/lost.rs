//! Objects that go bad in the store's folder: a flipped byte, a file that is gone.

use std::path::PathBuf;

use assay_domain::{Artifact, Assignment, FileRef, ObjectKey, WorkKind};
use assay_proto::v1;

use super::matrix::JOBS;
use super::worker::{Worker, sign_request};
use super::world::{World, put};

const BASE: usize = 1;
const SCORE: usize = 4;

fn object(world: &World, key: &ObjectKey) -> PathBuf {
    world.folder.path().join("data/objects").join(key.as_str())
}

/// The first byte becomes another.
fn flip(world: &World, key: &ObjectKey) {
    let path = object(world, key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn input<'a>(assignment: &'a Assignment, role: &str) -> &'a FileRef {
    let (_, artifact) = assignment.inputs.iter().find(|(name, _)| name == role).unwrap();
    &artifact.files[0]
}

/// Jobs are done until a score job comes.
async fn until_score(worker: &mut Worker<'_>) -> Assignment {
    loop {
        let assignment = worker.offer().await;
        if assignment.job.work.kind() == WorkKind::Score {
            return assignment;
        }
        worker.perform(&assignment).await;
    }
}

fn outcomes(job: &v1::JobView) -> Vec<&str> {
    job.attempts.iter().map(|attempt| attempt.outcome.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found_and_its_job_runs_again() {
    let mut world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let (bad, lease) = {
        let mut worker = Worker::connect(&world, "w", &[]).await;
        let score = until_score(&mut worker).await;
        let bad = input(&score, "base").key.clone();
        flip(&world, &bad);
        worker.suspect(&score.lease, &[&bad]).await.unwrap();
        worker.suspect(&score.lease, &[&bad]).await.unwrap();
        (bad, score.lease)
    };
    assert!(!object(&world, &bad).exists());
    // It is a fact of the journal, not of this process.
    world.restart().await;
    let view = world.view(&id).await;
    assert_eq!(outcomes(&view.jobs[BASE]), ["undone"]);
    assert!(view.jobs[BASE].attempts[0].reason.contains("has sha256"), "{:?}", view.jobs[BASE]);
    assert_eq!((view.jobs[BASE].status.as_str(), view.jobs[SCORE].status.as_str()), ("ready", "waiting"));

    let mut worker = Worker::connect(&world, "w", &[]).await;
    let again = worker.offer().await;
    assert_eq!((again.lease.job.ordinal as usize, again.lease.fence.attempt.0), (BASE, 2));
    worker.perform(&again).await;
    let score = until_score(&mut worker).await;
    assert_eq!((score.lease.job.clone(), score.lease.fence.attempt.0), (lease.job, 2));
    assert_ne!(input(&score, "base").key, bad);
    worker.perform(&score).await;
    while world.view(&id).await.summary.unwrap().finished_at_unix_ms == 0 {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
    let view = world.view(&id).await;
    assert!(view.jobs.iter().all(|job| job.status == "succeeded"));
    assert_eq!(outcomes(&view.jobs[BASE]), ["undone", "succeeded"]);
    assert_eq!(outcomes(&view.jobs[SCORE]), ["failed", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_s_word_alone_loses_nothing() {
    let world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let score = until_score(&mut worker).await;
    let (good, model) = (input(&score, "base").key.clone(), input(&score, "model").key.clone());
    // One that is not its input is not even looked at.
    let train = &world.view(&id).await.jobs[0];
    let outputs: Vec<Artifact> = serde_json::from_str(&train.outputs_json).unwrap();
    let other = outputs.iter().find(|output| output.name == "metrics").unwrap().files[0].key.clone();
    flip(&world, &other);
    worker.suspect(&score.lease, &[&good, &model, &other]).await.unwrap();
    assert!([&good, &model, &other].iter().all(|key| object(&world, key).exists()));
    let view = world.view(&id).await;
    assert!(view.jobs[..SCORE].iter().all(|job| job.status == "succeeded"));
    // It counts as the attempt's own failure: the job is held back for a while.
    assert_eq!(view.jobs[SCORE].status, "ready");
    assert_ne!(until_score(&mut worker).await.lease.job, score.lease.job);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_archived_matrix_had_made_is_made_again_by_who_needs_it() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
    let view = world.view(&first.matrix_id).await;
    assert!(view.summary.unwrap().finished_at_unix_ms > 0);
    // Verdicts that are gone are not reused: their job runs, and reads what nobody knows to be bad.
    let outputs: Vec<Artifact> = serde_json::from_str(&view.jobs[SCORE].outputs_json).unwrap();
    std::fs::remove_file(object(&world, &outputs[0].files[0].key)).unwrap();
    let second = world.submit("k2", 1).await;
    assert_eq!(second.reused as usize, JOBS - 1);
    let score = worker.offer().await;
    let bad = input(&score, "base").key.clone();
    assert!(bad.as_str().contains(&first.matrix_id), "{bad}");
    flip(&world, &bad);
    worker.suspect(&score.lease, &[&bad]).await.unwrap();
    let base = worker.offer().await;
    assert_eq!(base.lease.job.to_string(), format!("{}/{BASE}", second.matrix_id));
    worker.perform(&base).await;
    let score = worker.offer().await;
    assert!(input(&score, "base").key.as_str().contains(&second.matrix_id));
    worker.perform(&score).await;
    let view = world.view(&second.matrix_id).await;
    assert!(view.summary.unwrap().finished_at_unix_ms > 0);
    assert_eq!(view.jobs[BASE].status, "succeeded");
    assert_eq!(world.submit("k3", 1).await.reused as usize, JOBS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_upload_fails_what_needs_it_until_it_is_uploaded_again() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await;
    let file = input(&train, "train").clone();
    flip(&world, &file.key);
    worker.suspect(&train.lease, &[&file.key]).await.unwrap();
    let job = &world.view(&first.matrix_id).await.jobs[0];
    assert_eq!(job.status, "failed");
    for words in [file.path.as_str(), &file.digest.to_string(), "has sha256", "submit the matrix again"] {
        assert!(job.reason.contains(words), "`{words}` is not in: {}", job.reason);
    }
    // `submit` uploads whatever is not there.
    let second = world.submit("k2", 1).await;
    assert_eq!(std::fs::read(object(&world, &file.key)).unwrap(), b"train");
    loop {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
        if assignment.lease.job.to_string() == format!("{}/0", second.matrix_id) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_short_is_replaced_when_it_is_sent_again() {
    let world = World::new().await;
    world.upload(b"train").await;
    let key = ObjectKey::upload(assay_domain::Digest::of(b"train"));
    std::fs::write(object(&world, &key), b"tra").unwrap();
    let resolved_json = super::matrix::resolved(1).to_string();
    let request = v1::SubmitRequest { submit_key: "k".into(), resolved_json, fresh: false };
    let refused = world.matrices().submit(request).await.unwrap_err();
    assert!(refused.message().contains("not uploaded"), "{refused}");
    world.submit("k", 1).await;
    assert_eq!(std::fs::read(object(&world, &key)).unwrap(), b"train");
    // An output's key does not say what its bytes are: other ones stay refused.
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let lease = worker.offer().await.lease;
    worker.upload(&lease, "metrics", "metrics.jsonl", b"one").await;
    let signed =
        world.artifacts().sign_upload(sign_request(&lease, "metrics", "metrics.jsonl", b"two")).await;
    let signed = signed.unwrap().into_inner().uploads.remove(0).request.unwrap();
    assert_eq!(put(&signed.url, b"two").await.0, reqwest::StatusCode::CONFLICT);
}
