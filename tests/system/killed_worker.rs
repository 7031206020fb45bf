//! Kill -9 of agent and engine in the middle of training: it goes on from its checkpoint, bit for bit.

use std::collections::BTreeMap;
use std::fs;

use assay_tests::{Need, need};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stack::{Follow, Up};
use crate::world::{World, alone};

/// Steps of the first epoch.
const FIRST_EPOCH: u64 = 6;

#[test]
fn a_killed_worker_changes_times_and_attempts_only() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let calm = World::new(&model);
    let (undisturbed, _, _) = calm.run().submitted();

    let world = World::new(&model);
    let mut up = Up::start(&world);
    let submitted = world.json(&["submit", "matrix.yaml"]);
    let matrix = submitted["matrix"].as_str().unwrap();
    let watch = Follow::start(&world, &["watch", matrix, "--json"]);
    let job = format!("{matrix}/0");
    let logs = Follow::start(&world, &["logs", &job, "--follow"]);
    kill_in_second_epoch(&up, &logs);
    assert!(watch.end().success());

    let jobs = world.json(&["status", matrix])["jobs"].as_array().unwrap().clone();
    let train = &jobs[0];
    let outcomes: Vec<&Value> =
        train["attempts"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert!(outcomes.len() == 2 && *outcomes[1] == "succeeded", "{outcomes:?}");
    let live = world.logs(&job, &["--attempt", "1"]);
    reported(&world, matrix);
    assert!(up.end(Signal::SIGINT).success());
    logs_are_stored(&world, &job, &live);

    let disturbed = Results::of(&world, &jobs);
    let up = Up::start(&calm);
    let expected = calm.json(&["status", &undisturbed])["jobs"].as_array().unwrap().clone();
    drop(up);
    let expected = Results::of(&calm, &expected);
    assert_eq!(disturbed.adapters, expected.adapters);
    assert!(disturbed.records.keys().eq(expected.records.keys()));
    for (file, records) in &disturbed.records {
        assert_eq!(records, &expected.records[file], "{file}");
    }
}

fn kill_in_second_epoch(up: &Up, logs: &Follow) {
    let safe = format!("the checkpoint of step {FIRST_EPOCH} is safe");
    // The log's next line comes after one more step, far from the end of the training.
    let mut seen = false;
    loop {
        let line = logs.next().expect("the logs ended before the first checkpoint was safe");
        seen |= line.contains(&safe);
        if seen && line.contains("loss") {
            break;
        }
    }
    let workers: Vec<_> =
        up.processes().into_iter().filter(|process| process.command.contains("assay-worker")).collect();
    assert_eq!(workers.len(), 2, "agent and engine: {workers:?}");
    for process in &workers {
        process.signal(Signal::SIGKILL);
    }
    assert!(workers.iter().all(|process| process.ends_within(30)));
}

/// A new coordinator has only what attempts have stored: of the lost one, all that led to its checkpoint.
fn logs_are_stored(world: &World, job: &str, live: &[String]) {
    let _up = Up::start(world);
    let lost = world.logs(job, &["--attempt", "1"]);
    assert!(lost.iter().all(|line| line.starts_with(&format!("{job} e1-a1  "))), "{lost:#?}");
    let steps = |lines: &[String]| lines.iter().filter(|line| line.contains("  step ")).count() as u64;
    assert!(steps(&lost) >= FIRST_EPOCH, "{lost:#?}");
    // While its coordinator lived, the lines after these were seen too, and none twice.
    assert!(live.starts_with(&lost) && steps(live) > FIRST_EPOCH, "{live:#?}");
    let second = world.logs(job, &["--attempt", "2"]);
    // After the line that says how attention is computed.
    assert!(second[1].ends_with(&format!("goes on after step {FIRST_EPOCH}")), "{second:#?}");
    assert_eq!(steps(&second), FIRST_EPOCH, "{second:#?}");
    assert_eq!(world.logs(job, &[]), [lost, second].concat());
    let measured = world.logs(job, &["--metrics", "--attempt", "1"]);
    let measured: Vec<Value> = measured.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        measured.iter().all(|record| record["fence"] == "e1-a1" && record["job"] == job),
        "{measured:#?}"
    );
    let losses = measured.iter().filter(|record| record["type"] == "step" && record["loss"].is_f64());
    assert!(losses.count() as u64 >= FIRST_EPOCH, "{measured:#?}");
}

/// The report says what was computed twice, and that it came out the same.
fn reported(world: &World, matrix: &str) {
    let report = world.json(&["report", matrix]);
    let [lost] = report["execution"]["unfinished"].as_array().unwrap().as_slice() else {
        panic!("{report:#}")
    };
    assert_eq!((&lost["fence"]["attempt"], &lost["kept"]), (&1.into(), &FIRST_EPOCH.into()), "{lost:#}");
    // Steps after the checkpoint may have been stored or not; those that were are the same again.
    let again = lost["again"].as_u64().unwrap();
    assert_eq!(lost["last_step"].as_u64().unwrap(), FIRST_EPOCH + again, "{lost:#}");
    assert!(again == 0 || lost["largest_difference"] == 0.0, "{lost:#}");
    assert_eq!(lost["first_step"], 1);
}

/// What must not depend on who was killed when.
struct Results {
    /// Digests of all files of all adapters, by their path.
    adapters: BTreeMap<String, String>,
    /// Metrics and answers without their times, and what the judges measured.
    records: BTreeMap<String, Vec<String>>,
}

impl Results {
    fn of(world: &World, jobs: &[Value]) -> Self {
        let mut results = Self { adapters: BTreeMap::new(), records: BTreeMap::new() };
        for job in jobs {
            assert_eq!(job["status"], "succeeded", "{job}");
            for artifact in job["outputs"].as_array().unwrap() {
                results.add(world, job["label"].as_str().unwrap(), artifact);
            }
        }
        assert_eq!(results.adapters.len(), 4, "two files of two checkpoints: {:?}", results.adapters);
        // Metrics of the training, three files of answers and how each was drawn, four of verdicts.
        assert_eq!(results.records.len(), 11, "{:?}", results.records.keys());
        results
    }

    fn add(&mut self, world: &World, label: &str, artifact: &Value) {
        let name = artifact["name"].as_str().unwrap();
        for file in artifact["files"].as_array().unwrap() {
            let path = format!("{label}: {name}/{}", file["path"].as_str().unwrap());
            if name.starts_with("adapter@") {
                self.adapters.insert(path, file["digest"].to_string());
            } else if ["metrics", "generations", "verdicts"].contains(&name) {
                let object = world.data_dir().join("objects").join(file["key"].as_str().unwrap());
                let text = fs::read_to_string(object).unwrap();
                let lines = if path.ends_with(".jsonl") { records(name, &text) } else { vec![text] };
                self.records.insert(path, lines);
            }
        }
    }
}

/// Pairs and the order of their passes depend on the matrix's secret; what is measured in all four passes does not.
fn records(name: &str, text: &str) -> Vec<String> {
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("seconds");
        if name == "verdicts" { record["evidence"].to_string() } else { record.to_string() }
    };
    let mut records: Vec<String> = text.lines().map(record).collect();
    if name == "verdicts" {
        records.sort();
    }
    records
}
