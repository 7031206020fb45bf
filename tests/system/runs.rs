//! `assay run`: from a matrix file to a report, and again from what is there.

use std::fs;

use assay_tests::{Need, need};
use serde_json::Value;

use crate::world::{World, alone};

#[test]
fn a_second_run_takes_every_job_from_its_key_and_ends_with_the_same_report() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);

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
