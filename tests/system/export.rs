//! `assay export` of a training that ran, through the real processes: the demo's model is stored in bfloat16.

use std::fs;
use std::path::Path;

use assay_tests::{Need, need};
use serde_json::Value;

use crate::stack::Up;
use crate::world::{World, alone};

#[test]
fn merged_weights_come_in_the_models_type_or_another_with_what_rounding_costs() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let (matrix, ..) = world.run().submitted();
    let _up = Up::start(&world);
    let export = |args: &[&str]| {
        let args = [&["export", &matrix, "--data-dir", "data", "--json"], args].concat();
        let ended = world.assay(&args);
        ended.expect(0);
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };

    let as_base = export(&["--out", "as-base", "--merged"]);
    let merged = &as_base["check"]["merged"];
    let at = |path: &str| merged.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!(merged["stored"], "bf16");
    assert!(at("/sums_differ") <= at("/sums_tolerance"), "{merged}");
    assert!(at("/differs") > 10.0 * at("/sums_differ") && at("/rounding_share") < 0.5, "{merged}");
    assert!(at("/run/same_first") > 0.8 && at("/run/divergence") < 0.05, "{merged}");
    let folder = world.path("as-base");
    for file in ["adapter_model.safetensors", "adapter_config.json", "README.md", "assay.json"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let card = fs::read_to_string(folder.join("merged/README.md")).unwrap();
    assert!(card.contains("stored as bf16") && card.contains("of what the adapter changes"), "{card}");
    let bytes = |folder: &Path| fs::metadata(folder.join("model.safetensors")).unwrap().len();
    assert!(bytes(&folder.join("merged")).abs_diff(bytes(&model)) < 4096, "but for the header");

    let wide = export(&["--out", "wide", "--merged", "--dtype", "f32", "--step", "6"]);
    assert_eq!((&wide["check"]["merged"]["stored"], &wide["step"]), (&"f32".into(), &6.into()));
    assert!(wide["check"]["merged"]["rounding_share"].as_f64().unwrap() < 1e-3, "{wide}");
    let wide = world.path("wide/merged");
    assert!(bytes(&wide) > 2 * bytes(&model) - (1 << 20));
    let config: Value = serde_json::from_slice(&fs::read(wide.join("config.json")).unwrap()).unwrap();
    let dtype = config.get("dtype").or(config.get("torch_dtype")).unwrap();
    assert_eq!(dtype, "float32");

    let again = world.assay(&["export", &matrix, "--data-dir", "data", "--out", "wide"]);
    again.expect(2);
    let alone = world.assay(&["export", &matrix, "--data-dir", "data", "--out", "x", "--dtype", "f32"]);
    alone.expect(2);
    assert!(alone.err.contains("--merged"), "{}", alone.err);
}

/// All weights trained, answered with, judged against their base, and handed out as a model; beside it an adapter over weights in
/// 4 bits, which is judged against a base in 4 bits.
#[test]
fn all_weights_are_trained_and_exported_and_an_adapter_over_4_bits_has_its_own_base() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let settings = "epochs: 1, micro_batch: 1, accumulate: 2, warmup_steps: 1, max_length: 96";
    let recipes = format!(
        "recipes:\n  - {{ name: full, method: full, learning_rate: 2e-5, {settings} }}\n  \
         - {{ name: qlora, rank: 8, quantization: nf4, learning_rate: 1e-3, {settings} }}\nprompts:\n"
    );
    world.change_matrix("train_rows: 12", "train_rows: 4");
    world.change_recipes(&recipes);
    let run = world.run();
    let (matrix, jobs, _) = run.submitted();
    // For each recipe one train, its base and epoch 1, and two judges; the report.
    assert_eq!(jobs, 11);
    let _up = Up::start(&world);
    let report = world.json(&["report", &matrix]);
    let losses = |training: usize| -> Vec<f64> {
        let evals = report["training"][training]["evals"].as_array().unwrap();
        evals.iter().map(|eval| eval["loss"].as_f64().unwrap()).collect()
    };
    for training in [losses(0), losses(1)] {
        assert!(training.len() == 2 && training[1] < training[0], "{training:?}");
    }
    assert!(losses(1)[0] > losses(0)[0] + 1e-3, "4 bits make the base worse: {report}");
    assert_eq!(report["training"][0]["training"]["recipe"]["method"], "full");
    let systems = report["generations"].as_array().unwrap();
    let named = |name: &str| systems.iter().filter(|set| set["system"] == name).count();
    assert_eq!((named("base"), named("base-nf4"), systems.len()), (1, 1, 4), "{systems:?}");
    let shown = world.assay(&["report", &matrix, "--data-dir", "data"]);
    assert!(
        shown.out.contains("all weights were trained") && shown.out.contains("in 4 bits (nf4)"),
        "{}",
        shown.out
    );

    let first = format!("{matrix}/0");
    let args = ["export", &first, "--data-dir", "data", "--json", "--out", "whole"];
    let ended = world.assay(&args);
    ended.expect(0);
    let card: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(card["check"]["adapter_changes"].as_f64().unwrap() > 1e-3, "{card}");
    let folder = world.path("whole");
    for file in ["model.safetensors", "config.json", "tokenizer.json", "README.md"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(!folder.join("adapter_config.json").exists());
    let read = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    let (ours, base) = (read(&folder), read(&model));
    assert!(ours.len().abs_diff(base.len()) < 4096, "the types of the base");
    let text = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(text.contains("All weights of") && !text.contains("rank"), "{text}");
    let merged = world.assay(&["export", &first, "--data-dir", "data", "--out", "x", "--merged"]);
    merged.expect(2);
    assert!(merged.err.contains("trained all weights"), "{}", merged.err);
}
