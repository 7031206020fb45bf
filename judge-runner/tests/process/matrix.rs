//! A matrix of one comparison and one judge, resolved, with many prompts.

use assay_domain::{Digest, ObjectKey};
use serde_json::{Value, json};

/// The bytes of its files.
pub(crate) const FILES: [&str; 3] = ["model", "train", "prompts"];

fn artifact(name: &str) -> Value {
    let digest = Digest::of(name.as_bytes());
    json!({"name": name, "files": [
        {"path": format!("{name}.bin"), "key": ObjectKey::upload(digest), "digest": digest, "bytes": name.len()}
    ]})
}

/// As `assay submit` sends it: so many prompts, and this judge.
pub(crate) fn resolved(prompts: usize, judge: &Value) -> Value {
    let projections = json!({
        "q_proj": [8, 8], "k_proj": [8, 8], "v_proj": [8, 8], "o_proj": [8, 8],
        "gate_proj": [16, 8], "up_proj": [16, 8], "down_proj": [8, 16],
    });
    let record = |number: usize| json!({"id": format!("p{number:04}"), "domain": "a", "split": "in-domain", "tokens": {"tiny": 5}});
    let records: Vec<Value> = (0..prompts).map(record).collect();
    json!({
        "matrix": {
            "name": "small",
            "models": [{"name": "tiny", "path": "tiny"}],
            "data": [{"name": "talk", "train": "train.jsonl"}],
            "recipes": [{"name": "r16", "epochs": 1, "micro_batch": 2, "accumulate": 2, "warmup_steps": 1, "max_length": 64}],
            "seeds": [1],
            "evaluate": "last",
            "prompts": [{"name": "eval", "file": "prompts.jsonl"}],
            "sampling": [{"name": "greedy", "temperature": 0.0, "max_new_tokens": 8}],
            "panel": {"judges": [judge]},
        },
        "models": {"tiny": {
            "artifact": artifact("model"), "model_type": "llama", "layers": 2, "hidden": 8, "attention_width": 8,
            "kv_width": 8, "max_positions": 128, "linear_parameters": 1000, "embedding_parameters": 100,
            "head_parameters": 100, "tied": true, "projections": projections,
        }},
        "data": {"talk": {
            "train": artifact("train"), "valid": null, "train_rows": 8, "valid_rows": 0,
            "tokens": [{"model": "tiny", "max_length": 64, "train_tokens": 80, "valid_tokens": 0, "rows_cut": 0}],
        }},
        "prompts": {"eval": {"artifact": artifact("prompts"), "records": records}},
        "judges": {"lab": {"unavailable": null}},
    })
}
