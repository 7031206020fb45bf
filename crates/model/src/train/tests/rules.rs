//! Rules of TRL's trainer that follow from arithmetic alone (docs/training.md lists all of them).

use tch::Tensor;

use super::*;

/// Losses of a run that changes nothing: B is zero, and so is the learning rate.
fn losses(model: &Decoder, micro_batch: usize, accumulation: usize) -> Vec<f64> {
    let settings = TrainSettings {
        micro_batch,
        accumulation,
        epochs: 1,
        learning_rate: 0.0,
        shuffle: false,
        ..settings()
    };
    run(&mut trainer(model, settings, 0.0)).iter().map(|report| report.loss).collect()
}

/// The path of validation, which knows no steps, is the other side: the mean over the tokens of these rows.
fn mean_over_tokens(model: &Decoder, rows: &[TrainRow]) -> f64 {
    let mut of_rows =
        Trainer::new(model, lora(model, 0.0), settings(), rows.to_vec(), rows.to_vec()).unwrap();
    of_rows.evaluate().unwrap().unwrap().loss
}

/// 11 rows by 2 x 2: groups of 4, 4 and 3 rows. The last is divided by its own tokens, not by those of a full group, and no
/// group is the mean of its micro-batches' means.
#[test]
fn a_step_is_the_mean_over_the_tokens_of_its_group_the_smaller_last_one_too() {
    let (model, rows) = (model(), rows(11));
    let losses = losses(&model, 2, 2);
    assert_eq!(losses.len(), 3);
    for (loss, group) in losses.iter().zip(rows.chunks(4)) {
        assert!((loss - mean_over_tokens(&model, group)).abs() < 1e-5, "{losses:?}");
        let means: Vec<f64> = group.chunks(2).map(|micro| mean_over_tokens(&model, micro)).collect();
        let mean_of_means = means.iter().sum::<f64>() / means.len() as f64;
        assert!((loss - mean_of_means).abs() > 1e-4, "{loss} is told from {mean_of_means}");
    }
}

/// Where TRL takes the mean of batches' means, a validation loss here is one mean over all tokens.
#[test]
fn a_validation_loss_does_not_depend_on_how_rows_are_batched() {
    let model = model();
    let of = |micro_batch| {
        let settings = TrainSettings { micro_batch, ..settings() };
        let mut of_rows = Trainer::new(&model, lora(&model, 0.0), settings, rows(2), rows(11)).unwrap();
        of_rows.evaluate().unwrap().unwrap().loss
    };
    let alone: Vec<f64> = rows(11).chunks(1).map(|row| mean_over_tokens(&model, row)).collect();
    assert!((of(1) - of(8)).abs() < 1e-5);
    assert!((of(1) - alone.iter().sum::<f64>() / 11.0).abs() > 1e-4, "a mean over rows is another number");
}

/// `torch.nn.utils.clip_grad_norm_`: the factor is max / (norm + 1e-6) and never above 1.
#[test]
fn gradients_are_scaled_down_to_the_largest_norm_and_never_up() {
    let clipped = |most| {
        let gradient = Tensor::from_slice(&[3f32, -4.0]);
        Vec::<f32>::try_from(clip(gradient, 5.0, most).unwrap()).unwrap()
    };
    let expected = [3.0 / 5.000001, -4.0 / 5.000001].map(|value: f64| value as f32);
    assert!(largest_difference(&clipped(1.0), &expected) < 1e-7);
    assert_eq!(clipped(5.1), [3.0, -4.0]);
    assert_eq!(clipped(0.0), [3.0, -4.0], "0 turns it off");
}

/// What is reported is the norm before it is clipped.
#[test]
fn clipping_does_not_change_the_norm_that_is_told() {
    let model = model();
    let norm = |max_grad_norm| {
        let mut of_one = trainer(&model, TrainSettings { max_grad_norm, ..settings() }, 0.0);
        of_one.step().unwrap().unwrap().grad_norm
    };
    assert!(norm(0.0) > 1e-3);
    assert_eq!(norm(1e-3), norm(0.0));
}

/// `get_decay_parameter_names` leaves out biases and norms; no factor or magnitude has such a name.
#[test]
fn weight_decay_is_for_all_values_of_an_adapter() {
    let model = model();
    for lora in [lora(&model, 0.0), dora(&model, 0.0)] {
        let trained = Trained::from(lora);
        let spans = trained.spans(1.0).unwrap();
        let decaying: i64 = spans.iter().filter(|span| span.decays).map(|span| span.elements).sum();
        assert_eq!(decaying as usize, trained.parameter_count());
    }
}
