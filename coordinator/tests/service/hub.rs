//! Files that workers fetch from the Hub: who gets the token, and what becomes of what the store lacks.

use assay_coordinator::hub::HubAccess;
use assay_domain::{Assignment, Digest, FileRef, Lease, ObjectKey, Source, WorkKind};
use assay_proto::{convert, v1};
use serde_json::{Value, json};

use super::matrix::{FILES, JOBS, resolved};
use super::worker::Worker;
use super::world::World;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_planted_5d2c";
const ADDRESS: &str = "http://hub.test/org/tiny/resolve/0123456789abcdef0123456789abcdef01234567/model.bin";

/// The small matrix with its model on the Hub.
fn at_hub(needs_token: bool) -> Value {
    let mut value = resolved(1);
    value["models"]["tiny"]["artifact"]["files"][0]["origin"] =
        json!({"repository": "org/tiny", "commit": COMMIT, "path": "model.bin", "needs_token": needs_token});
    value
}

async fn world(token: Option<&str>) -> World {
    let mut world = World::new().await;
    world.hub = HubAccess::new(Some(String::from("http://hub.test")), token.map(str::to_owned));
    world.restart().await;
    // All but the model.
    for text in &FILES[1..] {
        world.upload(text.as_bytes()).await;
    }
    world
}

async fn submit(world: &World, key: &str, value: &Value) -> Result<v1::SubmitResponse, tonic::Status> {
    let request =
        v1::SubmitRequest { submit_key: key.into(), resolved_json: value.to_string(), fresh: false };
    world.matrices().submit(request).await.map(tonic::Response::into_inner)
}

async fn signed(world: &World, key: &ObjectKey, lease: Option<&Lease>) -> v1::SignedRequest {
    let lease = lease.map(convert::lease_ref);
    let request = v1::SignDownloadRequest { keys: vec![key.to_string()], lease };
    world.artifacts().sign_download(request).await.unwrap().into_inner().requests.remove(0)
}

fn reads(assignment: &Assignment, key: &ObjectKey) -> bool {
    assignment.inputs.iter().any(|(_, artifact)| artifact.has(key))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_current_attempt_of_a_job_that_reads_the_file_and_to_nobody_else() {
    let world = world(Some(TOKEN)).await;
    let id = submit(&world, "k", &at_hub(true)).await.unwrap().matrix_id;
    let key = ObjectKey::upload(Digest::of(b"model"));
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let (mut readers, mut others) = (0, 0);
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        let request = signed(&world, &key, Some(&assignment.lease)).await;
        if reads(&assignment, &key) {
            readers += 1;
            assert!(request.from_hub && request.url == ADDRESS, "{}", request.url);
            assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
        } else {
            others += 1;
            assert!(!request.from_hub && request.headers.is_empty() && !request.url.contains("hub.test"));
        }
        assert!(!signed(&world, &key, None).await.from_hub, "nobody's attempt");
        worker.perform(&assignment).await;
        let after = signed(&world, &key, Some(&assignment.lease)).await;
        assert!(!after.from_hub && after.headers.is_empty(), "the attempt has ended");
    }
    assert!(readers >= 3 && others >= 1, "{readers} {others}");
    assert!(world.statuses(&id).await.iter().all(|status| status == "succeeded"));

    // The same bytes by upload are the same jobs.
    assert!(submit(&world, "before", &resolved(1)).await.is_err(), "nobody has uploaded it");
    world.upload(b"model").await;
    let again = submit(&world, "again", &resolved(1)).await.unwrap();
    assert_eq!((again.jobs as usize, again.reused as usize), (JOBS, JOBS));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_repository_gets_no_token_and_what_the_store_has_comes_from_there() {
    let world = world(Some(TOKEN)).await;
    submit(&world, "k", &at_hub(false)).await.unwrap();
    let key = ObjectKey::upload(Digest::of(b"model"));
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let lease = worker.offer().await.lease;
    let request = signed(&world, &key, Some(&lease)).await;
    assert!(request.from_hub && request.headers.is_empty(), "{}", request.url);
    world.upload(b"model").await;
    let request = signed(&world, &key, Some(&lease)).await;
    assert!(!request.from_hub && request.url.contains("/objects/sha256/"), "{}", request.url);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_gated_model_is_refused_at_once_with_what_to_do() {
    let world = world(None).await;
    let refused = submit(&world, "k", &at_hub(true)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    for words in ["org/tiny@0123", "model.bin", "gated or private", "HF_TOKEN", "upload: true"] {
        assert!(refused.message().contains(words), "`{words}` is not in: {refused}");
    }
    submit(&world, "open", &at_hub(false)).await.unwrap();
    // An upload is as good.
    world.upload(b"model").await;
    submit(&world, "uploaded", &at_hub(true)).await.unwrap();
    let mut bad = at_hub(false);
    bad["models"]["tiny"]["artifact"]["files"][0]["origin"]["path"] = json!("../../api/whoami-v2");
    let refused = submit(&world, "bad", &bad).await.unwrap_err();
    assert!(refused.message().contains("names no file of the Hub"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_the_hub_is_not_lost_and_a_bad_copy_of_it_here_goes() {
    let world = world(None).await;
    let id = submit(&world, "k", &at_hub(false)).await.unwrap().matrix_id;
    let key = ObjectKey::upload(Digest::of(b"model"));
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let first = worker.offer().await;
    assert!(reads(&first, &key));
    worker.suspect(&first.lease, &[&key]).await.unwrap();
    let job = first.lease.job.ordinal as usize;
    let attempts = |view: &v1::MatrixView| view.jobs[job].attempts.clone();
    let view = world.view(&id).await;
    // An attempt that failed, which counts: nothing was found here that could be to blame.
    assert_eq!((view.jobs[job].status.as_str(), attempts(&view).len()), ("ready", 1), "{view:?}");

    world.upload(b"model").await;
    let object = world.data_dir().join("objects").join(key.as_str());
    std::fs::write(&object, b"m0del").unwrap();
    world.pass(world.limits.retry_hold_ms * 2).await;
    let second = loop {
        let offered = worker.offer().await;
        if offered.lease.job == first.lease.job {
            break offered;
        }
    };
    assert!(!signed(&world, &key, Some(&second.lease)).await.from_hub);
    worker.suspect(&second.lease, &[&key]).await.unwrap();
    assert!(!object.exists(), "the bad copy is gone");
    let view = world.view(&id).await;
    assert_eq!(view.jobs[job].status, "ready", "{}", view.jobs[job].reason);
    let third = loop {
        let offered = worker.offer().await;
        if offered.lease.job == first.lease.job {
            break offered;
        }
    };
    assert!(signed(&world, &key, Some(&third.lease)).await.from_hub);
}

/// The test above is about the model alone.
#[test]
fn only_jobs_with_a_device_read_the_model() {
    let value: assay_domain::matrix::ResolvedMatrix = serde_json::from_value(at_hub(true)).unwrap();
    for job in assay_domain::plan::plan(&value).unwrap() {
        let has_origin = |file: &FileRef| file.origin().is_some();
        let reads = job.inputs.iter().any(|input| match &input.source {
            Source::Upload { artifact } => artifact.files.iter().any(has_origin),
            Source::Output { .. } => false,
        });
        assert_eq!(reads, job.work.kind() != WorkKind::Report, "{}", job.label);
    }
}
