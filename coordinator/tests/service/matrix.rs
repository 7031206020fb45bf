//! A small matrix, resolved: one model, one recipe with two checkpoints, two prompts, one smoke judge.

use assay_domain::{Digest, ObjectKey};
use serde_json::{Value, json};

/// The bytes of its files.
pub(crate) const FILES: [&str; 4] = ["model", "train", "valid", "prompts"];

/// The kinds of its jobs, in the order of the plan.
pub(crate) const JOBS: usize = 7;

fn artifact(name: &str) -> Value {
    let digest = Digest::of(name.as_bytes());
    let path = format!("{name}.bin");
    json!({"name": name, "files": [
        {"path": path, "key": ObjectKey::upload(digest), "digest": digest, "bytes": name.len()}
    ]})
}

/// As `assay submit` sends it; another seed is another matrix.
pub(crate) fn resolved(seed: u64) -> Value {
    let projections = json!({
        "q_proj": [8, 8], "k_proj": [8, 8], "v_proj": [8, 8], "o_proj": [8, 8],
        "gate_proj": [16, 8], "up_proj": [16, 8], "down_proj": [8, 16],
    });
    json!({
        "matrix": {
            "name": "small",
            "models": [{"name": "tiny", "path": "tiny"}],
            "data": [{"name": "talk", "train": "train.jsonl", "valid": "valid.jsonl"}],
            "recipes": [{"name": "r16", "epochs": 2, "micro_batch": 2, "accumulate": 2, "warmup_steps": 1, "max_length": 64}],
            "seeds": [seed],
            "prompts": [{"name": "eval", "file": "prompts.jsonl"}],
            "sampling": [{"name": "greedy", "temperature": 0.0, "max_new_tokens": 8}],
            "panel": {"judges": [
                {"kind": "logprob", "name": "plain", "model": "tiny", "template": "smoke-plain-v1"}
            ]},
        },
        "models": {"tiny": {
            "artifact": artifact("model"), "model_type": "llama", "layers": 2, "hidden": 8, "attention_width": 8,
            "kv_width": 8, "max_positions": 128, "linear_parameters": 1000, "embedding_parameters": 100,
            "head_parameters": 100, "tied": true, "projections": projections,
        }},
        "data": {"talk": {
            "train": artifact("train"), "valid": artifact("valid"), "train_rows": 8, "valid_rows": 2,
            "tokens": [{"model": "tiny", "max_length": 64, "train_tokens": 80, "valid_tokens": 20, "rows_cut": 0}],
        }},
        "prompts": {"eval": {"artifact": artifact("prompts"), "records": [
            {"id": "p1", "domain": "a", "split": "in-domain", "tokens": {"tiny": 5}},
            {"id": "p2", "domain": "b", "split": "out-of-domain", "tokens": {"tiny": 5}},
        ]}},
        "judges": {"plain": {"unavailable": null}},
    })
}
