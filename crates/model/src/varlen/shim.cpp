// LibTorch's variable-length flash attention for Rust. Found through the dispatcher, so that LibTorch for CPUs is enough to build it;
// autograd records it like any other operator. No exception leaves it.

#include <cstring>
#include <exception>

#include <ATen/ops/_flash_attention_forward.h>

namespace {

char *told(const char *text) { return strdup(text); }

}  // namespace

extern "C" char *assay_varlen_attention(at::Tensor **answer, const at::Tensor *query, const at::Tensor *key,
                                        const at::Tensor *value, const at::Tensor *starts, int64_t longest,
                                        double scale, int64_t left) noexcept {
    try {
        // The window to the right is given though the kernel is causal: without it single queries take a kernel of their own.
        auto outputs = at::_flash_attention_forward(
            *query, *key, *value, *starts, *starts, longest, longest, /*dropout_p=*/0.0, /*is_causal=*/true,
            /*return_debug_mask=*/false, scale, /*window_size_left=*/left, /*window_size_right=*/0);
        *answer = new at::Tensor(std::move(std::get<0>(outputs)));
        return nullptr;
    } catch (const c10::Error &error) {
        return told(error.what_without_backtrace());
    } catch (const std::exception &error) {
        return told(error.what());
    } catch (...) {
        return told("an exception of an unknown type");
    }
}
