//! What a job needs of a worker, and what a worker has to offer. Neither is part of a job key or of a result.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeviceKind;

/// What a job needs of a worker, as its plan estimates it or its matrix says. The default asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Demand {
    /// The kind of device, where the matrix asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceKind>,
    /// Memory where values have four bytes: on processors.
    #[serde(default)]
    pub float32: Footprint,
    /// Memory where values have two bytes: on GPUs.
    #[serde(default)]
    pub bfloat16: Footprint,
    /// Disk for inputs, checkpoints and outputs, MiB.
    #[serde(default)]
    pub disk_mib: u64,
    /// What of it the base model takes, MiB: nothing more where it lies in the cache.
    #[serde(default)]
    pub model_mib: u64,
    /// How long it takes, where the matrix says so, in seconds; else the kind of worker decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The workers that run it together.
    #[serde(default)]
    pub gang: Gang,
}

/// Memory of a device that a job needs, MiB; 0: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Footprint {
    /// As it was asked for.
    pub whole_mib: u64,
    /// In the smallest passes that the engine falls back to.
    pub least_mib: u64,
}

/// Workers that run one job together. For now that is one: a larger gang is refused when the plan is made. One whose members
/// share a training's data will be several leases of one pick, each with its rank beside the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Gang {
    /// How many.
    #[schemars(range(min = 1))]
    pub size: u32,
}

impl Default for Gang {
    fn default() -> Self {
        Self { size: 1 }
    }
}

impl Gang {
    /// Whether it is one worker.
    pub fn is_one(&self) -> bool {
        self.size == 1
    }
}

impl Demand {
    /// Whether it asks for nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Memory on a kind of device.
    pub const fn memory_on(&self, device: DeviceKind) -> Footprint {
        match device {
            DeviceKind::Cpu | DeviceKind::None => self.float32,
            DeviceKind::Cuda | DeviceKind::Mps => self.bfloat16,
        }
    }
}

/// What a worker has to offer at the moment; travels with its word that it is ready, and is never stored. What it leaves out is
/// not known, and keeps no job from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offer {
    /// Memory of the device that a next job could have, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_free_mib: Option<u64>,
    /// Free disk where its cache lies, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_mib: Option<u64>,
    /// How long it will be there, seconds; none for one without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_left_s: Option<u64>,
    /// Generate jobs that it takes besides one which it takes at the same time, to answer all in one batch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seats: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Offer {
    /// What is left while something runs that takes so much.
    pub fn less(self, memory_mib: u64, disk_mib: u64) -> Self {
        let left = |free: Option<u64>, taken: u64| free.map(|free| free.saturating_sub(taken));
        Self {
            memory_free_mib: left(self.memory_free_mib, memory_mib),
            disk_free_mib: left(self.disk_free_mib, disk_mib),
            ..self
        }
    }

    /// Whether there is so much more or less of something than said before that a placement may differ.
    pub fn differs_from(self, said: Self) -> bool {
        let moved = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now.abs_diff(before) > before / 8,
            (now, before) => now.is_some() != before.is_some(),
        };
        moved(self.memory_free_mib, said.memory_free_mib) || moved(self.disk_free_mib, said.disk_free_mib)
    }
}
