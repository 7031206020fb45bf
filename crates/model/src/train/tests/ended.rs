//! Runs that keep their best factors, end early, or go on in smaller passes: also over a kill.

use super::*;

fn keeping() -> TrainSettings {
    TrainSettings { epochs: 6, keep_best: true, ..settings() }
}

/// With validation rows that run backwards: the better the others are learnt, the higher their loss.
fn misled(model: &Decoder, settings: TrainSettings, dropout: f64) -> Trainer<'_> {
    let backwards = |row: TrainRow| TrainRow::all(row.ids.into_iter().rev().collect());
    let validation = rows(3).into_iter().map(backwards).collect();
    Trainer::new(model, lora(model, dropout), settings, rows(11), validation).unwrap()
}

/// Evaluates after each step to the end; the losses.
fn evaluated(trainer: &mut Trainer<'_>) -> Vec<f64> {
    while trainer.step().unwrap().is_some() {
        trainer.evaluate().unwrap().unwrap();
    }
    trainer.evaluations().iter().map(|evaluation| evaluation.loss).collect()
}

#[test]
fn the_best_factors_take_the_place_of_the_last() {
    let model = model();
    let mut run = misled(&model, keeping(), 0.0);
    let losses = evaluated(&mut run);
    let best = run.best().unwrap();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best.loss == lowest && best.step < run.total_steps(), "{losses:?}");
    let last = flat(&run);
    assert_eq!(run.restore_best().unwrap(), best.step);
    assert_ne!(flat(&run), last);
    let again = run.evaluate().unwrap().unwrap();
    assert_eq!(again.loss, lowest);
}

#[test]
fn a_run_whose_loss_no_longer_falls_ends_and_one_that_is_resumed_ends_there_too() {
    let model = model();
    let stopping = EarlyStopping { patience: 2, min_delta: 0.0 };
    let settings = TrainSettings { early_stopping: Some(stopping), ..keeping() };
    let mut whole = misled(&model, settings.clone(), 0.1);
    let losses = evaluated(&mut whole);
    assert!(whole.is_over() && whole.steps_done() < whole.total_steps(), "{losses:?}");
    let best = whole.best().unwrap();
    assert_eq!(whole.steps_done(), best.step + 2, "two evaluations without a lower loss: {losses:?}");
    whole.restore_best().unwrap();

    for killed_after in [best.step, best.step + 1, best.step + 2] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = misled(&model, settings.clone(), 0.1);
        for _ in 0..killed_after {
            first.step().unwrap();
            first.evaluate().unwrap();
        }
        first.save_resume(dir.path()).unwrap();
        let mut second = misled(&model, settings.clone(), 0.1);
        second.load_resume(dir.path()).unwrap();
        assert_eq!(evaluated(&mut second), losses);
        assert_eq!(second.restore_best().unwrap(), best.step);
        assert_eq!(flat(&second), flat(&whole));
    }
}

#[test]
fn smaller_passes_survive_a_kill() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&model, settings(), 0.1);
    first.fit = Fit { rows: 1, recompute: true };
    first.step().unwrap();
    first.save_resume(dir.path()).unwrap();
    let expected = run(&mut first);
    let mut second = trainer(&model, settings(), 0.1);
    second.load_resume(dir.path()).unwrap();
    assert_eq!(second.fit(), Fit { rows: 1, recompute: true });
    assert_eq!(run(&mut second), expected);
    assert_eq!(flat(&second), flat(&first));
}

/// Settings that came later are not in the digest where they are off, and their fields may be missing.
#[test]
fn the_state_of_an_older_version_is_read() {
    let model = model();
    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&model, settings(), 0.0);
    first.step().unwrap();
    first.save_resume(dir.path()).unwrap();
    let path = dir.path().join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(state.as_object_mut().unwrap().remove("fit").is_some());
    assert!(state.get("watched").is_none());
    std::fs::write(&path, state.to_string()).unwrap();
    let mut second = trainer(&model, settings(), 0.0);
    assert_eq!(second.load_resume(dir.path()).unwrap().steps_done, 1);
    assert_eq!(second.fit(), Fit { rows: 2, recompute: false });
    let written = serde_json::to_value(settings()).unwrap();
    for later in ["lora_plus_ratio", "neftune_alpha", "keep_best", "early_stopping"] {
        assert!(written.get(later).is_none(), "{later}");
    }
}
