//! Attention over all rows of a pass in one call of LibTorch, beside a call for each row, with LibTorch's dispatcher and autograd and a
//! kernel for processors in the place of the GPU's (`varlen/kernel.cpp`).
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::Path;

use assay_model::Module;
use assay_model::check::{Comparison, rows_together};
use assay_model::decoder::{Attention, Decoder, NoAdapters, PackedCausal, Packing};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::train::{StepReport, TrainRow, TrainSettings, Trainer};
use assay_text::config::DecoderConfig;
use serde_json::json;
use tch::{Device, Kind, Tensor};

#[expect(unsafe_code, reason = "the kernel is C++")]
mod kernel {
    //! What the kernel can be asked beside its work.

    unsafe extern "C" {
        fn assay_kernel_fault(wanted: i32);
        fn assay_kernel_calls(calls: *mut [i64; 2]);
    }

    pub(super) const REFUSES: i32 = 1;
    pub(super) const LEAKS: i32 = 2;
    pub(super) const REFUSES_GRADIENT: i32 = 3;
    pub(super) const WRONG_GRADIENT: i32 = 4;

    /// What `work` answers while the kernel of this thread has a fault.
    pub(super) fn with_fault<T>(fault: i32, work: impl FnOnce() -> T) -> T {
        set(fault);
        let answer = work();
        set(0);
        answer
    }

    fn set(fault: i32) {
        // Safety: it writes a number of this thread.
        unsafe { assay_kernel_fault(fault) }
    }

    /// Calls of this thread so far, forward and back.
    pub(super) fn calls() -> [i64; 2] {
        let mut calls = [0; 2];
        // Safety: it writes two numbers.
        unsafe { assay_kernel_calls(&raw mut calls) };
        calls
    }
}

fn model(family: &str) -> Decoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(family);
    Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap()
}

/// The same model twice: a call for each row, and one for all.
fn both(family: &str) -> [Decoder; 2] {
    let mut together = model(family);
    together.set_packing(Packing::Together);
    [model(family), together]
}

/// One layer for each window.
fn config([heads, kv_heads, head_dim]: [i64; 3], windows: &[Option<usize>]) -> DecoderConfig {
    let config = DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "head_dim": head_dim,
        "num_hidden_layers": windows.len(), "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512
    }));
    DecoderConfig { windows: windows.to_vec(), attention_scale: 0.21, ..config.unwrap() }
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// The output of a layer, and the gradients of query, key and value.
fn values_and_gradients(mut way: PackedCausal, layer: usize, inputs: &[Tensor; 3]) -> Vec<Tensor> {
    let leaves = inputs.each_ref().map(|input| input.detach().set_requires_grad(true));
    let output = way.attend(layer, &leaves[0], &leaves[1], &leaves[2]).unwrap();
    let factors = Tensor::arange(output.numel() as i64, (Kind::Float, Device::Cpu)).sin().reshape_as(&output);
    let mut found = Tensor::run_backward(&[(&output * factors).sum(Kind::Float)], &leaves, false, false);
    found.push(output.detach());
    found
}

fn drawn(tokens: i64, [heads, kv_heads, width]: [i64; 3]) -> [Tensor; 3] {
    let options = (Kind::Float, Device::Cpu);
    [heads, kv_heads, kv_heads].map(|heads| Tensor::randn([tokens, heads, width], options) * 0.5)
}

#[test]
fn one_call_for_all_rows_has_the_values_and_gradients_of_a_call_for_each() {
    tch::set_num_threads(1);
    let windows = [None, Some(1), Some(5), Some(64)];
    for shape in [[4, 4, 8], [4, 2, 16], [6, 1, 12], [2, 2, 34], [8, 2, 64], [2, 1, 256]] {
        for lengths in [vec![7], vec![1], vec![1, 1, 1], vec![9, 1, 30, 4], vec![2, 65, 1, 11, 33]] {
            let config = config(shape, &windows);
            let inputs = drawn(lengths.iter().sum(), shape);
            for (layer, window) in windows.iter().enumerate() {
                let alone = values_and_gradients(PackedCausal::new(&lengths, &config), layer, &inputs);
                let before = kernel::calls();
                let together = PackedCausal::together(&lengths, &config, Device::Cpu).unwrap();
                let together = values_and_gradients(together, layer, &inputs);
                assert_eq!(kernel::calls(), before.map(|calls| calls + 1), "one call each way");
                for (what, (alone, together)) in
                    ["query", "key", "value", "output"].iter().zip(alone.iter().zip(&together))
                {
                    let apart = largest(&(alone - together)) / largest(alone).max(1.0);
                    assert!(apart < 1e-5, "{what} of {shape:?}, {lengths:?}, {window:?}: {apart}");
                }
            }
        }
    }
}

