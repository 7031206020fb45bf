//! Exports of tiny models: merged weights compute what base and adapter do, and what is wrong is refused.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use assay_model::export::{Stored, check, merge};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(name)
}

/// The model with the adapter added, in a folder of its own.
fn merged(model: &Path, adapter: &Path, stored: Stored) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    fs::copy(model.join("config.json"), out.path().join("config.json")).unwrap();
    merge(model, adapter, out.path(), stored).unwrap();
    out
}

/// A fixture whose weights are stored in bfloat16.
fn halved(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture(name);
    fs::copy(model.join("config.json"), folder.path().join("config.json")).unwrap();
    let halves: Vec<(String, Tensor)> = tensors(&model.join("model.safetensors"))
        .into_iter()
        .map(|(name, weight)| (name, weight.to_kind(Kind::BFloat16)))
        .collect();
    Tensor::write_safetensors(&halves, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn tensors(path: &Path) -> Vec<(String, Tensor)> {
    Tensor::read_safetensors(path).unwrap()
}

/// The adapter with its tensors changed, in a folder of its own.
fn changed(adapter: &Path, change: impl Fn(&str, Tensor) -> Tensor) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    fs::copy(adapter.join("adapter_config.json"), out.path().join("adapter_config.json")).unwrap();
    let factors: Vec<(String, Tensor)> = tensors(&adapter.join("adapter_model.safetensors"))
        .into_iter()
        .map(|(name, factor)| (name.clone(), change(&name, factor)))
        .collect();
    Tensor::write_safetensors(&factors, out.path().join("adapter_model.safetensors")).unwrap();
    out
}

#[test]
fn merged_weights_of_every_family_compute_what_base_and_adapter_do() {
    for name in [
        "qwen2-tied",
        "qwen3",
        "llama32",
        "smollm2",
        "mistral",
        "phi3",
        "gemma2",
        "multi-head",
        "multi-query",
        "dora",
    ] {
        let model = fixture(name);
        let adapter = model.join("adapter_trained");
        let out = merged(&model, &adapter, Stored::AsBase);
        let found = check(&model, &adapter, &adapter, Some(out.path()), Device::Cpu).unwrap();
        let merged = found.merged.as_ref().unwrap();
        assert_eq!(merged.stored, "f32");
        assert!(merged.differs <= merged.sums_tolerance && merged.rounding_share < 1e-3, "{name}: {found:?}");
        assert!(found.adapter_changes > 10.0 * merged.differs, "{name}: {found:?}");
        assert!(
            (merged.run.same_first - 1.0).abs() < 1e-9 && merged.run.divergence < 1e-6,
            "{name}: {found:?}"
        );
    }
}

#[test]
fn weights_of_two_bytes_are_rounded_once_and_what_that_costs_is_told() {
    for name in ["smollm2", "dora"] {
        let model = halved(name);
        let adapter = fixture(name).join("adapter_trained");
        let out = merged(model.path(), &adapter, Stored::AsBase);
        let found = check(model.path(), &adapter, &adapter, Some(out.path()), Device::Cpu).unwrap();
        let cost = found.merged.unwrap();
        assert_eq!(cost.stored, "bf16");
        assert!(cost.sums_differ <= cost.sums_tolerance, "{name}: {cost:?}");
        assert!(cost.differs > cost.sums_differ && cost.rounding_share > 1e-4, "{name}: {cost:?}");
        let written = tensors(&out.path().join("model.safetensors"));
        assert_eq!(written.len(), tensors(&model.path().join("model.safetensors")).len());
        assert!(written.iter().all(|(_, weight)| weight.kind() == Kind::BFloat16));

        let wide = merged(model.path(), &adapter, Stored::from_name("f32").unwrap());
        let found = check(model.path(), &adapter, &adapter, Some(wide.path()), Device::Cpu).unwrap();
        let exact = found.merged.unwrap();
        assert_eq!(exact.stored, "f32");
        assert!(
            exact.differs <= exact.sums_tolerance && exact.rounding_share < cost.rounding_share,
            "{exact:?}"
        );
        let config: Value =
            serde_json::from_slice(&fs::read(wide.path().join("config.json")).unwrap()).unwrap();
        let dtype = config.get("dtype").or(config.get("torch_dtype")).unwrap();
        assert_eq!(dtype, "float32", "Transformers loads what is stored");
    }
}

#[test]
fn an_adapter_too_small_for_the_type_is_refused_with_a_way_out() {
    let model = halved("smollm2");
    let small = changed(&fixture("smollm2").join("adapter_trained"), |name, factor| {
        if name.contains("lora_B") { factor * 1e-4 } else { factor }
    });
    let check = |out: &Path| check(model.path(), small.path(), small.path(), Some(out), Device::Cpu);
    let rounded = merged(model.path(), small.path(), Stored::AsBase);
    let why = check(rounded.path()).unwrap_err().to_string();
    assert!(why.contains("times as much as the adapter does") && why.contains("store them as f32"), "{why}");
    let wide = merged(model.path(), small.path(), Stored::from_name("f32").unwrap());
    let found = check(wide.path()).unwrap().merged.unwrap();
    assert!(found.rounding_share < 0.1, "{found:?}");
}

#[test]
fn another_adapter_one_that_does_nothing_and_wrong_weights_are_refused() {
    let model = fixture("smollm2");
    let (start, trained) = (model.join("adapter"), model.join("adapter_trained"));
    let refused = |written: &Path, trained: &Path, merged: Option<&Path>| {
        check(&model, trained, written, merged, Device::Cpu).unwrap_err().to_string()
    };
    let other = refused(&start, &trained, None);
    assert!(other.contains("is not the adapter that was trained"), "{other}");
    let idle = changed(&trained, |_, factor| factor.zeros_like());
    let nothing = refused(idle.path(), idle.path(), None);
    assert!(nothing.contains("changes nothing"), "{nothing}");
}

/// Whatever the type, merged weights that are not the sum are told from rounded ones.
#[test]
fn weights_with_something_else_in_them_are_refused_in_any_type() {
    let trained = fixture("smollm2").join("adapter_trained");
    let wrong: [tempfile::TempDir; 3] =
        [
            // Another scale; one module left out; one that is the wrong way round.
            changed(&trained, |name, factor| if name.contains("lora_B") { factor * 1.05 } else { factor }),
            changed(&trained, |name, factor| {
                if name.contains("layers.1.mlp.down_proj.lora_B") { factor.zeros_like() } else { factor }
            }),
            changed(&trained, |name, factor| {
                if name.contains("layers.0.self_attn.q_proj") { factor.flip([0]) } else { factor }
            }),
        ];
    let models = [halved("smollm2"), halved("smollm2")];
    for (model, stored) in models.iter().zip([Stored::AsBase, Stored::from_name("f32").unwrap()]) {
        for adapter in &wrong {
            let out = merged(model.path(), adapter.path(), stored);
            let why = check(model.path(), &trained, &trained, Some(out.path()), Device::Cpu).unwrap_err();
            assert!(why.to_string().contains("is not the sum of base and adapter"), "{why}");
        }
    }
    let out = merged(models[0].path(), &trained, Stored::AsBase);
    let path = out.path().join("model.safetensors");
    let mut left: Vec<(String, Tensor)> = tensors(&path);
    left.retain(|(name, _)| name != "model.norm.weight");
    Tensor::write_safetensors(&left, &path).unwrap();
    let why = check(models[0].path(), &trained, &trained, Some(out.path()), Device::Cpu).unwrap_err();
    assert!(why.to_string().contains("have no tensor `model.norm.weight`"), "{why}");
}

#[test]
fn python_loads_merged_weights_and_adapter_to_the_same_logits() {
    let Some(python) = assay_tests::need(assay_tests::Need::Python) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["qwen2-tied", "phi3"] {
        let model = fixture(name);
        let adapter = model.join("adapter_trained");
        let out = merged(&model, &adapter, Stored::AsBase);
        let asked = json!({"model": model, "adapter": adapter, "merged": out.path()});
        let path = folder.path().join("asked.json");
        fs::write(&path, asked.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merged_logits.py");
        let answer = std::process::Command::new(&python)
            .arg(script)
            .arg(&path)
            .envs([("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")])
            .output()
            .unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let found: Value = serde_json::from_slice(&answer.stdout).unwrap();
        let (differs, changes) = (found["differs"].as_f64().unwrap(), found["changes"].as_f64().unwrap());
        assert!(differs < 1e-4 && changes > 100.0 * differs, "{name}: {found}");
    }
}
