//! Judges behind an API with a budget: stopped, looked at, resumed; and a person beside them, blind, through a pipe.

use std::io::Write as _;
use std::process::Stdio;

use assay_tests::{Need, need};
use serde_json::Value;

use crate::judged::{BUDGET_USD, answered, world};
use crate::labs::{Api, Lab, Says};
use crate::stack::Up;
use crate::world::{Ended, KEY, World, alone};

fn ok_of(status: &Value) -> u64 {
    status.as_array().unwrap().iter().map(|job| job["tally"]["statuses"]["ok"].as_u64().unwrap_or(0)).sum()
}

#[test]
fn a_budget_stops_judges_and_more_of_it_asks_what_is_missing_with_a_person_beside_them() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(Lab::start(Api::Chat, KEY, |_| Says::Verdict("1")));
    let budget = format!("orders: both\n  budget_usd: {BUDGET_USD}");
    let world = world(&model, &lab, ("orders: both", &budget));
    let (stopped, _, _) = world.run().submitted();
    let paid = answered(&lab).len() as u64;
    assert!((1..8).contains(&paid), "{paid} of 8 calls fit the budget");

    let up = Up::start(&world);
    up.wait_for_workers(&world);
    let status = world.json(&["judge", "status", &stopped]);
    assert_eq!((status.as_array().unwrap().len(), ok_of(&status)), (2, paid), "{status}");
    let spent: f64 = status.as_array().unwrap().iter().map(|job| job["tally"]["usd"].as_f64().unwrap()).sum();
    assert!(spent > 0.0 && spent <= BUDGET_USD.parse().unwrap(), "{status}");
    // The first job pays the canned call as well; what it leaves may be enough for the other.
    assert!(status.as_array().unwrap().iter().any(|job| job["tally"]["stopped"][0] == "budget"), "{status}");
    let shown = world.assay(&["judge", "status", &stopped, "--data-dir", "data"]);
    assert!(shown.out.contains("gpt") && shown.out.contains("stopped (budget)"), "{}", shown.out);

    let resumed =
        world.assay(&["judge", "resume", &stopped, "--budget-usd", "1", "--wait", "--data-dir", "data"]);
    resumed.expect(0);
    let (matrix, _, reused) = resumed.submitted();
    assert!(reused >= 4, "training, answers and the smoke judge are taken: {reused}");
    let status = world.json(&["judge", "status", &matrix]);
    assert_eq!(ok_of(&status), 8, "{status}");
    let given = answered(&lab);
    assert!(given.len() == 8 && given.values().all(|times| *times == 1), "nothing is paid twice: {given:?}");

    people(&world, &matrix);
}

/// One pair, then the rest of them with the same command, then the report with their verdicts.
fn people(world: &World, matrix: &str) {
    const PAIR: &str = "4 3 5 4 4\n2 2 2 2 2\n1\n3\nIt is clearer.\n";
    let first = annotate(world, matrix, &format!("{PAIR}s\nq\n"));
    assert!(first.err.contains("1 of 4 are judged"), "{}", first.err);
    let second = annotate(world, matrix, &PAIR.repeat(3));
    assert!(second.err.contains("4 of 4 are judged"), "{}", second.err);
    for told in [&first.out, &second.out] {
        assert!(told.contains("RESPONSE 1") && told.contains("RESPONSE 2"), "{told}");
        for secret in ["lora-r8", "epoch", "smollm2", "step-"] {
            assert!(!told.contains(secret), "`{secret}` unblinds:\n{told}");
        }
    }
    let report = world.json(&["report", matrix, "--people"]);
    let person =
        report["judges"].as_array().unwrap().iter().find(|judge| judge["info"]["name"] == "ann").unwrap();
    assert_eq!((&person["info"]["kind"], person["verdicts"].as_u64()), (&Value::from("human"), Some(4)));
    let rows = report["agreement"]["judges"].as_array().unwrap();
    let with_gpt = rows.iter().find(|row| (&row["one"], &row["other"]) == (&"gpt".into(), &"ann".into()));
    assert_eq!(with_gpt.unwrap()["pairs"], 4, "{rows:?}");
    assert_eq!(report["method"]["panel"], serde_json::json!(["gpt"]), "a person is no part of the headline");
    let planned = report["preregistration"]["judges"].as_array().unwrap();
    assert!(planned.iter().all(|judge| judge["name"] != "ann"));
    // Without them the report is the stored one.
    assert!(!world.json(&["report", matrix]).to_string().contains("\"ann\""));
}

fn annotate(world: &World, matrix: &str, typed: &str) -> Ended {
    let args = ["judge", "annotate", matrix, "--as", "ann", "--orders", "single", "--data-dir", "data"];
    let mut command = world.command(&args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.expect(0);
    ended
}