/// Parts of a wider tensor, as fused projections hand out, and heads whose values do not lie side by side.
#[test]
fn heads_may_lie_in_wider_tensors_or_across() {
    let (shape, lengths) = ([4, 2, 8], [5, 1, 12]);
    let config = config(shape, &[None]);
    let wide = Tensor::randn([18, 8, 8], (Kind::Float, Device::Cpu));
    let parts = [wide.narrow(1, 0, 4), wide.narrow(1, 4, 2), wide.narrow(1, 6, 2)];
    let across = parts.each_ref().map(|part| part.transpose(1, 2).contiguous().transpose(1, 2));
    assert_ne!(across[0].stride()[2], 1);
    let alone = values_and_gradients(PackedCausal::new(&lengths, &config), 0, &parts);
    for inputs in [&parts, &across] {
        let together = PackedCausal::together(&lengths, &config, Device::Cpu).unwrap();
        for (alone, together) in alone.iter().zip(values_and_gradients(together, 0, inputs)) {
            assert!(largest(&(alone - together)) < 1e-5);
        }
    }
}

#[test]
fn what_the_operator_throws_is_an_error_with_its_text() {
    let mut way = PackedCausal::together(&[3, 2], &config([2, 2, 8], &[None]), Device::Cpu).unwrap();
    let [query, key, value] = drawn(6, [2, 2, 8]);
    let error = way.attend(0, &query, &key, &value).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("sequences must cover all tokens"), "{text}");
    assert!(!text.contains("frame #"), "{text}");
}

fn rows(count: u32) -> Vec<TrainRow> {
    let token = |row: u32, position: u32| (row * 31 + position * (row % 5 + 3)) % 90;
    let row = |row: u32| TrainRow::all((0..2 + row * 7 % 23).map(|position| token(row, position)).collect());
    (0..count).map(row).collect()
}

fn settings(recompute: bool) -> TrainSettings {
    TrainSettings { epochs: 2, micro_batch: 3, accumulation: 2, recompute, ..TrainSettings::default() }
}

fn trainer(model: &Decoder, recompute: bool) -> Trainer<'_> {
    let targets = Module::of(model.config()).iter().map(|sized| sized.module).collect();
    let config = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.1, rslora: false, dora: false, targets };
    let lora = Lora::new(config, model.config(), 11, Device::Cpu).unwrap();
    Trainer::new(model, lora, settings(recompute), rows(11), rows(4)).unwrap()
}

fn run(trainer: &mut Trainer<'_>) -> Vec<StepReport> {
    std::iter::from_fn(|| trainer.step().unwrap()).collect()
}

fn adapter(trainer: &Trainer<'_>) -> Vec<(String, Tensor)> {
    let dir = tempfile::tempdir().unwrap();
    trainer.save_trained(dir.path(), None).unwrap();
    let mut read = Tensor::read_safetensors(dir.path().join("adapter_model.safetensors")).unwrap();
    read.sort_by(|(left, _), (right, _)| left.cmp(right));
    read
}

fn apart(left: &[(String, Tensor)], right: &[(String, Tensor)]) -> f64 {
    assert!(left.iter().map(|(name, _)| name).eq(right.iter().map(|(name, _)| name)));
    let pairs = left.iter().zip(right);
    pairs.map(|((_, left), (_, right))| largest(&(left - right))).fold(0.0, f64::max)
}

