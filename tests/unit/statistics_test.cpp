#include "trlm/adapt/statistics.hpp"

#include <algorithm>
#include <cmath>

#include "support/catch.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

/// The f32 or quantized sample whose norm.weight [8] holds `values`.
std::vector<std::byte> model_with(Dtype dtype, const std::vector<float>& values) {
    const auto tokenizer = write_btok();
    ModelSpec spec;
    spec.shape = sample::small_shape();
    spec.tokenizer_section = tokenizer;
    std::vector<std::vector<float>> all;
    for (const ExpectedTensor& tensor : expected_tensors(spec.shape, spec.flags)) {
        spec.storage.push_back({dtype, canonical_block_size(dtype, tensor.shape)});
        all.emplace_back(tensor.shape.elements().value(), 1.0F);
        if (tensor.name == "norm.weight") all.back() = values;
    }
    const auto file =
        write_model(spec, [&](std::size_t i) { return std::span<const float>(all[i]); });
    REQUIRE(file);
    return *file;
}

Statistics norm_statistics(Dtype dtype, const std::vector<float>& values) {
    const auto file = model_with(dtype, values);
    const auto model = read_model(file);
    REQUIRE(model);
    return tensor_statistics(*model, *model->find_tensor(tensor_name_hash("norm.weight")));
}

}  // namespace

TEST_CASE("statistics of a tensor are those of its values") {
    const Statistics statistics = norm_statistics(Dtype::f32, {1, -2, 0, 3, -0.0F, 5, -7, 8});
    CHECK(statistics.count == 8);
    CHECK(statistics.zeros == 2);
    CHECK(statistics.min == -7);
    CHECK(statistics.max == 8);
    CHECK(statistics.mean == 1);               // 8 / 8
    CHECK(statistics.rms == std::sqrt(19.0));  // 152 / 8
}

TEST_CASE("statistics of a quantized tensor are those of its decoded values") {
    // amax 127: scale 1, so that the codes are the values rounded to even.
    const Statistics q8 = norm_statistics(Dtype::q8_0, {127, -100, 0.25F, 2.5F, 3, -3, 50, 0});
    CHECK(q8.count == 8);
    CHECK(q8.zeros == 2);
    CHECK(q8.min == -100);
    CHECK(q8.max == 127);
    CHECK(q8.mean == 79.0 / 8);  // 127 - 100 + 0 + 2 + 3 - 3 + 50 + 0
    CHECK(q8.rms == std::sqrt((16129.0 + 10000 + 4 + 9 + 9 + 2500) / 8));

    // pos 7, neg 8: scale 1.
    const Statistics q4 = norm_statistics(Dtype::q4_0, {7, -8, 1.5F, 0, -1, 2, -2, 0.25F});
    CHECK(q4.zeros == 2);
    CHECK(q4.min == -8);
    CHECK(q4.max == 7);
    CHECK(q4.mean == 0);  // 7 - 8 + 2 + 0 - 1 + 2 - 2 + 0
    CHECK(q4.rms == std::sqrt((49.0 + 64 + 4 + 1 + 4 + 4) / 8));
}

TEST_CASE("statistics of every value are in double") {
    const Statistics statistics =
        norm_statistics(Dtype::f32, {3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F, 3e38F});
    CHECK(statistics.mean == static_cast<double>(3e38F));
    CHECK(std::isfinite(statistics.rms));
}

TEST_CASE("statistics of a package's entry are those of what it stores") {
    const auto dense_file = sample::dense_package({"norm.weight"});
    const auto dense = read_package(dense_file);
    REQUIRE(dense);
    const auto delta = std::get<DenseDelta>(dense->delta(0));
    double sum = 0;
    double largest = -1;
    for (std::uint64_t i = 0; i < 8; ++i) {
        const double value = load<float>(delta.values, 4 * i);
        sum += value;
        largest = std::max(largest, value);
    }
    CHECK(entry_statistics(*dense, 0).count == 8);
    CHECK(entry_statistics(*dense, 0).mean == sum / 8);
    CHECK(entry_statistics(*dense, 0).max == largest);

    const auto sparse_file = sample::sparse_package("layers.0.wq.weight", 9);  // [8, 8]
    const auto sparse = read_package(sparse_file);
    REQUIRE(sparse);
    CHECK(entry_statistics(*sparse, 0).count == sparse->entries()[0].count);

    const auto low_rank_file = sample::low_rank_package("layers.0.w1.weight");  // [12, 8]
    const auto low_rank = read_package(low_rank_file);
    REQUIRE(low_rank);
    CHECK(entry_statistics(*low_rank, 0).count == 2 * 8 + 12 * 2);
}
