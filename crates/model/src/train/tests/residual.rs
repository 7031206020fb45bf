//! Products in bfloat16 with hidden states between layers in float32, beside all of it in bfloat16 and all in float32.

use tch::Tensor;

use super::super::backward::Pass;
use super::super::batch::MicroBatch;
use super::*;
use crate::decoder::NoAdapters;
use crate::lora::tests::random_lora;

const FAMILIES: [&str; 5] = ["smollm2", "llama32", "qwen3", "phi3", "gemma2"];

/// All in float32; in bfloat16 with float32 between layers; all in bfloat16.
fn each<T>(family: &str, of: impl Fn(&Decoder) -> T) -> [T; 3] {
    let exact = model_of(family, Kind::Float);
    let mut narrow = model_of(family, Kind::BFloat16);
    let last = of(&narrow);
    narrow.set_float32_residual(true).unwrap();
    [of(&exact), of(&narrow), last]
}

/// How far two others are from the first, root mean square, as a share of its own.
fn errors([exact, wide, narrow]: [Tensor; 3]) -> [f64; 2] {
    let norm = |tensor: &Tensor| f64::try_from(tensor.to_kind(Kind::Double).norm()).unwrap();
    [wide, narrow].map(|other| norm(&(other - &exact)) / norm(&exact))
}

fn logits(model: &Decoder) -> Tensor {
    let rows = rows(6);
    let ids: Vec<i64> = rows.iter().flat_map(|row| &row.ids).map(|id| i64::from(*id)).collect();
    let lengths: Vec<i64> = rows.iter().map(|row| row.ids.len() as i64).collect();
    let logits = model.sequence_logits(&Tensor::from_slice(&ids), &lengths, &NoAdapters).unwrap();
    logits.to_kind(Kind::Float)
}

/// Of all factors, with activations kept.
fn gradient(model: &Decoder) -> Tensor {
    let trained = Trained::from(random_lora(model.config(), 3));
    let rows = rows(6);
    let batch = MicroBatch::new(&rows.iter().collect::<Vec<_>>(), model).unwrap().unwrap();
    let adapters = trained.adapters(None);
    let pass = Pass { model, trained: &trained, adapters, batch: &batch, noise: None, scale: 0.01 };
    let (_, parts) = pass.run(false).unwrap();
    let flat = trained.flat().zeros_like();
    trained.add(&flat, &parts).unwrap();
    flat
}

#[test]
fn float32_between_layers_brings_logits_and_gradients_nearer_to_float32() {
    for family in FAMILIES {
        for (what, [wide, narrow]) in
            [("logits", errors(each(family, logits))), ("gradient", errors(each(family, gradient)))]
        {
            println!("{family}: {what} {wide:.2e} instead of {narrow:.2e} apart");
            assert!(wide < narrow && wide > 0.0, "{family}: {what} {wide} and {narrow} apart");
        }
    }
}

#[test]
fn training_with_float32_between_layers_is_as_finite_and_as_near_as_without() {
    let [exact, wide, narrow] = each("llama32", |model| {
        let recomputed = run(&mut trainer(model, TrainSettings { recompute: true, ..settings() }, 0.1));
        let kept = run(&mut trainer(model, settings(), 0.1));
        for (kept, recomputed) in kept.iter().zip(&recomputed) {
            assert!((kept.loss - recomputed.loss).abs() < 1e-2, "{kept:?} {recomputed:?}");
        }
        kept
    });
    assert!(wide[5].loss < wide[0].loss, "{wide:?}");
    assert_ne!(wide[0].loss, narrow[0].loss, "it changed nothing");
    for (exact, wide) in exact.iter().zip(&wide) {
        assert!((exact.loss - wide.loss).abs() < 0.03, "{} and {}", exact.loss, wide.loss);
        assert!((exact.grad_norm / wide.grad_norm - 1.0).abs() < 0.1);
    }
}

/// Nothing changes where products are in float32 already; where they are not, a resume state tells.
#[test]
fn float32_between_layers_is_told_where_it_is_another_type_than_that_of_products() {
    for (kind, told) in [(Kind::Float, None), (Kind::BFloat16, Some("Float"))] {
        let mut model = model_of("gemma2", kind);
        model.set_float32_residual(true).unwrap();
        assert_eq!((model.kind(), model.residual()), (kind, Kind::Float));
        let mut first = trainer(&model, settings(), 0.0);
        first.step().unwrap();
        let dir = tempfile::tempdir().unwrap();
        first.save_resume(dir.path()).unwrap();
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("state.json")).unwrap()).unwrap();
        assert_eq!(state["environment"]["residual"].as_str(), told);
        drop(first);
        let mut same = trainer(&model, settings(), 0.0);
        assert!(same.load_resume(dir.path()).unwrap().environment_changes.is_empty());
    }
    let mut model = model_of("gemma2", Kind::Float);
    let before = logits(&model);
    model.set_float32_residual(true).unwrap();
    assert_eq!(logits(&model), before);
}
