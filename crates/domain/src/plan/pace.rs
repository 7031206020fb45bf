//! How long a job lasts on a worker: the plan's own estimate at the speed of the worker's kind.

use super::{PriceTable, WorkerRate};
use crate::event::WorkerInfo;
use crate::job::{PlannedJob, Work};

/// How long a job lasts from where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lasts {
    /// To its end, seconds.
    pub(crate) whole_s: u64,
    /// Until something of it is kept: to a training's next checkpoint, to the end of anything else.
    pub(crate) kept_s: u64,
}

fn rates() -> &'static [WorkerRate] {
    &PriceTable::builtin().workers
}

/// A worker's place among the known kinds: that whose name is in its device's, else the slowest of its kind of device; none for
/// one without a device.
pub(crate) fn rate_of(worker: &WorkerInfo) -> Option<usize> {
    let name = worker.device_name.to_lowercase();
    let of_kind = || rates().iter().enumerate().filter(|(_, rate)| rate.device == worker.device);
    let named = of_kind().find(|(_, rate)| name.contains(model_name(rate)));
    let slowest = || of_kind().min_by(|(_, a), (_, b)| a.train_tflops.total_cmp(&b.train_tflops));
    named.or_else(slowest).map(|(place, _)| place)
}

/// `4090` of `rtx-4090`, `a100` of `a100-80gb`; a name without a number is that of no device.
fn model_name(rate: &WorkerRate) -> &str {
    let number = |part: &&str| part.bytes().any(|byte| byte.is_ascii_digit()) && part.len() > 2;
    rate.name.split('-').find(number).unwrap_or(&rate.name)
}

/// How long a job lasts on each known kind of worker, when so many steps of a training are done. Empty for jobs that need no
/// device: they end soon.
pub(crate) fn lasts_on_each(job: &PlannedJob, steps_done: u64) -> Vec<Lasts> {
    let (left, kept) = match &job.work {
        Work::Train(spec) => {
            let next = spec.checkpoints.iter().find(|step| **step > steps_done).unwrap_or(&spec.total_steps);
            let of_all = |steps: u64| steps as f64 / spec.total_steps.max(1) as f64;
            (of_all(spec.total_steps.saturating_sub(steps_done)), of_all(next.saturating_sub(steps_done)))
        }
        Work::Generate(_) | Work::Score(_) | Work::Judge(_) | Work::Report(_) => (1.0, 1.0),
    };
    let lasts = |rate: &WorkerRate| {
        let told = job.demand.seconds.map(|seconds| seconds as f64);
        let seconds = told.map_or_else(|| rate.seconds(job), Some)?;
        let whole = |share: f64| (seconds * share).ceil() as u64;
        Some(Lasts { whole_s: whole(left), kept_s: whole(kept) })
    };
    if !job.work.kind().needs_device() {
        return Vec::new();
    }
    rates().iter().filter_map(lasts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceKind, WorkerId};

    fn worker(device: DeviceKind, name: &str) -> WorkerInfo {
        WorkerInfo {
            id: WorkerId::new("w"),
            host: String::new(),
            device,
            device_name: name.to_owned(),
            memory_mib: 0,
            kinds: Vec::new(),
            version: String::new(),
            usd_per_hour: None,
        }
    }

    #[test]
    fn a_worker_is_known_by_its_device_or_taken_for_the_slowest() {
        let rate =
            |device, name: &str| rate_of(&worker(device, name)).map(|place| rates()[place].name.as_str());
        assert_eq!(rate(DeviceKind::Cuda, "NVIDIA A100-SXM4-80GB"), Some("a100-80gb"));
        assert_eq!(rate(DeviceKind::Cuda, "NVIDIA GeForce RTX 4090"), Some("rtx-4090"));
        assert_eq!(rate(DeviceKind::Cuda, "NVIDIA H100 80GB HBM3"), Some("h100-80gb"));
        assert_eq!(rate(DeviceKind::Cuda, "CUDA device 0"), Some("a40"));
        assert_eq!(rate(DeviceKind::Cpu, "Intel Xeon"), Some("cpu-2-cores"));
        assert_eq!(rate(DeviceKind::None, ""), None);
    }
}
