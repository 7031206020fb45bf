//! Stored logs: of running, lost, failed, cancelled and reused jobs, and after restarts.

use assay_domain::{Digest, FileRef, JobId, LogSegment, Rejection};
use assay_proto::v1;
use tonic::Code;

use super::worker::{Worker, sign_request};
use super::world::World;

pub(crate) fn request(job: &JobId, follow: bool, attempt: u32) -> v1::LogsRequest {
    let (matrix_id, job_id) = (job.matrix.to_string(), job.to_string());
    v1::LogsRequest { matrix_id, job_id, follow, attempt, metrics: false }
}

/// What a reader is told: the attempt, and the text of a stored part or a line.
async fn told(world: &World, request: v1::LogsRequest) -> Vec<(String, String)> {
    let mut stream = world.matrices().logs(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        let text = match message.object_json.as_str() {
            "" => message.line,
            object => {
                let file: FileRef = serde_json::from_str(object).unwrap();
                let path = world.folder.path().join("data/objects").join(file.key.as_str());
                let text = std::fs::read_to_string(path).unwrap();
                assert_eq!((Digest::of(text.as_bytes()), text.len() as u64), (file.digest, file.bytes));
                text
            }
        };
        told.push((message.fence, text));
    }
    told
}

fn said(fence: &str, texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().map(|text| (fence.to_owned(), (*text).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_log_is_what_is_stored_and_then_the_lines_after_it() {
    let mut world = World::new().await;
    world.submit("k", 1).await;
    let train = {
        let mut worker = Worker::connect(&world, "w", &[]).await;
        let train = worker.offer().await.lease;
        for number in 1..=4 {
            worker.log_numbered(&train, number, &format!("line {number}")).await;
        }
        worker.store_log(&train, 1, 2, "1 line 1\n2 line 2\n").await.unwrap();
        worker.store_log(&train, 2, 3, "3 line 3\n").await.unwrap();
        train
    };
    let parts = ["1 line 1\n2 line 2\n", "3 line 3\n", "line 4"];
    assert_eq!(told(&world, request(&train.job, false, 0)).await, said("e1-a1", &parts));
    assert_eq!(told(&world, request(&train.job, false, 1)).await, said("e1-a1", &parts));
    assert_eq!(told(&world, request(&train.job, false, 2)).await, []);
    world.restart().await;
    assert_eq!(told(&world, request(&train.job, false, 0)).await, said("e1-a1", &parts[..2]));
    // A repeat is heard, a part out of turn is not, nor one that is not there.
    let mut worker = Worker::connect(&world, "w", std::slice::from_ref(&train)).await;
    worker.store_log(&train, 2, 3, "3 line 3\n").await.unwrap();
    let refused = worker.store_log(&train, 4, 9, "9 line 9\n").await.unwrap_err();
    assert!(matches!(refused, Rejection::SkippedSegment { given: 4, next: 3, .. }), "{refused}");
    let segment = LogSegment {
        number: 3,
        last_line: 4,
        digest: Digest::of(b"x"),
        bytes: 1,
        of: assay_domain::segment::Lines::Log,
    };
    let refused = worker.say_logged(&train, &segment).await.unwrap_err();
    assert!(matches!(refused, Rejection::MissingObject { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_attempt_keeps_its_log_and_may_say_a_little_more() {
    let mut world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let lost = worker.offer().await.lease;
    worker.store_log(&lost, 1, 1, "1 step 1\n").await.unwrap();
    world.pass(world.limits.lease_ms + 1).await;
    world.pass(world.limits.retry_hold_ms + 1).await;
    let mut other = Worker::connect(&world, "w2", &[]).await;
    let new = other.offer().await.lease;
    assert_eq!((new.job.clone(), new.fence.attempt.0), (lost.job.clone(), 2));
    other.store_log(&new, 1, 1, "5 again\n").await.unwrap();
    let before = world.view(lost.job.matrix.as_str()).await;
    worker.store_log(&lost, 2, 2, "2 step 2\n").await.unwrap();
    worker.store_log(&lost, 3, 3, "3 step 3\n").await.unwrap();
    assert_eq!(world.view(lost.job.matrix.as_str()).await, before, "the job is as it was");
    let status = world.artifacts().sign_upload(sign_request(&lost, "log", "4", b"4")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    drop((worker, other));
    world.restart().await;
    let parts = said("e1-a1", &["1 step 1\n", "2 step 2\n", "3 step 3\n"]);
    assert_eq!(told(&world, request(&lost.job, false, 1)).await, parts);
    let all = [parts, said("e1-a2", &["5 again\n"])].concat();
    assert_eq!(told(&world, request(&lost.job, false, 0)).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_jobs_last_lines_reach_the_archive_and_survive_its_rebuild() {
    let mut world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await.lease;
    worker.store_log(&train, 1, 1, "1 step 1\n").await.unwrap();
    world.matrices().cancel(v1::CancelRequest { matrix_id: matrix_id.clone() }).await.unwrap();
    let before = world.view(&matrix_id).await;
    worker.store_log(&train, 2, 2, "2 stopped\n").await.unwrap();
    worker.store_log(&train, 2, 2, "2 stopped\n").await.unwrap();
    assert_eq!(world.view(&matrix_id).await, before);
    drop(worker);
    let parts = said("e1-a1", &["1 step 1\n", "2 stopped\n"]);
    assert_eq!(told(&world, request(&train.job, false, 0)).await, parts);
    world.restart().await;
    assert_eq!(told(&world, request(&train.job, false, 0)).await, parts);
    world.stop().await;
    std::fs::remove_dir_all(world.folder.path().join("data/index")).unwrap();
    world.start().await;
    assert_eq!(told(&world, request(&train.job, false, 0)).await, parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_job_shows_the_log_of_the_one_that_ran() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    for _ in 0..super::matrix::JOBS {
        let assignment = worker.offer().await;
        worker.store_log(&assignment.lease, 1, 1, &format!("1 {}\n", assignment.lease.job)).await.unwrap();
        worker.perform(&assignment).await;
    }
    let second = world.submit("k2", 1).await.matrix_id;
    let job: JobId = format!("{second}/0").parse().unwrap();
    assert_eq!(told(&world, request(&job, false, 0)).await, said("e1-a1", &[&format!("1 {first}/0\n")]));
}
