// What the producers' callers do that a command line cannot: memory, cancelling, numbers of an API.
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <stdexcept>

#include "produce/names.hpp"
#include "support/catch.hpp"
#include "support/folder.hpp"
#include "support/project_file.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/compose.hpp"
#include "trlm/adapt/produce/convert.hpp"
#include "trlm/adapt/produce/difference.hpp"
#include "trlm/adapt/produce/forecast.hpp"
#include "trlm/adapt/produce/lora.hpp"
#include "trlm/adapt/produce/merge.hpp"

using namespace trlm::adapt;

namespace {

std::string data(const std::string& name) {
    return project_file("examples/data/" + name);
}

/// The code of the only finding.
template <class T>
FindingCode code_of(const Result<T>& result) {
    REQUIRE_FALSE(result);
    REQUIRE(result.error().size() == 1);
    return result.error()[0].code;
}

/// A model whose values are a function of tensor and element.
std::vector<std::byte> model_of(const ModelShape& shape,
                                const std::function<float(std::size_t, std::uint64_t)>& value) {
    const auto tokenizer = write_btok();
    const auto tensors = expected_tensors(shape, 0);
    const ModelSource source{
        .shape = shape,
        .tokenizer_section = tokenizer,
        .read_rows = [&](std::size_t index, std::uint64_t first_row, std::span<float> out) {
            const std::uint64_t first = first_row * tensors[index].shape.cols();
            for (std::size_t i = 0; i < out.size(); ++i)
                out[i] = value(index, first + i);
        }};
    std::vector<std::byte> file;
    REQUIRE(convert_to_memory(source, file));
    return file;
}

Shape vector_of(std::uint32_t elements) {
    return {1, {elements, 1, 1, 1}};
}

/// A package of one sparse entry for a vector of 133 elements.
std::vector<std::byte> sparse(const std::vector<std::uint32_t>& indexes,
                              const std::vector<float>& values) {
    PackageContent content;
    content.kind = PackageKind::sparse;
    content.identity = {0, 12, 1000, 5, 6};
    content.entries = {{3, vector_of(133), SparseContent{indexes, values}}};
    const auto written = write_package(content);
    REQUIRE(written);
    return *written;
}

/// Forty positions from 3 on: fewer bytes as a mask than as a list.
std::vector<std::byte> masked() {
    std::vector<std::uint32_t> indexes;
    for (std::uint32_t i = 0; i < 40; ++i)
        indexes.push_back(3 + 2 * i);
    return sparse(indexes, std::vector<float>(indexes.size(), 0.5F));
}

/// Calls `work(progress)` with a progress that stops at each of its calls in turn, by its answer
/// and by throwing; `work` judges what came of it.
void stop_everywhere(const std::function<bool(const Progress&)>& work) {
    std::size_t calls = 0;
    REQUIRE(work([&](std::uint64_t done, std::uint64_t total) {
        ++calls;
        return done <= total;
    }));
    REQUIRE(calls > 0);
    for (std::size_t last = 1; last <= calls; ++last) {
        for (const bool throws : {false, true}) {
            std::size_t call = 0;
            INFO("call " << last << " of " << calls << (throws ? ", throws" : ""));
            CHECK_FALSE(work([&](std::uint64_t, std::uint64_t) {
                if (++call < last) return true;
                if (throws) throw std::runtime_error("enough");
                return false;
            }));
            CHECK(call == last);
        }
    }
}

/// Whether it went well; if not, it says that it was cancelled, and the folder is empty.
template <class T>
bool succeeded_or_cancelled(Result<T> result, const Folder& folder) {
    if (result) return true;
    CHECK(code_of(result) == FindingCode::output_failed);
    CHECK(folder.names().empty());
    return false;
}

}  // namespace

// ---------------------------------------------------------------------------------- conversion

TEST_CASE("a copied checkpoint stays what it was when its files are cut") {
    const Folder folder;
    std::filesystem::copy(data("checkpoint"), folder.path("checkpoint"));
    std::vector<std::byte> expected;
    REQUIRE(convert_to_memory(Checkpoint::open(data("checkpoint"))->source(), expected));
    const auto copied = Checkpoint::open(folder.path("checkpoint"), FileReading::copied);
    REQUIRE(copied);
    std::size_t cut = 0;
    for (const auto& file : std::filesystem::directory_iterator(folder.path("checkpoint"))) {
        std::filesystem::resize_file(file.path(), 1);
        ++cut;
    }
    REQUIRE(cut > 0);
    copied->release();
    std::vector<std::byte> file;
    REQUIRE(convert_to_memory(copied->source(), file));
    CHECK(file == expected);
}

