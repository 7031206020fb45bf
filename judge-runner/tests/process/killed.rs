//! Kill -9 in the middle of 1,000 calls, twice: once on the same host, once with the host's disk lost.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::labs::{Api, Lab, Says};
use crate::stack::{KEY, Stack};
use crate::told::{self, Receiver};

const PROMPTS: usize = 500;
const CALLS: usize = 2 * PROMPTS;
/// Calls under way at once, at most.
const IN_FLIGHT_MAX: usize = 32;
/// Verdicts after which the ledger is stored.
const STORED_VERDICTS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_verdict_is_lost_and_only_calls_in_flight_are_paid_again() {
    let lab = Lab::start(Api::Anthropic, KEY, |asked| match (asked.ordinal, asked.ordinal % 97) {
        // Two are under way when the process is killed, some are turned away, and some quote the key.
        (299 | 699, _) => Says::Nothing,
        (_, 13) => Says::RateLimited { after_s: 0 },
        (_, 31) => Says::QuotesKey,
        (_, _) => Says::Verdict(["1", "2", "tie"][asked.prompt.len() % 3]),
    })
    .await;
    told::keep_logs();
    let receiver = Receiver::start().await;
    let stack = Stack::start().await.observed(&receiver.endpoint);
    let judge = json!({"kind": "api", "name": "lab", "provider": "anthropic", "model": "claude-opus-4-8",
        "base_url": lab.base_url, "key_env": "ASSAY_TEST_KEY", "template": "assay-v1", "max_tokens": 2048});
    let matrix = stack.submit(PROMPTS, &judge).await;

    let first = stack.judge_runner("host-1");
    reached(&lab, 300).await;
    first.kill();
    let second = stack.judge_runner("host-1");
    reached(&lab, 700).await;
    let again_on_the_same_host = paid_twice(&lab);
    second.kill();
    // Another host: all that it can know lies in the store.
    let third = stack.judge_runner("host-2");
    let ended = stack.finished(&matrix).await;
    third.kill();

    let statuses: Vec<&str> = ended.jobs.iter().map(|job| job.status.as_str()).collect();
    assert!(statuses.iter().all(|status| *status == "succeeded"), "{statuses:?}");
    let verdicts = records(&stack, "verdicts.jsonl");
    assert_eq!(verdicts.len(), CALLS);
    assert!(verdicts.iter().all(|verdict| verdict["status"] == "ok"));
    assert_eq!(lab.asked.lock().unwrap().len(), CALLS + 1, "every presentation and the probe");
    assert!(again_on_the_same_host <= IN_FLIGHT_MAX, "{again_on_the_same_host} paid twice on one host");
    let elsewhere = paid_twice(&lab) - again_on_the_same_host;
    // The part that was being filled or on its way, and what came back meanwhile.
    let lost_max = STORED_VERDICTS + 2 * IN_FLIGHT_MAX;
    assert!(elsewhere <= lost_max, "{elsewhere} paid twice after the loss of the disk");
    println!("paid again: {again_on_the_same_host} on the same host, {elsewhere} with its disk lost");

    let judge = ended.jobs.iter().find(|job| job.kind == "judge").unwrap();
    assert_eq!(judge.attempts.len(), 3);
    shown(&stack);
    nothing_written_holds_the_key(&stack);
    nothing_told_holds_the_key(&receiver);
    stack.stop().await;
}

async fn reached(lab: &Lab, requests: usize) {
    let enough = async { lab.arrived.clone().wait_for(|count| *count >= requests).await.map(|_| ()) };
    let patience = std::time::Duration::from_secs(120);
    tokio::time::timeout(patience, enough).await.expect("the lab is not asked").unwrap();
}

/// Verdicts that were given more than once for the same question.
fn paid_twice(lab: &Lab) -> usize {
    let given: BTreeMap<String, usize> = lab.verdicts.lock().unwrap().clone();
    given.values().map(|times| times.saturating_sub(1)).sum()
}

/// All records of the objects with this file name.
fn records(stack: &Stack, name: &str) -> Vec<Value> {
    let files = stack
        .files()
        .into_iter()
        .filter(|path| path.ends_with(name) && path.components().any(|part| part.as_os_str() == "objects"));
    let texts = files.map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>().concat();
    texts.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The job's log says what was found in the ledger, and what may have been paid for nothing.
fn shown(stack: &Stack) {
    let logs = stack.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "log"));
    let said = logs.map(|path| fs::read_to_string(path).unwrap_or_default()).collect::<Vec<_>>().concat();
    assert!(said.contains("calls were under way when the last attempt ended"), "{said}");
    assert!(said.contains(&format!("{CALLS} presentations: {CALLS} ok;")), "{said}");
}

fn nothing_written_holds_the_key(stack: &Stack) {
    let files = stack.files();
    assert!(files.iter().any(|path| path.ends_with("stderr.log")));
    let mut bytes = 0;
    for path in files {
        // One that the coordinator took away meanwhile is no file.
        let text = fs::read(&path).unwrap_or_default();
        bytes += text.len();
        assert!(!holds(&text, KEY), "{} holds the key", path.display());
    }
    assert!(bytes > 1_000_000, "{bytes} bytes are less than the ledgers alone");
}

/// Traces and metrics as they left the judge-runners, and the logs of coordinator and agent.
fn nothing_told_holds_the_key(receiver: &Receiver) {
    let (sent, logs) = (receiver.sent(), told::logs());
    assert!(holds(&sent, "assay-judge-runner") && holds(&sent, "judge"), "{} bytes of traces", sent.len());
    assert!(holds(&logs, "assay_coordinator") && holds(&logs, "assay_agent"), "{} bytes of logs", logs.len());
    assert!(!holds(&sent, KEY), "a trace or metric holds the key");
    assert!(!holds(&logs, KEY), "a log of the coordinator or agent holds the key");
}

fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}
