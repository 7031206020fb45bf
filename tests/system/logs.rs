//! What a failed job logged is there when its coordinator is another.

use std::fs;

use assay_tests::{Need, need};
use nix::sys::signal::Signal;

use crate::stack::{Follow, Up};
use crate::world::{World, alone};

#[test]
fn a_failed_jobs_log_says_how_it_failed_after_a_restart_too() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let text = fs::read_to_string(world.matrix()).unwrap();
    // Gradients that float32 cannot hold.
    fs::write(world.matrix(), text.replace("alpha: 16", "alpha: 1e38")).unwrap();
    let mut up = Up::start(&world);
    let submitted = world.json(&["submit", "matrix.yaml"]);
    let matrix = submitted["matrix"].as_str().unwrap();
    assert_eq!(Follow::start(&world, &["watch", matrix, "--json"]).end().code(), Some(1));
    let job = format!("{matrix}/0");
    let status = world.json(&["status", matrix])["jobs"][0].clone();
    assert_eq!(status["status"], "failed", "{status}");
    let live = world.logs(&job, &[]);
    assert!(up.end(Signal::SIGINT).success());

    let _up = Up::start(&world);
    let stored = world.logs(&job, &[]);
    assert_eq!(stored, live);
    assert!(stored.iter().any(|line| line.contains("validation loss after step 0")), "{stored:#?}");
    assert!(stored.last().unwrap().ends_with(status["reason"].as_str().unwrap()), "{stored:#?}");
}
