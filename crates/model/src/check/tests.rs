use std::path::PathBuf;

use tch::Device;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(name)
}

#[test]
fn llama_matches_transformers_and_peft() {
    passes("smollm2");
}

#[test]
fn stretched_rotary_frequencies_match() {
    passes("llama32");
}

#[test]
fn biased_projections_match() {
    passes("qwen2-tied");
}

#[test]
fn normed_query_and_key_heads_match() {
    passes("qwen3");
}

/// Biases on all projections, a head width of its own, three micro-batches of one row.
#[test]
fn one_key_head_for_all_queries_matches() {
    passes("multi-query");
}

/// Two adapted modules with rsLoRA, two epochs, an output head of its own.
#[test]
fn a_key_head_for_each_query_matches() {
    passes("multi-head");
}

#[test]
fn a_window_shorter_than_the_text_matches() {
    passes("mistral");
}

#[test]
fn fused_projections_match() {
    passes("phi3");
}

/// Caps on scores and logits, every other layer in a window, norms on both sides.
#[test]
fn capped_scores_and_alternating_windows_match() {
    passes("gemma2");
}

/// Biased projections, all seven of them adapted.
#[test]
fn weight_decomposed_adapters_match() {
    passes("dora");
}

/// PEFT's own optimizer: B factors learn 16 times as fast.
#[test]
fn learning_rates_of_lora_plus_match() {
    passes("lora-plus");
}

/// Transformers' own hook, with the seeds that training draws its noise from.
#[test]
fn noise_on_embeddings_matches() {
    passes("neftune");
}

/// What a GPU's check adds, computed here: a CPU has bfloat16 too, only slower.
#[test]
fn bfloat16_stays_near_float32() {
    for name in ["smollm2", "qwen3", "llama32"] {
        let files = TensorFiles::open_file(&fixture(name).join("golden.safetensors")).unwrap();
        let comparisons = golden::bfloat16(&fixture(name), Device::Cpu, &files).unwrap();
        assert!(comparisons.iter().all(|one| one.passed), "{name}: {comparisons:?}");
        assert!(comparisons[0].largest_difference > 0.0, "{name} was not computed in bfloat16");
    }
}

fn passes(name: &str) {
    let report = check(&fixture(name), Device::Cpu).unwrap();
    assert!(report.passed, "{report}");
    assert_eq!(report.comparisons.len(), 11);
    let in_batch = report.comparisons.iter().find(|one| one.what.starts_with("answers in Float"));
    assert_eq!(in_batch.unwrap().largest_difference, 0.0, "answers depend on their batch");
    assert!(report.steps.len() >= 5);
}

#[test]
fn a_value_that_is_not_a_number_never_passes() {
    assert!(!Comparison::new("x", f64::NAN, 1.0).passed);
    assert!(!Comparison::new("x", f64::INFINITY, 1.0).passed);
    assert!(Comparison::new("x", 0.0, 0.0).passed);
    let nan = Tensor::from_slice(&[1.0f32, f32::NAN]);
    let one = Tensor::from_slice(&[1.0f32, 1.0]);
    assert_eq!(largest_difference(&nan, &one).unwrap(), f64::INFINITY);
    assert_eq!(largest_difference(&one, &one.get(0)).unwrap(), f64::INFINITY);
}

#[test]
fn missing_reference_values_are_refused_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = check(dir.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("golden.json") && error.contains("cannot be read"), "{error}");
}
