//! `assay fleet drain --mode checkpoint`: a training is saved after its next step and goes on from there on another worker, bit for bit.

use std::collections::BTreeMap;

use assay_tests::{Need, need};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::parts::{LONG_LEASE_MS, Part, now, outcomes, submit, training, until_training_is};
use crate::stack::Follow;
use crate::world::{World, alone};

/// Steps of the first epoch: the first checkpoint of the plan.
const FIRST_EPOCH: u64 = 6;

#[test]
fn a_drained_worker_hands_over_between_two_checkpoints_and_nothing_comes_out_otherwise() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let (_coordinator, address) = Part::coordinator(&world, LONG_LEASE_MS, LONG_LEASE_MS);
    let mut drained = Part::worker(&world, "drained", address);
    let matrix = submit(&world, &[]);
    let began = now();
    let saved = drain_in_first_epoch(&world, &matrix, &mut drained);
    println!("handed over after {} ms, at step {saved}", began.elapsed().as_millis());

    let mut other = Part::worker(&world, "other", address);
    other.says("attempt starts");
    until_training_is(&world, &matrix, "succeeded");
    let train = training(&world, &matrix);
    assert_eq!(outcomes(&train), ["failed", "succeeded"], "{train:#}");
    let attempts = &train["attempts"];
    assert!(attempts[0]["reason"].as_str().unwrap().contains("handed the job back"), "{train:#}");
    assert_eq!(attempts[1]["resumed_from"], saved, "{train:#}");
    assert_ne!(attempts[0]["worker"], attempts[1]["worker"], "{train:#}");
    let second = world.logs(&format!("{matrix}/0"), &["--attempt", "2"]);
    // After the line that says how attention is computed.
    assert!(second[1].ends_with(&format!("goes on after step {saved}")), "{second:#?}");
    assert_eq!(drained.count("attempt starts"), 1, "a drained worker gets nothing more");

    // The same once more, and nobody disturbs it.
    world.assay(&["cancel", &matrix, "--data-dir", "data"]).expect(0);
    let calm = submit(&world, &["--fresh"]);
    until_training_is(&world, &calm, "succeeded");
    let calm = training(&world, &calm);
    assert_eq!(outcomes(&calm), ["succeeded"]);
    assert_eq!(adapters(&train), adapters(&calm));
}

/// Drains the worker when the training has done its first step; the step that was saved.
fn drain_in_first_epoch(world: &World, matrix: &str, worker: &mut Part) -> u64 {
    let job = format!("{matrix}/0");
    let logs = Follow::start(world, &["logs", &job, "--follow"]);
    let line = |words: &str| loop {
        let line = logs.next().unwrap_or_else(|| panic!("the logs ended before `{words}`"));
        if line.contains(words) {
            return line;
        }
    };
    line(&format!("step 1/{}", 2 * FIRST_EPOCH));
    // Its steps wait for the test, however slow that is.
    let engine = worker.engine();
    engine.signal(Signal::SIGSTOP);
    let fleet = world.json(&["fleet"]);
    let id = fleet[0]["worker"]["id"].as_str().unwrap();
    world.assay(&["fleet", "drain", id, "--mode", "checkpoint", "--data-dir", "data"]).expect(0);
    engine.signal(Signal::SIGCONT);
    let safe = line("the checkpoint of step");
    let saved: u64 = safe.split("of step ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((1..FIRST_EPOCH).contains(&saved), "{safe}");
    worker.says("attempt ends: handed back");
    until_training_is(world, matrix, "ready");
    saved
}

/// Digests of all files of all adapters.
fn adapters(job: &Value) -> BTreeMap<String, String> {
    let outputs = job["outputs"].as_array().unwrap().iter();
    let adapters = outputs.filter(|output| output["name"].as_str().unwrap().starts_with("adapter@"));
    let files = adapters.flat_map(|output| {
        let files = output["files"].as_array().unwrap().iter();
        files.map(|file| (format!("{}/{}", output["name"], file["path"]), file["digest"].to_string()))
    });
    let files: BTreeMap<String, String> = files.collect();
    assert_eq!(files.len(), 4, "two files of two checkpoints: {files:?}");
    files
}
