//! Requests that no coordinator gets, and requests that it refuses: exit codes 2, 3, 4 and 1, and what they say.

use std::fs;

use assay_tests::{Need, need};

use crate::stack::Up;
use crate::world::{World, alone};

#[test]
fn what_never_reaches_a_coordinator() {
    let Some(model) = need(Need::Model) else { return };
    let world = World::new(&model);
    fs::create_dir(world.data_dir()).unwrap();
    // Port 1 is for root alone, and nobody's.
    fs::write(world.path("data/coordinator.json"), "{\"address\":\"127.0.0.1:1\",\"pid\":1,\"epoch\":1}")
        .unwrap();
    check(&world, &["status", "--data-dir", "elsewhere"], 3, "no coordinator has run in `elsewhere`");
    check(&world, &["status"], 2, "token file data/token");
    fs::write(world.path("data/token"), "a token\n").unwrap();
    check(&world, &["status"], 3, "no coordinator answers at http://127.0.0.1:1");
    check(&world, &["submit", "matrix.yaml"], 3, "start one with `assay up`");
    check(&world, &["status", "--coordinator", "not a url"], 2, "write http://HOST:PORT");
    fs::write(world.path("data/coordinator.json"), "{").unwrap();
    check(&world, &["status"], 2, "data/coordinator.json");
}

#[test]
fn what_a_coordinator_refuses() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let _up = Up::start(&world);
    fs::write(world.path("wrong-token"), "0".repeat(64)).unwrap();
    check(&world, &["status", "--token-file", "wrong-token"], 4, "refuses the token");
    check(&world, &["status", "--token-file", "none"], 2, "token file none");
    check(&world, &["up", "--listen", "127.0.0.1:0"], 4, "is in use by another `assay up`");
    for command in ["status", "watch", "cancel", "pause", "resume", "report", "logs"] {
        check(&world, &[command, "m-000000000000"], 4, "no matrix `m-000000000000`");
    }
    check(&world, &["explain", "m-000000000000/1"], 4, "no matrix `m-000000000000`");
    check(&world, &["cancel", "m-000000000000", "--branch"], 2, "--branch takes a job");
    check(&world, &["fleet", "lift", "nobody"], 4, "no worker `nobody`");
    check(&world, &["logs", "m-000000000000/x"], 4, "not a job id: write MATRIX/NUMBER");
    check(&world, &["submit", "none.yaml"], 2, "matrix file none.yaml");
    check(&world, &["submit", "matrix.yaml", "--submit-key", ""], 4, "submit_key is needed");
    assert!(world.json(&["status"]).as_array().unwrap().is_empty(), "something refused was taken");
}

#[test]
fn what_a_matrix_refuses() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let _up = Up::start(&world);
    let submit = ["submit", "matrix.yaml", "--submit-key", "mine"];
    let submitted = world.json(&submit);
    let matrix = submitted["matrix"].as_str().unwrap();
    check(&world, &["report", matrix], 1, "has no report yet");
    check(&world, &["report", matrix, "--html", "report.html"], 1, "has no report yet");
    assert!(!world.path("report.html").exists());
    check(&world, &["logs", &format!("{matrix}/99")], 4, "lists the jobs of its matrix");

    let again = world.json(&submit);
    assert_eq!((again["matrix"].as_str().unwrap(), &again["repeated"]), (matrix, &true.into()));
    let text = fs::read_to_string(world.matrix()).unwrap();
    fs::write(world.matrix(), text.replace("seed: 42", "seed: 43")).unwrap();
    check(
        &world,
        &submit,
        4,
        &format!("submit key `mine` was used for another matrix, submitted as `{matrix}`"),
    );

    assert_eq!(world.json(&["cancel", matrix])["changed"], true);
    assert_eq!(world.json(&["cancel", matrix])["changed"], false);
    check(&world, &["watch", matrix], 1, "did not succeed");
    assert_eq!(world.json(&["status"]).as_array().unwrap().len(), 1);
}

/// The exit code and a part of the message; nothing on standard output.
#[track_caller]
fn check(world: &World, args: &[&str], code: i32, told: &str) {
    let data_dir: &[&str] = if args.contains(&"--data-dir") { &[] } else { &["--data-dir", "data"] };
    let ended = world.assay(&[args, data_dir].concat());
    ended.expect(code);
    assert!(ended.err.contains(told), "{args:?}: `{told}` is not in {}", ended.err);
    assert!(ended.out.is_empty(), "{args:?}: {}", ended.out);
}
