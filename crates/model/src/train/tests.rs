mod ended;
mod residual;
mod rules;
mod splits;
mod whole;

use std::path::PathBuf;

use tch::{Device, Kind};

use super::*;
use crate::Module;
use crate::lora::LoraConfig;

fn model() -> Decoder {
    model_of("llama32", Kind::Float)
}

fn model_of(family: &str, kind: Kind) -> Decoder {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(family);
    Decoder::load(&dir, Device::Cpu, kind).unwrap()
}

/// One of each kind: plain, in a window, fused, capped.
fn models() -> [Decoder; 4] {
    ["llama32", "mistral", "phi3", "gemma2"].map(|family| model_of(family, Kind::Float))
}

/// Rows of different lengths with something to learn: each token follows from the one before.
fn rows(count: u32) -> Vec<TrainRow> {
    let token = |row: u32, position: u32| (row * 31 + position * (row % 5 + 3)) % 256;
    (0..count)
        .map(|row| TrainRow::all((0..10 + row * 7 % 23).map(|position| token(row, position)).collect()))
        .collect()
}

fn settings() -> TrainSettings {
    TrainSettings {
        epochs: 2,
        accumulation: 2,
        learning_rate: 0.01,
        warmup_steps: 2,
        seed: 5,
        ..TrainSettings::default()
    }
}

fn lora(model: &Decoder, dropout: f64) -> Lora {
    let targets = Module::of(model.config()).iter().map(|sized| sized.module).collect();
    let config = LoraConfig { rank: 4, alpha: 8.0, dropout, rslora: false, dora: false, targets };
    Lora::new(config, model.config(), 11, Device::Cpu).unwrap()
}

fn dora(model: &Decoder, dropout: f64) -> Lora {
    let config = LoraConfig { dora: true, ..lora(model, dropout).config().clone() };
    Lora::for_model(config, model, 11).unwrap()
}

fn trainer(model: &Decoder, settings: TrainSettings, dropout: f64) -> Trainer<'_> {
    Trainer::new(model, lora(model, dropout), settings, rows(11), rows(3)).unwrap()
}

fn run(trainer: &mut Trainer<'_>) -> Vec<StepReport> {
    std::iter::from_fn(|| trainer.step().unwrap()).collect()
}

