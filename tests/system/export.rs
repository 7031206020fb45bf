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
