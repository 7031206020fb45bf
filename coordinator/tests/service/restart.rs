//! What a restart keeps: everything that was answered; and how the index comes back when it is gone or broken.

use assay_coordinator::config::Limits;
use assay_proto::v1;

use super::matrix::JOBS;
use super::worker::Worker;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn running_leases_get_a_full_term_and_their_workers_go_on() {
    let mut world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let (train, base) = {
        let mut worker = Worker::connect(&world, "w", &[]).await;
        (worker.offer().await.lease, worker.offer().await.lease)
    };
    let before = world.view(&matrix_id).await;
    world.pass(world.limits.reconnect_grace_ms / 2).await;
    world.restart().await;
    assert_eq!(world.view(&matrix_id).await, before);

    // A full term, whatever had passed before; nobody need hurry to come back.
    world.pass(world.limits.lease_ms - 1).await;
    let mut worker = Worker::connect(&world, "w", &[train.clone(), base.clone()]).await;
    assert!(worker.welcome.stale.is_empty());
    world.pass(world.limits.lease_ms - 1).await;
    worker.renew(&train, None).await.unwrap();
    let output = worker.upload(&base, "generations", "generations.jsonl", b"text").await;
    worker.complete(&base, &[output]).await.unwrap();
    assert_eq!(world.view(&matrix_id).await.jobs[train.job.ordinal as usize].attempts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_come_back_after_a_restart_is_replaced() {
    let mut world = World::new().await;
    world.submit("k", 1).await;
    let train = Worker::connect(&world, "w1", &[]).await.offer().await.lease;
    world.restart().await;
    world.pass(world.limits.lease_ms + 1).await;
    world.pass(world.limits.retry_hold_ms + 1).await;
    let mut other = Worker::connect(&world, "w2", &[]).await;
    let again = other.offer().await;
    assert_eq!((again.lease.job, again.lease.fence.attempt.0), (train.job, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_did_not_hear_that_its_completion_counts_says_it_again_and_does() {
    let mut world = World::new().await;
    let matrix_id = world.submit("k", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    let mut offered = Vec::new();
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        offered.push((assignment.lease.clone(), worker.perform(&assignment).await));
    }
    drop(worker);
    world.restart().await;
    // The matrix has ended, and what it was is in the index.
    let before = world.view(&matrix_id).await;
    let running: Vec<_> = offered.iter().map(|(lease, _)| lease.clone()).collect();
    let mut other = running[0].clone();
    other.fence.attempt.0 += 1;
    let mut worker = Worker::connect(&world, "w", &[running.clone(), vec![other.clone()]].concat()).await;
    let stale: Vec<_> = worker.welcome.stale.iter().map(|lease| lease.attempt).collect();
    assert_eq!(stale, [other.fence.attempt.0]);
    for (lease, outputs) in &offered {
        worker.complete(lease, outputs).await.unwrap();
    }
    assert_eq!(world.view(&matrix_id).await, before);
}

/// Runs one matrix to its end and leaves another running; answers both views.
async fn two_matrices(world: &World) -> (v1::MatrixView, v1::MatrixView) {
    let finished = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(world, "w", &[]).await;
    for _ in 0..JOBS {
        let assignment = worker.offer().await;
        worker.perform(&assignment).await;
    }
    world.pass(10).await;
    let running = world.submit("k2", 2).await.matrix_id;
    let train = worker.offer().await;
    worker.checkpoint(&train.lease, 2).await.unwrap();
    (world.view(&finished).await, world.view(&running).await)
}

async fn check_two(world: &World, views: &(v1::MatrixView, v1::MatrixView)) {
    for view in [&views.0, &views.1] {
        assert_eq!(world.view(&view.summary.as_ref().unwrap().matrix_id).await, *view);
    }
    let again = world.submit("k1", 1).await;
    assert!(again.repeated);
    let reused = world.submit("k3", 1).await;
    assert_eq!(reused.reused as usize, JOBS);
    world.matrices().cancel(v1::CancelRequest { matrix_id: reused.matrix_id }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_or_damaged_is_rebuilt_from_the_journal() {
    let mut world = World::new().await;
    let views = two_matrices(&world).await;
    world.stop().await;
    let index = world.folder.path().join("data/index");
    std::fs::remove_dir_all(&index).unwrap();
    world.start().await;
    check_two(&world, &views).await;

    world.stop().await;
    let db = index.join("db");
    let bytes = std::fs::read(&db).unwrap();
    std::fs::write(&db, vec![0xA5; bytes.len()]).unwrap();
    world.start().await;
    check_two(&world, &views).await;

    world.stop().await;
    let mut bytes = std::fs::read(&db).unwrap();
    let quarter = bytes.len() / 4;
    bytes[quarter..2 * quarter].fill(0x5A);
    std::fs::write(&db, bytes).unwrap();
    world.start().await;
    check_two(&world, &views).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_bound_the_journal_and_carry_finished_matrices() {
    let limits = Limits { snapshot_records: 4, drain_ms: 500, ..Limits::default() };
    let mut world = World::with(limits).await;
    let views = two_matrices(&world).await;
    world.stop().await;
    let data = world.folder.path().join("data");
    let snapshots = std::fs::read_dir(data.join("snapshots")).unwrap();
    let count = snapshots
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".snapshot"))
        .count();
    assert_eq!(count, 2);
    std::fs::remove_dir_all(data.join("index")).unwrap();
    world.start().await;
    check_two(&world, &views).await;
    world.restart().await;
    check_two(&world, &views).await;
}
