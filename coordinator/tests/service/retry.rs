//! `assay retry`: a new submission of what is stored, that runs only what is not done.

use assay_domain::{Rejection, UnixMillis, WorkKind};
use assay_proto::v1;
use tonic::{Code, Status};

use super::matrix::JOBS;
use super::worker::Worker;
use super::world::World;

async fn retry(world: &World, matrix: &str, key: &str) -> Result<v1::SubmitResponse, Status> {
    let request = v1::RetryRequest { matrix_id: matrix.into(), submit_key: key.into(), budget_usd: None };
    world.matrices().retry(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_runs_only_what_failed_also_after_a_restart() {
    let mut world = World::new().await;
    let first = world.submit("k1", 1).await.matrix_id;
    let refused = retry(&world, &first, "r").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(matches!(assay_proto::status::to_rejection(&refused), Some(Rejection::NotFinished { .. })));
    {
        let mut worker = Worker::connect(&world, "w", &[]).await;
        for _ in 0..JOBS - 1 {
            let assignment = worker.offer().await;
            worker.perform(&assignment).await;
        }
        let report = worker.offer().await;
        assert_eq!(report.job.work.kind(), WorkKind::Report);
        worker.fail(&report.lease, "bad_input", "no place for it").await.unwrap();
    }
    world.restart().await;
    world.pass(1_000).await;

    let again = retry(&world, &first, "r").await.unwrap();
    assert_ne!(again.matrix_id, first);
    assert_eq!((again.jobs as usize, again.reused as usize, again.repeated), (JOBS, JOBS - 1, false));
    let view = world.view(&again.matrix_id).await;
    assert_eq!(view.resolved_json, world.view(&first).await.resolved_json);
    assert!(view.jobs[..JOBS - 1].iter().all(|job| job.reused_from.starts_with(&first)));
    assert_eq!(view.jobs[JOBS - 1].status, "ready");
    let repeated = retry(&world, &first, "r").await.unwrap();
    assert_eq!((repeated.matrix_id.as_str(), repeated.repeated), (again.matrix_id.as_str(), true));

    let mut worker = Worker::connect(&world, "w", &[]).await;
    let report = worker.offer().await;
    assert_eq!(
        report.fixed_at,
        Some(UnixMillis(world.view(&first).await.summary.unwrap().submitted_at_unix_ms))
    );
    assert_eq!(report.lease.job.to_string(), view.jobs[JOBS - 1].job_id);
    worker.perform(&report).await;
    let whole = retry(&world, &again.matrix_id, "r2").await.unwrap_err();
    assert!(matches!(assay_proto::status::to_rejection(&whole), Some(Rejection::NothingToRetry { .. })));
    // What the first lacked is there by now: its retry has nothing left to run.
    let third = retry(&world, &first, "r3").await.unwrap();
    assert_eq!(third.reused as usize, JOBS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_or_is_gone_from_the_store_is_tried_again() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await;
    worker.perform(&train).await;
    world.matrices().cancel(v1::CancelRequest { matrix_id: first.clone() }).await.unwrap();
    let again = retry(&world, &first, "r").await.unwrap();
    assert_eq!(again.reused, 1);
    for _ in 0..JOBS - 1 {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
    let report = world.view(&again.matrix_id).await.jobs.pop().unwrap();
    let made: Vec<assay_domain::Artifact> = serde_json::from_str(&report.outputs_json).unwrap();
    std::fs::remove_file(world.folder.path().join("data/objects").join(made[0].files[0].key.as_str()))
        .unwrap();
    assert_eq!(retry(&world, &again.matrix_id, "r2").await.unwrap().reused as usize, JOBS - 1);
    assert_eq!(retry(&world, "m-none", "r3").await.unwrap_err().code(), Code::NotFound);
}
