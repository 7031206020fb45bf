//! `comparisons:` end to end: both checkpoints are judged against each other blind, and whoever is better wins in the report.

use std::fs;

use assay_judging::report::Report;
use serde_json::{Value, json};

use crate::labs::{Api, Lab, Says};
use crate::stack::{KEY, Stack};

const PROMPTS: usize = 12;

/// The label of the response that says this, wherever it stands.
fn label_of(prompt: &str, said: &str) -> &'static str {
    let at = |text: &str| prompt.find(text).unwrap_or_else(|| panic!("`{text}` is not in:\n{prompt}"));
    let said = at(said);
    let mut labels = [(at("Response 1\n"), "1"), (at("Response 2\n"), "2")];
    labels.sort_unstable();
    labels.iter().rev().find(|(place, _)| *place < said).expect("a label stands before it").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_judged_against_an_earlier_one_wins_whatever_slot_and_label_it_has() {
    // A lab that likes the first checkpoint best, then the second, then the base.
    let lab = Lab::start(Api::Anthropic, KEY, |asked| {
        let best = ["After step 2", "After step 4", "Untrained"];
        match best.iter().find(|said| asked.prompt.contains(**said)) {
            Some(said) => Says::Verdict(label_of(asked.prompt, said)),
            None => Says::Verdict("tie"),
        }
    })
    .await;
    let stack = Stack::start().await;
    let judge = json!({"kind": "api", "name": "lab", "provider": "anthropic", "model": "claude-opus-4-8",
        "base_url": lab.base_url, "key_env": "ASSAY_TEST_KEY", "template": "assay-v1", "max_tokens": 2048});
    let matrix = stack
        .submit_changed(PROMPTS, &judge, |matrix| {
            matrix["recipes"][0]["epochs"] = json!(2);
            matrix["evaluate"] = json!("all");
            matrix["comparisons"] = json!([{"with": {"checkpoint": "first"}}]);
        })
        .await;
    let runner = stack.judge_runner("host-1");
    let ended = stack.finished(&matrix).await;
    runner.kill();
    assert!(ended.jobs.iter().all(|job| job.status == "succeeded"), "{:?}", ended.jobs);
    // Three comparisons, each pair in both orders, and the canned call.
    assert_eq!(lab.asked.lock().unwrap().len(), 3 * 2 * PROMPTS + 1);

    let report = report(&stack);
    let [direct] = &report.direct[..] else { panic!("one direct comparison") };
    assert!(
        direct.comparison.id.contains("step-4/against/tiny/talk/r16/seed-1/step-2"),
        "{:?}",
        direct.comparison
    );
    let row = direct.overall(None).unwrap();
    assert_eq!(
        (row.counts.wins, row.counts.ties, row.counts.losses),
        (0, 0, 12),
        "the earlier one is better"
    );
    for comparison in &report.comparisons {
        let row = comparison.overall(None).unwrap();
        assert_eq!((row.counts.wins, row.counts.losses), (12, 0), "{:?}", comparison.comparison.id);
    }
    let [group] = &report.strengths[..] else { panic!("one scale") };
    let order: Vec<&str> = group.systems.iter().map(|system| system.system.as_str()).collect();
    assert_eq!(order, ["talk/r16/seed-1/step-2", "talk/r16/seed-1/step-4", "base"]);
    // Not one word to the lab says whom it reads.
    for asked in lab.asked.lock().unwrap().keys() {
        for secret in ["r16", "seed", "tuned", "base", "against"] {
            assert!(!asked.contains(secret), "`{secret}` unblinds:\n{asked}");
        }
    }
    blind_in_both_roles(&stack, &direct.comparison.id);
    stack.stop().await;
}

/// Slots are drawn as for any pair: each side has both, and neither always starts.
fn blind_in_both_roles(stack: &Stack, comparison: &str) {
    let texts = stack.files().into_iter().filter(|path| path.ends_with("keys.jsonl"));
    let lines = texts.map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>().concat();
    let keys: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut firsts = Vec::new();
    for key in keys.iter().filter(|key| key["comparison"] == comparison) {
        firsts.push((key["pair_id"].clone(), key["pass"].clone(), key["tuned_slot"].clone()));
    }
    firsts.sort_by_key(|key| key.0.to_string());
    firsts.dedup();
    let first_passes = firsts.iter().filter(|(_, pass, slot)| pass == 0 && slot == "first").count();
    assert_eq!((firsts.len(), first_passes), (2 * PROMPTS, PROMPTS / 2), "balanced");
}

fn report(stack: &Stack) -> Report {
    let path = stack.files().into_iter().find(|path| {
        path.file_name().is_some_and(|name| name == "report.json")
            && path.components().any(|part| part.as_os_str() == "objects")
    });
    serde_json::from_str(&fs::read_to_string(path.expect("there is a report")).unwrap()).unwrap()
}
