//! Devices by name: `cpu`, `cuda`, `cuda:N`, `mps`. CUDA is not linked: `libtorch_cuda.so` is opened before the first
//! CUDA query of the process, so that one binary serves machines with and without a GPU.

mod environment;
mod libtorch;
mod order;

use std::sync::OnceLock;

pub(crate) use environment::model;
pub use environment::name;
pub use libtorch::libtorch_version;
pub(crate) use libtorch::{cpu_capability, free_bytes, libtorch_build, text};
pub(crate) use order::in_fixed_order;
pub use order::order_of_sums;
use tch::Cuda;
pub use tch::Device;

use crate::{ModelError, Result};

/// Opens a device by its name, loading its backend if need be.
pub fn open(name: &str) -> Result<Device> {
    match name.split_once(':') {
        None if name == "cpu" => {
            keep_freed_memory();
            Ok(Device::Cpu)
        }
        None if name == "mps" => mps(name),
        None if name == "cuda" => cuda(name, 0),
        Some(("cuda", index)) => match index.parse() {
            Ok(index) => cuda(name, index),
            Err(_) => Err(refused(name, "the index after `cuda:` is not a number")),
        },
        _ => Err(refused(name, "the known devices are `cpu`, `cuda`, `cuda:N` and `mps`")),
    }
}

/// Tells the allocator to keep the memory of freed tensors for the next ones. A training step frees a gigabyte of
/// activations; handing that back to the system and taking it again cost a quarter of the step's time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    const LARGEST: libc::c_int = 1 << 30;
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        #[expect(unsafe_code, reason = "the C library's allocator has no safe interface to its options")]
        // Safety: these options only set thresholds, at any time; a refusal leaves them as they were.
        let _accepted = unsafe { libc::mallopt(option, LARGEST) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}

fn mps(name: &str) -> Result<Device> {
    if tch::utils::has_mps() {
        Ok(Device::Mps)
    } else {
        Err(refused(name, "this LibTorch has no Metal backend; it comes with macOS on arm64"))
    }
}

fn cuda(name: &str, index: usize) -> Result<Device> {
    libtorch::fix_workspaces();
    load_cuda_backend().as_ref().map_err(|problem| refused(name, problem))?;
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if index < count {
        Ok(Device::Cuda(index))
    } else {
        Err(refused(
            name,
            &format!("this machine has {count} usable CUDA devices (is the driver installed?)"),
        ))
    }
}

/// Opens `libtorch_cuda.so` once. LibTorch remembers for ever that CUDA is absent if it is asked before this.
fn load_cuda_backend() -> &'static std::result::Result<(), String> {
    static LOADED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(open_cuda_library)
}

#[cfg(target_os = "linux")]
fn open_cuda_library() -> std::result::Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    #[expect(unsafe_code, reason = "the CUDA backend registers itself when its library is opened")]
    // Safety: the initialisers of LibTorch's own library run once, before any CUDA query of this process.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            // The backend stays registered, so its code must stay mapped for ever.
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(format!("libtorch_cuda.so does not open ({error}); set up LibTorch with CUDA")),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_cuda_library() -> std::result::Result<(), String> {
    Err("CUDA is supported on Linux only".to_owned())
}

fn refused(device: &str, problem: &str) -> ModelError {
    ModelError::Device { device: device.to_owned(), problem: problem.to_owned() }
}

/// The type of weights and activations on a device: exact on a CPU, half the memory on a GPU.
pub fn weights_kind(device: Device) -> tch::Kind {
    match device {
        Device::Cpu | Device::Vulkan => tch::Kind::Float,
        Device::Cuda(_) | Device::Mps => tch::Kind::BFloat16,
    }
}

/// Threads that tensor operations use on a CPU.
pub fn threads() -> i32 {
    tch::get_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_name_or_refused_with_the_known_ones() {
        assert_eq!(open("cpu").unwrap(), Device::Cpu);
        let unknown = open("tpu").unwrap_err().to_string();
        assert!(unknown.contains("`cpu`, `cuda`, `cuda:N` and `mps`"), "{unknown}");
        assert!(open("cuda:x").unwrap_err().to_string().contains("not a number"));
    }
}
