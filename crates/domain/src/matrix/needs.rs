//! What a matrix says that its jobs need of a worker, where the plan's own estimate is not right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DeviceKind;
use crate::job::{Demand, Footprint, Gang};

const MIB_PER_GIB: f64 = 1024.0;

/// What the train, generate and score jobs of a matrix need of a worker; what is left out is estimated. It changes no job key
/// and no result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Needs {
    /// The kind of device; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<NeededDevice>,
    /// Memory of the device, GiB; 0: any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub memory_gib: Option<f64>,
    /// Free disk, GiB; 0: any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub disk_gib: Option<f64>,
    /// How long a job takes, hours; 0: no time worth asking for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub hours: Option<f64>,
    /// The workers that run a training together: one, for now.
    #[serde(default, skip_serializing_if = "Gang::is_one")]
    pub gang: Gang,
}

/// A kind of device that a matrix can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NeededDevice {
    /// A processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Mps,
}

impl Needs {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// An estimate with what the matrix says in its place.
    pub fn over(&self, estimated: Demand) -> Demand {
        let mib = |gib: f64| (gib * MIB_PER_GIB).ceil() as u64;
        let memory = self.memory_gib.map(|gib| Footprint { whole_mib: mib(gib), least_mib: mib(gib) });
        let disk = self.disk_gib.map(mib);
        Demand {
            device: self.device.map(DeviceKind::from),
            float32: memory.unwrap_or(estimated.float32),
            bfloat16: memory.unwrap_or(estimated.bfloat16),
            disk_mib: disk.unwrap_or(estimated.disk_mib),
            // Who says how much means all of it.
            model_mib: if disk.is_some() { 0 } else { estimated.model_mib },
            seconds: self.hours.map(|hours| (hours * 3600.0).ceil() as u64),
            gang: self.gang,
        }
    }
}

impl From<NeededDevice> for DeviceKind {
    fn from(device: NeededDevice) -> Self {
        match device {
            NeededDevice::Cpu => Self::Cpu,
            NeededDevice::Cuda => Self::Cuda,
            NeededDevice::Mps => Self::Mps,
        }
    }
}
