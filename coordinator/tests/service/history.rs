//! History that is forgotten: what a matrix that is kept has is still taken, whichever ran it.

use assay_coordinator::config::Limits;
use assay_proto::v1;

use super::admin::run_all;
use super::events::all;
use super::matrix::JOBS;
use super::worker::Worker;
use super::world::World;

const DAY_MS: u64 = 86_400_000;

async fn forgotten(world: &World) -> usize {
    let request = v1::ReadEventsRequest { kind: "history_forgotten".into(), ..Default::default() };
    all(world, request).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_forgotten_matrix_are_taken_from_one_that_is_kept_and_run_again_when_none_is() {
    let limits = Limits {
        drain_ms: 500,
        lease_ms: DAY_MS,
        snapshot_records: 1,
        history_ms: 10 * DAY_MS,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let first = world.submit("k1", 1).await.matrix_id;
    let mut worker = Worker::connect(&world, "w", &[]).await;
    run_all(&world, &mut worker, &first).await;
    drop(worker);
    world.pass(8 * DAY_MS).await;
    let second = world.submit("k2", 1).await;
    assert_eq!(second.reused as usize, JOBS);
    // The first ended eleven days ago, the second three.
    world.pass(3 * DAY_MS).await;
    world.submit("other", 9).await;
    assert_eq!(forgotten(&world).await, 1);
    let request = v1::GetMatrixRequest { matrix_id: first };
    assert_eq!(world.matrices().get(request).await.unwrap_err().code(), tonic::Code::NotFound);
    let third = world.submit("k3", 1).await;
    assert_eq!(third.reused as usize, JOBS, "what the second has is not computed again");
    // Nobody has them any more, but for the base's answers, which the other two share.
    world.pass(12 * DAY_MS).await;
    world.submit("another", 10).await;
    assert_eq!(forgotten(&world).await, 2);
    assert!(world.submit("k4", 1).await.reused <= 1);
}
