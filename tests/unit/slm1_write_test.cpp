#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "support/catch.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/slm1.hpp"

using namespace trlm::adapt;

namespace {

/// A spec with all tensors in one storage; odd rows stay f32.
struct Specified {
    Specified(const ModelShape& shape, std::uint32_t flags, Dtype dtype) {
        spec.shape = shape;
        spec.flags = flags;
        spec.tokenizer_section = section;
        for (const ExpectedTensor& tensor : expected_tensors(shape, flags)) {
            const std::uint32_t block = canonical_block_size(dtype, tensor.shape);
            const bool odd = dtype == Dtype::q4_0 && block == 0;
            spec.storage.push_back({odd ? Dtype::f32 : dtype, block});
        }
    }
    explicit Specified(Dtype dtype) : Specified(sample::small_shape(), 0, dtype) {}
    Specified(const Specified&) = delete;
    Specified& operator=(const Specified&) = delete;

    std::vector<std::byte> section = write_btok();
    ModelSpec spec;
};

/// The size check of docs/formats.md, section 1.
constexpr ModelShape public_shape{.vocab_size = 260,
                                  .hidden_size = 512,
                                  .layer_count = 4,
                                  .head_count = 8,
                                  .kv_head_count = 8,
                                  .head_dim = 64,
                                  .ffn_size = 2048,
                                  .max_context = 512,
                                  .rope_theta = 10000,
                                  .rms_norm_epsilon = 1e-5F};

bool refused(const ModelSpec& spec, FindingCode code) {
    const auto layout = layout_model(spec);
    return !layout && layout.error().contains(code);
}

/// The same value everywhere but at one place of one tensor.
class Values {
public:
    explicit Values(const ModelSpec& spec) {
        for (const ExpectedTensor& tensor : expected_tensors(spec.shape, spec.flags)) {
            values_.emplace_back(tensor.shape.elements().value(), 0.5F);
        }
    }
    [[nodiscard]] std::vector<float>& of(std::size_t tensor) { return values_[tensor]; }
    [[nodiscard]] TensorValues source() const {
        return [this](std::size_t tensor) { return std::span<const float>(values_[tensor]); };
    }

private:
    std::vector<std::vector<float>> values_;
};

}  // namespace

TEST_CASE("a model of the public shape has the public artifacts' sizes") {
    const Specified q8(public_shape, 0, Dtype::q8_0);
    const auto q8_layout = layout_model(q8.spec);
    REQUIRE(q8_layout);
    CHECK(q8_layout->file_length == 17'160'000);

    const Specified q4(public_shape, 0, Dtype::q4_0);
    const auto q4_layout = layout_model(q4.spec);
    REQUIRE(q4_layout);
    CHECK(q4_layout->file_length == 10'657'728);
    for (const ModelTensor& tensor : q4_layout->tensors)
        CHECK(tensor.block_size == 32);

    std::uint64_t parameters = 0;
    for (const ModelTensor& tensor : q4_layout->tensors) {
        parameters += tensor.shape.elements().value();
    }
    CHECK(parameters == 17'048'064);
}

TEST_CASE("the header has its fields where the format says") {
    // The first 128 bytes of base_f32.slm of tests/conformance/vectors, which an independent
    // implementation wrote; the checksum is zero in a layout.
    const std::string expected =
        "534c4d310100000080000000010000000000000004010000040000004000000002000000040000000400000010"
        "000000600000004000000000401c46acc5273780000000000000001c00000000000000c0000000000000001500"
        "000000060000000000000000000000000000010000000000000000000000000000000000000000000000";
    const ModelShape shape{.vocab_size = 260,
                           .hidden_size = 64,
                           .layer_count = 2,
                           .head_count = 4,
                           .kv_head_count = 4,
                           .head_dim = 16,
                           .ffn_size = 96,
                           .max_context = 64,
                           .rope_theta = 10000,
                           .rms_norm_epsilon = 1e-5F};
    const Specified base(shape, 0, Dtype::f32);
    const auto layout = layout_model(base.spec);
    REQUIRE(layout);
    CHECK(to_hex(Bytes(layout->head).first(128)) == expected.substr(0, 256));
    CHECK(layout->file_length == 414'464);
    CHECK(layout->head.size() == 1536);
}

TEST_CASE("a directory entry has its fields where the format says") {
    // Entry 0 of a q4_0 model as an independent implementation wrote it, but for its offsets.
    const ModelShape shape{.vocab_size = 260,
                           .hidden_size = 32,
                           .layer_count = 1,
                           .head_count = 2,
                           .kv_head_count = 2,
                           .head_dim = 16,
                           .ffn_size = 64,
                           .max_context = 64,
                           .rope_theta = 10000,
                           .rms_norm_epsilon = 1e-5F};
    const Specified model(shape, 0, Dtype::q4_0);
    const auto layout = layout_model(model.spec);
    REQUIRE(layout);
    CHECK(to_hex(slice(layout->head, 192, 64)) ==
          "62c7919b8af61e77"
          "03000000"
          "02000000"  // hash, dtype, rank
          "04010000"
          "20000000"
          "01000000"
          "01000000"  // dims
          "c003000000000000"
          "4010000000000000"  // 960, 260 * 32 / 2 bytes
          "0014000000000000"
          "20000000"
          "00000000");  // align64(960 + 4160), block, reserved
}

TEST_CASE("regions lie in the order of the format, each at a multiple of 64") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Specified model(dtype);
        const auto layout = layout_model(model.spec);
        REQUIRE(layout);
        const auto expected = expected_tensors(model.spec.shape, model.spec.flags);
        REQUIRE(layout->tensors.size() == expected.size());
        std::uint64_t end = layout->head.size();
        CHECK(end == 960);
        for (std::size_t i = 0; i < expected.size(); ++i) {
            const ModelTensor& tensor = layout->tensors[i];
            CHECK(tensor.name == expected[i].name);
            CHECK(tensor.payload_offset == (end + 63) / 64 * 64);
            end = tensor.payload_offset + tensor.payload_length;
            if (dtype == Dtype::f32) {
                CHECK(tensor.scale_offset == 0);
                continue;
            }
            CHECK(tensor.scale_offset == (end + 63) / 64 * 64);
            end = tensor.scale_offset + tensor.scale_length;
        }
        CHECK(layout->file_length == (end + 63) / 64 * 64);
    }
}

