//! Train jobs in an engine process of their own: under a memory limit, and with an early end.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

#[path = "engine/process.rs"]
mod process;

use std::path::{Path, PathBuf};

use assay_tests::{Need, need};
use serde_json::{Value, json};

use process::Engine;

#[test]
fn a_training_under_a_memory_limit_goes_on_in_smaller_passes_or_fails_as_out_of_memory() {
    let Some(model) = need(Need::Model) else { return };
    let dir = tempfile::tempdir().unwrap();
    let recipe = json!({ "micro_batch": 8, "max_length": 64 });
    let job = |out: &str| job(&model, &dir.path().join(out), &recipe, 0, &[1]);

    let mut roomy = Engine::start(1 << 20);
    let (expected, before) = roomy.run(&job("roomy"));
    let (expected, Some(loaded_kib)) = (done(&expected), before) else { panic!("it was never loaded") };
    assert!(of_type(&expected, "memory").is_empty());

    // Eight rows of 64 tokens keep about a gigabyte of activations, one row an eighth of it.
    let mut tight = Engine::start(loaded_kib / 1024 + 500);
    let (messages, _) = tight.run(&job("tight"));
    let metrics = done(&messages);
    let smaller = of_type(&metrics, "memory");
    let rows = smaller.last().unwrap()["rows"].as_u64().unwrap();
    assert!((1..8).contains(&rows), "{smaller:?}");
    assert_eq!(smaller[0]["step"], 0, "{smaller:?}");
    let loss = |metrics: &[Value]| of_type(metrics, "step")[0]["loss"].as_f64().unwrap();
    assert!((loss(&expected) - loss(&metrics)).abs() < 1e-4, "{expected:?} {metrics:?}");

    let mut hopeless = Engine::start(loaded_kib / 1024 / 2);
    let (messages, _) = hopeless.run(&job("hopeless"));
    let failed = &messages.last().unwrap()["Failed"];
    assert_eq!(failed["class"], "out_of_memory", "{messages:?}");
}

/// No loss is lower by a hundred nats: the second checkpoint is the end. The plan still gets all that it counts on.
#[test]
fn a_training_that_ends_early_hands_over_its_best_adapter_for_all_checkpoints_left() {
    let Some(model) = need(Need::Model) else { return };
    let dir = tempfile::tempdir().unwrap();
    let stopping = json!({ "patience": 1, "min_delta": 100.0 });
    let recipe = json!({ "epochs": 4, "max_length": 32, "keep_best": true, "early_stopping": stopping });
    let (messages, _) = Engine::start(1 << 20).run(&job(&model, dir.path(), &recipe, 2, &[1, 2, 3, 4]));
    let metrics = done(&messages);
    let attention = json!({ "Log": "attention: row by row (the kernel for all rows is for NVIDIA GPUs)" });
    assert!(messages.contains(&attention), "{messages:?}");
    let steps: Vec<&Value> =
        messages.iter().filter_map(|message| message["Checkpoint"].get("step")).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert_eq!(of_type(&metrics, "step").len(), 2);
    let evals: Vec<f64> =
        of_type(&metrics, "eval").iter().map(|eval| eval["loss"].as_f64().unwrap()).collect();
    let best = if evals[1] <= evals[2] { 1 } else { 2 };
    let end = of_type(&metrics, "end");
    assert_eq!((&end[0]["step"], &end[0]["kept"], end.len()), (&json!(2), &json!(best), 1), "{metrics:?}");
    let adapter = |step: u64| {
        std::fs::read(dir.path().join(format!("adapter@{step}/adapter_model.safetensors"))).unwrap()
    };
    assert_ne!(adapter(1), adapter(2));
    assert!(adapter(3) == adapter(best) && adapter(4) == adapter(best), "{evals:?}");
}

/// Between two checkpoints of the plan: whoever goes on from there comes to the same adapter, bit for bit.
#[test]
fn a_checkpoint_that_is_asked_for_is_saved_after_the_next_step_and_changes_nothing() {
    let Some(model) = need(Need::Model) else { return };
    let dir = tempfile::tempdir().unwrap();
    let recipe = json!({ "epochs": 6, "max_length": 32, "dropout": 0.1 });
    let planned = |out: &str| job(&model, &dir.path().join(out), &recipe, 2, &[3, 6]);
    let mut engine = Engine::start(1 << 20);
    let steps = |messages: &[Value]| -> Vec<u64> {
        messages.iter().filter_map(|message| message["Checkpoint"]["step"].as_u64()).collect()
    };
    let (calm, _) = engine.run(&planned("calm"));
    assert_eq!(steps(&calm), [3, 6]);
    // Said while the first step runs, or after it: the engine looks between two.
    let save = |message: &Value| {
        let first = message["Progress"]["phase"] == "train" && message["Progress"]["done"] == 1;
        first.then(|| json!("Save"))
    };
    let (asked, _) = engine.run_and(&planned("asked"), save);
    let saved: Vec<u64> = steps(&asked).into_iter().filter(|step| ![3, 6].contains(step)).collect();
    assert!(saved.len() == 1 && steps(&asked).len() == 3, "{saved:?}");
    let mut resumed = planned("resumed");
    resumed["Run"]["Train"]["resume"] = json!(dir.path().join(format!("asked/resume@{}", saved[0])));
    let (resumed, _) = Engine::start(1 << 20).run(&resumed);
    let left: Vec<u64> = [3, 6].into_iter().filter(|step| *step > saved[0]).collect();
    assert_eq!(steps(&resumed), left, "nobody asked this time");
    let adapter = |out: &str, step: u64| {
        let file = format!("{out}/adapter@{step}/adapter_model.safetensors");
        std::fs::read(dir.path().join(file)).unwrap()
    };
    assert!(adapter("calm", 3) == adapter("asked", 3) && adapter("calm", 6) == adapter("asked", 6));
    assert!(adapter("calm", 6) == adapter("resumed", 6), "bit for bit");
    let losses = |messages: &[Value]| -> Vec<f64> {
        of_type(&done(messages), "step").iter().map(|step| step["loss"].as_f64().unwrap()).collect()
    };
    assert_eq!(losses(&calm), losses(&resumed));
}

