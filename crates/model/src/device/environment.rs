//! What the last bits of a sum depend on: the device's model, LibTorch, the instructions that its kernels use.

use tch::Device;

/// The version that `tch` binds to.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// The device's name, for people.
pub fn name(device: Device) -> String {
    match device {
        Device::Cpu | Device::Vulkan => processor(&["model name"]),
        Device::Cuda(index) => format!("CUDA device {index}"),
        Device::Mps => String::from("Apple GPU"),
    }
}

/// The same as exactly as the system tells: processors of one name may be of different models.
pub(crate) fn model(device: Device) -> String {
    match device {
        Device::Cpu | Device::Vulkan => processor(&["model name", "cpu family", "model", "stepping"]),
        Device::Cuda(_) | Device::Mps => name(device),
    }
}

/// What Linux says of the first processor, else its architecture.
fn processor(fields: &[&str]) -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |field: &&str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.find_map(|(name, value)| (name.trim() == *field).then(|| value.trim().to_owned()))
    };
    let told: Vec<String> = fields.iter().filter_map(value).collect();
    if told.is_empty() { format!("{} CPU", std::env::consts::ARCH) } else { told.join(" ") }
}

/// The instructions that LibTorch's kernels use (`at::native::get_cpu_capability`), which the environment may lower.
pub(crate) fn cpu_capability() -> String {
    std::env::var("ATEN_CPU_CAPABILITY").unwrap_or_else(|_| detected().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn detected() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    match (has!("avx512vl") && has!("avx512bw") && has!("avx512dq"), has!("avx2") && has!("fma")) {
        (true, true) => "avx512",
        (false, true) => "avx2",
        _ => "default",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> &'static str {
    "default"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_from_others_of_its_name() {
        let (name, model) = (name(Device::Cpu), model(Device::Cpu));
        assert!(!name.is_empty() && model.starts_with(&name), "{name}, {model}");
        assert!(["avx512", "avx2", "default"].contains(&detected()));
    }
}
