//! A matrix that stops at its budget with real processes, and goes on when it is raised, with nothing computed or paid twice.

use assay_tests::{Need, need};
use serde_json::Value;

use crate::judged::{BUDGET_USD, answered, world};
use crate::labs::{Api, Lab, Says};
use crate::stack::{Follow, Up};
use crate::world::{KEY, alone};

/// Attempts of each job that ended well.
fn attempts(status: &Value) -> Vec<(String, usize)> {
    let good = |job: &Value| {
        let attempts = job["attempts"].as_array().unwrap();
        let good = attempts.iter().filter(|attempt| attempt["outcome"] == "succeeded").count();
        (job["label"].as_str().unwrap().to_owned(), good)
    };
    status["jobs"].as_array().unwrap().iter().map(good).collect()
}

#[test]
fn a_matrix_stops_at_its_budget_and_goes_on_when_it_is_raised_with_nothing_done_twice() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(Lab::start(Api::Chat, KEY, |_| Says::Verdict("1")));
    let budget = format!("name: tiny\nbudget: {{ usd: {BUDGET_USD}, hours: 10 }}");
    let world = world(&model, &lab, ("name: tiny", &budget));
    let up = Up::start_with(&world, &["--team-budget", "*=hours:100", "--month-budget", "usd:50"]);
    up.wait_for_workers(&world);
    let plan = world.assay(&["plan", "matrix.yaml", "--data-dir", "data"]);
    plan.expect(0);
    assert!(plan.out.contains("of all teams in") && plan.out.contains("of matrix tiny"), "{}", plan.out);

    let submitted = world.assay(&["submit", "matrix.yaml", "--data-dir", "data"]);
    submitted.expect(0);
    let (matrix, jobs, _) = submitted.submitted();
    let watch = Follow::start(&world, &["watch", &matrix, "--json"]);
    let mut held = String::new();
    while held.is_empty() {
        let line = watch.next().expect("the budget ends before the matrix does");
        let seen: Value = serde_json::from_str(&line).unwrap();
        // What still runs may give something back.
        let runs = seen["jobs"].as_array().unwrap().iter().any(|job| job["status"] == "running");
        held = if runs { String::new() } else { seen["summary"]["held"].as_str().unwrap().to_owned() };
    }
    assert!(held.contains(&format!("assay budget {matrix} --usd")), "{held}");
    let paid = answered(&lab);
    assert!(paid.len() < 8, "{} of 8 calls fit the budget", paid.len());
    let status = world.json(&["status", &matrix]);
    let micros = |value: &Value| value["usd_micros"].as_u64().unwrap_or(0);
    assert!(micros(&status["balance"]["spent"]) <= 48_000, "{}", status["balance"]);
    let waiting = status["jobs"].as_array().unwrap().iter().find(|job| job["status"] == "ready").unwrap();
    let explained = world.json(&["explain", waiting["job"].as_str().unwrap()]);
    assert!(explained.to_string().contains(r#""why":"budget""#), "{explained}");

    let raised = world.assay(&["budget", &matrix, "--usd", "1", "--data-dir", "data"]);
    raised.expect(0);
    while watch.next().is_some() {}
    assert!(watch.end().success());
    let given = answered(&lab);
    assert!(given.len() == 8 && given.values().all(|times| *times == 1), "nothing is paid twice: {given:?}");
    let status = world.json(&["status", &matrix]);
    let once = attempts(&status);
    assert!(once.len() == jobs as usize && once.iter().all(|(_, times)| *times == 1), "{once:?}");
    assert!(micros(&status["balance"]["spent"]) > 43_000, "{}", status["balance"]);
    assert_eq!(status["balance"]["budget"]["device_ms"], 36_000_000, "hours stay as they were");
    let budgets = world.json(&["budget"]);
    let teams: Vec<_> =
        budgets.as_array().unwrap().iter().filter(|one| one["scope"]["scope"] == "team").collect();
    assert_eq!(teams[0]["budget"]["device_ms"], 360_000_000, "{budgets}");
    assert!(teams[0]["spent"]["device_ms"].as_u64().unwrap() > 1_000, "{budgets}");
    let told = world.assay(&["events", "--kind", "budget_reached", "--data-dir", "data"]);
    assert!(told.out.contains("there is") && told.out.contains(&matrix), "{}", told.out);
}
