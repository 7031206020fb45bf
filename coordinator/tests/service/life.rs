//! A matrix's life: submit, lease, checkpoint, complete, archived; and what goes wrong on the way.

use assay_domain::job::Progress;
use assay_domain::{Rejection, WorkKind};
use tonic::Code;

use super::matrix::JOBS;
use super::worker::{Worker, sign_request};
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_runs_to_its_report_and_a_second_one_takes_every_job_from_its_key() {
    let world = World::new().await;
    let first = world.submit("k1", 1).await;
    assert_eq!((first.jobs as usize, first.reused, first.repeated), (JOBS, 0, false));

    let mut worker = Worker::connect(&world, "w1", &[]).await;
    assert_eq!(worker.welcome.lease_ms, world.limits.lease_ms);
    let mut kinds = Vec::new();
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        kinds.push(assignment.job.work.kind());
        check_assignment(&assignment);
        worker.perform(&assignment).await;
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == WorkKind::Generate).count(), 3);
    assert_eq!(kinds.last(), Some(&WorkKind::Report));

    let view = world.view(&first.matrix_id).await;
    assert!(
        view.jobs.iter().all(|job| job.status == "succeeded"),
        "{:?}",
        world.statuses(&first.matrix_id).await
    );
    assert!(view.summary.unwrap().finished_at_unix_ms > 0);
    assert_eq!(view.resolved_json, convert_again(&super::matrix::resolved(1)));

    let second = world.submit("k2", 1).await;
    assert_ne!(second.matrix_id, first.matrix_id);
    assert_eq!((second.jobs as usize, second.reused as usize), (JOBS, JOBS));
    let jobs = world.view(&second.matrix_id).await.jobs;
    assert!(jobs.iter().all(|job| job.reused_from.starts_with(&first.matrix_id) && job.status == "reused"));
    assert_eq!(
        jobs.iter().map(|job| job.reused_from.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>(),
        (0..JOBS).map(|ordinal| ordinal.to_string()).collect::<Vec<_>>()
    );
}

fn convert_again(resolved: &serde_json::Value) -> String {
    let value: assay_domain::matrix::ResolvedMatrix = serde_json::from_value(resolved.clone()).unwrap();
    serde_json::to_string(&value).unwrap()
}

