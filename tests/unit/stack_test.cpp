#include "trlm/adapt/stack.hpp"

#include <limits>

#include "support/catch.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

/// A package with one identity field changed in its bytes, and sealed again.
std::vector<std::byte> with_field(std::uint64_t offset, std::uint32_t value) {
    auto file = sample::dense_package({"norm.weight"});
    store(MutableBytes(file), offset, value);
    sample::seal(file);
    return file;
}

Findings compatibility(const std::vector<std::byte>& package_file, float strength = 1) {
    const auto model_file = sample::model(Dtype::f32);
    const auto model = read_model(model_file);
    const auto package = read_package(package_file);
    REQUIRE(model);
    REQUIRE(package);
    const Stack stack{{&*package, strength, "a.adp1"}};
    return check_compatibility(*model, stack);
}

}  // namespace

TEST_CASE("a strength is a decimal number rounded once to f32") {
    CHECK(*parse_strength("1") == 1.0F);
    CHECK(*parse_strength("-0.5") == -0.5F);
    CHECK(*parse_strength("+2e-3") == 2e-3F);
    CHECK(*parse_strength(".25") == 0.25F);
    CHECK(*parse_strength("3.") == 3.0F);
    CHECK(*parse_strength("3.4e38") == 3.4e38F);
    CHECK(*parse_strength("1e-45") == std::numeric_limits<float>::denorm_min());
    // Below 2^128 - 2^103, halfway to 2^128, a number rounds to the largest f32.
    CHECK(*parse_strength("3.4028235677973362e38") == std::numeric_limits<float>::max());
    // Halfway between two f32 after rounding to binary64: ties to even, 1 + 2^-23 is odd.
    CHECK(*parse_strength("1.000000178813934326171875") == 1.0000002384185791015625F);
}

TEST_CASE("what is not a usable strength is a usage error") {
    for (const char* text : {"",
                             " 1",
                             "1 ",
                             "one",
                             "nan",
                             "inf",
                             "-inf",
                             "infinity",
                             "0x1p0",
                             "0",
                             "-0",
                             "0.0",
                             "1e39",
                             "1e-50",
                             "1e",
                             "e5",
                             ".",
                             "+",
                             "1,5",
                             "1e400",
                             "--1",
                             "1_000",
                             "3.4028235677973366e38",
                             "7.006492321624085e-46"}) {
        INFO("'" << text << "'");
        const auto strength = parse_strength(text);
        REQUIRE(!strength);
        CHECK(strength.error().exit_code() == ExitCode::usage);
    }
}

TEST_CASE("a package made for the model fits it") {
    CHECK(compatibility(sample::dense_package({"norm.weight", "output.weight"})).empty());
    CHECK(compatibility(sample::sparse_package("layers.0.w1.weight", 3)).empty());
    CHECK(compatibility(sample::low_rank_package("layers.0.wq.weight")).empty());
}

TEST_CASE("each identity field that differs is named with its file") {
    const std::pair<std::uint64_t, FindingCode> fields[] = {
        {16, FindingCode::flags_differ},
        {20, FindingCode::tensor_count_differs},
        {24, FindingCode::parameter_count_differs},
        {32, FindingCode::layout_differs},
        {40, FindingCode::tokenizer_differs},
    };
    for (const auto& [offset, code] : fields) {
        const Findings findings = compatibility(with_field(offset, 40));
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].code == code);
        CHECK(findings[0].file == "a.adp1");
        CHECK(!findings[0].expected.empty());
        CHECK(findings.exit_code() == ExitCode::incompatible);
    }
}

TEST_CASE("an unknown tensor and a differing shape are named") {
    constexpr std::uint64_t entry = 128;
    const Findings unknown = compatibility(with_field(entry, 12345));
    REQUIRE(unknown.contains(FindingCode::tensor_unknown));
    CHECK(unknown[0].tensor.starts_with("0x"));

    // [8] as [2, 4]: the same number of elements, another shape.
    auto file = sample::dense_package({"norm.weight"});
    store<std::uint32_t>(file, entry + 8, 2);
    store<std::uint32_t>(file, entry + 16, 2);
    store<std::uint32_t>(file, entry + 20, 4);
    sample::seal(file);
    const Findings shaped = compatibility(file);
    REQUIRE(shaped.size() == 1);
    CHECK(shaped[0].code == FindingCode::tensor_shape_differs);
    CHECK(shaped[0].tensor == "norm.weight");
    CHECK(shaped[0].expected == "[8]");
    CHECK(shaped[0].actual == "[2, 4]");
}

TEST_CASE("a stack has 1 to 64 adapters, each with a usable strength") {
    const auto model_file = sample::model(Dtype::f32);
    const auto package_file = sample::dense_package({"norm.weight"});
    const auto model = read_model(model_file);
    const auto package = read_package(package_file);
    REQUIRE(model);
    REQUIRE(package);
    CHECK(check_compatibility(*model, Stack{}).contains(FindingCode::usage_error));
    CHECK(check_compatibility(*model, Stack(64, {&*package, 1, ""})).empty());
    const Findings many = check_compatibility(*model, Stack(65, {&*package, 1, ""}));
    REQUIRE(many.size() == 1);
    CHECK(many[0].code == FindingCode::limit_exceeded);
    const float bad[] = {0.0F, -0.0F, std::numeric_limits<float>::infinity(),
                         std::numeric_limits<float>::quiet_NaN()};
    for (const float strength : bad) {
        CHECK(compatibility(package_file, strength).contains(FindingCode::usage_error));
    }
}

TEST_CASE("the assembly state depends on packages, strengths and order") {
    const auto model_file = sample::model(Dtype::f32);
    const auto first_file = sample::dense_package({"norm.weight"});
    const auto second_file = sample::low_rank_package("layers.0.wq.weight");
    const auto model = read_model(model_file);
    const auto first = read_package(first_file);
    const auto second = read_package(second_file);
    const std::uint64_t state =
        assembly_state(*model, Stack{{&*first, 1, ""}, {&*second, 0.5F, ""}});
    CHECK(state == next_state(next_state(initial_state(model->identity()), first->checksum(), 1),
                              second->checksum(), 0.5F));
    CHECK(state != assembly_state(*model, Stack{{&*second, 0.5F, ""}, {&*first, 1, ""}}));
    CHECK(state != assembly_state(*model, Stack{{&*first, 1, ""}, {&*second, 0.25F, ""}}));
    CHECK(assembly_state(*model, Stack{}) == initial_state(model->identity()));
}
