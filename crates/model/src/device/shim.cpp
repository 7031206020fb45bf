// What LibTorch says of itself and of a device, and its deterministic mode. Nothing of CUDA is linked, and no exception leaves it.

#include <cstdlib>
#include <cstring>

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace {

template <typename Text>
char *copied(Text text) noexcept {
    try {
        return strdup(text().c_str());
    } catch (...) {
        return nullptr;
    }
}

}  // namespace

extern "C" {

char *assay_libtorch_config() noexcept { return copied(at::show_config); }

char *assay_cpu_capability() noexcept { return copied(at::get_cpu_capability); }

// Bytes that a CUDA device has left, with what the allocator keeps for the next tensors; -1 where it cannot be told.
int64_t assay_free_bytes(int index) noexcept {
    try {
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        const auto device = static_cast<c10::DeviceIndex>(index);
        const auto stats = allocator->getDeviceStats(device);
        constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        const auto kept = stats.reserved_bytes[all].current - stats.allocated_bytes[all].current;
        return static_cast<int64_t>(allocator->getMemoryInfo(device).first) + kept;
    } catch (...) {
        return -1;
    }
}

void assay_set_deterministic(bool on) noexcept {
    try {
        at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false);
        // Filling new tensors finds mistakes of ours, and takes time.
        at::globalContext().setDeterministicFillUninitializedMemory(false);
    } catch (...) {
    }
}

bool assay_is_deterministic() noexcept { return at::globalContext().deterministicAlgorithms(); }

// cuBLAS reads it once; without it the deterministic mode refuses products.
void assay_fix_workspaces() noexcept { setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0); }

}  // extern "C"
