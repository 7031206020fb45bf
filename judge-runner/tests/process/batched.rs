//! Kill -9 while the call that makes a batch is under way, and the host's disk lost: it is found at the lab, not made again.

use serde_json::json;

use crate::labs::{Api, Lab, Says};
use crate::stack::{KEY, Stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_making_was_never_heard_of_is_found_by_another_host() {
    for (api, provider, model, making) in
        [(Api::Anthropic, "anthropic", "claude-opus-4-8", 0), (Api::Chat, "openai", "gpt-4o-2024-08-06", 2)]
    {
        let lab = Lab::start(api, KEY, |_| Says::Verdict("2")).await;
        lab.batches.lock().unwrap().silent = Some((making, true));
        let mut silenced = lab.batches.lock().unwrap().silenced.subscribe();
        let stack = Stack::start().await;
        let judge = json!({"kind": "api", "name": "lab", "provider": provider, "model": model, "batch": true,
            "base_url": lab.base_url, "key_env": "ASSAY_TEST_KEY", "template": "assay-v1", "max_tokens": 2048});
        let matrix = stack.submit(20, &judge).await;
        let first = stack.judge_runner("host-1");
        let patience = std::time::Duration::from_secs(120);
        let heard = tokio::time::timeout(patience, silenced.wait_for(|silenced| *silenced)).await;
        drop(heard.expect("no batch is made").unwrap());
        first.kill();
        let second = stack.judge_runner("host-2");
        let ended = stack.finished(&matrix).await;
        second.kill();
        assert!(ended.jobs.iter().all(|job| job.status == "succeeded"), "{:?}", ended.jobs);
        let made: Vec<usize> = lab.batches.lock().unwrap().made.iter().map(|made| made.items.len()).collect();
        assert_eq!(made, [40], "{provider}");
        assert!(lab.verdicts.lock().unwrap().values().all(|times| *times == 1), "{provider}");
        stack.stop().await;
    }
}
