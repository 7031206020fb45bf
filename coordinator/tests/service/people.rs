//! What people do: submit twice, list, watch, read logs, cancel, look at workers.

use assay_domain::Rejection;
use assay_proto::v1;
use tonic::Code;

use super::matrix::{JOBS, resolved};
use super::worker::Worker;
use super::world::{PATIENCE, World};

async fn run_all(world: &World) {
    let mut worker = Worker::connect(world, "runner", &[]).await;
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
}

fn submission(key: &str, seed: u64, fresh: bool) -> v1::SubmitRequest {
    v1::SubmitRequest { submit_key: key.into(), resolved_json: resolved(seed).to_string(), fresh }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_submit_key_is_the_same_submission_also_after_its_end() {
    let world = World::new().await;
    let first = world.submit("k", 1).await;
    let again = world.submit("k", 1).await;
    assert_eq!((again.matrix_id.as_str(), again.repeated), (first.matrix_id.as_str(), true));
    let other = world.matrices().submit(submission("k", 2, false)).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let rejection = assay_proto::status::to_rejection(&other).unwrap();
    assert!(
        matches!(rejection, Rejection::SubmitKeyReused { matrix, .. } if matrix.as_str() == first.matrix_id)
    );

    run_all(&world).await;
    let again = world.submit("k", 1).await;
    assert_eq!((again.matrix_id, again.repeated, again.jobs as usize), (first.matrix_id, true, JOBS));
    assert_eq!(
        world.matrices().submit(submission("k", 2, false)).await.unwrap_err().code(),
        Code::AlreadyExists
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_submission_runs_everything_and_lost_objects_are_made_again() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await;
    run_all(&world).await;
    let fresh = world.matrices().submit(submission("k2", 1, true)).await.unwrap().into_inner();
    assert_eq!(fresh.reused, 0);
    world.matrices().cancel(v1::CancelRequest { matrix_id: fresh.matrix_id }).await.unwrap();

    // One object of one job is gone: that job runs again, and the others are still taken.
    let jobs = world.view(&first.matrix_id).await.jobs;
    let report: Vec<assay_domain::Artifact> = serde_json::from_str(&jobs[JOBS - 1].outputs_json).unwrap();
    let path = world.folder.path().join("data/objects").join(report[0].files[0].key.as_str());
    std::fs::remove_file(path).unwrap();
    let third = world.submit("k3", 1).await;
    assert_eq!(third.reused as usize, JOBS - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_finished_and_unfinished_matrices_newest_first_by_pages() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for seed in 1..=5 {
        expected.insert(0, world.submit(&format!("k{seed}"), seed).await.matrix_id);
        world.pass(10).await;
    }
    for id in &expected[1..3] {
        world.matrices().cancel(v1::CancelRequest { matrix_id: id.clone() }).await.unwrap();
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListMatricesRequest { page_token, page_size: 2 };
        let page = world.matrices().list(request).await.unwrap().into_inner();
        assert!(page.matrices.len() <= 2);
        listed.extend(page.matrices);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed.iter().map(|m| m.matrix_id.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(listed.iter().map(|m| m.cancelled).collect::<Vec<_>>(), [false, true, true, false, false]);
    assert_eq!(listed[1].jobs["cancelled"] as usize, JOBS);
    let bad = v1::ListMatricesRequest { page_token: "nonsense".into(), page_size: 2 };
    assert_eq!(world.matrices().list(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_a_matrix_to_its_end() {
    let world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let request = v1::WatchRequest { matrix_id: matrix_id.clone(), interval_ms: 50 };
    let mut stream = world.matrices().watch(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(!first.finished && first.matrix.unwrap().jobs.len() == JOBS);
    let watching = async {
        let mut last = None;
        while let Some(message) = stream.message().await.unwrap() {
            last = Some(message);
        }
        last.unwrap()
    };
    let (last, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(watching, run_all(&world)) }).await.unwrap();
    assert!(last.finished && last.matrix.unwrap().jobs.iter().all(|job| job.status == "succeeded"));

    let unknown = v1::WatchRequest { matrix_id: "m-none".into(), interval_ms: 0 };
    let status = world.matrices().watch(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(assay_proto::status::to_rejection(&status).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_the_tail_and_follow_to_the_end() {
    let world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await.lease;
    worker.log(&train, "step 1").await;
    worker.log(&train, &"x".repeat(100_000)).await;
    // A batch with an answer shows that what was said before has been heard.
    worker.renew(&train, None).await.unwrap();
    let request = super::logs::request(&train.job, true, 0);
    let mut stream = world.matrices().logs(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.line.as_str(), first.fence.as_str(), first.at_unix_ms), ("step 1", "e1-a1", 7));
    let cut = stream.message().await.unwrap().unwrap();
    assert_eq!(cut.line.len(), world.limits.log_line_bytes_max);
    worker.log(&train, "step 2").await;
    assert_eq!(stream.message().await.unwrap().unwrap().line, "step 2");
    world.matrices().cancel(v1::CancelRequest { matrix_id: matrix_id.clone() }).await.unwrap();
    assert!(stream.message().await.unwrap().is_none());

    let request = v1::LogsRequest {
        matrix_id: matrix_id.clone(),
        job_id: format!("{matrix_id}/99"),
        follow: false,
        attempt: 0,
        metrics: false,
    };
    assert_eq!(world.matrices().logs(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_matrix_stops_its_attempts_and_stays_cancelled() {
    let world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await.lease;
    let cancel = || v1::CancelRequest { matrix_id: matrix_id.clone() };
    assert!(world.matrices().cancel(cancel()).await.unwrap().into_inner().changed);
    assert_eq!(worker.stopped().await, (train.clone(), String::from("cancelled")));
    assert!(matches!(worker.renew(&train, None).await, Err(Rejection::StaleAttempt { .. })));
    assert!(!world.matrices().cancel(cancel()).await.unwrap().into_inner().changed);
    let view = world.view(&matrix_id).await;
    assert!(view.summary.unwrap().cancelled && view.jobs.iter().all(|job| job.status == "cancelled"));
    let unknown = v1::CancelRequest { matrix_id: "m-none".into() };
    assert_eq!(world.matrices().cancel(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_shows_workers_and_what_they_run() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await.lease;
    let workers = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!((workers.len(), workers[0].connected), (1, true));
    assert_eq!(workers[0].job_ids, [train.job.to_string()]);
    let info: assay_domain::event::WorkerInfo = serde_json::from_str(&workers[0].worker_json).unwrap();
    assert_eq!(info.id.as_str(), "w");
}

/// The welcome is on its way before the service has the engine's answer: whoever leaves at that moment is gone all the same.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_leave_as_soon_as_they_are_welcome_are_not_connected_for_ever() {
    let world = World::new().await;
    for number in 0..200 {
        drop(Worker::connect(&world, &format!("worker {number}"), &[]).await);
    }
    let all_gone = async {
        loop {
            let listed = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner();
            if listed.workers.iter().all(|worker| !worker.connected) {
                return listed.workers.len();
            }
        }
    };
    let listed = tokio::time::timeout(PATIENCE, all_gone).await.expect("all are gone");
    assert_eq!(listed, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_gone_for_long_is_forgotten_also_after_a_restart_and_comes_back_as_new() {
    let mut world = World::new().await;
    let fleet = async |world: &World| -> Vec<(String, bool)> {
        let workers =
            world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
        workers.into_iter().map(|worker| (worker.worker_id, worker.connected)).collect()
    };
    drop(Worker::connect(&world, "gone", &[]).await);
    while fleet(&world).await != [(String::from("gone"), false)] {
        tokio::task::yield_now().await;
    }
    world.pass(world.limits.gone_worker_ms - 1).await;
    assert_eq!(fleet(&world).await, [(String::from("gone"), false)]);
    world.restart().await;
    let _kept = Worker::connect(&world, "here", &[]).await;
    world.pass(world.limits.gone_worker_ms).await;
    assert_eq!(fleet(&world).await, [(String::from("here"), true)]);
    world.restart().await;
    let _back = Worker::connect(&world, "gone", &[]).await;
    let back = fleet(&world).await;
    assert!(back.contains(&(String::from("gone"), true)), "{back:?}");
}
