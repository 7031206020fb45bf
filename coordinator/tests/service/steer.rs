//! What people steer: explain, pause, cancel a job or a branch, drain and lift, teams.

use assay_domain::decide::schedule::{Explanation, Obstacle, Reason, Team};
use assay_domain::state::Standing;
use assay_domain::{Artifact, JobId, Work};
use assay_proto::v1;
use tonic::Code;

use super::matrix::{JOBS, resolved};
use super::worker::Worker;
use super::world::World;

async fn explain(world: &World, job: &JobId) -> Explanation {
    let request = v1::ExplainRequest { job_id: job.to_string() };
    let answer = world.matrices().explain(request).await.unwrap().into_inner();
    serde_json::from_str(&answer.explanation_json).unwrap()
}

async fn standing(world: &World, worker: &str) -> Standing {
    let workers = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let view = workers.iter().find(|view| view.worker_id == worker).expect("it has registered");
    serde_json::from_str(&view.standing_json).unwrap()
}

async fn drain(world: &World, worker: &str, mode: &str) -> bool {
    let request = v1::DrainRequest { worker_id: worker.into(), mode: mode.into() };
    world.fleet().drain(request).await.unwrap().into_inner().changed
}

async fn lift(world: &World, worker: &str) -> bool {
    let request = v1::LiftRequest { worker_id: worker.into() };
    world.fleet().lift(request).await.unwrap().into_inner().changed
}