TEST_CASE("storages may differ from tensor to tensor") {
    Specified model(Dtype::q4_0);
    model.spec.storage[1] = {Dtype::f32, 0};
    model.spec.storage[2] = {Dtype::q8_0, 8};
    model.spec.storage[3] = {Dtype::q4_0, 4};
    const Values values(model.spec);
    const auto file = write_model(model.spec, values.source());
    REQUIRE(file);
    const auto read = read_model(*file);
    REQUIRE(read);
    CHECK(read->tensors()[1].dtype == Dtype::f32);
    CHECK(read->tensors()[2].dtype == Dtype::q8_0);
    CHECK(read->tensors()[3].block_size == 4);
}

TEST_CASE("a tied model and a BPE1 tokenizer are written") {
    ModelShape shape = sample::small_shape();
    shape.vocab_size = 300;
    const auto section = write_bpe1(300, {256, 257, 258, 259}, {}, {});
    REQUIRE(section);
    Specified model(shape, model_flag_tied_output, Dtype::q8_0);
    model.spec.tokenizer_section = *section;
    const Values values(model.spec);
    const auto file = write_model(model.spec, values.source());
    REQUIRE(file);
    const auto read = read_model(*file);
    REQUIRE(read);
    CHECK(read->flags() == model_flag_tied_output);
    CHECK(read->tensors().size() == 11);
    CHECK(read->tokenizer().kind() == TokenizerKind::bpe1);
}

TEST_CASE("what no reader would take is not laid out") {
    const auto shaped = [](auto change) {
        ModelShape shape = sample::small_shape();
        change(shape);
        const Specified model(shape, 0, Dtype::f32);
        const auto layout = layout_model(model.spec);
        REQUIRE_FALSE(layout);
        return layout.error()[0].code;
    };
    CHECK(shaped([](ModelShape& s) { s.hidden_size = 0; }) == FindingCode::bad_value);
    CHECK(shaped([](ModelShape& s) { s.special_token_count = 3; }) == FindingCode::bad_value);
    CHECK(shaped([](ModelShape& s) { s.kv_head_count = 4; }) == FindingCode::bad_value);
    CHECK(shaped([](ModelShape& s) { s.rope_theta = 0; }) == FindingCode::bad_value);
    CHECK(shaped([](ModelShape& s) { s.vocab_size = 261; }) == FindingCode::tokenizer_malformed);
    CHECK(shaped([](ModelShape& s) { s.layer_count = 7282; }) == FindingCode::limit_exceeded);
    CHECK(shaped([](ModelShape& s) { s.layer_count = 0xffffffff; }) == FindingCode::limit_exceeded);
    CHECK(shaped([](ModelShape& s) { s.hidden_size = limits::dim + 1; }) == FindingCode::bad_dim);
    CHECK(shaped([](ModelShape& s) {
              s.ffn_size = 1U << 31;
              s.hidden_size = 1U << 20;
          }) == FindingCode::bad_dim);
    CHECK(shaped([](ModelShape& s) {
              s.ffn_size = (1U << 20) + 1;
              s.hidden_size = 1U << 20;
          }) == FindingCode::limit_exceeded);
    CHECK(shaped([](ModelShape& s) { s.head_count = s.head_dim = s.kv_head_count = 1U << 16; }) ==
          FindingCode::bad_dim);
}

