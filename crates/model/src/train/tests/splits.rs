//! One step, however it is split: packed, padded, in smaller passes, with activations computed twice.

use proptest::prelude::*;
use tch::Tensor;

use super::super::backward::Pass;
use super::super::batch::MicroBatch;
use super::*;
use crate::decoder::PackedCausal;
use crate::lora::tests::random_lora;

/// Losses and trained adapter of a run at the method's learning rate.
fn trained(model: &Decoder, split: (usize, usize), recompute: bool, count: u32) -> (Vec<f64>, Vec<f32>) {
    let (micro_batch, accumulation) = split;
    let learning_rate = TrainSettings::default().learning_rate;
    let settings = TrainSettings { micro_batch, accumulation, recompute, learning_rate, ..settings() };
    let mut run_of = Trainer::new(model, lora(model, 0.0), settings, rows(count), Vec::new()).unwrap();
    (run(&mut run_of).iter().map(|report| report.loss).collect(), flat(&run_of))
}

/// Loss and gradient of one pass, divided by about the number of its predictions.
fn gradient(model: &Decoder, trained: &Trained, batch: &MicroBatch, recompute: bool) -> (f64, Tensor) {
    let pass = Pass { model, trained, adapters: trained.adapters(None), batch, noise: None, scale: 0.01 };
    let (sum, parts) = pass.run(recompute).unwrap();
    let flat = trained.flat().zeros_like();
    trained.add(&flat, &parts).unwrap();
    (sum * 0.01, flat)
}

/// The rows as Transformers has them: each as long as the longest, filled up with token 0, which predicts nothing.
fn padded(rows: &[&TrainRow], model: &Decoder) -> MicroBatch {
    let width = rows.iter().map(|row| row.ids.len()).max().unwrap();
    let (mut ids, mut predicting, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let labelled = row.labels.iter().enumerate().skip(1).filter(|(_, label)| **label != IGNORED);
        for (position, label) in labelled {
            predicting.push((ids.len() + position - 1) as i64);
            targets.push(*label);
        }
        ids.extend(row.ids.iter().map(|id| i64::from(*id)));
        ids.resize(ids.len().next_multiple_of(width), 0);
    }
    let attention = PackedCausal::new(&vec![width as i64; rows.len()], model.config());
    MicroBatch {
        ids: Tensor::from_slice(&ids),
        positions: model.positions(attention.tokens()).unwrap(),
        attention,
        predicting: Tensor::from_slice(&predicting),
        targets: Tensor::from_slice(&targets),
    }
}

fn close(left: &(f64, Tensor), right: &(f64, Tensor)) -> Result<(), TestCaseError> {
    prop_assert!((left.0 - right.0).abs() < 1e-5, "losses {} and {}", left.0, right.0);
    let apart = f64::try_from((&left.1 - &right.1).abs().max()).unwrap();
    let largest = f64::try_from(left.1.abs().max()).unwrap();
    prop_assert!(apart < 1e-5 && largest > 1e-3, "gradients are {apart} apart, the largest is {largest}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    /// Rows packed into one pass, each alone (so beside no other and no padding), or anything between; activations
    /// kept or computed twice. AdamW divides by the size of the gradient, so an element whose gradient is all but 0
    /// moves by rounding alone: the adapter is held to 1e-5 at the method's learning rate.
    #[test]
    fn packing_splits_and_recomputation_train_the_same_adapter(
        family in prop::sample::select(vec!["llama32", "mistral", "phi3", "gemma2"]),
        split in prop::sample::select(vec![(1, 6), (2, 3), (3, 2), (6, 1), (4, 1), (1, 4), (2, 2)]),
        recompute: bool,
        count in 5u32..14,
    ) {
        let model = model_of(family, Kind::Float);
        let (losses, adapter) = trained(&model, (split.0 * split.1, 1), false, count);
        let (other_losses, other) = trained(&model, split, recompute, count);
        prop_assert_eq!(losses.len(), other_losses.len());
        for (loss, other) in losses.iter().zip(&other_losses) {
            prop_assert!((loss - other).abs() < 1e-5, "{loss} and {other}");
        }
        let apart = largest_difference(&adapter, &other);
        prop_assert!(apart < 1e-5, "the adapters are {apart} apart");
    }

    /// The same rows in one pass as they are packed, padded to the longest, and one by one, as Transformers and TRL
    /// compute them: one loss, one gradient.
    #[test]
    fn packed_rows_have_the_loss_and_gradient_of_padded_ones(
        family in prop::sample::select(vec!["llama32", "mistral", "phi3", "gemma2"]),
        count in 2u32..7,
        recompute: bool,
    ) {
        let model = model_of(family, Kind::Float);
        let lora = Trained::from(random_lora(model.config(), 3));
        let mut rows = rows(count);
        rows[1].labels[6..].fill(IGNORED);
        let rows: Vec<&TrainRow> = rows.iter().collect();
        let packed = gradient(&model, &lora, &MicroBatch::new(&rows, &model).unwrap().unwrap(), false);
        let padded = gradient(&model, &lora, &padded(&rows, &model), recompute);
        close(&packed, &padded)?;
        let mut alone = (0.0, Tensor::zeros_like(&packed.1));
        for row in rows {
            let (loss, part) = gradient(&model, &lora, &MicroBatch::new(&[row], &model).unwrap().unwrap(), recompute);
            alone = (alone.0 + loss, alone.1 + part);
        }
        close(&packed, &alone)?;
    }

    /// Where memory makes passes smaller, loss and gradient stay those of the settings' micro-batch, masks of dropout
    /// and noise included.
    #[test]
    fn smaller_passes_have_the_same_loss_and_gradient(
        family in prop::sample::select(vec!["llama32", "phi3", "gemma2"]),
        micro_batch in 1usize..6,
        pass_rows in 1usize..4,
        recompute: bool,
        dropout in prop::sample::select(vec![0.0, 0.3]),
        neftune_alpha in prop::sample::select(vec![0.0, 5.0]),
    ) {
        let model = model_of(family, Kind::Float);
        let lora = { let mut lora = random_lora(model.config(), 3); lora.set_dropout(dropout); Trained::from(lora) };
        let rows = rows(7);
        let micros: Vec<Vec<usize>> = (0..7).collect::<Vec<_>>().chunks(micro_batch).map(<[_]>::to_vec).collect();
        let group = Group { model: &model, trained: &lora, rows: &rows, micros: &micros, divisor: 90.0, seed: 4, neftune_alpha, step: 3 };
        let whole = group.accumulate(Fit { rows: micro_batch, recompute: false }).unwrap();
        let parts = group.accumulate(Fit { rows: pass_rows, recompute }).unwrap();
        close(&whole, &parts)?;
    }
}