TEST_CASE("convert: a checkpoint in memory is the file of an independent implementation") {
    // examples/data/README.md; the command line's tests have the same digest.
    constexpr std::string_view digest =
        "sha256:12cfb970726b905c9a830c24e971c98d7825b6491857c127a3bf4c641b85c473";
    auto opened = Checkpoint::open(data("checkpoint"));
    REQUIRE(opened);
    Checkpoint moved = std::move(*opened);
    auto other = Checkpoint::open(data("checkpoint"));
    REQUIRE(other);
    *other = std::move(moved);
    CHECK(other->notes().empty());
    for (int pass = 0; pass < 2; ++pass) {
        std::vector<std::byte> file(17);
        const auto converted = convert_to_memory(other->source(), file);
        REQUIRE(converted);
        CHECK(to_string(converted->digest) == digest);
        CHECK(to_string(sha256(file)) == digest);
        CHECK(converted->bytes == file.size());
        REQUIRE(read_model(file));
        other->release();  // the memory of what was read; it is read again
    }
}

TEST_CASE("convert: a tensor that is stored as asked keeps its bytes") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const auto bytes = sample::model(dtype);
        const auto model = read_model(bytes);
        REQUIRE(model);
        for (const auto& asked : {std::optional<Dtype>{}, std::optional<Dtype>{dtype}}) {
            std::vector<std::byte> file;
            REQUIRE(convert_to_memory(source_of(*model), file, {.dtype = asked, .progress = {}}));
            CHECK(file == bytes);
        }
    }
}

TEST_CASE("convert: a model that cannot be is refused, and nothing is written") {
    const Folder folder;
    const auto bytes = sample::model(Dtype::f32);
    const auto model = read_model(bytes);
    REQUIRE(model);
    ModelSource source = source_of(*model);
    source.shape.vocab_size = 261;  // the tokenizer has 260
    std::vector<std::byte> file(5);
    CHECK(code_of(convert_to_memory(source, file)) == FindingCode::tokenizer_malformed);
    CHECK(file.empty());
    CHECK(code_of(convert_model(source, folder.path("out"), false)) ==
          FindingCode::tokenizer_malformed);
    CHECK(folder.names().empty());
}

TEST_CASE("convert: every tensor that cannot be stored is named, and nothing is written") {
    const Folder folder;
    const auto tokenizer = write_btok();
    ModelShape shape = sample::wide_shape();
    shape.ffn_size = 2'000;  // some tensors are read in several pieces
    const ModelSource source{.shape = shape,
                             .tokenizer_section = tokenizer,
                             .read_rows = [](std::size_t, std::uint64_t, std::span<float> out) {
                                 std::ranges::fill(out, std::numeric_limits<float>::quiet_NaN());
                             }};
    const std::size_t tensors = expected_tensors(source.shape, 0).size();
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        std::vector<std::byte> file;
        for (const auto& converted :
             {convert_to_memory(source, file, {.dtype = dtype, .progress = {}}),
              convert_model(source, folder.path("out"), false, {.dtype = dtype, .progress = {}})}) {
            REQUIRE_FALSE(converted);
            CHECK(converted.error().size() == tensors);
            for (const Finding& finding : converted.error()) {
                CHECK(finding.code == FindingCode::non_finite);
                CHECK(finding.element == 0U);
            }
        }
        CHECK(file.empty());
        CHECK(folder.names().empty());
    }
}

TEST_CASE("convert: places that cannot be written to") {
    const Folder folder;
    const auto bytes = sample::model(Dtype::q8_0);
    const auto model = read_model(bytes);
    REQUIRE(model);
    const ModelSource source = source_of(*model);
    CHECK(code_of(convert_model(source, folder.path("nowhere/out"), false)) ==
          FindingCode::output_failed);
    REQUIRE(convert_model(source, folder.path("out"), false));
    CHECK(code_of(convert_model(source, folder.path("out"), false)) == FindingCode::usage_error);
    CHECK(convert_model(source, folder.path("out"), true));
    CHECK(folder.names() == std::vector<std::string>{"out"});
}

TEST_CASE("convert: it can be cancelled at any time") {
    const Folder folder;
    const auto bytes = sample::model(Dtype::q8_0);
    const auto model = read_model(bytes);
    REQUIRE(model);
    for (const auto& dtype : {std::optional<Dtype>{}, std::optional<Dtype>{Dtype::q4_0}}) {
        stop_everywhere([&](const Progress& progress) {
            std::vector<std::byte> file;
            const auto converted =
                convert_to_memory(source_of(*model), file, {.dtype = dtype, .progress = progress});
            CHECK(file.empty() == !converted);
            return succeeded_or_cancelled(converted, folder);
        });
        stop_everywhere([&](const Progress& progress) {
            const auto converted = convert_model(source_of(*model), folder.path("out"), false,
                                                 {.dtype = dtype, .progress = progress});
            const bool good = succeeded_or_cancelled(converted, folder);
            if (good) std::filesystem::remove(folder.path("out"));
            return good;
        });
    }
}