fn flat(trainer: &Trainer<'_>) -> Vec<f32> {
    Vec::<f32>::try_from(trainer.trained().flat()).unwrap()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

#[test]
fn training_lowers_the_loss_on_other_rows_and_counts_its_steps() {
    let model = model();
    let mut trainer = trainer(&model, settings(), 0.0);
    let before = trainer.evaluate().unwrap().unwrap();
    assert_eq!(before.loss, trainer.evaluate_base().unwrap().unwrap().loss, "B is zero at the start");
    let mut due = Vec::new();
    while let Some(report) = trainer.step().unwrap() {
        if trainer.checkpoint_due() {
            due.push(report.step);
        }
    }
    assert_eq!((trainer.steps_done(), trainer.total_steps(), trainer.epochs_done()), (6, 6, 2.0));
    assert_eq!(due, [3, 6], "a checkpoint after each epoch");
    let after = trainer.evaluate().unwrap().unwrap();
    assert!(after.loss < before.loss, "{} then {}", before.loss, after.loss);
    assert_eq!(trainer.evaluations(), [before, after]);
}

#[test]
fn computing_activations_twice_changes_nothing_even_with_dropout() {
    for model in models() {
        let mut stored = trainer(&model, settings(), 0.1);
        let mut recomputed = trainer(&model, TrainSettings { recompute: true, ..settings() }, 0.1);
        let (left, right) = (run(&mut stored), run(&mut recomputed));
        for (left, right) in left.iter().zip(&right) {
            assert!((left.loss - right.loss).abs() < 1e-5, "{}", model.config().model_type);
        }
        assert!(largest_difference(&flat(&stored), &flat(&recomputed)) < 1e-4);
    }
}

/// Magnitudes begin as the weights' own, so nothing changes at first; dropout falls on both parts of the sum.
#[test]
fn weight_decomposed_adapters_train_with_activations_kept_or_computed_twice() {
    for model in models() {
        let run_of = |recompute, dropout| {
            let settings = TrainSettings { recompute, ..settings() };
            let lora = dora(&model, dropout);
            let mut run_of = Trainer::new(&model, lora, settings, rows(11), rows(3)).unwrap();
            let (base, before) =
                (run_of.evaluate_base().unwrap().unwrap(), run_of.evaluate().unwrap().unwrap());
            assert!((base.loss - before.loss).abs() < 1e-5, "{base:?} {before:?}");
            (run(&mut run_of), flat(&run_of))
        };
        let (kept, twice, dropped) = (run_of(false, 0.0), run_of(true, 0.0), run_of(true, 0.2));
        assert!(largest_difference(&kept.1, &twice.1) < 1e-4);
        assert!(kept.0[5].loss < kept.0[0].loss, "{:?}", kept.0);
        assert!(largest_difference(&kept.1, &dropped.1) > 1e-3);
    }
}

#[test]
fn the_way_a_step_is_split_does_not_matter() {
    for model in models() {
        let split = |micro_batch, accumulation| {
            let mut trainer = trainer(&model, TrainSettings { micro_batch, accumulation, ..settings() }, 0.0);
            (run(&mut trainer), flat(&trainer))
        };
        let (reports, wide) = split(4, 1);
        for (other_reports, other) in [split(1, 4), split(2, 2)] {
            assert!(largest_difference(&wide, &other) < 1e-4, "{}", model.config().model_type);
            assert!((reports[5].loss - other_reports[5].loss).abs() < 1e-5);
        }
    }
}

#[test]
fn quirks_divide_by_the_labels_before_the_shift() {
    let model = model();
    let mut plain = trainer(&model, settings(), 0.0);
    let mut quirky = trainer(&model, TrainSettings { reference_quirks: true, ..settings() }, 0.0);
    let (plain, quirky) = (plain.step().unwrap().unwrap(), quirky.step().unwrap().unwrap());
    let (tokens, predicted) = (plain.tokens as f64, plain.predicted_tokens as f64);
    assert!((quirky.loss - plain.loss * predicted / tokens).abs() < 1e-6);
}

#[test]
fn a_resumed_run_is_bitwise_the_uninterrupted_one() {
    let model = model();
    let mut whole = trainer(&model, settings(), 0.1);
    let reports = run(&mut whole);
    for stop in [1, 3, 5] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = trainer(&model, settings(), 0.1);
        for _ in 0..stop {
            first.step().unwrap();
        }
        let evaluation = first.evaluate().unwrap().unwrap();
        first.save_resume(dir.path()).unwrap();
        let mut second = trainer(&model, settings(), 0.1);
        let resumed = second.load_resume(dir.path()).unwrap();
        assert_eq!((resumed.steps_done, resumed.environment_changes), (stop as u64, vec![]));
        assert_eq!(second.evaluations(), [evaluation]);
        assert_eq!(run(&mut second), reports[stop..]);
        assert_eq!(flat(&second), flat(&whole));
    }
}

#[test]
fn a_run_that_goes_on_elsewhere_says_what_is_not_as_it_was() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&model, settings(), 0.0);
    first.step().unwrap();
    first.save_resume(dir.path()).unwrap();
    let path = dir.path().join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let told = state["environment"].as_object().unwrap();
    let names: Vec<_> = told.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "CPU capability",
            "LibTorch",
            "LibTorch build",
            "attention",
            "device",
            "device model",
            "kind",
            "threads"
        ]
    );
    state["environment"]["LibTorch"] = "2.0.1".into();
    state["environment"].as_object_mut().unwrap().remove("CPU capability");
    std::fs::write(&path, state.to_string()).unwrap();
    let mut second = trainer(&model, settings(), 0.0);
    let changes = second.load_resume(dir.path()).unwrap().environment_changes;
    assert!(changes[0].starts_with("CPU capability was unknown and is "), "{changes:?}");
    assert_eq!(changes[1..], [format!("LibTorch was 2.0.1 and is {}", crate::device::libtorch_version())]);
    second.step().unwrap().unwrap();
}

