//! What jobs need and workers have: over the real stream, and in what people are told.

use assay_domain::Digest;
use assay_domain::decide::schedule::{Explanation, Obstacle};
use assay_domain::job::Offer;
use assay_proto::v1;
use tonic::Code;

use super::matrix::resolved;
use super::worker::Worker;
use super::world::World;

async fn first_reason(world: &World, matrix: &str, worker: &str) -> Option<(Obstacle, String)> {
    let request = v1::ExplainRequest { job_id: format!("{matrix}/0") };
    let answer = world.matrices().explain(request).await.unwrap().into_inner();
    let explained: Explanation = serde_json::from_str(&answer.explanation_json).unwrap();
    let known = explained.workers.into_iter().find(|known| known.worker.as_str() == worker).unwrap();
    known.reasons.into_iter().next().map(|reason| (reason.obstacle, reason.text))
}

async fn submit(world: &World, needs: serde_json::Value) -> Result<String, tonic::Status> {
    world.upload_matrix().await;
    let mut resolved = resolved(1);
    resolved["matrix"]["needs"] = needs;
    let request = v1::SubmitRequest {
        submit_key: Digest::of(resolved.to_string().as_bytes()).to_string(),
        resolved_json: resolved.to_string(),
        fresh: false,
    };
    Ok(world.matrices().submit(request).await?.into_inner().matrix_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_a_worker_with_the_memory_the_disk_and_the_time() {
    let world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let plenty =
        Offer { memory_free_mib: Some(900), disk_free_mib: Some(9_000), life_left_s: Some(600), seats: 0 };
    worker.ready_with(1, Offer { memory_free_mib: Some(100), ..plenty }).await;
    let (obstacle, text) = first_reason(&world, &id, "w").await.unwrap();
    assert!(matches!(obstacle, Obstacle::TooLarge { free_mib: 100, has_mib: 1024, .. }), "{obstacle:?}");
    assert!(text.ends_with("of memory, the worker has 0.1 GiB free of 1.0 GiB"), "{text}");
    worker.ready_with(1, Offer { disk_free_mib: Some(1), ..plenty }).await;
    let (obstacle, _) = first_reason(&world, &id, "w").await.unwrap();
    assert!(matches!(obstacle, Obstacle::Disk { free_mib: 1, .. }), "{obstacle:?}");
    worker.ready_with(1, Offer { life_left_s: Some(0), ..plenty }).await;
    let (obstacle, _) = first_reason(&world, &id, "w").await.unwrap();
    assert!(matches!(obstacle, Obstacle::Life { needs_s: 1, left_s: 0, .. }), "{obstacle:?}");
    worker.ready_with(1, plenty).await;
    assert_eq!(worker.offered().await.lease.job.ordinal, 0);

    let workers = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let told: Offer = serde_json::from_str(&workers[0].offer_json).unwrap();
    assert!(told.memory_free_mib < Some(900) && told.life_left_s == Some(600), "{told:?}");
    world.pass(60_000).await;
    let workers = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let told: Offer = serde_json::from_str(&workers[0].offer_json).unwrap();
    assert_eq!(told.life_left_s, Some(540));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_says_what_it_needs_without_changing_a_job_key() {
    let world = World::new().await;
    let plain = submit(&world, serde_json::json!({})).await.unwrap();
    let large = submit(&world, serde_json::json!({"memory_gib": 3})).await.unwrap();
    let keys = async |id: &str| -> Vec<String> {
        world.view(id).await.jobs.into_iter().map(|job| job.job_key).collect()
    };
    assert_ne!(plain, large);
    assert_eq!(keys(&plain).await, keys(&large).await);
    let mut worker = Worker::connect(&world, "w", &[]).await;
    worker.ready(2).await;
    assert_eq!(worker.offered().await.lease.job.matrix.as_str(), plain);
    let (obstacle, text) = first_reason(&world, &large, "w").await.unwrap();
    let none = Obstacle::TooLarge { needs_mib: 3072, free_mib: 1024, has_mib: 1024, largest_mib: 1024 };
    assert_eq!((obstacle, text.as_str()), (none, "needs 3.0 GiB of memory, the worker has 1.0 GiB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_of_several_is_refused_at_submit() {
    let world = World::new().await;
    assert!(submit(&world, serde_json::json!({"gang": {"size": 1}})).await.is_ok());
    let refused = submit(&world, serde_json::json!({"gang": {"size": 2}})).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("needs.gang.size is 2"), "{refused}");
    assert!(refused.message().contains("come with a later version"), "{refused}");
}