TEST_CASE("a path that leads nowhere is that of a folder without a configuration") {
    const Folder folder;
    const auto bytes = sample::model(Dtype::f32);
    const auto model = read_model(bytes);
    REQUIRE(model);
    const auto checkpoint = Checkpoint::open(folder.path("nowhere"));
    REQUIRE_FALSE(checkpoint);
    REQUIRE(checkpoint.error().size() == 2);
    CHECK(checkpoint.error()[0].code == FindingCode::file_missing);
    CHECK(checkpoint.error()[0].file == folder.path("nowhere/config.json"));
    CHECK(checkpoint.error()[1].code == FindingCode::file_missing);
    const auto lora = import_lora(folder.path("nowhere"), *model, folder.path("out"));
    REQUIRE_FALSE(lora);
    REQUIRE(lora.error().size() == 2);
    CHECK(lora.error()[0].file == folder.path("nowhere/adapter_config.json"));
    CHECK(lora.error()[1].file == folder.path("nowhere/adapter_model.safetensors"));
}

TEST_CASE("a LoRA can be cancelled at any time, and needs a place to be written to") {
    const Folder folder;
    const auto file = MappedFile::open(data("union.q8_0.slm"));
    REQUIRE(file);
    const auto base = read_model(file->bytes());
    REQUIRE(base);
    CHECK(code_of(import_lora(data("peft-lora"), *base, folder.path("nowhere/out"))) ==
          FindingCode::output_failed);
    stop_everywhere([&](const Progress& progress) {
        return succeeded_or_cancelled(
            import_lora(data("peft-lora"), *base, folder.path("out"), progress), folder);
    });
}

TEST_CASE("names that no model has stay as they are") {
    CHECK(hugging_face_module("layers.11.wq.weight") == "model.layers.11.self_attn.q_proj");
    CHECK(hugging_face_module("output.weight") == "lm_head");
    for (const std::string name : {"", "layers.", "layers.0", "layers.0.wz.weight", "other.weight"})
        CHECK(hugging_face_module(name) == name);
}

// ---------------------------------------------------------------------------------- differences

TEST_CASE("a difference can be cancelled at any time, whatever it keeps") {
    const Folder folder;
    // Two models of values that differ everywhere.
    const auto base_bytes = sample::model(Dtype::q8_0);
    const auto tuned_bytes =
        model_of(sample::small_shape(), [](std::size_t tensor, std::uint64_t element) {
            return 0.5F + static_cast<float>((tensor * 31 + element * 17) % 97) / 256;
        });
    const auto base = read_model(base_bytes);
    const auto tuned = read_model(tuned_bytes);
    REQUIRE((base && tuned));
    const DifferencePaths paths{folder.path("out"), folder.path("companion")};
    const std::vector<DifferenceMethod> methods{
        DenseDifference{},
        LargestElements{0.25, false},
        LargestElements{0.001, true},  // some tensors are left out
        ElementsAbove{0.6F},
        RandomDrop{0.5, 7, true},
        LowRankDifference{std::uint32_t{2}, VectorPolicy::dense},
        LowRankDifference{0.5, VectorPolicy::skip}};
    for (const DifferenceMethod& method : methods) {
        INFO(describe(method));
        stop_everywhere([&](const Progress& progress) {
            return succeeded_or_cancelled(
                write_difference(*base, *tuned, method, paths, {.progress = progress}), folder);
        });
    }
    CHECK(code_of(write_difference(*base, *tuned, DenseDifference{},
                                   {folder.path("nowhere/out"), {}})) ==
          FindingCode::output_failed);
    CHECK(code_of(write_difference(*base, *tuned, LowRankDifference{std::uint32_t{2}},
                                   {folder.path("out"), folder.path("nowhere/out")})) ==
          FindingCode::output_failed);
    CHECK(folder.names().empty());
    CHECK(code_of(write_difference(*base, *tuned, RandomDrop{1}, paths)) ==
          FindingCode::usage_error);
}

