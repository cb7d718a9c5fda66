#include "decode.hpp"

#include <algorithm>
#include <vector>

#include "fp_environment.hpp"
#include "kernels/kernels.hpp"

namespace trlm::adapt {

void decode_values(const TensorView& view, std::uint64_t first, std::span<float> out) {
    const FpEnvironment environment;
    if (view.dtype == Dtype::f32) {
        const Bytes values = slice(view.payload, first * sizeof(float), out.size_bytes());
        std::ranges::copy(values, std::as_writable_bytes(out).begin());
        return;
    }
    const kernels::Table& kernels = kernels::best();
    const std::uint64_t groups = out.size() / view.block_size;
    const std::byte* const scales = view.scales.data() + first / view.block_size * sizeof(float);
    if (view.dtype == Dtype::q8_0) {
        const auto* codes = reinterpret_cast<const std::int8_t*>(view.payload.data() + first);
        kernels.decode(codes, scales, groups, view.block_size, out.data());
        return;
    }
    std::vector<std::int8_t> codes(out.size());
    kernels.unpack_nibbles(view.payload.data() + first / 2, out.size(), codes.data());
    kernels.decode(codes.data(), scales, groups, view.block_size, out.data());
}

}  // namespace trlm::adapt
