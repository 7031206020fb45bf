//! What a device is called.

use tch::Device;

/// The device's name, for people.
pub fn name(device: Device) -> String {
    match device {
        Device::Cpu | Device::Vulkan => processor(&["model name"]),
        Device::Cuda(index) => gpu(index).unwrap_or_else(|| format!("CUDA device {index}")),
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

/// What NVIDIA's driver calls a GPU, counted as LibTorch counts; none without the driver.
#[cfg(target_os = "linux")]
fn gpu(index: usize) -> Option<String> {
    use std::ffi::{CStr, c_char, c_int, c_uint};

    use libloading::os::unix::{Library, Symbol};

    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let index = c_int::try_from(index).ok()?;
    let (mut device, mut name) = (0, [0; 256]);
    #[expect(unsafe_code, reason = "the driver's interface is C")]
    // Safety: the types are those of `cuda.h`, which do not change; the name has room for its end.
    unsafe {
        let driver = Library::new("libcuda.so.1").ok()?;
        let init: Symbol<Init> = driver.get(b"cuInit").ok()?;
        let get: Symbol<Get> = driver.get(b"cuDeviceGet").ok()?;
        let get_name: Symbol<Name> = driver.get(b"cuDeviceGetName").ok()?;
        let told = init(0) == 0
            && get(&raw mut device, index) == 0
            && get_name(name.as_mut_ptr(), name.len() as c_int - 1, device) == 0;
        told.then(|| CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
    }
}

#[cfg(not(target_os = "linux"))]
fn gpu(_: usize) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_from_others_of_its_name() {
        let (name, model) = (name(Device::Cpu), model(Device::Cpu));
        assert!(!name.is_empty() && model.starts_with(&name), "{name}, {model}");
    }

    #[test]
    fn a_gpu_that_there_is_not_has_its_number() {
        assert_eq!(name(Device::Cuda(63)), "CUDA device 63");
    }
}
