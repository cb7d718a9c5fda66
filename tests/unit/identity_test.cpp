#include "trlm/adapt/identity.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "trlm/adapt/slm1.hpp"

using namespace trlm::adapt;

namespace {

// The model and the numbers of tests/conformance/vectors, made by an independent implementation.
constexpr ModelShape base_shape{.vocab_size = 260,
                                .hidden_size = 64,
                                .layer_count = 2,
                                .head_count = 4,
                                .kv_head_count = 4,
                                .head_dim = 16,
                                .ffn_size = 96,
                                .max_context = 64,
                                .rope_theta = 10000,
                                .rms_norm_epsilon = 1e-5F};
constexpr Identity base_identity{.model_flags = 0,
                                 .tensor_count = 21,
                                 .parameter_count = 103232,
                                 .tensor_layout_checksum = 0x3b7ddc41f32ad4ea,
                                 .tokenizer_checksum = 0x765e9d76749c51b6};
constexpr std::uint64_t base_state = 0xdd051956a54e8924;

std::vector<LayoutEntry> base_layout() {
    std::vector<LayoutEntry> layout;
    for (const ExpectedTensor& tensor : expected_tensors(base_shape, 0)) {
        layout.push_back({tensor_name_hash(tensor.name), tensor.shape});
    }
    return layout;
}

}  // namespace

TEST_CASE("the layout checksum is that of the names and dimensions, in any order") {
    auto layout = base_layout();
    REQUIRE(layout.size() == base_identity.tensor_count);
    CHECK(tensor_layout_checksum(layout) == base_identity.tensor_layout_checksum);
    std::reverse(layout.begin(), layout.end());
    CHECK(tensor_layout_checksum(layout) == base_identity.tensor_layout_checksum);
}

TEST_CASE("the layout checksum changes with any name or dimension") {
    auto renamed = base_layout();
    renamed[3].name_hash ^= 1;
    CHECK(tensor_layout_checksum(renamed) != base_identity.tensor_layout_checksum);
    auto transposed = base_layout();
    std::swap(transposed[0].shape.dims[0], transposed[0].shape.dims[1]);
    CHECK(tensor_layout_checksum(transposed) != base_identity.tensor_layout_checksum);
}

TEST_CASE("an assembly's state starts from the identity") {
    CHECK(initial_state(base_identity) == base_state);
}

TEST_CASE("an assembly's state follows packages, their order and their strengths") {
    constexpr std::uint64_t dense = 0xfcf3033cca023b04;
    constexpr std::uint64_t sparse = 0x18162a0b0570a5fb;
    CHECK(next_state(base_state, dense, 1) == 0x7e3f3b4cc987da29);
    CHECK(next_state(base_state, sparse, 1) == 0xecf6e17f94e0b86c);
    CHECK(next_state(next_state(base_state, sparse, 1), sparse, -1) == 0x103f3167990e6885);
}
