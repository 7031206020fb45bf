//! Exports of tiny models: merged weights compute what base and adapter do, and what is wrong is refused.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use assay_model::export::{check, merge};
use serde_json::{Value, json};
use tch::{Device, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(name)
}

/// The model with the adapter added, in a folder of its own.
fn merged(model: &Path, adapter: &Path) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    fs::copy(model.join("config.json"), out.path().join("config.json")).unwrap();
    merge(model, adapter, out.path()).unwrap();
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
    ] {
        let model = fixture(name);
        let adapter = model.join("adapter_trained");
        let out = merged(&model, &adapter);
        let found = check(&model, &adapter, &adapter, Some(out.path()), Device::Cpu).unwrap();
        let differs = found.merged_differs.unwrap();
        assert!(differs <= found.merged_tolerance, "{name}: {found:?}");
        assert!(found.adapter_changes > 10.0 * differs, "{name}: {found:?}");
    }
}

#[test]
fn weights_of_two_bytes_are_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("smollm2");
    fs::copy(model.join("config.json"), folder.path().join("config.json")).unwrap();
    let weights = Tensor::read_safetensors(model.join("model.safetensors")).unwrap();
    let halves: Vec<(String, Tensor)> =
        weights.iter().map(|(name, weight)| (name.clone(), weight.to_kind(tch::Kind::BFloat16))).collect();
    Tensor::write_safetensors(&halves, folder.path().join("model.safetensors")).unwrap();
    let adapter = model.join("adapter_trained");
    let out = merged(folder.path(), &adapter);
    check(folder.path(), &adapter, &adapter, Some(out.path()), Device::Cpu).unwrap();
    let written = Tensor::read_safetensors(out.path().join("model.safetensors")).unwrap();
    assert_eq!(written.len(), halves.len());
    assert!(written.iter().all(|(_, weight)| weight.kind() == tch::Kind::BFloat16));
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

    let idle = tempfile::tempdir().unwrap();
    fs::copy(trained.join("adapter_config.json"), idle.path().join("adapter_config.json")).unwrap();
    let factors = Tensor::read_safetensors(trained.join("adapter_model.safetensors")).unwrap();
    let zeros: Vec<(String, Tensor)> =
        factors.iter().map(|(name, factor)| (name.clone(), factor.zeros_like())).collect();
    Tensor::write_safetensors(&zeros, idle.path().join("adapter_model.safetensors")).unwrap();
    let nothing = refused(idle.path(), idle.path(), None);
    assert!(nothing.contains("changes nothing"), "{nothing}");

    // Weights with another adapter in them are not this one's.
    let wrong = merged(&model, &start);
    let differs = refused(&trained, &trained, Some(wrong.path()));
    assert!(differs.contains("merged weights give logits that differ"), "{differs}");
}

#[test]
fn python_loads_merged_weights_and_adapter_to_the_same_logits() {
    let Some(python) = assay_tests::need(assay_tests::Need::Python) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["qwen2-tied", "phi3"] {
        let model = fixture(name);
        let adapter = model.join("adapter_trained");
        let out = merged(&model, &adapter);
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
