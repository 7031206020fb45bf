//! Terms of leases grow with the fleet, so that its renewals stay few; no worker is taken for silent within a term that it was told.

use assay_coordinator::config::Limits;
use assay_proto::v1;

use super::worker::Worker;
use super::world::World;

const LEASE_MS: u64 = 3_000;

/// One renewal a second for the whole fleet.
async fn world() -> World {
    let limits = Limits { lease_ms: LEASE_MS, renewals_per_s_max: 1, drain_ms: 500, ..Limits::default() };
    World::with(limits).await
}

/// Until one worker is connected.
async fn alone(world: &World) {
    loop {
        let listed = world.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner();
        if listed.workers.iter().filter(|worker| worker.connected).count() == 1 {
            return;
        }
        world.server().tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_grow_and_shrink_with_the_fleet() {
    let world = world().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let assignment = worker.offer().await;
    assert_eq!((worker.welcome.lease_ms, assignment.lease_ms), (LEASE_MS, LEASE_MS));
    let lease = assignment.lease;
    let mut others = Vec::new();
    for number in 2..=4 {
        others.push(Worker::connect(&world, &format!("w{number}"), &[]).await);
    }
    assert_eq!(others[2].welcome.lease_ms, 4 * LEASE_MS, "three renewals of each of four");
    worker.renew(&lease, None).await.unwrap();
    assert_eq!(worker.term_ms, 4 * LEASE_MS);
    world.pass(4 * LEASE_MS - 1).await;
    worker.renew(&lease, None).await.unwrap();
    // It may not hear of a shorter one: what it was told still holds.
    drop(others);
    alone(&world).await;
    worker.renew(&lease, None).await.unwrap();
    assert_eq!(worker.term_ms, LEASE_MS);
    world.pass(4 * LEASE_MS - 1).await;
    worker.renew(&lease, None).await.unwrap();
    // And then it is over.
    world.pass(LEASE_MS + 1).await;
    assert_eq!(worker.stopped().await, (lease, String::from("stale")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_waits_for_the_longest_term_that_it_may_have_told() {
    let mut world = world().await;
    world.submit("k", 1).await;
    let mut worker = Worker::connect(&world, "w1", &[]).await;
    let lease = worker.offer().await.lease;
    for number in 2..=4 {
        Worker::connect(&world, &format!("w{number}"), &[]).await;
    }
    drop(worker);
    world.restart().await;
    world.pass(4 * LEASE_MS - 1).await;
    let mut worker = Worker::connect(&world, "w1", std::slice::from_ref(&lease)).await;
    assert!(worker.welcome.stale.is_empty());
    worker.renew(&lease, None).await.unwrap();
}
