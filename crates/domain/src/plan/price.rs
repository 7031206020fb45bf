//! How fast and how dear: kinds of worker and API judges, each figure with its source and date.

use serde::Serialize;

use crate::DeviceKind;


/// A kind of worker that a plan is priced for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorkerRate {
    /// The name, such as `rtx-4090`.
    pub name: &'static str,
    /// The device.
    pub device: DeviceKind,
    /// TFLOP/s that training reaches, counted as 4 x parameters for each token.
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
}