TEST_CASE("a difference of tensors that take many parts is whole") {
    // Rows of w2 are longer than a part, and w1 and w3 have rows for several.
    ModelShape shape = sample::small_shape();
    shape.ffn_size = 66'000;
    const auto value = [](std::size_t tensor, std::uint64_t element) {
        return static_cast<float>((tensor + element) % 61) / 64;
    };
    const auto base_bytes = model_of(shape, value);
    const auto tuned_bytes = model_of(shape, [&](std::size_t tensor, std::uint64_t element) {
        return value(tensor, element) + (element % 1000 == 999 ? 0.25F : 0);
    });
    const auto base = read_model(base_bytes);
    const auto tuned = read_model(tuned_bytes);
    REQUIRE((base && tuned));
    const Folder folder;
    const auto written =
        write_difference(*base, *tuned, ElementsAbove{0}, {folder.path("out"), {}});
    REQUIRE(written);
    // All sums and differences of multiples of 1/64 are exact.
    CHECK(written->report.not_restored == 0);
    CHECK(written->report.relative_error() == 0);
    for (const TensorDifference& tensor : written->report.tensors) {
        CHECK(tensor.differing == tensor.elements / 1000);
        CHECK(tensor.stored == tensor.differing);
        CHECK(tensor.difference_squared == static_cast<double>(tensor.differing) / 16);
    }
    CHECK(TensorDifference{}.relative_error() == 0);
}

TEST_CASE("a difference that no f32 holds is told once for each tensor") {
    constexpr float huge = std::numeric_limits<float>::max();
    const auto sign = [](float of) {
        return [of](std::size_t tensor, std::uint64_t) { return tensor < 2 ? of : 0.5F; };
    };
    const auto base_bytes = model_of(sample::small_shape(), sign(-huge));
    const auto tuned_bytes = model_of(sample::small_shape(), sign(huge));
    const auto base = read_model(base_bytes);
    const auto tuned = read_model(tuned_bytes);
    REQUIRE((base && tuned));
    const Folder folder;
    const auto written =
        write_difference(*base, *tuned, DenseDifference{}, {folder.path("out"), {}});
    REQUIRE_FALSE(written);
    REQUIRE(written.error().size() == 2);
    for (const Finding& finding : written.error()) {
        CHECK(finding.code == FindingCode::non_finite);
        CHECK(finding.element == 0U);
    }
    CHECK(written.error()[0].tensor != written.error()[1].tensor);
    CHECK(folder.names().empty());
}

// --------------------------------------------------------------------------------------- merging

TEST_CASE("merge: numbers that a command line does not let through") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto bytes = sparse({1, 5}, {1, 2});
    const auto package = read_package(bytes);
    REQUIRE(package);
    const auto judged = [&](float strength, const MergeMethod& method) {
        const std::vector<StackMember> members{{&*package, 1, "a"}, {&*package, strength, "b"}};
        const Folder folder;
        const Findings findings = check_merge(members, method);
        const auto written = write_merge(members, method, folder.path("out"));
        CHECK(written.has_value() == findings.empty());
        if (!written) CHECK(code_of(written) == findings[0].code);
        return findings.size() == 1 && findings[0].code == FindingCode::usage_error;
    };
    for (const float strength : {0.0F, -0.0F, nan, std::numeric_limits<float>::infinity()})
        CHECK(judged(strength, SumMerge{}));
    for (const double density : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()})
        CHECK(judged(1, SignConsensus{density}));
    CHECK_FALSE(judged(-0.5F, SumMerge{}));
    CHECK_FALSE(judged(0.5F, SignConsensus{1}));
}

TEST_CASE("merge: a factor that an f32 does not hold") {
    for (const auto& [scale, strength] :
         {std::pair{1e30F, 1e30F}, {1e-30F, 1e-30F}, {-1e30F, 1e30F}}) {
        const auto bytes = sample::low_rank_package("layers.0.wq.weight", scale);
        const auto package = read_package(bytes);
        REQUIRE(package);
        const std::vector<StackMember> members{{&*package, 1, "a"}, {&*package, strength, "b"}};
        const Findings findings = check_merge(members, SumMerge{});
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].code == FindingCode::bad_low_rank);
        CHECK(findings[0].file == "b");
    }
}

TEST_CASE("merge: a mean that no f32 holds is counted as rounded") {
    const auto one = sparse({1, 5}, {1, 1});
    const auto two = sparse({1, 5}, {1, 2});
    const auto three = sparse({1, 5}, {1, 1});
    const auto first = read_package(one);
    const auto second = read_package(two);
    const auto third = read_package(three);
    REQUIRE((first && second && third));
    const std::vector<StackMember> members{
        {&*first, 1, "a"}, {&*second, 1, "b"}, {&*third, 1, "c"}};
    const Folder folder;
    const auto merged = write_merge(members, SignConsensus{1}, folder.path("out"));
    REQUIRE(merged);
    CHECK(merged->report.rounded() == 1);  // 4 / 3; the other is 1
    const auto file = merged->package.map();
    REQUIRE(file);
    const auto package = read_package(file->bytes());
    REQUIRE(package);
    CHECK(package->entries()[0].count == 2);
}