fn check_assignment(assignment: &assay_domain::Assignment) {
    let kind = assignment.job.work.kind();
    let judged = matches!(kind, WorkKind::Score | WorkKind::Judge | WorkKind::Report);
    assert_eq!(assignment.secret.is_some(), judged);
    assert_eq!(assignment.history.len(), if kind == WorkKind::Report { JOBS } else { 0 });
    assert_eq!(assignment.inputs.len(), assignment.job.inputs.len());
    assert!(assignment.traceparent.starts_with("00-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_starts_its_generation_while_training_goes_on() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let train = worker.offer().await;
    assert_eq!(train.job.work.kind(), WorkKind::Train);
    let base = worker.offer().await;
    assert!(base.inputs.iter().all(|(role, _)| role != "adapter"));
    worker.ready(1).await;
    worker.checkpoint(&train.lease, 2).await.unwrap();
    let tuned = worker.offered().await;
    let adapter = &tuned.inputs.iter().find(|(role, _)| role == "adapter").unwrap().1;
    assert_eq!(adapter.name, "adapter@2");
    // Said again, it stands as it was.
    worker.checkpoint(&train.lease, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_refused_until_its_objects_are_there_and_repeats_are_harmless() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let train = worker.offer().await;
    let base = worker.offer().await;
    let lease = base.lease.clone();
    let mut output = worker.upload(&lease, "generations", "generations.jsonl", b"text").await;

    let missing = worker.complete(&lease, &[]).await.unwrap_err();
    assert!(matches!(missing, Rejection::MissingOutput { name, .. } if name == "generations"));
    output.files[0].bytes += 1;
    let wrong = worker.complete(&lease, std::slice::from_ref(&output)).await.unwrap_err();
    assert!(
        matches!(&wrong, Rejection::MissingObject { found, .. } if found == "4 bytes are there"),
        "{wrong}"
    );
    output.files[0].bytes -= 1;
    let mut foreign = output.clone();
    foreign.files[0].key = train.inputs[0].1.files[0].key.clone();
    let wrong = worker.complete(&lease, &[foreign]).await.unwrap_err();
    assert!(wrong.to_string().contains("not this attempt's own"), "{wrong}");

    worker.complete(&lease, std::slice::from_ref(&output)).await.unwrap();
    worker.complete(&lease, &[output]).await.unwrap();
    assert_eq!(
        world.view(lease.job.matrix.as_str()).await.jobs[lease.job.ordinal as usize].attempts.len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_loses_its_lease_and_its_word() {
    let world = World::new().await;
    let submitted = world.submit("k", 1).await;
    let mut silent = Worker::connect(&world, "w1", &[]).await;
    let first = silent.offer().await;
    silent.renew(&first.lease, None).await.unwrap();
    world.pass(world.limits.lease_ms + 1).await;
    let (stopped, reason) = silent.stopped().await;
    assert_eq!((stopped, reason.as_str()), (first.lease.clone(), "stale"));

    let mut other = Worker::connect(&world, "w2", &[]).await;
    other.ready(1).await;
    // Held back for a moment; another job of the matrix comes first.
    let base = other.offered().await;
    assert_eq!(base.job.work.kind(), WorkKind::Generate);
    world.pass(world.limits.retry_hold_ms + 1).await;
    let second = other.offer().await;
    assert_eq!(second.lease.job, first.lease.job);
    assert_eq!(second.lease.fence.attempt.0, 2);

    let refused = silent.renew(&first.lease, None).await.unwrap_err();
    assert!(
        matches!(&refused, Rejection::StaleAttempt { current: Some(fence), .. } if *fence == second.lease.fence)
    );
    let refused = silent.complete(&first.lease, &[]).await.unwrap_err();
    assert!(matches!(refused, Rejection::StaleAttempt { .. }));
    let request = sign_request(&first.lease, "metrics", "metrics.jsonl", b"x");
    let status = world.artifacts().sign_upload(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(matches!(assay_proto::status::to_rejection(&status), Some(Rejection::StaleAttempt { .. })));

    let attempts = &world.view(&submitted.matrix_id).await.jobs[first.lease.job.ordinal as usize].attempts;
    assert_eq!(attempts.iter().map(|a| a.outcome.as_str()).collect::<Vec<_>>(), ["lost", "running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_never_speak_of_what_they_were_offered_do_not_bring_their_job_to_its_end() {
    let world = World::new().await;
    let submitted = world.submit("k", 1).await;
    let mut silent = Vec::new();
    // More than either limit; each is there, takes the job, and never begins.
    for number in 0..=world.limits.attempts_max {
        let mut worker = Worker::connect(&world, &format!("w{number}"), &[]).await;
        let train = worker.offer().await;
        assert_eq!(
            (train.job.work.kind(), train.lease.fence.attempt.0 as usize),
            (WorkKind::Train, number + 1)
        );
        world.pass(world.limits.lease_ms + 1).await;
        silent.push((worker, train.lease));
    }
    for (worker, lease) in &mut silent {
        let refused = worker.renew(lease, None).await.unwrap_err();
        assert!(matches!(refused, Rejection::StaleAttempt { .. }), "{refused}");
    }
    let train = world.view(&submitted.matrix_id).await.jobs.remove(0);
    assert_eq!((train.status.as_str(), train.attempts.len()), ("ready", silent.len()));
    for attempt in &train.attempts {
        assert!(attempt.reason.contains("said nothing since it was offered"), "{attempt:?}");
    }
    let mut worker = Worker::connect(&world, "good", &[]).await;
    let good = worker.offer().await;
    assert_eq!(good.job.work.kind(), WorkKind::Train);
    worker.perform(&good).await;
    assert_eq!(world.statuses(&submitted.matrix_id).await[0], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_lease_lasts_and_its_progress_shows() {
    let world = World::new().await;
    let submitted = world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let assignment = worker.offer().await;
    for done in 1..6 {
        world.pass(world.limits.lease_ms / 2).await;
        let progress = Progress { phase: "train".into(), done, total: 6, ..Progress::default() };
        worker.renew(&assignment.lease, Some(progress)).await.unwrap();
    }
    let job = &world.view(&submitted.matrix_id).await.jobs[assignment.lease.job.ordinal as usize];
    assert_eq!((job.status.as_str(), job.attempts.len()), ("running", 1));
    assert!(job.progress_json.contains("\"done\":5"), "{}", job.progress_json);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_goes_on_and_one_that_does_not_is_replaced() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let train = worker.offer().await.lease;
    drop(worker);
    // The new stream replaces the old one whether or not its end was seen before.
    let mut worker = Worker::connect(&world, "w1", std::slice::from_ref(&train)).await;
    assert!(worker.welcome.stale.is_empty());
    world.pass(world.limits.reconnect_grace_ms + 1).await;
    worker.renew(&train, None).await.unwrap();

    drop(worker);
    let mut other = Worker::connect(&world, "w2", &[]).await;
    let base = other.offer().await;
    assert_ne!(base.lease.job, train.job);
    wait_until_gone(&world, "w1").await;
    world.pass(world.limits.reconnect_grace_ms + 1).await;
    other.renew(&base.lease, None).await.unwrap();
    world.pass(world.limits.retry_hold_ms + 1).await;
    let again = other.offer().await;
    assert_eq!((again.lease.job.clone(), again.lease.fence.attempt.0), (train.job.clone(), 2));
    let worker = Worker::connect(&world, "w1", std::slice::from_ref(&train)).await;
    assert_eq!(assay_proto::convert::lease(Some(worker.welcome.stale[0].clone())).unwrap(), train);
}

async fn wait_until_gone(world: &World, worker: &str) {
    loop {
        let workers = world.fleet().list_workers(assay_proto::v1::ListWorkersRequest {}).await.unwrap();
        if workers.into_inner().workers.iter().any(|w| w.worker_id == worker && !w.connected) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_never_arrived_is_handed_out_again_and_counts_against_nothing() {
    let world = World::new().await;
    let submitted = world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let lost = worker.offer().await.lease;
    drop(worker);
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let again = worker.offer().await;
    assert_eq!((again.lease.job.clone(), again.lease.fence.attempt.0), (lost.job, 2));
    let job = &world.view(&submitted.matrix_id).await.jobs[again.lease.job.ordinal as usize];
    assert!(job.attempts[0].reason.contains("did not arrive"), "{:?}", job.attempts);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_until_it_is_enough_and_bad_input_never() {
    let mut limits = assay_coordinator::config::Limits { drain_ms: 500, ..Default::default() };
    limits.attempts_max = 2;
    let world = World::with(limits).await;
    let submitted = world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let train = worker.offer().await.lease;
    let base = worker.offer().await.lease;
    worker.fail(&base, "bad_input", "no such file").await.unwrap();
    worker.fail(&train, "crashed", "signal 9").await.unwrap();
    worker.fail(&train, "crashed", "signal 9").await.unwrap();
    world.pass(world.limits.retry_hold_ms + 1).await;
    let train = worker.offer().await.lease;
    assert_eq!(train.fence.attempt.0, 2);
    worker.fail(&train, "out_of_memory", "12 GiB needed").await.unwrap();

    let view = world.view(&submitted.matrix_id).await;
    assert_eq!(view.jobs[train.job.ordinal as usize].status, "failed");
    assert!(view.jobs[train.job.ordinal as usize].reason.contains("12 GiB needed"));
    assert_eq!(view.jobs[base.job.ordinal as usize].reason, "no such file");
    assert!(view.summary.unwrap().finished_at_unix_ms > 0, "nothing of it can run any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_worker_stops_though_the_worker_comes_back_at_once() {
    let world = World::new().await;
    let submitted = world.submit("k", 1).await;
    for round in 1..=world.limits.crashes_max {
        let mut worker = Worker::connect(&world, "w1", &[]).await;
        worker.ready(1).await;
        let train = worker.offered().await;
        assert_eq!((train.job.work.kind(), train.lease.fence.attempt.0 as usize), (WorkKind::Train, round));
        worker.renew(&train.lease, None).await.unwrap();
        drop(worker);
        Worker::connect(&world, "w1", &[]).await;
        world.pass(world.limits.retry_hold_max_ms + 1).await;
    }
    let view = world.view(&submitted.matrix_id).await;
    let train = &view.jobs[0];
    assert!(train.attempts.iter().all(|attempt| attempt.outcome == "lost"), "{:?}", train.attempts);
    assert_eq!((train.status.as_str(), train.attempts.len()), ("failed", 3));
    assert!(train.reason.contains("given up after 3 attempts that crashed"), "{}", train.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_back_off_is_not_offered_before_its_time_and_a_restart_does_not_forget_it() {
    let mut world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let train = worker.offer().await.lease;
    worker.fail(&train, "transient", "503 of the store").await.unwrap();
    let hold_ms = world.limits.retry_hold_ms;
    // At least half of it: what is offered is another job.
    world.pass(hold_ms / 2 - 1).await;
    let other = worker.offer().await.lease;
    assert_ne!(other.job, train.job);
    world.pass(hold_ms / 2 + 1).await;
    let again = worker.offer().await.lease;
    assert_eq!((again.job.clone(), again.fence.attempt.0), (train.job.clone(), 2));
    worker.fail(&again, "transient", "503 of the store").await.unwrap();
    drop(worker);
    world.restart().await;
    world.pass(2 * hold_ms).await;
    let mut worker = Worker::connect(&world, "w1", std::slice::from_ref(&other)).await;
    let third = worker.offer().await.lease;
    assert_eq!((third.job, third.fence.attempt.0), (train.job, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_comes_first_the_worker_or_the_matrix_the_job_is_offered() {
    let world = World::new().await;
    world.upload_matrix().await;
    for seed in 0..40 {
        let (key, id) = (format!("k{seed}"), format!("w{seed}"));
        let submitted = world.submit(&key, seed);
        let offered = async {
            let mut worker = Worker::connect(&world, &id, &[]).await;
            worker.offer().await
        };
        let (submitted, offered) = tokio::join!(submitted, offered);
        assert!(!submitted.repeated);
        assert_eq!(offered.lease.fence.attempt.0, 1);
    }
}