fn job(matrix: &str, ordinal: u32) -> JobId {
    JobId { matrix: assay_domain::MatrixId::new(matrix), ordinal }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_for_each_worker_why_a_job_is_not_there() {
    let world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let mut busy = Worker::connect(&world, "busy", &[]).await;
    let train = busy.offer().await.lease;
    let _idle = Worker::connect(&world, "idle", &[]).await;

    let running = explain(&world, &train.job).await;
    let on_busy =
        |reason: &Reason| matches!(&reason.obstacle, Obstacle::Runs { worker } if worker.as_str() == "busy");
    assert!(running.reasons.iter().any(on_busy) && running.workers.is_empty(), "{running:?}");

    let report = explain(&world, &job(&id, JOBS as u32 - 1)).await;
    let waits = |on: u32| {
        let waits = |obstacle: &Obstacle| matches!(obstacle, Obstacle::Waits { on: other, .. } if other.ordinal == on);
        report.reasons.iter().any(|reason| waits(&reason.obstacle))
    };
    assert!(waits(0), "{report:?}");
    assert_eq!(report.workers.len(), 2);
    assert!(report.workers.iter().all(|worker| worker.reasons[0].obstacle == Obstacle::Full), "{report:?}");

    busy.fail(&train, "transient", "503 of the store").await.unwrap();
    let held = explain(&world, &train.job).await;
    assert!(matches!(held.reasons[0].obstacle, Obstacle::BackOff { left_ms: 1.., failures: 1 }), "{held:?}");

    let request = v1::ExplainRequest { job_id: format!("{id}/99") };
    assert_eq!(world.matrices().explain(request).await.unwrap_err().code(), Code::NotFound);
    let request = v1::ExplainRequest { job_id: String::from("nonsense") };
    assert_eq!(world.matrices().explain(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_matrix_gets_nothing_more_until_it_is_resumed_also_after_a_restart() {
    let mut world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let pause = v1::PauseRequest { matrix_id: id.clone() };
    assert!(world.matrices().pause(pause.clone()).await.unwrap().into_inner().changed);
    assert!(!world.matrices().pause(pause).await.unwrap().into_inner().changed);
    world.restart().await;
    assert!(world.view(&id).await.summary.unwrap().paused);
    let mut worker = Worker::connect(&world, "w", &[]).await;
    worker.ready(1).await;
    let other = world.submit("k2", 2).await.matrix_id;
    assert_eq!(worker.offered().await.lease.job.matrix.as_str(), other);
    let resume = v1::ResumeRequest { matrix_id: id.clone() };
    assert!(world.matrices().resume(resume).await.unwrap().into_inner().changed);
    assert_eq!(worker.offer().await.lease.job.matrix.as_str(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_alone_or_with_its_branch() {
    let world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let train = worker.offer().await.lease;
    let cancel = |job: JobId, branch| v1::CancelJobRequest { job_id: job.to_string(), branch };
    assert!(world.matrices().cancel_job(cancel(train.job.clone(), true)).await.unwrap().into_inner().changed);
    assert_eq!(worker.stopped().await, (train.clone(), String::from("cancelled")));
    assert!(
        !world.matrices().cancel_job(cancel(train.job.clone(), true)).await.unwrap().into_inner().changed
    );
    let statuses = world.statuses(&id).await;
    let left: Vec<&String> = statuses.iter().filter(|status| *status != "cancelled").collect();
    assert_eq!(left, ["ready"], "only the base's answers do not need it: {statuses:?}");
    let answers = worker.offer().await;
    worker.perform(&answers).await;
    let view = world.view(&id).await;
    assert!(view.summary.unwrap().finished_at_unix_ms > 0, "nothing is left to run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_is_asked_to_save_its_training_and_hands_it_over() {
    let world = World::new().await;
    let id = world.submit("k", 1).await.matrix_id;
    let mut first = Worker::connect(&world, "first", &[]).await;
    let train = first.offer().await;
    let Work::Train(spec) = &train.job.work else { panic!("{:?}", train.job.label) };
    assert!(drain(&world, "first", "checkpoint").await);
    assert!(!drain(&world, "first", "checkpoint").await);
    assert!(standing(&world, "first").await.drain.is_some());
    let held = std::slice::from_ref(&train.lease);
    assert_eq!(first.asked_to_save().await, held);
    // It goes on until that is there, and gets nothing more. Whoever comes back is asked again.
    drop(first);
    let mut first = Worker::connect(&world, "first", held).await;
    assert_eq!(first.asked_to_save().await, held);
    first.renew(&train.lease, None).await.unwrap();
    let step = spec.checkpoints[0] - 1;
    first.checkpoint(&train.lease, step).await.unwrap();
    assert_eq!(first.stopped().await, (train.lease.clone(), String::from("drain")));
    first.fail(&train.lease, "released", "handed back").await.unwrap();
    first.ready(1).await;

    let mut second = Worker::connect(&world, "second", &[]).await;
    let again = second.offer().await;
    assert_eq!(again.lease.job, train.lease.job);
    assert_eq!(again.resume.as_ref().expect("a resume state").0, step);
    let seen = &world.view(&id).await.jobs[0];
    assert_eq!((seen.steps, seen.attempts[1].resumed_from), (spec.total_steps, step));
    second.perform(&again).await;
    let outputs: Vec<Artifact> = serde_json::from_str(&world.view(&id).await.jobs[0].outputs_json).unwrap();
    assert!(outputs.iter().all(|output| output.name != Artifact::adapter_name(step)), "{outputs:?}");
    assert!(lift(&world, "first").await);
    assert_ne!(first.offered().await.lease.job, train.lease.job);

    let unknown = v1::DrainRequest { worker_id: "none".into(), mode: "now".into() };
    assert_eq!(world.fleet().drain(unknown).await.unwrap_err().code(), Code::NotFound);
    let bad = v1::DrainRequest { worker_id: "first".into(), mode: "never".into() };
    assert_eq!(world.fleet().drain(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_different_jobs_is_quarantined_also_after_a_restart_and_lifted_after_a_time() {
    let mut world = World::new().await;
    for seed in 1..=4 {
        world.submit(&format!("k{seed}"), seed).await;
    }
    let _good = Worker::connect(&world, "good", &[]).await;
    let mut bad = Worker::connect(&world, "bad", &[]).await;
    let mut failed = std::collections::BTreeSet::new();
    for _ in 0..world.limits.quarantine_jobs {
        let lease = bad.offer().await.lease;
        bad.fail(&lease, "crashed", "no CUDA device").await.unwrap();
        assert!(failed.insert(lease.job), "a job in back-off came again");
    }
    let reason = standing(&world, "bad").await.quarantine.expect("it is in quarantine").reason;
    assert!(
        reason.starts_with("3 different jobs failed on it in a row") && reason.contains("no CUDA"),
        "{reason}"
    );
    drop((bad, _good));
    world.restart().await;
    let mut good = Worker::connect(&world, "good", &[]).await;
    let mut bad = Worker::connect(&world, "bad", &[]).await;
    bad.ready(1).await;
    let job = good.offer().await.lease.job;
    let open = failed.iter().find(|other| **other != job).unwrap();
    let explained = explain(&world, open).await;
    let of_bad = explained.workers.iter().find(|known| known.worker.as_str() == "bad").unwrap();
    assert!(matches!(of_bad.reasons[0].obstacle, Obstacle::Quarantined { .. }), "{explained:?}");
    world.pass(world.limits.quarantine_ms).await;
    bad.offered().await;
    assert_eq!(standing(&world, "bad").await.quarantine, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_take_turns_within_their_limits() {
    let mut limits = assay_coordinator::config::Limits { drain_ms: 500, ..Default::default() };
    limits.teams.named.insert(String::from("small"), Team { running_max: Some(1), ..Team::default() });
    let world = World::with(limits).await;
    world.upload_matrix().await;
    let mut submitted = Vec::new();
    for (seed, team) in [(1, "small"), (2, "small"), (3, "large"), (4, "large")] {
        let mut resolved = resolved(seed);
        resolved["matrix"]["schedule"] = serde_json::json!({ "team": team });
        let request = v1::SubmitRequest {
            submit_key: format!("k{seed}"),
            resolved_json: resolved.to_string(),
            fresh: false,
        };
        submitted.push(world.matrices().submit(request).await.unwrap().into_inner().matrix_id);
    }
    let mut worker = Worker::connect(&world, "w", &[]).await;
    worker.ready(4).await;
    let mut teams = Vec::new();
    for _ in 0..4 {
        let matrix = worker.offered().await.lease.job.matrix;
        teams.push(submitted.iter().position(|id| id == matrix.as_str()).unwrap() / 2);
    }
    assert_eq!(teams, [0, 1, 1, 1], "one of the small team, then those of the other");
    let limited = explain(&world, &job(&submitted[1], 0)).await;
    let limit = Obstacle::TeamLimit { team: String::from("small"), running: 1, limit: 1 };
    assert_eq!(limited.reasons[0].obstacle, limit);
}
