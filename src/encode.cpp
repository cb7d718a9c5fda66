#include "encode.hpp"

#include <limits>
#include <vector>

#include "fp_environment.hpp"
#include "kernels/element.hpp"
#include "kernels/kernels.hpp"

namespace trlm::adapt {
namespace {

using Encoder = std::size_t (*)(const kernels::GroupTile&);

void encode_group(Encoder encoder, const float* w, std::size_t count, std::int8_t* codes,
                  float& scale) {
    const FpEnvironment environment;
    kernels::GroupTile tile;
    tile.w = w;
    tile.codes = codes;
    std::byte scale_bytes[sizeof(float)];
    tile.scales = scale_bytes;
    tile.groups = 1;
    tile.group_size = count;
    // A group that cannot be stored gets a scale that no bound admits.
    scale = encoder(tile) == 1 ? kernels::load_f32(scale_bytes, 0)
                               : std::numeric_limits<float>::infinity();
}

}  // namespace

void encode_q8_row(const float* w, std::size_t cols, std::byte* codes, float& scale) {
    encode_group(kernels::best().encode_q8, w, cols, reinterpret_cast<std::int8_t*>(codes), scale);
}

void encode_q4_block(const float* w, std::size_t block_size, std::byte* codes, float& scale) {
    std::vector<std::int8_t> wide(block_size);
    encode_group(kernels::best().encode_q4, w, block_size, wide.data(), scale);
    kernels::best().pack_nibbles(wide.data(), block_size, codes);
}

}  // namespace trlm::adapt
