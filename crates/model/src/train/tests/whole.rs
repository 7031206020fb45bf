//! All weights trained: one gradient however it is computed, exact resume, and a folder that is a model again.

use super::*;
use crate::Whole;

const FAMILIES: [&str; 5] = ["qwen2-tied", "llama32", "mistral", "phi3", "gemma2"];

fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(family)
}

fn gentle() -> TrainSettings {
    let mut settings = TrainSettings { learning_rate: 1e-3, keep_best: true, ..settings() };
    settings.optimizer.weight_decay = 0.1;
    settings
}

/// Runs `work` with a trainer over all weights of a family's model.
fn with_trainer<T>(family: &str, settings: TrainSettings, work: impl FnOnce(&mut Trainer<'_>) -> T) -> T {
    let (model, whole) = Whole::load(&folder(family), Device::Cpu).unwrap();
    work(&mut Trainer::new(&model, whole, settings, rows(11), rows(3)).unwrap())
}

#[test]
fn loss_and_gradient_are_the_same_with_activations_kept_computed_twice_or_in_smaller_passes() {
    for family in FAMILIES {
        let of = |settings: TrainSettings| {
            with_trainer(family, settings, |trainer| {
                let report = trainer.step().unwrap().unwrap();
                (report.loss, report.grad_norm, flat(trainer))
            })
        };
        let kept = of(gentle());
        let split = TrainSettings { micro_batch: 1, accumulation: 4, ..gentle() };
        for other in [of(TrainSettings { recompute: true, ..gentle() }), of(split)] {
            assert!((kept.0 - other.0).abs() < 1e-5, "{family}: {} and {}", kept.0, other.0);
            assert!((kept.1 / other.1 - 1.0).abs() < 1e-4, "{family}: {} and {}", kept.1, other.1);
        }
    }
}

/// Every weight moves, and the validation loss falls; frozen parts would stay.
#[test]
fn every_tensor_learns() {
    for family in FAMILIES {
        let (before, after, losses) = with_trainer(family, gentle(), |trainer| {
            let before = flat(trainer);
            let mut losses = vec![trainer.evaluate_base().unwrap().unwrap().loss];
            run(trainer);
            losses.push(trainer.evaluate().unwrap().unwrap().loss);
            assert!(trainer.evaluate_base().unwrap().is_none(), "the base is gone");
            let Trained::Whole(whole) = trainer.trained() else { panic!("not all weights") };
            let after: Vec<Vec<f32>> =
                whole.leaves().iter().map(|leaf| Vec::<f32>::try_from(leaf.reshape([-1])).unwrap()).collect();
            (before, after, losses)
        });
        assert!(losses[1] < losses[0], "{family}: {losses:?}");
        let mut start = 0;
        for leaf in after {
            assert_ne!(leaf, before[start..start + leaf.len()], "{family}");
            start += leaf.len();
        }
        assert_eq!(start, before.len());
    }
}

#[test]
fn a_resumed_run_is_bitwise_the_uninterrupted_one_its_best_weights_included() {
    let settings = TrainSettings { neftune_alpha: 2.0, ..gentle() };
    let evaluated = |trainer: &mut Trainer<'_>| {
        let mut reports = Vec::new();
        while let Some(report) = trainer.step().unwrap() {
            reports.push((report, trainer.evaluate().unwrap()));
        }
        let last = flat(trainer);
        let best = trainer.restore_best().unwrap();
        (reports, last, best, flat(trainer))
    };
    let whole = with_trainer("qwen2-tied", settings.clone(), evaluated);
    for stop in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        with_trainer("qwen2-tied", settings.clone(), |first| {
            for _ in 0..stop {
                first.step().unwrap();
                first.evaluate().unwrap();
            }
            first.save_resume(dir.path()).unwrap();
        });
        with_trainer("qwen2-tied", settings.clone(), |second| {
            let resumed = second.load_resume(dir.path()).unwrap();
            assert_eq!((resumed.steps_done, resumed.environment_changes), (stop as u64, vec![]));
            let (reports, last, best, kept) = evaluated(second);
            assert_eq!(reports[..], whole.0[stop..]);
            assert!(last == whole.1 && best == whole.2 && kept == whole.3, "other weights after {stop}");
        });
        // An adapter's run is another one.
        let model = model_of("qwen2-tied", Kind::Float);
        let lora = lora(&model, 0.0);
        let mut other = Trainer::new(&model, lora, settings.clone(), rows(11), rows(3)).unwrap();
        let why = other.load_resume(dir.path()).unwrap_err().to_string();
        assert!(why.contains("belongs to a run with other settings"), "{why}");
    }
}

#[test]
fn what_is_written_is_a_model_folder_that_computes_what_was_trained() {
    for family in FAMILIES {
        let out = tempfile::tempdir().unwrap();
        let written = out.path().join("model");
        let trained = with_trainer(family, gentle(), |trainer| {
            run(trainer);
            trainer.save_trained(&written, None).unwrap();
            trainer.evaluate().unwrap().unwrap().loss
        });
        let model = Decoder::load(&written, Device::Cpu, Kind::Float).unwrap();
        let lora = lora(&model, 0.0);
        let mut again = Trainer::new(&model, lora, settings(), rows(11), rows(3)).unwrap();
        let loss = again.evaluate_base().unwrap().unwrap().loss;
        assert!((loss - trained).abs() < 1e-6, "{family}: {loss} and {trained}");
        for name in ["config.json", "model.safetensors"] {
            assert!(written.join(name).is_file(), "{name}");
        }
    }
}

#[test]
fn settings_of_adapters_are_refused() {
    let (model, whole) = Whole::load(&folder("llama32"), Device::Cpu).unwrap();
    let settings = TrainSettings { lora_plus_ratio: 4.0, ..settings() };
    let why = Trainer::new(&model, whole, settings, rows(2), Vec::new()).unwrap_err().to_string();
    assert!(why.contains("`lora_plus_ratio` is 4, but must be 1 where all weights are trained"), "{why}");
}