TEST_CASE("storage that a reader would not take is not laid out") {
    Specified model(Dtype::q8_0);
    model.spec.flags = 2;
    CHECK(refused(model.spec, FindingCode::bad_value));
    model.spec.flags = 0;
    model.spec.storage.pop_back();
    CHECK(refused(model.spec, FindingCode::count_mismatch));
    model.spec.storage.push_back({Dtype{4}, 0});
    CHECK(refused(model.spec, FindingCode::unsupported_dtype));
    model.spec.storage.back() = {Dtype::q8_0, 4};
    CHECK(refused(model.spec, FindingCode::bad_block_size));
    model.spec.storage.back() = {Dtype::q4_0, 3};
    CHECK(refused(model.spec, FindingCode::bad_block_size));
    model.spec.storage.back() = {Dtype::q4_0, 0};
    CHECK(refused(model.spec, FindingCode::bad_block_size));
    model.spec.storage.back() = {Dtype::f32, 8};
    CHECK(refused(model.spec, FindingCode::bad_block_size));
    model.spec.storage.back() = {Dtype::q8_0, 8};
    CHECK(layout_model(model.spec));
    model.spec.tokenizer_section = {};
    CHECK(refused(model.spec, FindingCode::tokenizer_malformed));
}

TEST_CASE("f32 values are stored bit for bit, and the file is sealed") {
    const Specified model(Dtype::f32);
    Values values(model.spec);
    values.of(2)[0] = -0.0F;
    values.of(2)[1] = std::numeric_limits<float>::denorm_min();
    values.of(2)[63] = std::numeric_limits<float>::max();
    const auto file = write_model(model.spec, values.source());
    REQUIRE(file);
    const auto read = read_model(*file);
    REQUIRE(read);
    const Bytes payload = read->view(2).payload;
    CHECK(load<std::uint32_t>(payload, 0) == 0x80000000);
    CHECK(load<std::uint32_t>(payload, 4) == 1);
    CHECK(load<float>(payload, 252) == std::numeric_limits<float>::max());
    auto unsealed = *file;
    store(MutableBytes(unsealed), slm1_checksum_offset, std::uint64_t{0});
    CHECK(read->checksum() == checksum_of(unsealed));
}

TEST_CASE("q8_0 values are rounded to the nearest code of their row's scale") {
    const Specified model(Dtype::q8_0);
    Values values(model.spec);
    // Row 1 of wq: amax 127, so the scale is 1; ties go to even.
    const std::vector<float> row{127, -127, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 0.75F};
    std::copy(row.begin(), row.end(), values.of(2).begin() + 8);
    const auto file = write_model(model.spec, values.source());
    REQUIRE(file);
    const auto read = read_model(*file);
    REQUIRE(read);
    const TensorView view = read->view(2);
    CHECK(load<float>(view.scales, 4) == 1.0F);
    CHECK(to_hex(view.payload.subspan(8, 8)) ==
          "7f81000202"
          "00fe01");
}

TEST_CASE("q4_0 values are nibbles, the first in the low half") {
    const Specified model(Dtype::q4_0);
    Values values(model.spec);
    // Row 0 of wq: pos 7, neg 8, so the scale is 1 and -8 is a code.
    const std::vector<float> row{7, -8, 0.5F, 1.5F, -1, 3, 0, -7.5F};
    std::copy(row.begin(), row.end(), values.of(2).begin());
    const auto file = write_model(model.spec, values.source());
    REQUIRE(file);
    const auto read = read_model(*file);
    REQUIRE(read);
    const TensorView view = read->view(2);
    CHECK(load<float>(view.scales, 0) == 1.0F);
    // 7 and -8; 0 and 2; -1 and 3; 0 and -8
    CHECK(to_hex(view.payload.first(4)) ==
          "87"
          "20"
          "3f"
          "80");
}

TEST_CASE("a value that is not finite is not written") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Specified model(dtype);
        Values values(model.spec);
        values.of(2)[17] = -std::numeric_limits<float>::infinity();
        values.of(3)[0] = std::numeric_limits<float>::quiet_NaN();
        const auto file = write_model(model.spec, values.source());
        REQUIRE_FALSE(file);
        REQUIRE(file.error().size() == 2);
        CHECK(file.error()[0].code == FindingCode::non_finite);
        CHECK(file.error()[0].tensor == "layers.0.wq.weight");
        CHECK(file.error()[0].element == 17);
        CHECK(file.error()[1].tensor == "layers.0.wk.weight");
    }
}

TEST_CASE("a value whose scale would reach the bound is not written") {
    const Specified model(Dtype::q8_0);
    Values values(model.spec);
    values.of(2)[9] = 127 * std::ldexp(1.0F, 121);  // amax / 127 is the bound itself
    const auto file = write_model(model.spec, values.source());
    REQUIRE_FALSE(file);
    REQUIRE(file.error().size() == 1);
    CHECK(file.error()[0].code == FindingCode::bad_scale);
    CHECK(file.error()[0].tensor == "layers.0.wq.weight");
    CHECK(file.error()[0].element == 1);  // the row
    values.of(2)[9] = std::nextafter(values.of(2)[9], 0.0F) * 0.999F;
    CHECK(write_model(model.spec, values.source()));
}

TEST_CASE("a tensor's values are as many as its elements") {
    const Specified model(Dtype::f32);
    for (const std::size_t count : {63U, 65U, 0U}) {
        Values values(model.spec);
        values.of(2).resize(count, 0);
        const auto file = write_model(model.spec, values.source());
        REQUIRE_FALSE(file);
        CHECK(file.error()[0].code == FindingCode::length_mismatch);
        CHECK(file.error()[0].tensor == "layers.0.wq.weight");
    }
}
