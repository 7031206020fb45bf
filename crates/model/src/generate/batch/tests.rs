use std::path::Path;

use tch::{Device, Kind};

use super::*;
use crate::decoder::{Adapters, Decoder, NoAdapters};
use crate::generate::queue::Queue;
use crate::generate::{GenerateSettings, PromptRow};
use crate::lora::tests::random_lora;
use crate::sample::SampleSettings;

/// Every step of 64 rows of the base and two adapters, against a whole pass over each sequence alone: of different
/// prompts, and of prompts that begin alike.
#[test]
fn logits_in_a_batch_of_64_are_those_alone() {
    for (family, beginning) in ["llama32", "qwen2-tied", "qwen3", "smollm2", "mistral", "gemma2"]
        .iter()
        .flat_map(|family| [(family, 0), (family, 30)])
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(family);
        let model = Decoder::load(&folder, Device::Cpu, Kind::Float).unwrap();
        let loras = [random_lora(model.config(), 1), random_lora(model.config(), 2)];
        let prompts: Vec<PromptRow> = (0..64)
            .map(|index| PromptRow {
                index,
                ids: (0..beginning)
                    .map(|place| place * 5 % 250)
                    .chain((0..=index % 13).map(|place| ((index * 31 + place * 17 + 5) % 250) as u32))
                    .collect(),
                adapter: [None, Some(0), Some(1)][index % 3],
            })
            .collect();
        let sample = SampleSettings { temperature: 1.0, seed: 5, ..SampleSettings::default() };
        let settings = GenerateSettings { batch: 64, ..GenerateSettings::new(sample, 20, &[]) };
        let generator = Generator::new(&model, &[&loras[0], &loras[1]], settings).unwrap();
        let _guard = tch::no_grad_guard();
        let mut batch = Batch::new(&generator, 64, Beginnings::of(&prompts)).unwrap();
        let mut queue = Queue::new(&prompts, 1);
        batch.join(queue.take(64, 4096)).unwrap();
        assert_eq!(batch.beginnings.get(None).is_some(), beginning > 0);
        let (mut worst, mut shift) = (0.0_f64, 0.0_f64);
        for step in 0..10 {
            let logits = batch.step_logits().unwrap();
            if step % 3 == 0 {
                for (line, row) in batch.rows.iter().enumerate().step_by(7) {
                    let difference = |lora| largest(&logits.get(line as i64), &alone(&model, &row.ids, lora));
                    worst = worst.max(difference(row.adapter.map(|adapter| &loras[adapter])));
                    shift = shift.max(difference(Some(&loras[0])));
                }
            }
            batch.pick(&logits, 0).unwrap();
        }
        assert!(worst < 1e-4, "{family}: {worst}");
        assert!(shift > 1e-2, "{family}: the adapters change logits by no more than {shift}");
    }
}

fn alone(model: &Decoder, ids: &[u32], lora: Option<&crate::lora::Lora>) -> Tensor {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let length = ids.len() as i64;
    let adapters: Box<dyn Adapters + '_> = match lora {
        Some(lora) => Box::new(RowAdapters::new().with(0..length, lora)),
        None => Box::new(NoAdapters),
    };
    model.sequence_logits(&Tensor::from_slice(&ids), &[length], adapters.as_ref()).unwrap().get(-1)
}

fn largest(left: &Tensor, right: &Tensor) -> f64 {
    (left - right).abs().max().double_value(&[])
}
