//! How much memory of the device a next job could have: what is free, and what our own engine holds, which it gives back.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use assay_agent::Look;
use assay_domain::DeviceKind;

/// The first NVIDIA GPU that this process may use, as the driver's own tool names it.
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) memory_mib: u64,
}

impl Gpu {
    /// None on other devices, and where the tool is not there.
    pub(crate) fn of(device: DeviceKind) -> Option<Self> {
        let told = (device == DeviceKind::Cuda).then(|| smi("gpu=name,memory.total")).flatten();
        told.as_deref().and_then(Self::parse)
    }

    /// `NAME, MIB`; the memory of some GPUs is `[N/A]`.
    fn parse(told: &str) -> Option<Self> {
        let (name, memory) = told.lines().next()?.rsplit_once(',')?;
        Some(Self { name: name.trim().to_owned(), memory_mib: memory.trim().parse().ok()? })
    }
}

/// A way to look at the memory that is free for the engine of this worker.
pub(crate) fn memory(device: DeviceKind, usable_mib: u64, engine: Arc<AtomicU32>) -> Look {
    match device {
        DeviceKind::Cpu => Look::new(move || on_processor(usable_mib, engine.load(Ordering::Relaxed))),
        DeviceKind::Cuda => {
            // What others use can only be told from what is free before our engine loads a model.
            let first = gpu_free();
            Look::new(move || gpu_free().max(first))
        }
        DeviceKind::Mps | DeviceKind::None => Look::default(),
    }
}

fn on_processor(usable_mib: u64, engine: u32) -> Option<u64> {
    let available = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    // Shared pages are counted with it, a little too much.
    let held = fs::read_to_string(format!("/proc/{engine}/status")).ok();
    let held = held.and_then(|text| field(&text, "RssAnon:")).unwrap_or(0);
    let free_mib = (available + held) / 1024;
    Some(if usable_mib > 0 { free_mib.min(usable_mib) } else { free_mib })
}

/// The KiB of a line of `/proc`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn gpu_free() -> Option<u64> {
    smi("gpu=memory.free")?.lines().next()?.trim().parse().ok()
}

fn smi(query: &str) -> Option<String> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let first = visible.split(',').next().filter(|first| !first.is_empty()).unwrap_or("0").to_owned();
    let asked =
        [format!("--query-{query}"), String::from("--format=csv,noheader,nounits"), String::from("-i")];
    let answer = Command::new("nvidia-smi").args(asked).arg(first).output().ok()?;
    answer.status.success().then(|| String::from_utf8(answer.stdout).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_with_its_memory() {
        let gpu = Gpu::parse("NVIDIA H100 80GB HBM3, 81559\n").unwrap();
        assert_eq!((gpu.name.as_str(), gpu.memory_mib), ("NVIDIA H100 80GB HBM3", 81_559));
        assert!(Gpu::parse("NVIDIA GB10, [N/A]\n").is_none() && Gpu::parse("").is_none());
        assert!(Gpu::of(DeviceKind::Cpu).is_none());
    }

    #[test]
    fn free_memory_is_what_the_system_says_and_no_more_than_the_engine_may_use() {
        assert_eq!(field("MemTotal:       100 kB\nMemAvailable:   24 kB\n", "MemAvailable:"), Some(24));
        if cfg!(target_os = "linux") {
            let free = on_processor(0, std::process::id()).expect("/proc/meminfo is there");
            assert!(free > 0);
            assert_eq!(on_processor(1, 0), Some(1));
        }
    }
}
