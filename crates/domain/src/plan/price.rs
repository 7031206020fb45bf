//! How fast and how dear: kinds of worker, each figure with its source and date (`prices.json`); judges are in `judge_models`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::event::WorkerInfo;
use crate::job::{GenerateSpec, PlannedJob, Work};
use crate::{DeviceKind, judge_models};

/// All prices and speeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriceTable {
    /// Kinds of worker.
    pub workers: Vec<WorkerRate>,
}

/// A kind of worker that a plan is priced for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRate {
    /// The name, such as `rtx-4090`.
    pub name: String,
    /// The device.
    pub device: DeviceKind,
    /// TFLOP/s that training reaches, counted as 4 operations for each parameter and token.
    pub train_tflops: f64,
    /// TFLOP/s that prompts and judged texts reach, forward only.
    pub forward_tflops: f64,
    /// GB/s that decoding reads weights at.
    pub decode_gb_per_s: f64,
    /// Bytes for each weight.
    pub bytes_per_weight: f64,
    /// Answers decoded at once.
    pub decode_batch: u32,
    /// Seconds of each job that go to starting and loading.
    pub start_s: f64,
    /// USD for each hour; 0 for hardware of one's own.
    pub usd_per_hour: f64,
    /// Where the figures come from, with a date.
    pub source: String,
}

impl PriceTable {
    /// The table that comes with this version.
    pub fn builtin() -> &'static Self {
        static TABLE: LazyLock<PriceTable> = LazyLock::new(|| {
            serde_json::from_str(include_str!("prices.json")).expect("a test reads the table")
        });
        &TABLE
    }

    /// What a judge's tokens cost; none for a model that the table does not know, never 0.
    pub fn judge(&self, model: &str) -> Option<judge_models::Price> {
        judge_models::builtin().price(model)
    }
}

impl WorkerRate {
    /// The rate of a worker: that of its device's name, or the slowest of its kind of device. None for one without a device.
    pub fn of(worker: &WorkerInfo) -> Option<&'static Self> {
        let device = worker.device_name.to_lowercase();
        let named = |rate: &&Self| rate.name.split('-').all(|part| device.contains(part));
        let of_kind = || PriceTable::builtin().workers.iter().filter(|rate| rate.device == worker.device);
        let slower = |a: &&Self, b: &&Self| a.train_tflops.total_cmp(&b.train_tflops);
        of_kind().find(named).or_else(|| of_kind().min_by(slower))
    }

    /// Seconds for a job, alone on such a worker; none for a job that needs no device.
    pub fn seconds(&self, job: &PlannedJob) -> Option<f64> {
        let flops = job.estimate.flops;
        let work = match &job.work {
            Work::Train(_) => flops / (self.train_tflops * 1e12),
            Work::Score(_) => flops / (self.forward_tflops * 1e12),
            Work::Generate(spec) => self.generate_s(spec, job),
            Work::Judge(_) | Work::Report(_) => return None,
        };
        Some(self.start_s + work)
    }

    /// Prompts at the forward rate; then each step reads all weights once and computes one token for each answer of its
    /// batch, whichever takes longer.
    fn generate_s(&self, spec: &GenerateSpec, job: &PlannedJob) -> f64 {
        let tokens = (job.estimate.input_tokens + job.estimate.new_tokens).max(1) as f64;
        let per_token = job.estimate.flops / tokens;
        let answers = spec.prompt_ids.len() as u64 * u64::from(spec.sampling.samples);
        let batches = answers.div_ceil(u64::from(self.decode_batch.max(1)));
        let steps = batches as f64 * f64::from(spec.sampling.max_new_tokens);
        let read = steps * (per_token / 2.0) * self.bytes_per_weight / (self.decode_gb_per_s * 1e9);
        let forward = |tokens: u64| tokens as f64 * per_token / (self.forward_tflops * 1e12);
        forward(job.estimate.input_tokens) + forward(job.estimate.new_tokens).max(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_dated_source() {
        let table = PriceTable::builtin();
        for rate in &table.workers {
            assert!(rate.source.contains("2026"), "{} has no date", rate.source);
        }
    }

    #[test]
    fn an_unknown_judge_has_no_price() {
        assert_eq!(PriceTable::builtin().judge("no-such-model"), None);
        let price = PriceTable::builtin().judge("gpt-4o-mini").unwrap();
        let usd = |batch| price.usd(batch, 1_000_000, 1_000_000);
        assert!((usd(false) - 0.75).abs() < 1e-9 && (usd(true) * 2.0 - usd(false)).abs() < 1e-9);
    }
}
