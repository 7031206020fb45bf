//! Kill -9 of the engine while it answers for several jobs in one batch: each of them is run alone, and none is charged.

use assay_tests::{Need, need};
use nix::sys::signal::Signal;

use crate::stack::{Follow, Up};
use crate::world::{World, alone};

#[test]
fn jobs_of_a_batch_that_dies_answer_each_for_itself() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let up = Up::start(&world);
    up.wait_for_workers(&world);
    let submitted = world.json(&["submit", "matrix.yaml"]);
    let matrix = submitted["matrix"].as_str().unwrap();
    let watch = Follow::start(&world, &["watch", matrix, "--json"]);
    let logs = Follow::start(&world, &["logs", &format!("{matrix}/1"), "--follow"]);
    let begun = |line: String| line.contains("sampling: ");
    while !begun(logs.next().expect("the log ended before the batch began")) {}
    let is_engine = |command: &str| command.contains("assay-worker") && command.contains(" engine ");
    let engine: Vec<_> = up.processes().into_iter().filter(|one| is_engine(&one.command)).collect();
    assert_eq!(engine.len(), 1, "{engine:?}");
    engine[0].signal(Signal::SIGKILL);
    assert!(watch.end().success());

    let jobs = world.json(&["status", matrix])["jobs"].as_array().unwrap().clone();
    // The base and two checkpoints.
    for (ordinal, job) in (1..=3).zip(&jobs[1..]) {
        let attempts = job["attempts"].as_array().unwrap();
        assert!(attempts.len() == 1 && attempts[0]["outcome"] == "succeeded", "{job}");
        let log = world.logs(&format!("{matrix}/{ordinal}"), &[]);
        let said = |words: &str| log.iter().any(|line| line.contains(words));
        assert!(said("3 jobs answer their prompts in one batch") && said("this job runs alone"), "{log:#?}");
    }
}
