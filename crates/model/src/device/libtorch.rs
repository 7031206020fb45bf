//! What LibTorch says of itself and of its devices: calls that tch has no function for (`shim.cpp`).

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use tch::Device;

#[expect(unsafe_code, reason = "calls of LibTorch that tch has no functions for")]
unsafe extern "C" {
    fn assay_libtorch_config() -> *mut c_char;
    fn assay_cpu_capability() -> *mut c_char;
    fn assay_free_bytes(index: c_int) -> i64;
    fn assay_set_deterministic(on: bool);
    fn assay_is_deterministic() -> bool;
    fn assay_fix_workspaces();
}

/// The version that runs, such as `2.11.0`: not always the one that this was built with.
pub fn libtorch_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| built_with(config(), "TORCH_VERSION").unwrap_or_else(|| String::from("unknown")))
}

/// Which build of it: its commit, and the versions of CUDA and cuDNN that it was built with.
pub(crate) fn libtorch_build() -> String {
    let parts = [("COMMIT_SHA", "commit"), ("CUDA_VERSION", "CUDA"), ("CUDNN_VERSION", "cuDNN")];
    let told = parts.map(|(setting, name)| Some(format!("{name} {}", built_with(config(), setting)?)));
    told.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The instructions that its kernels use on this processor.
pub(crate) fn cpu_capability() -> String {
    #[expect(unsafe_code, reason = "a call of LibTorch that tch has no function for")]
    // Safety: it answers a new C string or null.
    let told = unsafe { text(assay_cpu_capability()) };
    told.unwrap_or_else(|| String::from("unknown")).to_lowercase()
}

/// Bytes that tensors may still take on a GPU; none where the device does not say.
pub(crate) fn free_bytes(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return None };
    #[expect(unsafe_code, reason = "a call of LibTorch that tch has no function for")]
    // Safety: it only reads, and answers -1 for devices that there are not.
    let free = unsafe { assay_free_bytes(c_int::try_from(index).ok()?) };
    u64::try_from(free).ok()
}

/// Has LibTorch use only operators that add in a fixed order, and refuse others, or no longer.
pub(super) fn set_deterministic(on: bool) {
    #[expect(unsafe_code, reason = "a call of LibTorch that tch has no function for")]
    // Safety: it sets a flag of LibTorch's own.
    unsafe {
        assay_set_deterministic(on);
    }
}

/// Whether it does.
pub(super) fn is_deterministic() -> bool {
    #[expect(unsafe_code, reason = "a call of LibTorch that tch has no function for")]
    // Safety: it reads a flag of LibTorch's own.
    unsafe {
        assay_is_deterministic()
    }
}

/// Has cuBLAS work in memory that makes its sums come in a fixed order, unless a person has chosen another.
pub(super) fn fix_workspaces() {
    #[expect(unsafe_code, reason = "cuBLAS reads an environment variable")]
    // Safety: devices are opened before a process has threads of its own.
    unsafe {
        assay_fix_workspaces();
    }
}

/// Takes a C string of `strdup`, and frees it; none for null.
///
/// # Safety
///
/// It is such a string, and nobody else's.
#[expect(unsafe_code, reason = "strings of C++")]
pub(crate) unsafe fn text(string: *mut c_char) -> Option<String> {
    if string.is_null() {
        return None;
    }
    // Safety: as the caller says.
    unsafe {
        let text = CStr::from_ptr(string).to_string_lossy().into_owned();
        libc::free(string.cast());
        Some(text)
    }
}

fn config() -> &'static str {
    static CONFIG: OnceLock<String> = OnceLock::new();
    CONFIG.get_or_init(|| {
        #[expect(unsafe_code, reason = "a call of LibTorch that tch has no function for")]
        // Safety: it answers a new C string or null.
        let told = unsafe { text(assay_libtorch_config()) };
        told.unwrap_or_default()
    })
}

/// A setting of the build, `NAME=VALUE` in what LibTorch says of itself.
fn built_with(config: &str, name: &str) -> Option<String> {
    let mut settings = config.split([' ', ',', '\n']);
    settings.find_map(|setting| setting.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_says_what_it_is() {
        let told = "Build settings: BLAS_INFO=mkl, COMMIT_SHA=70d99e9, CUDA_VERSION=13.0, TORCH_VERSION=2.11.0, USE_CUDA=ON";
        assert_eq!(built_with(told, "CUDA_VERSION").as_deref(), Some("13.0"));
        assert_eq!(built_with(told, "CUDNN_VERSION"), None);
        assert_eq!(libtorch_version(), "2.11.0", "{}", config());
        assert!(libtorch_build().starts_with("commit "), "{}", config());
        assert!(!cpu_capability().is_empty());
    }

    #[test]
    fn devices_that_there_are_not_have_no_memory_to_tell() {
        assert_eq!(free_bytes(Device::Cpu), None);
        if tch::Cuda::device_count() == 0 {
            assert_eq!(free_bytes(Device::Cuda(0)), None);
        }
    }
}
