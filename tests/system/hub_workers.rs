//! Weights that workers fetch from the Hub themselves: a whole run with real processes to which nobody uploaded a model, what a
//! refusal comes to and how it is mended, and where the token is not.

use std::fs;
use std::path::Path;

use assay_tests::{Need, need};
use serde_json::Value;

use crate::collector::Collector;
use crate::hub::holds;
use crate::hub_server::{Server, TOKEN, first_of};
use crate::stack::Up;
use crate::world::{World, alone};

const WEIGHTS: &str = "model.safetensors";

/// The small matrix on a Hub that has the demo's model; its weights are those of the model where `weights` says so. All is logged.
fn place(model: &Path, weights: bool, traces: &Collector) -> (Server, World) {
    let hub = Server::start();
    for entry in fs::read_dir(model).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") || (weights && name == WEIGHTS) {
            let bytes = fs::read(model.join(&name)).unwrap();
            hub.set(|world| drop(world.files.insert(name.clone(), (bytes, name == WEIGHTS))));
        }
    }
    let world = World::traced(model, &traces.endpoint).with_variable("RUST_LOG", "trace");
    let world = world.with_variable("HF_TOKEN", TOKEN).with_variable("HF_ENDPOINT", &hub.url);
    let cache = world.path("hub").display().to_string();
    let world = world.with_variable("ASSAY_HUB_CACHE", &cache);
    world.change_matrix(&format!("path: {}", model.display()), "hub: org/tiny");
    (hub, world)
}

/// Why jobs failed, by label.
fn failures(status: &Value) -> Vec<(String, String)> {
    let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let jobs = status["jobs"].as_array().unwrap().iter();
    jobs.filter(|job| job["status"] == "failed")
        .map(|job| (text(job, "label"), text(job, "reason")))
        .collect()
}

fn weights_seen(hub: &Server) -> Vec<usize> {
    let seen = hub.seen().into_iter().filter(|(host, path, _)| *host == "storage" && path.contains(WEIGHTS));
    seen.map(|(_, _, range)| first_of(range.as_deref())).collect()
}

/// Whether a file of this length is below a folder.
fn has_file_of(folder: &Path, bytes: u64) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { has_file_of(&path, bytes) } else { fs::metadata(&path).unwrap().len() == bytes }
    })
}

/// The variables that a process was started with.
fn variables(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap()
}

#[test]
fn weights_go_from_the_hub_to_the_worker_and_the_token_stays_in_the_coordinators_memory() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let traces = Collector::start();
    let (hub, world) = place(&model, true, &traces);
    let half = hub.bytes(WEIGHTS).len() / 2;
    // Gated; the first to ask is refused, and the first that is not breaks off.
    hub.set(|world| {
        (world.gated, world.answers, world.cuts) = (true, vec![("/model.safetensors", 403)], vec![half]);
    });
    let up = Up::start(&world);
    up.wait_for_workers(&world);
    let submit = ["submit", "matrix.yaml", "--wait", "--data-dir", "data"];
    let refused = world.assay(&submit);
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    let (matrix, jobs, _) = refused.submitted();
    let failed = failures(&world.json(&["status", &matrix]));
    let [(label, reason)] = failed.as_slice() else { panic!("{failed:?}") };
    assert!(label.starts_with("train"), "{label}");
    for words in ["org/tiny@0123", WEIGHTS, "(status 403)", "accept the repository's terms", "assay retry"] {
        assert!(reason.contains(words), "`{words}` is not in: {reason}");
    }

    let mended = world.assay(&["retry", &matrix, "--wait", "--data-dir", "data"]);
    mended.expect(0);
    let starts = weights_seen(&hub);
    assert!(starts.len() == 2 && starts[0] == 0 && starts[1] > 0, "once, and resumed: {starts:?}");
    let bytes = hub.bytes(WEIGHTS).len() as u64;
    assert!(!has_file_of(&world.data_dir().join("objects"), bytes), "nobody uploaded them");
    assert!(!has_file_of(&world.path("hub"), bytes), "nobody fetched them here");
    assert!(has_file_of(&world.data_dir().join("worker/cache"), bytes));

    // Who exports reads them from the Hub too, by the token of his own.
    let (matrix, ..) = mended.submitted();
    world.assay(&["export", &matrix, "--out", "exported", "--data-dir", "data"]).expect(0);
    assert!(world.path("exported/adapter_model.safetensors").is_file());
    assert_eq!(weights_seen(&hub), [0]);

    // The same bytes, uploaded, are the same jobs.
    world.change_matrix("hub: org/tiny", "hub: org/tiny, upload: true");
    let uploaded = world.assay(&submit);
    uploaded.expect(0);
    let (_, again, reused) = uploaded.submitted();
    assert_eq!((again, reused), (jobs, jobs));
    assert!(has_file_of(&world.data_dir().join("objects"), bytes));

    let processes = up.processes();
    let with_token = processes
        .iter()
        .filter(|process| variables(process.pid).windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()));
    let with_token: Vec<&str> = with_token.map(|process| process.command.as_str()).collect();
    assert!(with_token.iter().any(|command| command.contains("assay-coordinator")), "{with_token:?}");
    assert!(with_token.iter().all(|command| !command.contains("assay-worker")), "{with_token:?}");
    assert!(processes.iter().any(|process| process.command.contains("assay-worker")));
    drop(up);
    let seen = hub.world.lock().unwrap();
    assert!(seen.tokens > 0 && !seen.leaked, "the token went to another host than the Hub");
    drop(seen);
    for ended in [refused, mended, uploaded] {
        assert!(!(ended.out + &ended.err).contains(TOKEN));
    }
    assert!(!holds(&world.path("."), TOKEN, bytes), "the token is in a file");
    let spans = traces.spans();
    assert!(spans.iter().any(|span| span.name == "assay.v1.Artifacts/SignDownload"));
    assert!(!format!("{spans:?}").contains(TOKEN), "the token is in a trace");
}

#[test]
fn other_bytes_than_the_hub_lists_are_tried_again_and_then_fail_the_job_with_their_name() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let traces = Collector::start();
    let (hub, world) = place(&model, false, &traces);
    hub.set(|world| world.lies = true);
    let up = Up::start(&world);
    up.wait_for_workers(&world);
    let ended = world.assay(&["submit", "matrix.yaml", "--wait", "--data-dir", "data"]);
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    let (matrix, ..) = ended.submitted();
    let status = world.json(&["status", &matrix]);
    let failed = failures(&status);
    assert!(failed.iter().any(|(label, _)| label.starts_with("train")), "{failed:?}");
    for (_, reason) in &failed {
        assert!(reason.contains("org/tiny@0123") && reason.contains("the Hub lists SHA-256"), "{reason}");
    }
    let train = status["jobs"].as_array().unwrap().iter().find(|job| job["kind"] == "train").unwrap();
    assert_eq!(train["attempts"].as_array().unwrap().len(), 5, "another worker might have had more luck");
}
