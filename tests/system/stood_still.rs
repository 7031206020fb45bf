//! Processes that stand still (SIGSTOP) for longer than a lease. They keep their connections: only their silence tells.

use std::time::Duration;

use assay_tests::{Need, need};
use nix::sys::signal::Signal;

use crate::cut_network::small;
use crate::late_answers::COMPLETION;
use crate::parts::{
    Part, SHORT_LEASE_MS, now, outcomes, submit, training, until, until_cleaned_up, until_training_is,
};
use crate::proxy::{Net, Proxy};
use crate::world::alone;

#[test]
fn a_worker_that_stood_still_for_longer_than_its_lease_says_nothing_more_about_its_job() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (mut coordinator, address) = Part::coordinator(&world, SHORT_LEASE_MS, SHORT_LEASE_MS);
    let mut stopped = Part::worker(&world, "stopped", address);
    let engine = stopped.engine();
    engine.signal(Signal::SIGSTOP);
    let matrix = submit(&world, &[]);
    stopped.says("attempt starts");
    until_training_is(&world, &matrix, "running");
    stopped.signal(Signal::SIGSTOP);
    // Its engine goes on, and may well be done before anyone looks.
    engine.signal(Signal::SIGCONT);
    let began = now();
    coordinator.says("the lease ran out: its worker was not heard");
    println!("lease of {SHORT_LEASE_MS} ms: noticed after {} ms", began.elapsed().as_millis());
    let mut other = Part::worker(&world, "other", address);
    other.says("attempt starts");
    stopped.signal(Signal::SIGCONT);
    stopped.says("attempt ends");
    until_cleaned_up(&world, "stopped", "e1-a1");
    until_training_is(&world, &matrix, "succeeded");
    assert_eq!(outcomes(&training(&world, &matrix)), ["lost", "succeeded"]);
    // It is a worker like any other again.
    drop(other);
    stopped.says("attempt starts");
}

/// Nobody was heard meanwhile, so nobody's lease ran: what its workers say when it is back counts.
#[test]
fn a_coordinator_that_stood_still_takes_the_results_that_waited_and_runs_nothing_again() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (coordinator, address) = Part::coordinator(&world, SHORT_LEASE_MS, SHORT_LEASE_MS);
    let proxy = Proxy::start(address);
    proxy.trap(COMPLETION, Net::HOLE);
    let mut worker = Part::worker(&world, "w", proxy.address);
    let matrix = submit(&world, &[]);
    until("the completion is under way", || proxy.has_trapped());
    coordinator.signal(Signal::SIGSTOP);
    proxy.set(Net::OPEN);
    let began = now();
    let longer = Duration::from_millis(SHORT_LEASE_MS * 3 / 2);
    until("more than a lease has passed", || began.elapsed() > longer);
    coordinator.signal(Signal::SIGCONT);
    let took = until_training_is(&world, &matrix, "succeeded");
    println!("the result is taken {} ms after the coordinator goes on", took.as_millis());
    assert_eq!(outcomes(&training(&world, &matrix)), ["succeeded"]);
    worker.says("attempt succeeded");
    until_cleaned_up(&world, "w", "e1-a1");
}

/// The worker hears nobody and stops first; the job runs once more, and no more.
#[test]
fn a_coordinator_that_stood_still_while_a_job_ran_costs_one_attempt_at_most() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (coordinator, address) = Part::coordinator(&world, SHORT_LEASE_MS, SHORT_LEASE_MS);
    let mut worker = Part::worker(&world, "w", address);
    let engine = worker.engine();
    engine.signal(Signal::SIGSTOP);
    let matrix = submit(&world, &[]);
    worker.says("attempt starts");
    until_training_is(&world, &matrix, "running");
    coordinator.signal(Signal::SIGSTOP);
    worker.says("its lease ran out unheard");
    engine.signal(Signal::SIGCONT);
    coordinator.signal(Signal::SIGCONT);
    let took = until_training_is(&world, &matrix, "succeeded");
    println!("the job is done {} ms after the coordinator goes on", took.as_millis());
    assert_eq!(outcomes(&training(&world, &matrix)), ["lost", "succeeded"]);
    until_cleaned_up(&world, "w", "e1-a1");
}
