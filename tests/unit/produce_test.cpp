#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/tokenizer_json.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/safetensors.hpp"
#include "trlm/adapt/produce/tokenizer_import.hpp"
#include "trlm/adapt/survival.hpp"

using namespace trlm::adapt;
using Json = nlohmann::ordered_json;

namespace {

std::vector<std::byte> safetensors(const std::string& header, std::size_t data_bytes) {
    std::vector<std::byte> file(8 + header.size() + data_bytes);
    store(MutableBytes(file), 0, static_cast<std::uint64_t>(header.size()));
    std::memcpy(file.data() + 8, header.data(), header.size());
    return file;
}

constexpr NamedSpecialTokens named{0, 1, 2, 3};

}  // namespace

TEST_CASE("safetensors: a file without tensors, one with a single value, padding of the header") {
    CHECK(read_safetensors(safetensors("{}", 0))->tensors().empty());
    const auto file = safetensors(
        R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"__metadata__":{"a":"b"}}   )", 4);
    const auto read = read_safetensors(file);
    REQUIRE(read);
    REQUIRE(read->find("x") != nullptr);
    CHECK(read->find("x")->data.size() == 4);
    CHECK(read->find("y") == nullptr);
    REQUIRE(read->metadata().size() == 1);
    CHECK(read->metadata()[0].second == "b");
}

TEST_CASE("safetensors: the longest header is read, one byte more is not") {
    std::vector<std::byte> file(8);
    store(MutableBytes(file), 0, safetensors_header_limit);
    CHECK(read_safetensors(file).error()[0].code == FindingCode::truncated);
    store(MutableBytes(file), 0, safetensors_header_limit + 1);
    CHECK(read_safetensors(file).error()[0].code == FindingCode::limit_exceeded);
}

TEST_CASE("safetensors: what stands too deep in the header is a wrong value, not a limit") {
    const auto read = read_safetensors(
        safetensors(R"({"x":{"dtype":"F32","shape":[{}],"data_offsets":[0,4]}})", 4));
    REQUIRE_FALSE(read);
    REQUIRE(read.error().size() == 1);
    CHECK(read.error()[0].code == FindingCode::bad_value);
    CHECK(read.error()[0].pointer == "/x/shape");
}