/// One engine, one job after the other: all weights, what came of them as the model that answers, and an adapter over weights in 4
/// bits with its base.
#[test]
fn all_weights_and_an_adapter_over_4_bits_are_trained_and_answer() {
    let Some(model) = need(Need::Model) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut engine = Engine::start(1 << 20);
    let mut train = |recipe: Value, name: &str| -> [f64; 2] {
        let (messages, _) = engine.run(&job(&model, &dir.path().join(name), &recipe, 2, &[1]));
        let metrics = done(&messages);
        let losses: Vec<f64> =
            of_type(&metrics, "eval").iter().map(|eval| eval["loss"].as_f64().unwrap()).collect();
        assert!(losses.len() == 2 && losses[1] < losses[0], "{name}: {losses:?}");
        [losses[0], losses[1]]
    };
    let no_adapter = json!({ "method": "full", "rank": 0, "alpha": 0.0, "dropout": 0.0, "targets": [], "learning_rate": 1e-5 });
    let full = train(no_adapter, "full");
    // On a processor all is in float32 already: the second setting is taken, and nothing comes of it.
    let four_bits = train(json!({ "quantization": "nf4", "residual": "float32" }), "nf4");
    assert!(four_bits[0] > full[0] + 1e-3, "4 bits make the base worse: {four_bits:?} and {full:?}");
    let made = |name: &str| dir.path().join(name).join("adapter@1");
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        assert!(made("full").join(file).is_file(), "{file}");
    }
    assert!(made("nf4").join("adapter_config.json").is_file());

    let mut answer = |adapter: Option<&str>, bits: Option<&str>| -> Value {
        let adapter = adapter.map(made);
        let out = dir.path().join(format!("answers-{}-{}", adapter.is_some(), bits.unwrap_or("full")));
        let (messages, _) = engine.run(&answers(&model, adapter.as_deref(), bits, &out));
        done_at(&messages, "generations.jsonl").remove(0)
    };
    let told = |record: &Value| {
        (record["system"].as_str().unwrap().to_owned(), record["new_tokens"].as_u64().unwrap() > 0)
    };
    assert_eq!(told(&answer(None, None)), (String::from("base"), true));
    assert_eq!(told(&answer(None, Some("nf4"))), (String::from("base-nf4"), true));
    assert_eq!(told(&answer(Some("nf4"), Some("nf4"))), (String::from("d/r/seed-7/step-1"), true));
    assert_eq!(told(&answer(Some("full"), None)), (String::from("d/r/seed-7/step-1"), true));
}

/// A generate job: one prompt, eight tokens.
fn answers(model: &Path, adapter: Option<&Path>, bits: Option<&str>, out: &Path) -> Value {
    let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/prompts.jsonl");
    let text = std::fs::read_to_string(&prompts).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let system = match adapter {
        Some(_) => json!({ "system": "tuned", "data": "d", "recipe": "r", "seed": 7, "step": 1 }),
        None => json!({ "system": "base" }),
    };
    let sampling = json!({
        "name": "s", "defaults": "matrix", "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        "max_new_tokens": 8, "samples": 1, "seed": 42,
    });
    let spec = json!({
        "model": "m", "system": system, "prompts": "eval", "prompt_ids": [first["id"]], "system_prompt": null,
        "sampling": sampling, "quantization": bits,
    });
    let part = json!({ "spec": spec, "model": model, "prompts": prompts, "adapter": adapter, "out": out });
    json!({ "Run": { "Generate": [part] } })
}

/// A train job: one pass is a step, as many rows as one has; `recipe` changes what is given here.
fn job(model: &Path, out: &Path, recipe: &Value, valid_rows: u32, checkpoints: &[u64]) -> Value {
    let mut whole = json!({
        "name": "r", "rank": 4, "alpha": 8.0, "dropout": 0.05, "targets": ["q_proj", "down_proj"], "rslora": false,
        "epochs": 1, "micro_batch": 2, "accumulate": 1, "learning_rate": 1e-3, "warmup_steps": 0,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "max_length": 64, "loss_on": "all", "reference_quirks": false,
    });
    whole.as_object_mut().unwrap().extend(recipe.as_object().unwrap().clone());
    let spec = json!({
        "model": "m", "data": "d", "seed": 7, "train_rows": whole["micro_batch"], "valid_rows": valid_rows,
        "total_steps": whole["epochs"], "checkpoints": checkpoints, "recipe": whole,
    });
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data");
    let valid = (valid_rows > 0).then(|| data.join("valid.jsonl"));
    json!({ "Run": { "Train": {
        "spec": spec, "model": model, "train": data.join("train.jsonl"), "valid": valid, "resume": null, "out": out,
    }}})
}

/// The metrics of a job that is done.
fn done(messages: &[Value]) -> Vec<Value> {
    done_at(messages, "")
}

/// The lines of its first output, a file or one in a folder.
fn done_at(messages: &[Value], file: &str) -> Vec<Value> {
    let outputs = &messages.last().unwrap()["Done"][0]["outputs"];
    let mut path = PathBuf::from(outputs[0][1].as_str().unwrap_or_else(|| panic!("not done: {messages:?}")));
    if !file.is_empty() {
        path.push(file);
    }
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_type<'m>(metrics: &'m [Value], kind: &str) -> Vec<&'m Value> {
    metrics.iter().filter(|record| record["type"] == kind).collect()
}
