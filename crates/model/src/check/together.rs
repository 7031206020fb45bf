//! Attention over all rows of a pass in one call beside a call for each row, on a device that has both.

use tch::{Device, Kind, Tensor};

use super::Comparison;
use crate::decoder::{Decoder, NoAdapters, Packing};
use crate::lora::{Lora, LoraConfig};
use crate::train::{TrainRow, TrainSettings, Trainer};
use crate::{Module, Result};

/// Largest difference of a logit, as a share of the largest.
const LOGITS: f64 = 2e-2;
/// Largest difference of a step's loss.
const LOSS: f64 = 2e-2;
/// Largest difference of the norm of a step's gradient, as a share of it.
const GRADIENT: f64 = 5e-2;

/// Logits and a training step of all rows in one pass. Where a model's rows go one by one, only the reason is told.
pub fn rows_together(mut model: Decoder, rows: Vec<TrainRow>) -> Result<Vec<Comparison>> {
    if let Packing::RowByRow(_) = model.packing() {
        return Ok(vec![Comparison::told(format!("attention is {}", model.packing()), 0.0)]);
    }
    let (logits, step) = (logits(&model, &rows)?, step(&model, &rows)?);
    model.set_packing(Packing::RowByRow(String::from("to compare")));
    let (expected, expected_step) = (self::logits(&model, &rows)?, self::step(&model, &rows)?);
    let largest = |tensor: &Tensor| -> Result<f64> { Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?) };
    let apart = largest(&logits.f_sub(&expected)?)? / largest(&expected)?;
    let of = "rows together and row by row";
    let ([loss, norm], [expected_loss, expected_norm]) = (step, expected_step);
    Ok(vec![
        Comparison::new(format!("logits, {of} (share of the largest)"), apart, LOGITS),
        Comparison::new(format!("loss, {of} (absolute)"), (loss - expected_loss).abs(), LOSS),
        Comparison::new(
            format!("gradient norm, {of} (relative)"),
            (norm / expected_norm - 1.0).abs(),
            GRADIENT,
        ),
    ])
}

fn logits(model: &Decoder, rows: &[TrainRow]) -> Result<Tensor> {
    let ids: Vec<i64> = rows.iter().flat_map(|row| &row.ids).map(|id| i64::from(*id)).collect();
    let lengths: Vec<i64> = rows.iter().map(|row| row.ids.len() as i64).collect();
    let ids = Tensor::f_from_slice(&ids)?.f_to_device(model.device())?;
    let logits = model.sequence_logits(&ids, &lengths, &NoAdapters)?;
    Ok(logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?)
}

/// Loss and norm of the gradient of the first step over all rows in one pass.
fn step(model: &Decoder, rows: &[TrainRow]) -> Result<[f64; 2]> {
    let targets = Module::of(model.config()).iter().map(|sized| sized.module).collect();
    let config = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.0, rslora: false, dora: false, targets };
    let lora = Lora::new(config, model.config(), 1, model.device())?;
    let settings = TrainSettings {
        micro_batch: rows.len(),
        accumulation: 1,
        shuffle: false,
        ..TrainSettings::default()
    };
    let mut trainer = Trainer::new(model, lora, settings, rows.to_vec(), Vec::new())?;
    Ok(trainer.step()?.map_or([f64::NAN; 2], |step| [step.loss, step.grad_norm]))
}
