//! Words that meet a broken network at the worst moment: a completion that arrives too late, and one whose answer is lost.

use assay_tests::{Need, need};

use crate::cut_network::small;
use crate::parts::{
    LONG_LEASE_MS, Part, SHORT_LEASE_MS, now, outcomes, submit, training, until, until_cleaned_up,
    until_training_is,
};
use crate::proxy::{Net, Proxy};
use crate::world::alone;

/// In a completion, and in nothing else that a worker says: how long its phases took.
pub(crate) const COMPLETION: &str = "\"phases\"";

#[test]
fn a_completion_that_arrives_after_the_lease_is_refused_and_its_files_count_for_nothing() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (mut coordinator, address) = Part::coordinator(&world, SHORT_LEASE_MS, SHORT_LEASE_MS);
    let proxy = Proxy::start(address);
    proxy.trap(COMPLETION, Net::HOLE);
    let mut worker = Part::worker(&world, "w", proxy.address);
    let matrix = submit(&world, &[]);
    until("the completion is under way", || proxy.has_trapped());
    let began = now();
    coordinator.says("the lease ran out: its worker was not heard");
    println!("lease of {SHORT_LEASE_MS} ms: noticed after {} ms of silence", began.elapsed().as_millis());
    let mut other = Part::worker(&world, "other", address);
    other.says("attempt starts");
    // What was on its way arrives now.
    proxy.set(Net::OPEN);
    worker.says_one_of(&["completion refused", "attempt ends: told to stop", "attempt ends: not ours"]);
    until_cleaned_up(&world, "w", "e1-a1");
    until_training_is(&world, &matrix, "succeeded");
    // The checkpoints of the first attempt were acknowledged: the second went on from the last of them.
    let train = training(&world, &matrix);
    assert_eq!(outcomes(&train), ["lost", "succeeded"]);
    assert_eq!(train["attempts"][1]["resumed_from"], 2, "{train:#}");
    assert_eq!(worker.count(&format!("attempt succeeded assay.job={matrix}/0 assay.fence=e1-a1 ")), 0);
}

#[test]
fn a_completion_whose_answer_is_lost_is_said_again_and_nothing_runs_twice() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = small(&model);
    let (_coordinator, address) = Part::coordinator(&world, LONG_LEASE_MS, LONG_LEASE_MS);
    let proxy = Proxy::start(address);
    proxy.trap(COMPLETION, Net::DEAF);
    let mut worker = Part::worker(&world, "w", proxy.address);
    let matrix = submit(&world, &[]);
    until("the completion is under way", || proxy.has_trapped());
    until_training_is(&world, &matrix, "succeeded");
    proxy.set(Net::Cut);
    proxy.set(Net::OPEN);
    worker.says("attempt succeeded");
    until_cleaned_up(&world, "w", "e1-a1");
    worker.says("attempt starts");
    assert_eq!(outcomes(&training(&world, &matrix)), ["succeeded"]);
}
