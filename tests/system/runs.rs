//! `assay run`: from a matrix file to a report, and again from what is there, also where some of that has gone bad. All of it is
//! traced.

use std::fs;
use std::path::PathBuf;

use assay_tests::{Need, need};
use serde_json::Value;

use crate::collector::Collector;
use crate::stack::Up;
use crate::traces;
use crate::world::{World, alone};

#[test]
fn later_runs_take_jobs_from_their_keys_but_not_what_went_bad_and_each_is_one_trace() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let collector = Collector::start();
    let world = World::traced(&model, &collector.endpoint);

    let first = world.run();
    let (matrix, jobs, reused) = first.submitted();
    // One train; base, epoch 1 and epoch 2 answer; two judges of two comparisons; the report.
    assert_eq!((jobs, reused), (9, 0));
    for words in ["epoch 1", "epoch 2", "smoke-plain", "smoke-rubric"] {
        assert!(first.out.contains(words), "`{words}` is not in:\n{}", first.out);
    }
    let report = report(&world, &matrix);
    check_losses(&report);
    check_sampling(&report);
    let html = fs::read_to_string(world.data_dir().join(format!("reports/{matrix}.html"))).unwrap();
    assert!(
        html.starts_with("<!doctype html>") && html.contains("epoch 2"),
        "{}",
        &html[..html.len().min(300)]
    );
    assert!(first.err.contains(&format!("{matrix}.html")), "{}", first.err);

    let second = world.run();
    let (again, jobs, reused) = second.submitted();
    assert_ne!(again, matrix);
    assert_eq!((jobs, reused), (9, 9));
    assert_eq!(self::report(&world, &again), report);

    let in_a_batch = answers(&generations(&world, &matrix));
    let bad = flip_a_byte(&world, &matrix);
    // Other judgements need new score jobs, which read what nobody knows to be bad.
    world.change_matrix("orders: full", "orders: both");
    let third = world.run();
    let (last, jobs, reused) = third.submitted();
    assert_eq!((jobs, reused), (9, 4), "training and answers, at first");
    assert!(!bad.exists(), "the bad object is gone");
    // Alone this time: the first time base and both checkpoints answered together.
    assert_eq!(answers(&generations(&world, &last)), in_a_batch, "the base model answered again");
    let jobs = execution(&world, &last)["jobs"].as_array().unwrap().clone();
    let outcomes = |label: &str| -> Vec<String> {
        let jobs = jobs.iter().filter(|job| job["label"].as_str().unwrap().starts_with(label));
        let attempts = jobs.flat_map(|job| job["attempts"].as_array().unwrap());
        attempts.map(|attempt| attempt["outcome"].as_str().unwrap().to_owned()).collect()
    };
    let scores = outcomes("score");
    assert!(scores[0].contains("input `base`") && scores[0].contains("has digest"), "{scores:?}");
    assert_eq!(scores[1..], ["succeeded"; 4], "one of the four twice");
    assert_eq!(outcomes("generate"), ["succeeded"], "once, and the others not at all");

    let up = Up::start(&world);
    let summary = world.json(&["status", &matrix])["summary"].clone();
    let log = world.logs(&format!("{matrix}/1"), &[]);
    assert!(log.iter().any(|line| line.contains("3 jobs answer their prompts in one batch")), "{log:?}");
    drop(up);
    let at = |name: &str| summary[name].as_u64().unwrap();
    traces::check(&collector, &matrix, at("submitted_at_unix_ms"), at("finished_at_unix_ms"));
}

/// The base model's answers, as the object store keeps those of a matrix's first attempt.
fn generations(world: &World, matrix: &str) -> PathBuf {
    world.data_dir().join(format!("objects/jobs/{matrix}/1/e1-a1/generations/generations.jsonl"))
}

/// Of stored answers all but the time that each took.
fn answers(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let answer = |line: &str| {
        let mut answer: Value = serde_json::from_str(line).unwrap();
        assert!(answer.as_object_mut().unwrap().remove("seconds").is_some());
        answer
    };
    text.lines().map(answer).collect()
}

/// The base model's answers get another byte, and the worker loses what it had fetched of them.
fn flip_a_byte(world: &World, matrix: &str) -> PathBuf {
    let path = generations(world, matrix);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for cached in fs::read_dir(world.data_dir().join("worker/cache/objects")).unwrap() {
        let cached = cached.unwrap();
        if cached.metadata().unwrap().len() == bytes.len() as u64 {
            fs::remove_file(cached.path()).unwrap();
        }
    }
    path
}

fn execution(world: &World, matrix: &str) -> Value {
    let text = fs::read_to_string(world.data_dir().join(format!("reports/{matrix}.json"))).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["execution"].clone()
}

/// `report.json` of a matrix without the section of times and attempts.
fn report(world: &World, matrix: &str) -> Value {
    let text = fs::read_to_string(world.data_dir().join(format!("reports/{matrix}.json"))).unwrap();
    let mut report: Value = serde_json::from_str(&text).unwrap();
    assert!(report.as_object_mut().unwrap().remove("execution").is_some());
    report
}

/// What was in effect is recorded for the base and both checkpoints, and is the same.
fn check_sampling(report: &Value) {
    let set = &report["sampling"][0];
    let systems = set["systems"].as_array().unwrap();
    assert_eq!(systems.len(), 3, "{set}");
    let drawn = &systems[0]["effective"];
    assert_eq!(drawn["max_new_tokens"]["value"], set["matrix"]["max_new_tokens"], "{set}");
    assert_eq!(drawn["temperature"]["source"], "matrix", "{set}");
    assert!(systems.iter().all(|system| system["effective"] == *drawn), "{set}");
    assert_eq!(set["differing"].as_array().unwrap().len(), 0, "{set}");
}

/// Validation loss falls from the base model to epoch 1 to epoch 2.
fn check_losses(report: &Value) {
    let evals = report["training"][0]["evals"].as_array().unwrap();
    let names: Vec<&str> = evals.iter().map(|eval| eval["checkpoint"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "epoch 1", "epoch 2"]);
    let losses: Vec<f64> = evals.iter().map(|eval| eval["loss"].as_f64().unwrap()).collect();
    assert!(losses[0] > losses[1] && losses[1] > losses[2], "{losses:?}");
}
