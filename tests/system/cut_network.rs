//! A network that resets, is slow, or says nothing in one direction or both: attempts are lost when they must be, and only then.

use std::time::Duration;

use assay_tests::{Need, need};
use nix::sys::signal::Signal;

use crate::parts::{
    LONG_LEASE_MS, Part, SHORT_LEASE_MS, connected, now, outcomes, submit, training, until, until_cleaned_up,
    until_training_is,
};
use crate::proxy::{Net, Proxy, Road};
use crate::world::{World, alone};

/// Two steps instead of twelve: what happens around them is what is looked at.
pub(crate) fn small(model: &std::path::Path) -> World {
    let world = World::new(model);
    world.change_matrix("train_rows: 12", "train_rows: 2");
    world
}

#[test]
fn a_reset_connection_is_seen_at_once_and_costs_no_attempt_and_a_slow_one_costs_nothing() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (_coordinator, address) = Part::coordinator(&world, LONG_LEASE_MS, LONG_LEASE_MS);
    let proxy = Proxy::start(address);
    let mut worker = Part::worker(&world, "w", proxy.address);
    // The training takes as long as the test wants it to.
    let engine = worker.engine();
    engine.signal(Signal::SIGSTOP);
    let matrix = submit(&world, &[]);
    worker.says("attempt starts");
    proxy.set(Net::Cut);
    let seen = until("the worker is gone", || connected(&world) == 0);
    let slow = Road::Slow(Duration::from_millis(30));
    proxy.set(Net::Roads { to_coordinator: slow, to_worker: slow });
    let back = until("the worker is back", || connected(&world) == 1);
    println!("a reset was seen after {} ms, the worker back after {} ms", seen.as_millis(), back.as_millis());
    engine.signal(Signal::SIGCONT);
    until_training_is(&world, &matrix, "succeeded");
    assert_eq!(outcomes(&training(&world, &matrix)), ["succeeded"]);
}

/// Long before its lease runs out: who closes a connection has until the grace ends.
#[test]
fn a_worker_that_is_cut_off_is_replaced_after_the_grace_and_told_so_when_it_is_back() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (mut coordinator, address) = Part::coordinator(&world, LONG_LEASE_MS, 1_000);
    let proxy = Proxy::start(address);
    let mut worker = Part::worker(&world, "w", proxy.address);
    let engine = worker.engine();
    engine.signal(Signal::SIGSTOP);
    let matrix = submit(&world, &[]);
    worker.says("attempt starts");
    let mut other = Part::worker(&world, "other", address);
    let began = now();
    proxy.set(Net::Cut);
    coordinator.says("the lease ran out: its worker was not heard");
    other.says("attempt starts");
    println!("another worker has the job {} ms after the cut", began.elapsed().as_millis());
    proxy.set(Net::OPEN);
    // In the welcome, or as the answer to what it renews at once.
    worker.says_one_of(&["attempt ends: told to stop", "attempt ends: not ours"]);
    engine.signal(Signal::SIGCONT);
    until_cleaned_up(&world, "w", "e1-a1");
    until_training_is(&world, &matrix, "succeeded");
    assert_eq!(outcomes(&training(&world, &matrix)), ["lost", "succeeded"]);
}

/// Once it is not heard, once it does not hear: either way both sides give the attempt up, and the next one is as good as the first.
#[test]
fn a_network_that_is_dead_in_one_direction_costs_its_attempt_and_no_more() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (mut coordinator, address) = Part::coordinator(&world, SHORT_LEASE_MS, SHORT_LEASE_MS);
    let proxy = Proxy::start(address);
    let mut worker = Part::worker(&world, "w", proxy.address);
    worker.engine().signal(Signal::SIGSTOP);
    let matrix = submit(&world, &[]);
    for (dead, said, attempt) in [(Net::MUTE, "is not heard", "e1-a1"), (Net::DEAF, "does not hear", "e1-a2")]
    {
        worker.says("attempt starts");
        until_training_is(&world, &matrix, "running");
        let began = now();
        proxy.set(dead);
        // It may hear the coordinator's word first, or its own clock.
        worker.says("attempt ends");
        let stopped = began.elapsed();
        coordinator.says("the lease ran out: its worker was not heard");
        println!(
            "lease of {SHORT_LEASE_MS} ms, a worker that {said}: it stops after {} ms, the coordinator gives up after {} ms",
            stopped.as_millis(),
            began.elapsed().as_millis()
        );
        worker.engine().signal(Signal::SIGCONT);
        until_cleaned_up(&world, "w", attempt);
        worker.engine().signal(Signal::SIGSTOP);
        proxy.set(Net::OPEN);
    }
    worker.says("attempt starts");
    worker.engine().signal(Signal::SIGCONT);
    until_training_is(&world, &matrix, "succeeded");
    assert_eq!(outcomes(&training(&world, &matrix)), ["lost", "lost", "succeeded"]);
}