TEST_CASE("safetensors: every F16 and BF16 becomes the f32 of the same value") {
    std::vector<std::byte> bits(2 * 65'536);
    for (std::uint32_t i = 0; i < 65'536; ++i)
        store(MutableBytes(bits), 2 * i, static_cast<std::uint16_t>(i));
    SafetensorsTensor tensor{"x", SafetensorsDtype::f16, {65'536}, 0, bits};
    std::vector<float> half(65'536);
    read_values(tensor, 0, half);
    tensor.dtype = SafetensorsDtype::bf16;
    std::vector<float> brain(65'536);
    read_values(tensor, 0, brain);
    for (std::uint32_t i = 0; i < 65'536; ++i) {
        const int exponent = static_cast<int>(i >> 10 & 0x1f);
        const double fraction = i & 0x3ff;
        double value =
            exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31) value = std::numeric_limits<double>::infinity();
        if ((i & 0x8000) != 0) value = -value;
        const bool nan = exponent == 31 && fraction != 0;
        const bool same = nan ? std::isnan(half[i])
                              : static_cast<double>(half[i]) == value &&
                                    std::signbit(half[i]) == std::signbit(value);
        if (!same) FAIL("F16 " << i);
        if (std::bit_cast<std::uint32_t>(brain[i]) != i << 16) FAIL("BF16 " << i);
    }
}

TEST_CASE("half-split rows of two heads of four") {
    const std::array<std::uint64_t, 8> rows{0, 2, 1, 3, 4, 6, 5, 7};
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        CHECK(half_split_row(row, 4) == rows[row]);
}

TEST_CASE("a byte-level BPE cuts a text as its merges say") {
    const auto imported = import_tokenizer_json(sample::tokenizer_json().dump(), 262, named);
    REQUIRE(imported);
    CHECK(imported->notes.empty());
    const auto read = Tokenizer::parse(imported->section);
    REQUIRE(read);
    CHECK(read->kind() == TokenizerKind::bpe1);
    CHECK(read->special().unk == 3);
    // "th", " th", "e", and the bytes of e-acute.
    const std::vector<std::uint32_t> ids{260, 261, 4 + 'e', 4 + 0xc3, 4 + 0xa9};
    CHECK(read->encode("th the\xc3\xa9") == ids);
    CHECK(read->decode(ids) == "th the\xc3\xa9");
}

TEST_CASE("plain bytes with BTOK's ids are BTOK") {
    Json document = sample::tokenizer_json();
    document["model"]["vocab"] = sample::byte_vocabulary(0);
    document["model"]["merges"] = Json::array();
    for (auto& token : document["added_tokens"])
        token["id"] = token["id"].get<int>() + 256;
    const auto imported = import_tokenizer_json(document.dump(), 260, {256, 257, 258, 259});
    REQUIRE(imported);
    CHECK(imported->section == write_btok());
    CHECK(import_bytes(260, {256, 257, {}, {}})->section == write_btok());
    CHECK(import_bytes(261, {}).error()[0].code == FindingCode::unsupported_source);
    CHECK(import_bytes(260, {1, {}, {}, {}}).error()[0].code == FindingCode::unsupported_source);
}

TEST_CASE("roles that nobody names go to free special tokens, with a note") {
    const auto imported =
        import_tokenizer_json(sample::tokenizer_json().dump(), 262, {1, 1, {}, 3});
    REQUIRE(imported);
    const auto special = Tokenizer::parse(imported->section)->special();
    CHECK(special.bos == 1);
    CHECK(special.eos == 0);
    CHECK(special.pad == 2);
    CHECK(special.unk == 3);
    CHECK(imported->notes.size() == 2);
}

TEST_CASE("tokenizers that BPE1 has no place for are refused") {
    const auto refusal = [](auto change, std::uint32_t vocab_size = 262) {
        Json document = sample::tokenizer_json();
        change(document);
        const auto imported = import_tokenizer_json(document.dump(), vocab_size, named);
        REQUIRE_FALSE(imported);
        return imported.error()[0].code;
    };
    using Code = FindingCode;
    CHECK(refusal([](Json& d) { d["model"]["type"] = "Unigram"; }) == Code::unsupported_source);
    CHECK(refusal([](Json& d) { d["model"]["byte_fallback"] = true; }) == Code::unsupported_source);
    CHECK(refusal([](Json& d) { d["model"]["end_of_word_suffix"] = "</w>"; }) ==
          Code::unsupported_source);
    CHECK(refusal([](Json& d) {
              d["normalizer"] = {{"type", "NFC"}};
          }) == Code::unsupported_source);
    CHECK(refusal([](Json& d) {
              d["pre_tokenizer"] = {{"type", "Metaspace"}};
          }) == Code::unsupported_source);
    CHECK(refusal([](Json& d) { d["model"]["vocab"]["\xe2\x96\x81"] = 12; }) ==
          Code::unsupported_source);
    const auto without_a_role =
        import_tokenizer_json(sample::tokenizer_json().dump(), 262, {0, 1, 1, 2});
    CHECK(without_a_role);  // id 3 is free
    Json few = sample::tokenizer_json();
    few["added_tokens"][3]["special"] = false;
    CHECK(import_tokenizer_json(few.dump(), 262, {0, 1, 1, 2}).error()[0].code ==
          Code::unsupported_source);
    CHECK(refusal([](Json& d) { d.erase("model"); }) == Code::missing_key);
    CHECK(refusal([](Json& d) { d["model"]["merges"] = {"t x"}; }) == Code::bad_value);
    CHECK(refusal([](Json& d) {
              d["model"]["merges"] = {"t h", "t h"};
          }) == Code::tokenizer_malformed);
    CHECK(refusal([](Json& d) { d["model"]["vocab"]["th"] = 261; }) == Code::duplicate_id);
    CHECK(refusal([](Json&) {}, 261) == Code::bad_value);
}

TEST_CASE("most is lost below one half, or where noise outweighs the change") {
    TensorSurvival tensor;
    CHECK_FALSE(is_mostly_lost({&tensor, 1}));  // nothing was intended
    tensor.intended_squared = 4;
    tensor.intended_effective = 2;
    tensor.error_squared = 3.9;
    CHECK_FALSE(is_mostly_lost({&tensor, 1}));
    tensor.error_squared = 4.1;
    CHECK(is_mostly_lost({&tensor, 1}));
    tensor.error_squared = 0;
    CHECK_FALSE(is_mostly_lost({&tensor, 1}));
    tensor.intended_effective = 1.9;
    CHECK(is_mostly_lost({&tensor, 1}));
    tensor.error_squared = 0.4;
    CHECK(std::abs(snr_db_of_stack({&tensor, 1}).value() - 10) < 1e-9);
}
