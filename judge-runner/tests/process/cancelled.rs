//! A matrix is cancelled while its judge is asked, and tried again on a host that has nothing but what lies in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::labs::batches::Fate;
use crate::labs::{Api, Lab, Says};
use crate::stack::{KEY, Stack};

const PATIENCE: Duration = Duration::from_secs(120);
/// Answered before the lab falls silent.
const ANSWERED: usize = 130;
/// Calls under way at once, at most.
const IN_FLIGHT_MAX: usize = 32;

fn judge(lab: &Lab, batch: bool) -> Value {
    json!({"kind": "api", "name": "lab", "provider": "anthropic", "model": "claude-opus-4-8", "batch": batch,
        "base_url": lab.base_url, "key_env": "ASSAY_TEST_KEY", "template": "assay-v1", "max_tokens": 2048})
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["entry"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_cancel_is_not_asked_again_by_another_host() {
    let silent = Arc::new(AtomicBool::new(true));
    let is_silent = silent.clone();
    let lab = Lab::start(Api::Anthropic, KEY, move |asked| {
        match is_silent.load(Ordering::SeqCst) && asked.ordinal >= ANSWERED {
            true => Says::Nothing,
            false => Says::Verdict("1"),
        }
    })
    .await;
    let stack = Stack::start().await;
    let matrix = stack.submit(100, &judge(&lab, false)).await;
    let first = stack.judge_runner("host-1");
    let enough = async { lab.arrived.clone().wait_for(|count| *count > ANSWERED).await.map(|_| ()) };
    tokio::time::timeout(PATIENCE, enough).await.expect("the lab is not asked").unwrap();
    stack.cancel(&matrix).await;
    // All of it, the part that was being filled included; the canned call is one of them.
    let lines = stack.ledger(&matrix, |lines| of(lines, "answered").len() >= ANSWERED).await;
    assert_eq!(of(&lines, "answered").len(), ANSWERED);
    first.kill();
    silent.store(false, Ordering::SeqCst);

    let again = stack.retry(&matrix).await;
    let second = stack.judge_runner("host-2");
    let ended = stack.finished(&again).await;
    assert!(ended.jobs.iter().all(|job| ["succeeded", "reused"].contains(&job.status.as_str())));
    let given: BTreeMap<String, usize> = lab.verdicts.lock().unwrap().clone();
    assert!(given.len() == 201 && given.values().all(|times| *times == 1), "paid twice: {given:?}");
    let asked: usize = lab.asked.lock().unwrap().values().sum();
    assert!(asked <= 201 + IN_FLIGHT_MAX, "{asked} calls");
    // The second matrix's ledger is whole by itself.
    let lines = stack.ledger(&again, |lines| of(lines, "answered").len() >= 201).await;
    assert_eq!(of(&lines, "answered").len(), 201);
    second.kill();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_matrix_cancels_its_batch_and_a_retry_asks_only_what_it_had_not_answered() {
    let lab = Lab::start(Api::Anthropic, KEY, |_| Says::Verdict("2")).await;
    lab.batches.lock().unwrap().fate = |number| if number == 0 { Fate::Runs } else { Fate::Ends };
    let stack = Stack::start().await;
    let matrix = stack.submit(20, &judge(&lab, true)).await;
    let first = stack.judge_runner("host-1");
    let mut looked = lab.batches.lock().unwrap().looked.subscribe();
    let seen = tokio::time::timeout(PATIENCE, looked.wait_for(|looks| *looks > 0)).await;
    drop(seen.expect("no batch is made").unwrap());
    stack.cancel(&matrix).await;
    let lines = stack.ledger(&matrix, |lines| !of(lines, "batch_ended").is_empty()).await;
    assert_eq!(lab.batches.lock().unwrap().cancelled, 1);
    assert_eq!((of(&lines, "batch_cancelled").len(), of(&lines, "stopped").len()), (1, 0), "{lines:?}");
    let answered = of(&lines, "answered").iter().filter(|one| one["batch"].is_string()).count();
    assert_eq!(answered, 20, "every second question of 40");
    first.kill();

    let again = stack.retry(&matrix).await;
    let second = stack.judge_runner("host-2");
    let ended = stack.finished(&again).await;
    second.kill();
    assert!(ended.jobs.iter().all(|job| ["succeeded", "reused"].contains(&job.status.as_str())));
    let made: Vec<usize> = lab.batches.lock().unwrap().made.iter().map(|made| made.items.len()).collect();
    assert_eq!(made, [40, 20]);
    assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1));
    stack.stop().await;
}
