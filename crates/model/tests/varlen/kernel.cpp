// LibTorch has `_flash_attention_forward` and its gradient for GPUs only. This registers both for processors, in plain loops over what
// their documentation says, with the demands of the GPU's on how tensors lie: the tests' calls take the dispatcher, the record of
// autograd and the order of arguments that a GPU's do. Softmax and gradient are written out, and share nothing with the code under test.

#include <cmath>
#include <tuple>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using std::optional;

enum Fault { NONE = 0, REFUSES = 1, LEAKS = 2, REFUSES_GRADIENT = 3, WRONG_GRADIENT = 4 };

// The gradient of tensors on a processor is computed by the thread that asks for it.
thread_local int fault = NONE;
thread_local int64_t forward_calls = 0;
thread_local int64_t backward_calls = 0;

void check(const Tensor &query, const Tensor &key, const Tensor &value, const Tensor &starts_q, const Tensor &starts_k,
           int64_t max_q, int64_t max_k, double dropout) {
    for (const Tensor *tensor : {&query, &key, &value}) {
        TORCH_CHECK(tensor->dim() == 3, "tokens, heads and values are expected");
        TORCH_CHECK(tensor->stride(-1) == 1, "Input tensor must have contiguous last dimension");
        TORCH_CHECK(tensor->scalar_type() == query.scalar_type(), "query, key and value must have the same dtype");
        TORCH_CHECK(tensor->size(2) == query.size(2), "heads are of different widths");
    }
    TORCH_CHECK(query.size(2) % 8 == 0, "head_size must be a multiple of 8, this is ensured by padding!");
    TORCH_CHECK(query.size(2) <= 256, "FlashAttention forward only supports head dimension at most 256");
    TORCH_CHECK(query.size(1) % key.size(1) == 0, "Number of heads in key/value must divide number of heads in query");
    TORCH_CHECK(key.sizes() == value.sizes(), "keys and values are of different shapes");
    TORCH_CHECK(dropout == 0.0, "no dropout here");
    for (auto [starts, tokens, longest] : {std::tuple(&starts_q, query.size(0), max_q), {&starts_k, key.size(0), max_k}}) {
        TORCH_CHECK(starts->scalar_type() == at::kInt && starts->is_contiguous(), "starts must be int32, contiguous");
        const int32_t *start = starts->const_data_ptr<int32_t>();
        TORCH_CHECK(start[0] == 0 && start[starts->size(0) - 1] == tokens, "sequences must cover all tokens");
        int64_t found = 0;
        for (int64_t row = 0; row + 1 < starts->size(0); row++) {
            found = std::max<int64_t>(found, start[row + 1] - start[row]);
        }
        TORCH_CHECK(found == longest, "the longest sequence has ", found, " tokens, not ", longest);
    }
}

// For each query its number, and the first and the one after the last of the keys that it sees: its own place counts from the end of
// both sequences.
struct Seen {
    int64_t query, first, end;
};

std::vector<Seen> seen(const Tensor &starts_q, const Tensor &starts_k, bool causal, optional<int64_t> window_left,
                       optional<int64_t> window_right) {
    const int32_t *start_q = starts_q.const_data_ptr<int32_t>(), *start_k = starts_k.const_data_ptr<int32_t>();
    const int64_t left = window_left.value_or(-1), right = causal ? 0 : window_right.value_or(-1);
    std::vector<Seen> found;
    for (int64_t row = 0; row + 1 < starts_q.size(0); row++) {
        const int64_t queries = start_q[row + 1] - start_q[row], keys = start_k[row + 1] - start_k[row];
        for (int64_t i = 0; i < queries; i++) {
            const int64_t place = i + keys - queries;
            const int64_t first = left < 0 ? 0 : std::max<int64_t>(0, place - left);
            const int64_t end = right < 0 ? keys : std::min(keys, place + right + 1);
            const int64_t base = fault == LEAKS ? 0 : start_k[row];
            found.push_back({start_q[row] + i, fault == LEAKS ? 0 : base + first, start_k[row] + end});
        }
    }
    return found;
}

