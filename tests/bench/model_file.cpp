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

Status write_tensor(const ModelTensor& tensor, std::uint64_t seed, HashedFile& file) {
    TensorEncoder encoder(tensor);
    Findings findings;
    std::vector<float> row(tensor.shape.cols());
    std::vector<std::byte> payload(encoder.payload_bytes(1));
    std::vector<std::byte> scales(tensor.scale_length);
    for (std::uint64_t r = 0; r < tensor.shape.rows(); ++r) {
        fill_row(tensor, seed, r * row.size(), row);
        std::byte* const row_scales = scales.data() + r * encoder.scale_bytes(1);
        if (!encoder.encode(row, payload.data(), row_scales, findings)) {
            return failure(std::move(findings));
        }
        file.write(payload);
    }
    if (scales.empty()) return {};
    file.pad_to(tensor.scale_offset);
    file.write(scales);
    return {};
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
        const std::uint64_t tensor_seed = derived_seed(seed, tensor.name_hash);
        if (Status written = write_tensor(tensor, tensor_seed, *file); !written) return written;
    }
    file->pad_to(layout->file_length);
    return file->finish(slm1_checksum_offset);
}

}  // namespace trlm::adapt::bench