/// Plain, biased, normed, in a window, fused with a window, one key head for all queries; rows that are cut to a single token among them.
#[test]
fn training_with_rows_together_is_training_row_by_row() {
    tch::set_num_threads(1);
    for (number, family) in
        ["smollm2", "qwen2-tied", "qwen3", "mistral", "phi3", "multi-query"].iter().enumerate()
    {
        let [alone, together] = both(family);
        let recompute = number % 2 == 1;
        let mut expected = trainer(&alone, recompute);
        let expected_steps = run(&mut expected);
        let before = kernel::calls();
        let mut found = trainer(&together, recompute);
        for (expected, found) in expected_steps.iter().zip(run(&mut found)) {
            assert!((expected.loss - found.loss).abs() < 1e-5, "{family}: {expected:?} and {found:?}");
            assert!(
                (expected.grad_norm / found.grad_norm - 1.0).abs() < 1e-4,
                "{family}: {expected:?} and {found:?}"
            );
        }
        // Eleven rows in passes of three, twice; forward a second time where activations are.
        let passes = 8 * together.layer_count() as i64;
        let calls = kernel::calls();
        assert_eq!(calls[0] - before[0], passes * (1 + i64::from(recompute)), "{family}");
        assert_eq!(calls[1] - before[1], passes, "{family}");
        let apart = apart(&adapter(&expected), &adapter(&found));
        assert!(apart < 1e-5, "{family}: the adapters are {apart} apart");
        let losses = [&mut expected, &mut found].map(|trainer| trainer.evaluate().unwrap().unwrap().loss);
        assert!((losses[0] - losses[1]).abs() < 1e-5, "{family}: {losses:?}");
    }
}

#[test]
fn models_with_capped_scores_are_refused_by_the_call_for_all_rows() {
    let [_, together] = both("gemma2");
    let ids = Tensor::from_slice(&[1i64, 2, 3]);
    let refused = together.sequence_logits(&ids, &[1, 2], &NoAdapters).unwrap_err().to_string();
    assert!(
        refused.contains("must be row by row: the kernel for all rows has no cap of scores"),
        "{refused}"
    );
}

/// A trial finds the kernel good for each of these shapes, and for none if it refuses, mixes rows, or has another gradient.
#[test]
fn a_kernel_is_used_only_where_a_trial_finds_its_values_and_gradients() {
    tch::set_num_threads(1);
    for (shape, windows, kind) in [
        ([4, 2, 16], vec![None], Kind::Float),
        ([4, 4, 12], vec![Some(4096), None], Kind::Float),
        ([2, 1, 8], vec![Some(3)], Kind::BFloat16),
    ] {
        let config = config(shape, &windows);
        let tried = || Packing::tried(&config, Device::Cpu, kind);
        assert_eq!(tried(), Packing::Together, "{shape:?}");
        for (fault, says) in [
            (
                kernel::REFUSES,
                "failed: Internal torch error: FlashAttention only supports Ampere GPUs or newer.",
            ),
            (kernel::LEAKS, "from single rows"),
            (kernel::REFUSES_GRADIENT, "does not support backward"),
            (kernel::WRONG_GRADIENT, "from single rows"),
        ] {
            let Packing::RowByRow(reason) = kernel::with_fault(fault, tried) else { panic!("{fault}") };
            assert!(reason.contains(says) && reason.lines().count() == 1, "{reason}");
        }
    }
    assert!(!Tensor::zeros([1], (Kind::Float, Device::Cpu)).requires_grad());
}

/// What `check` does on a GPU.
#[test]
fn a_check_compares_rows_together_with_rows_one_by_one() {
    tch::set_num_threads(1);
    let compared = |fault: i32| -> Vec<Comparison> {
        let [_, together] = both("mistral");
        kernel::with_fault(fault, || rows_together(together, rows(7)).unwrap())
    };
    let passed = compared(0);
    assert_eq!(passed.len(), 3);
    assert!(passed.iter().all(|one| one.passed && one.largest_difference < 1e-4), "{passed:?}");
    assert!(compared(kernel::LEAKS).iter().any(|one| !one.passed));
    let told = rows_together(model("gemma2"), rows(3)).unwrap();
    assert_eq!((told.len(), told[0].tolerance), (1, None));
    assert!(told[0].what.starts_with("attention is row by row ("), "{told:?}");
}

/// It changes last bits, so a resume tells it; states that do not tell it are of rows one by one.
#[test]
fn a_resume_state_tells_how_attention_was_computed() {
    let [alone, together] = both("llama32");
    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&together, false);
    first.step().unwrap();
    first.save_resume(dir.path()).unwrap();
    let changes =
        |model: &Decoder| trainer(model, false).load_resume(dir.path()).unwrap().environment_changes;
    assert!(changes(&together).is_empty());
    assert_eq!(changes(&alone), ["attention was rows together and is row by row"]);
    let path = dir.path().join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["environment"].as_object_mut().unwrap().remove("attention").unwrap();
    std::fs::write(&path, state.to_string()).unwrap();
    assert!(changes(&alone).is_empty());
    assert_eq!(changes(&together), ["attention was row by row and is rows together"]);
}