#[test]
fn the_state_of_another_run_is_refused_and_changes_nothing() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&model, settings(), 0.0);
    first.step().unwrap();
    first.save_resume(dir.path()).unwrap();
    let mut other = trainer(&model, TrainSettings { learning_rate: 0.02, ..settings() }, 0.0);
    let before = flat(&other);
    let error = other.load_resume(dir.path()).unwrap_err().to_string();
    assert!(error.contains("belongs to a run with other settings"), "{error}");
    std::fs::write(dir.path().join("optimizer.safetensors"), "cut").unwrap();
    let mut same = trainer(&model, settings(), 0.0);
    assert!(same.load_resume(dir.path()).is_err());
    assert_eq!((same.steps_done(), flat(&other), flat(&same)), (0, before.clone(), before));
}

#[test]
fn settings_out_of_range_are_refused_before_anything_runs() {
    let model = model();
    let refusal = |settings: TrainSettings, rows: Vec<TrainRow>| {
        Trainer::new(&model, lora(&model, 0.0), settings, rows, Vec::new()).unwrap_err().to_string()
    };
    let none = refusal(TrainSettings { accumulation: 0, ..settings() }, rows(2));
    assert_eq!(none, "setting `accumulation` is 0, but must be 1 or more");
    assert!(refusal(settings(), Vec::new()).contains("at least one row"));
    let negative = refusal(TrainSettings { learning_rate: -1.0, ..settings() }, rows(2));
    assert!(negative.contains("`learning_rate` is -1, but must be 0 or more"));
}

#[test]
fn a_loss_that_is_no_number_is_met_at_its_step_with_the_rows_that_made_it() {
    let model = model();
    let lora = lora(&model, 0.0);
    {
        let _guard = tch::no_grad_guard();
        let _flat = lora.flat().shallow_clone().f_fill_(f64::NAN).unwrap();
    }
    let in_order = TrainSettings { shuffle: false, ..settings() };
    let mut broken = Trainer::new(&model, lora, in_order, rows(11), Vec::new()).unwrap();
    let error = broken.step().unwrap_err().to_string();
    assert!(error.starts_with("loss of step 1 is NaN, on rows [[0, 1]] of the training data"), "{error}");
    assert_eq!(broken.steps_done(), 0);
}

/// The loss of a row can be finite where its gradient is none: only the pass that made it is named.
#[test]
fn a_validation_loss_that_is_no_number_is_an_error() {
    let model = model();
    let mut trainer =
        Trainer::new(&model, lora(&model, 0.0), TrainSettings::default(), rows(4), rows(2)).unwrap();
    assert!(trainer.evaluate().unwrap().unwrap().loss.is_finite());
    let _guard = tch::no_grad_guard();
    let _flat = trainer.trained.flat().shallow_clone().fill_(f64::NAN);
    let why = trainer.evaluate().unwrap_err().to_string();
    assert!(why.starts_with("the validation loss after step 0 is NaN"), "{why}");
}

#[test]
fn a_gradient_that_is_no_number_is_traced_to_its_pass() {
    let model = model();
    let in_order = TrainSettings { shuffle: false, ..settings() };
    let broken = Trainer::new(&model, lora(&model, 0.0), in_order, rows(11), Vec::new()).unwrap();
    let micros = broken.order.step(0).unwrap();
    let group = Group {
        model: &model,
        trained: &broken.trained,
        rows: &broken.rows,
        micros: &micros,
        divisor: 1.0,
        seed: 5,
        neftune_alpha: 0.0,
        step: 1,
    };
    let whole = group.not_finite(broken.fit, f64::INFINITY).to_string();
    assert!(whole.starts_with("gradient norm of step 1 is inf, on rows [[0, 1], [2, 3]]"), "{whole}");
    let huge = Group { divisor: 1e-320, ..group };
    let first = huge.not_finite(broken.fit, f64::INFINITY).to_string();
    assert!(first.contains("on rows [[0, 1]] of the training data"), "{first}");
}

/// What a GPU runs: weights and activations in bfloat16, factors, gradients and moments in float32.
#[test]
fn bfloat16_trains_close_to_float32() {
    let (wide, narrow) = (model(), model_of("llama32", Kind::BFloat16));
    let (wide, narrow) =
        (run(&mut trainer(&wide, settings(), 0.0)), run(&mut trainer(&narrow, settings(), 0.0)));
    for (wide, narrow) in wide.iter().zip(&narrow) {
        assert!((wide.loss - narrow.loss).abs() < 0.03, "{} and {}", wide.loss, narrow.loss);
        assert!((wide.grad_norm / narrow.grad_norm - 1.0).abs() < 0.1);
    }
}