Tensor wide(const Tensor &tensor) { return tensor.to(at::kDouble); }

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor &query, const Tensor &key, const Tensor &value, const optional<Tensor> &starts_q,
    const optional<Tensor> &starts_k, int64_t max_q, int64_t max_k, double dropout, bool causal, bool debug_mask,
    optional<double> scale, optional<int64_t> window_left, optional<int64_t> window_right,
    const optional<Tensor> &seqused_k, const optional<Tensor> &alibi) {
    forward_calls++;
    TORCH_CHECK(fault != REFUSES, "FlashAttention only supports Ampere GPUs or newer.\nand more lines");
    TORCH_CHECK(starts_q && starts_k && !debug_mask && !seqused_k && !alibi && scale, "other arguments than expected");
    check(query, key, value, *starts_q, *starts_k, max_q, max_k, dropout);
    const int64_t heads = query.size(1), group = heads / key.size(1), width = query.size(2);
    const Tensor wide_q = wide(query), wide_k = wide(key), wide_v = wide(value);
    Tensor output = at::zeros(query.sizes(), wide_q.options()), sums = at::empty({heads, query.size(0)}, wide_q.options());
    const auto q = wide_q.accessor<double, 3>(), k = wide_k.accessor<double, 3>(), v = wide_v.accessor<double, 3>();
    auto out = output.accessor<double, 3>();
    auto sum = sums.accessor<double, 2>();
    for (const Seen &row : seen(*starts_q, *starts_k, causal, window_left, window_right)) {
        for (int64_t head = 0; head < heads; head++) {
            std::vector<double> scores;
            double most = -INFINITY, total = 0.0;
            for (int64_t j = row.first; j < row.end; j++) {
                double score = 0.0;
                for (int64_t d = 0; d < width; d++) score += q[row.query][head][d] * k[j][head / group][d];
                scores.push_back(score * *scale);
                most = std::max(most, scores.back());
            }
            for (double score : scores) total += std::exp(score - most);
            sum[head][row.query] = most + std::log(total);
            for (int64_t j = row.first; j < row.end; j++) {
                const double weight = std::exp(scores[j - row.first] - sum[head][row.query]);
                for (int64_t d = 0; d < width; d++) out[row.query][head][d] += weight * v[j][head / group][d];
            }
        }
    }
    const auto counters = query.options().dtype(at::kUInt64);
    return {output.to(query.scalar_type()), sums.to(at::kFloat), at::empty({2}, counters), at::empty({}, counters),
            at::empty({0}, query.options())};
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor &gradient, const Tensor &query, const Tensor &key,
                                            const Tensor &value, const Tensor &output, const Tensor &sums,
                                            const Tensor &starts_q, const Tensor &starts_k, int64_t max_q,
                                            int64_t max_k, double dropout, bool causal, const Tensor &, const Tensor &,
                                            optional<double> scale, optional<int64_t> window_left,
                                            optional<int64_t> window_right) {
    backward_calls++;
    TORCH_CHECK(fault != REFUSES_GRADIENT, "This flash attention build does not support backward.");
    check(query, key, value, starts_q, starts_k, max_q, max_k, dropout);
    TORCH_CHECK(gradient.sizes() == query.sizes() && output.sizes() == query.sizes(), "shapes differ");
    const int64_t heads = query.size(1), group = heads / key.size(1), width = query.size(2);
    const Tensor wide_q = wide(query), wide_k = wide(key), wide_v = wide(value), wide_g = wide(gradient);
    const Tensor wide_o = wide(output), wide_s = wide(sums);
    Tensor of_q = at::zeros(query.sizes(), wide_q.options());
    Tensor of_k = at::zeros(key.sizes(), wide_q.options()), of_v = at::zeros(key.sizes(), wide_q.options());
    const auto q = wide_q.accessor<double, 3>(), k = wide_k.accessor<double, 3>(), v = wide_v.accessor<double, 3>();
    const auto g = wide_g.accessor<double, 3>(), o = wide_o.accessor<double, 3>();
    const auto sum = wide_s.accessor<double, 2>();
    auto dq = of_q.accessor<double, 3>(), dk = of_k.accessor<double, 3>(), dv = of_v.accessor<double, 3>();
    for (const Seen &row : seen(starts_q, starts_k, causal, window_left, window_right)) {
        for (int64_t head = 0; head < heads; head++) {
            const auto q_row = q[row.query][head], g_row = g[row.query][head];
            double mean = 0.0;
            for (int64_t d = 0; d < width; d++) mean += g_row[d] * o[row.query][head][d];
            for (int64_t j = row.first; j < row.end; j++) {
                const int64_t shared = head / group;
                double score = 0.0, of_weight = 0.0;
                for (int64_t d = 0; d < width; d++) {
                    score += q_row[d] * k[j][shared][d];
                    of_weight += g_row[d] * v[j][shared][d];
                }
                const double weight = std::exp(score * *scale - sum[head][row.query]);
                const double of_score = weight * (of_weight - mean) * *scale;
                for (int64_t d = 0; d < width; d++) {
                    dv[j][shared][d] += weight * g_row[d];
                    dk[j][shared][d] += of_score * q_row[d];
                    dq[row.query][head][d] += of_score * k[j][shared][d];
                }
            }
        }
    }
    if (fault == WRONG_GRADIENT) of_k.mul_(1.1);
    const auto kind = query.scalar_type();
    return {of_q.to(kind), of_k.to(kind), of_v.to(kind)};
}

TORCH_LIBRARY_IMPL(aten, CPU, library) {
    library.impl("_flash_attention_forward", forward);
    library.impl("_flash_attention_backward", backward);
}

}  // namespace

// What this thread's calls do wrong from now on.
extern "C" void assay_kernel_fault(int wanted) { fault = wanted; }

// Calls of this thread so far, forward and back.
extern "C" void assay_kernel_calls(int64_t calls[2]) {
    calls[0] = forward_calls;
    calls[1] = backward_calls;
}
