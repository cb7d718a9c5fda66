#include "support/sample.hpp"

#include <algorithm>
#include <stdexcept>

#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt::sample {
namespace {

/// A value, or the test fails with what was wrong.
template <class T>
T must(Result<T> result) {
    if (!result) throw std::runtime_error(result.error()[0].message);
    return std::move(*result);
}

ModelSpec make_spec(Bytes tokenizer, Dtype dtype, const ModelShape& shape) {
    ModelSpec spec;
    spec.shape = shape;
    spec.tokenizer_section = tokenizer;
    for (const ExpectedTensor& tensor : expected_tensors(spec.shape, spec.flags)) {
        spec.storage.push_back({dtype, canonical_block_size(dtype, tensor.shape)});
    }
    return spec;
}

ExpectedTensor expected(const std::string& name, const ModelShape& shape) {
    const std::vector<ExpectedTensor> all = expected_tensors(shape, 0);
    const auto found = std::ranges::find(all, name, &ExpectedTensor::name);
    if (found == all.end()) throw std::runtime_error("the sample model has no " + name);
    return *found;
}

Identity identity_of(const ModelShape& shape) {
    const std::vector<std::byte> file = model(Dtype::f32, shape);
    return must(read_model(file)).identity();
}

}  // namespace

ModelShape small_shape() {
    ModelShape shape;
    shape.vocab_size = 260;
    shape.special_token_count = 4;
    shape.hidden_size = 8;
    shape.layer_count = 1;
    shape.head_count = 2;
    shape.kv_head_count = 2;
    shape.head_dim = 4;
    shape.ffn_size = 12;
    shape.max_context = 16;
    shape.rope_theta = 10000;
    shape.rms_norm_epsilon = 1e-5F;
    return shape;
}

std::vector<float> values(std::string_view name, std::uint64_t count, float size) {
    std::uint64_t state = tensor_name_hash(name);
    std::vector<float> values(count);
    for (float& value : values) {
        // Three uniform numbers added: bell-shaped, and plain integer arithmetic.
        std::int64_t sum = 0;
        for (int i = 0; i < 3; ++i) {
            state = state * 6364136223846793005ULL + 1442695040888963407ULL;
            sum += static_cast<std::int64_t>(state >> 44) - (1 << 19);
        }
        value = static_cast<float>(sum) * (size / (1 << 19));
    }
    return values;
}

ModelShape wide_shape() {
    ModelShape shape = small_shape();
    shape.hidden_size = 64;
    shape.head_dim = 32;
    shape.ffn_size = 300;
    return shape;
}

std::vector<std::byte> model(Dtype dtype, const ModelShape& shape) {
    const auto tokenizer = write_btok();
    const ModelSpec spec = make_spec(tokenizer, dtype, shape);
    const auto tensors = expected_tensors(spec.shape, spec.flags);
    std::vector<std::vector<float>> all;
    for (const ExpectedTensor& tensor : tensors) {
        all.push_back(values(tensor.name, tensor.shape.elements().value()));
    }
    return must(write_model(spec, [&](std::size_t i) { return std::span<const float>(all[i]); }));
}

std::vector<std::byte> foreign_model(Dtype dtype) {
    auto file = model(dtype);
    store<std::uint32_t>(file, 8, 108);
    store<std::uint32_t>(file, 108, 0);  // padding now
    store<std::uint64_t>(file, 100, 0x1234567890abcdefULL);
    return file;
}

void seal(std::vector<std::byte>& file) {
    const std::uint64_t at = detect_format(file) == FileFormat::slm1 ? 100 : 120;
    store<std::uint64_t>(file, at, 0);
    store<std::uint64_t>(file, at, checksum_of(file));
}

std::vector<std::byte> dense_package(const std::vector<std::string>& tensors, float size,
                                     const ModelShape& model_shape) {
    PackageContent content;
    content.kind = PackageKind::dense;
    content.identity = identity_of(model_shape);
    std::vector<std::vector<float>> deltas;
    deltas.reserve(tensors.size());
    for (const std::string& name : tensors) {
        const Shape shape = expected(name, model_shape).shape;
        deltas.push_back(values(name + ".delta", shape.elements().value(), size));
        content.entries.push_back({tensor_name_hash(name), shape, DenseContent{deltas.back()}});
    }
    return must(write_package(content));
}

std::vector<std::byte> sparse_package(const std::string& tensor, std::uint32_t stride, float size,
                                      const ModelShape& model_shape) {
    PackageContent content;
    content.kind = PackageKind::sparse;
    content.identity = identity_of(model_shape);
    const Shape shape = expected(tensor, model_shape).shape;
    std::vector<std::uint32_t> indexes;
    for (std::uint32_t i = 0; i < shape.elements().value(); i += stride)
        indexes.push_back(i);
    const auto deltas = values(tensor + ".sparse", indexes.size(), size);
    content.entries.push_back({tensor_name_hash(tensor), shape, SparseContent{indexes, deltas}});
    return must(write_package(content));
}

std::vector<std::byte> low_rank_package(const std::string& tensor, float scale,
                                        const ModelShape& model_shape) {
    PackageContent content;
    content.kind = PackageKind::low_rank;
    content.identity = identity_of(model_shape);
    const Shape shape = expected(tensor, model_shape).shape;
    const auto a = values(tensor + ".a", 2 * shape.cols(), 0.1F);
    const auto b = values(tensor + ".b", 2 * shape.rows(), 0.1F);
    content.entries.push_back({tensor_name_hash(tensor), shape, LowRankContent{2, scale, a, b}});
    return must(write_package(content));
}

}  // namespace trlm::adapt::sample