TEST_CASE("merge: it can be cancelled at any time, and needs a place to be written to") {
    const std::vector<std::string> tensors{"layers.0.wq.weight", "norm.weight"};
    const std::array files{sample::dense_package(tensors), sample::sparse_package(tensors[0], 3),
                           sample::low_rank_package(tensors[0])};
    const Folder folder;
    for (const auto& bytes : files) {
        const auto package = read_package(bytes);
        REQUIRE(package);
        const std::vector<StackMember> members{{&*package, 1, "a"}, {&*package, 0.5F, "b"}};
        stop_everywhere([&](const Progress& progress) {
            return succeeded_or_cancelled(
                write_merge(members, SumMerge{}, folder.path("out"), {.progress = progress}),
                folder);
        });
        CHECK(code_of(write_merge(members, SumMerge{}, folder.path("nowhere/out"))) ==
              FindingCode::output_failed);
    }
}

TEST_CASE("as many packages as a stack has go together, one more does not") {
    const auto bytes = sparse({1}, {1});
    const auto package = read_package(bytes);
    REQUIRE(package);
    std::vector<StackMember> members(64, {&*package, 1, "a"});
    CHECK(check_merge(members, SumMerge{}).empty());
    REQUIRE(check_composition(members));
    members.push_back(members.front());
    REQUIRE(check_merge(members, SumMerge{}).size() == 1);
    CHECK(check_merge(members, SumMerge{})[0].code == FindingCode::limit_exceeded);
    CHECK(code_of(check_composition(members)) == FindingCode::limit_exceeded);
    CHECK(code_of(check_composition({})) == FindingCode::usage_error);
}

// ----------------------------------------------------------------------------------- compositions

TEST_CASE("compose: positions of lists and bitmasks are compared") {
    const auto list = sparse({2, 3, 132}, {1, 1, 1});
    const auto mask = masked();
    const auto first = read_package(list);
    const auto second = read_package(mask);
    REQUIRE((first && second));
    CHECK(second->entries()[0].encoding == SparseEncoding::bitmask);
    const std::vector<StackMember> members{{&*first, 1, "a"}, {&*second, 1, "b"}};
    const auto composition = check_composition(members);
    REQUIRE(composition);
    CHECK(composition->changed == std::vector<std::uint64_t>{3, 40});
    CHECK(composition->changed_twice == 1);
}

TEST_CASE("compose: a bit past the tensor's end is told") {
    auto mask = masked();
    // docs/formats.md: the directory's first entry is at 128, its payload's offset 32 bytes on.
    const auto payload = static_cast<std::size_t>(load<std::uint64_t>(mask, 128 + 32));
    mask[payload + 16] |= std::byte{0x20};  // bit 133
    sample::seal(mask);
    const auto package = read_package(mask, ReadDepth::headers);
    REQUIRE(package);
    const std::vector<StackMember> members{{&*package, 1, "a"}, {&*package, 1, "b"}};
    const auto composition = check_composition(members);
    REQUIRE_FALSE(composition);
    REQUIRE(composition.error().contains(FindingCode::mask_bits_past_end));
    CHECK(composition.error()[0].file == "a");
}

// -------------------------------------------------------------------------------------- forecasts

TEST_CASE("forecast: it can be cancelled, and refuses a stack of another model") {
    const auto bytes = sample::model(Dtype::q4_0);
    const auto target = read_model(bytes);
    const auto package_bytes = sample::dense_package({"layers.0.wq.weight"});
    const auto package = read_package(package_bytes);
    const auto other_bytes = sample::dense_package({"layers.0.wq.weight"}, 1, sample::wide_shape());
    const auto other = read_package(other_bytes);
    REQUIRE((target && package && other));
    const StackMember member{&*package, 1, "a"};
    stop_everywhere([&](const Progress& progress) {
        ApplyOptions options;
        options.progress = progress;
        const auto told = forecast(*target, {&member, 1}, options);
        if (told) return true;
        CHECK(code_of(told) == FindingCode::output_failed);
        return false;
    });
    const StackMember stranger{&*other, 1, "b"};
    const auto refused = forecast(*target, {&stranger, 1});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().contains(FindingCode::layout_differs));
}
