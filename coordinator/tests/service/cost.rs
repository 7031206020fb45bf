//! What a worker that never finished anything has cost is in the history that a report is handed.

use assay_domain::WorkKind;
use assay_domain::event::WorkerInfo;
use assay_judging::report::worker_cost;
use assay_proto::{convert, v1};

use super::matrix::JOBS;
use super::worker::{Worker, hello, info};
use super::world::World;

const USD_PER_HOUR: f64 = 7.2;

#[tokio::test(flavor = "multi_thread")]
async fn the_price_that_a_lost_worker_gave_when_it_registered_reaches_the_report() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let priced = WorkerInfo { usd_per_hour: Some(USD_PER_HOUR), ..info("gone", &WorkKind::ALL) };
    let hello = v1::Hello { worker_json: convert::to_json(&priced), ..hello("gone", &[]) };
    let mut gone = Worker::try_connect(&world, hello).await.unwrap();
    let lost = gone.offer().await;
    assert_eq!(lost.job.work.kind(), WorkKind::Train);
    gone.renew(&lost.lease, None).await.unwrap();
    drop(gone);
    world.pass(world.limits.lease_ms + world.limits.reconnect_grace_ms).await;
    world.pass(world.limits.retry_hold_max_ms).await;

    let mut other = Worker::connect(&world, "other", &[]).await;
    let report = loop {
        let assignment = other.offer().await;
        if assignment.job.work.kind() == WorkKind::Report {
            break assignment;
        }
        other.perform(&assignment).await;
    };
    assert_eq!(report.history.len(), JOBS);
    let training = &report.history[lost.job.ordinal as usize];
    let [first, second] = &training.attempts[..] else { panic!("two attempts: {:?}", training.attempts) };
    assert_eq!(
        (first.worker.as_str(), first.outcome.as_str(), first.usd_per_hour),
        ("gone", "lost", Some(USD_PER_HOUR))
    );
    assert_eq!((second.worker.as_str(), second.usd_per_hour), ("other", None));
    let seconds = (first.ended_at.unwrap() - first.started_at) as f64 / 1000.0;
    let cost = worker_cost(&report.history)[&WorkKind::Train];
    assert!(
        seconds > 0.0 && (cost.usd - seconds / 3600.0 * USD_PER_HOUR).abs() < 1e-9,
        "{cost:?} for {seconds} s"
    );
}
