#include "model_file.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "encode.hpp"
#include "hashed_file.hpp"
#include "random.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr std::uint32_t head_dim = 64;
constexpr std::uint32_t fewest_layers = 4;
constexpr std::uint32_t largest_hidden = 8192;
constexpr float weight_deviation = 0.02F;

ModelShape with_ffn(std::uint32_t hidden, std::uint32_t layers, std::uint32_t ffn) {
    return {.vocab_size = 260,
            .hidden_size = hidden,
            .layer_count = layers,
            .head_count = hidden / head_dim,
            .kv_head_count = hidden / head_dim,
            .head_dim = head_dim,
            .ffn_size = ffn,
            .max_context = 2048,
            .rope_theta = 10'000,
            .rms_norm_epsilon = 1e-5F};
}

Result<ModelLayout> layout_of(const ModelShape& shape, Dtype dtype) {
    const std::vector<std::byte> tokenizer = write_btok();
    ModelSpec spec{.shape = shape, .tokenizer_section = tokenizer, .storage = {}};
    for (const ExpectedTensor& tensor : expected_tensors(shape, spec.flags)) {
        spec.storage.push_back({dtype, canonical_block_size(dtype, tensor.shape)});
    }
    return layout_model(spec);
}

bool fits(const ModelShape& shape, Dtype dtype, std::uint64_t bytes) {
    const Result<ModelLayout> layout = layout_of(shape, dtype);
    return layout && layout->file_length <= bytes;
}

/// Values of a row that starts at element `first`: near one in a norm, near zero elsewhere.
void fill_row(const ModelTensor& tensor, std::uint64_t seed, std::uint64_t first,
              std::span<float> row) {
    fill_random(seed, first, weight_deviation, row);
    if (tensor.shape.rank > 1) return;
    for (float& value : row)
        value += 1.0F;
}

void write_tensor(const ModelTensor& tensor, std::uint64_t seed, HashedFile& file) {
    const std::uint64_t rows = tensor.shape.rows();
    const std::uint64_t cols = tensor.shape.cols();
    std::vector<float> row(cols);
    std::vector<std::byte> codes(cols);
    std::vector<float> scales(tensor.scale_length / sizeof(float));
    const std::uint64_t blocks = scales.size() / rows;
    for (std::uint64_t r = 0; r < rows; ++r) {
        fill_row(tensor, seed, r * cols, row);
        switch (tensor.dtype) {
            case Dtype::f32:
                file.write(std::as_bytes(std::span(row)));
                break;
            case Dtype::q8_0:
                encode_q8_row(row.data(), cols, codes.data(), scales[r]);
                file.write(codes);
                break;
            case Dtype::q4_0:
                for (std::uint64_t b = 0; b < blocks; ++b) {
                    const std::uint64_t at = b * tensor.block_size;
                    encode_q4_block(row.data() + at, tensor.block_size, codes.data() + at / 2,
                                    scales[r * blocks + b]);
                }
                file.write(Bytes(codes).first(cols / 2));
                break;
        }
    }
    if (scales.empty()) return;
    file.pad_to(tensor.scale_offset);
    file.write(std::as_bytes(std::span(scales)));
}

}  // namespace

ModelShape shape_of(std::uint32_t hidden, std::uint32_t layers) {
    return with_ffn(hidden, layers, std::max(64U, hidden * 8 / 3 / 64 * 64));
}

std::optional<ModelShape> shape_of_size(std::uint64_t bytes, Dtype dtype) {
    // The widest network that still has some layers, then as many layers as fit ...
    std::uint32_t hidden = largest_hidden;
    while (hidden > head_dim && !fits(shape_of(hidden, fewest_layers), dtype, bytes))
        hidden /= 2;
    std::uint32_t layers = 1;
    while (fits(shape_of(hidden, layers + 1), dtype, bytes))
        ++layers;
    // ... and the feed-forward part takes up the rest.
    std::uint32_t low = 0;  // fits, in units of 64
    std::uint32_t high = 1;
    const auto ffn_fits = [&](std::uint32_t units) {
        return fits(with_ffn(hidden, layers, units * 64), dtype, bytes);
    };
    while (ffn_fits(high)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const std::uint32_t middle = low + (high - low) / 2;
        (ffn_fits(middle) ? low : high) = middle;
    }
    if (low == 0) return std::nullopt;
    return with_ffn(hidden, layers, low * 64);
}

Status write_random_model(const std::string& path, const ModelShape& shape, Dtype dtype,
                          std::uint64_t seed) {
    const Result<ModelLayout> layout = layout_of(shape, dtype);
    if (!layout) return failure(layout.error());
    Result<HashedFile> file = HashedFile::create(path, layout->file_length);
    if (!file) return failure(std::move(file).error());
    file->write(layout->head);
    for (const ModelTensor& tensor : layout->tensors) {
        file->pad_to(tensor.payload_offset);
        write_tensor(tensor, derived_seed(seed, tensor.name_hash), *file);
    }
    file->pad_to(layout->file_length);
    return file->finish(slm1_checksum_offset);
}

}  // namespace trlm::adapt::bench
