#include "trlm/adapt/apply.hpp"

#include <cfenv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "fp_environment.hpp"
#include "support/catch.hpp"
#include "support/folder.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/simd.hpp"

using namespace trlm::adapt;

namespace {

using ByteVector = std::vector<std::byte>;

/// Files in memory, read and stacked, kept alive together.
class Setup {
public:
    Setup(ByteVector model_file, std::vector<ByteVector> package_files,
          ChecksumPolicy policy = ChecksumPolicy::verify)
        : model_file_(std::move(model_file)), package_files_(std::move(package_files)) {
        auto model = read_model(model_file_, {policy, ReadDepth::everything});
        REQUIRE(model);
        model_ = std::move(*model);
        packages_.reserve(package_files_.size());
        for (const ByteVector& file : package_files_) {
            auto package = read_package(file);
            REQUIRE(package);
            packages_.push_back(std::move(*package));
            stack.push_back({&packages_.back(), 1.0F, {}});
        }
    }

    [[nodiscard]] const Model& model() const { return model_; }
    [[nodiscard]] const ByteVector& model_file() const { return model_file_; }
    [[nodiscard]] const Package& package(std::size_t i) const { return packages_[i]; }

    [[nodiscard]] ApplyPlan plan() const {
        auto plan = plan_apply(model_, stack);
        REQUIRE(plan);
        return std::move(*plan);
    }

    Stack stack;

private:
    ByteVector model_file_;
    std::vector<ByteVector> package_files_;
    Model model_;
    std::vector<Package> packages_;
};

Setup mixed_stack(Dtype dtype) {
    const ModelShape shape = sample::wide_shape();
    return {sample::model(dtype, shape),
            {sample::dense_package({"norm.weight", "layers.0.w2.weight"}, 0.002F, shape),
             sample::sparse_package("output.weight", 97, 0.002F, shape),       // index list
             sample::sparse_package("layers.0.w1.weight", 20, 0.002F, shape),  // bitmask
             sample::sparse_package("layers.0.w3.weight", 3, 0.002F, shape),   // dense bitmask
             sample::low_rank_package("layers.0.w2.weight", -0.3F, shape),
             sample::low_rank_package("layers.0.w2.weight", 0.1F, shape)}};
}

ByteVector applied(const Setup& setup, const ApplyOptions& options = {}) {
    ByteVector output;
    const auto report = apply_to_memory(setup.plan(), output, options);
    REQUIRE(report);
    return output;
}

FindingCode refusal(const Setup& setup, const ApplyOptions& options = {}) {
    ByteVector output;
    const auto report = apply_to_memory(setup.plan(), output, options);
    REQUIRE(!report);
    CHECK(output.empty());
    REQUIRE(report.error().size() == 1);
    return report.error()[0].code;
}

}  // namespace

TEST_CASE("a dense delta on f32 is added element by element") {
    const Setup setup(sample::model(Dtype::f32), {sample::dense_package({"norm.weight"})});
    const ByteVector output = applied(setup);
    const auto model = read_model(output);
    REQUIRE(model);
    REQUIRE(output.size() == setup.model_file().size());
    const std::size_t index = *model->find_tensor(tensor_name_hash("norm.weight"));
    const Bytes before = setup.model().view(index).payload;
    const Bytes after = model->view(index).payload;
    const auto delta = std::get<DenseDelta>(setup.package(0).delta(0));
    for (std::uint64_t i = 0; i < 8; ++i) {
        const volatile float sum = load<float>(before, 4 * i) + load<float>(delta.values, 4 * i);
        CHECK(load<float>(after, 4 * i) == sum);
    }
    // Nothing else changed but the checksum.
    std::uint64_t different = 0;
    for (std::size_t i = 0; i < output.size(); ++i) {
        different += output[i] != setup.model_file()[i] ? 1 : 0;
    }
    CHECK(different <= 8 * 4 + 8);
    CHECK(different > 0);
}

TEST_CASE("every output is a valid model whose tensors outside the stack keep their bytes") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Setup setup = mixed_stack(dtype);
        const ByteVector output = applied(setup);
        const auto model = read_model(output);
        REQUIRE(model);
        CHECK(model->identity() == setup.model().identity());
        for (std::size_t i = 0; i < model->tensors().size(); ++i) {
            const TensorView before = setup.model().view(i);
            const TensorView after = model->view(i);
            const bool named = before.name == "norm.weight" || before.name == "output.weight" ||
                               before.name == "layers.0.w1.weight" ||
                               before.name == "layers.0.w2.weight" ||
                               before.name == "layers.0.w3.weight";
            const bool same = as_text(before.payload) == as_text(after.payload) &&
                              as_text(before.scales) == as_text(after.scales);
            INFO(before.name);
            CHECK(same == !named);
        }
    }
}

TEST_CASE("every target, thread count and executor gives the same bytes and figures") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Setup setup = mixed_stack(dtype);
        for (const char* rounding : {"nearest", "stochastic:3", "adaptive:0"}) {
            ApplyOptions options;
            options.rounding = *parse_rounding(rounding);
            options.survival = true;
            options.simd_target = "scalar";
            ByteVector expected;
            const auto expected_report = apply_to_memory(setup.plan(), expected, options);
            REQUIRE(expected_report);
            for (const std::string& target : simd_targets()) {
                for (const std::size_t threads : {1U, 2U, 3U, 7U}) {
                    INFO(target << ", " << threads << " threads, " << rounding);
                    options.simd_target = target;
                    options.executor = make_executor(threads);
                    ByteVector output;
                    const auto report = apply_to_memory(setup.plan(), output, options);
                    REQUIRE(report);
                    CHECK(output == expected);
                    CHECK(report->kept == expected_report->kept);
                    REQUIRE(report->tensors.size() == expected_report->tensors.size());
                    for (std::size_t i = 0; i < report->tensors.size(); ++i) {
                        CHECK(report->tensors[i].error_squared ==
                              expected_report->tensors[i].error_squared);
                        CHECK(report->tensors[i].touched == expected_report->tensors[i].touched);
                    }
                }
            }
        }
    }
}

TEST_CASE("a fused value that is not finite stops everything and is named") {
    Setup doubled(sample::model(Dtype::f32),
                  {sample::dense_package({"norm.weight", "layers.0.w1.weight"}, 1e38F)});
    doubled.stack.assign(4, doubled.stack[0]);
    ByteVector output;
    const auto report = apply_to_memory(doubled.plan(), output);
    REQUIRE(!report);
    CHECK(report.error().exit_code() == ExitCode::incompatible);
    REQUIRE(report.error().size() == 2);  // both tensors, in directory order
    CHECK(report.error()[0].tensor == "layers.0.w1.weight");
    CHECK(report.error()[1].tensor == "norm.weight");
    for (const Finding& finding : report.error()) {
        CHECK(finding.code == FindingCode::fused_non_finite);
        REQUIRE(finding.element);
        // The first element whose four deltas overflow, found independently.
        const auto deltas = sample::values(finding.tensor + ".delta",
                                           finding.tensor == "norm.weight" ? 8 : 96, 1e38F);
        std::uint64_t first = 0;
        const auto overflows = [](float d) {
            volatile float w = d + d;
            w = w + d;
            w = w + d;
            return !std::isfinite(w);
        };
        while (!overflows(deltas[first]))
            ++first;
        CHECK(*finding.element == first);
    }
    const Status checked = check_fused(doubled.plan());
    REQUIRE(!checked);
    CHECK(checked.error().size() == 2);
    CHECK(check_fused(mixed_stack(Dtype::q4_0).plan()).has_value());
}

TEST_CASE("a stack that changes nothing is refused unless allowed") {
    const Setup setup(sample::model(Dtype::q8_0), {sample::dense_package({"norm.weight"}, 0.0F)});
    CHECK(refusal(setup) == FindingCode::zero_effect);
    ApplyOptions options;
    options.allow_no_effect = true;
    ByteVector output;
    const auto report = apply_to_memory(setup.plan(), output, options);
    REQUIRE(report);
    CHECK(report->zero_effect);
    CHECK(output == setup.model_file());
    CHECK(report->warnings.contains(FindingCode::zero_effect));
    CHECK(report->warnings.exit_code() == ExitCode::ok);
}

TEST_CASE("too little survival is refused") {
    const Setup setup = mixed_stack(Dtype::q4_0);
    ApplyOptions options;
    options.min_survival = 2.0;
    CHECK(refusal(setup, options) == FindingCode::survival_below_threshold);
    options.min_survival = 0.0;
    ByteVector output;
    const auto report = apply_to_memory(setup.plan(), output, options);
    REQUIRE(report);
    REQUIRE(report->kept);
    CHECK(!report->tensors.empty());
}

TEST_CASE("survival is measured only when asked for") {
    ByteVector output;
    const auto report = apply_to_memory(mixed_stack(Dtype::q8_0).plan(), output);
    REQUIRE(report);
    CHECK(!report->kept);
}

TEST_CASE("a base whose checksum nobody can verify is written anew with one that everybody can") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const std::vector<ByteVector> packages{sample::dense_package({"norm.weight"}),
                                               sample::sparse_package("output.weight", 5)};
        const Setup foreign(sample::foreign_model(dtype), packages, ChecksumPolicy::accept_foreign);
        const Setup sealed(sample::model(dtype), packages);
        ByteVector output;
        const auto report = apply_to_memory(foreign.plan(), output);
        REQUIRE(report);
        CHECK(report->warnings.contains(FindingCode::checksum_unverifiable));
        CHECK(output == applied(sealed));
    }
}

TEST_CASE("cancelling and a sink that fails leave no report") {
    const Setup setup = mixed_stack(Dtype::q8_0);
    ApplyOptions options;
    int calls = 0;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        CHECK(done <= total);
        return ++calls < 3;
    };
    CHECK(refusal(setup, options) == FindingCode::output_failed);
    CHECK(calls == 3);
    const auto report = apply_to_sink(setup.plan(), [](Bytes) { return false; });
    REQUIRE(!report);
    CHECK(report.error()[0].code == FindingCode::output_failed);
}

TEST_CASE("an executor that drops tasks or throws is found out") {
    const Setup setup = mixed_stack(Dtype::q8_0);
    ApplyOptions options;
    options.executor.concurrency = 2;
    options.executor.parallel_for = [](std::size_t count, const auto& task) {
        for (std::size_t i = 0; i + 1 < count; ++i)
            task(i);
    };
    CHECK(refusal(setup, options) == FindingCode::executor_failed);
    options.executor.parallel_for = [](std::size_t count, const auto& task) {
        for (std::size_t i = 1; i < count; ++i)
            task(i);
    };
    CHECK(refusal(setup, options) == FindingCode::executor_failed);
    options.executor.parallel_for = [](std::size_t, const auto&) { throw 1; };
    CHECK(refusal(setup, options) == FindingCode::executor_failed);
}

TEST_CASE("an unknown instruction set is a usage error") {
    ApplyOptions options;
    options.simd_target = "MMX";
    CHECK(refusal(mixed_stack(Dtype::f32), options) == FindingCode::usage_error);
    CHECK(!check_fused(mixed_stack(Dtype::f32).plan(), options));
    CHECK(!check_simd_target("MMX"));
    CHECK(check_simd_target("").has_value());
    CHECK(simd_targets().back() == "scalar");
}

TEST_CASE("a file appears whole, as predicted, or not at all") {
    const Folder folder;
    const Setup setup = mixed_stack(Dtype::q4_0);
    const std::string path = folder.path("out.slm");
    const auto predicted = predict(setup.plan());
    REQUIRE(predicted);
    CHECK(folder.names().size() == 0);

    const auto written = apply_to_file(setup.plan(), path, false);
    REQUIRE(written);
    CHECK(written->digest == predicted->digest);
    CHECK(written->report.internal_checksum == predicted->report.internal_checksum);
    std::ifstream file(path, std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    CHECK(sha256(as_bytes(content)) == written->digest);
    CHECK(as_bytes(content).size() == written->report.bytes);
    CHECK(folder.names().size() == 1);

    // An existing file stays as it is unless it may be replaced.
    CHECK(!apply_to_file(setup.plan(), path, false));
    CHECK(apply_to_file(setup.plan(), path, true).has_value());

    // Refused, cancelled, failed: no file and no temporary file.
    const Setup nothing(sample::model(Dtype::q8_0), {sample::dense_package({"norm.weight"}, 0)});
    CHECK(!apply_to_file(nothing.plan(), folder.path("nothing.slm"), false));
    ApplyOptions cancel;
    cancel.progress = [](std::uint64_t, std::uint64_t) { return false; };
    CHECK(!apply_to_file(setup.plan(), folder.path("cancelled.slm"), false, cancel));
    cancel.progress = [](std::uint64_t, std::uint64_t) -> bool { throw 1; };
    CHECK(!apply_to_file(setup.plan(), folder.path("cancelled.slm"), false, cancel));
    CHECK(!apply_to_file(setup.plan(), folder.path("no/such/folder.slm"), false));
    CHECK(folder.names().size() == 1);
}

TEST_CASE("a host that flushes subnormals and rounds upward gets the same bytes") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Setup setup = mixed_stack(dtype);
        const ByteVector expected = applied(setup);
        const int before = std::fegetround();
        std::fesetround(FE_UPWARD);
#if defined(__SSE2__)
        const unsigned settings = _mm_getcsr();
        _mm_setcsr(settings | 0x8040);
#endif
        ApplyOptions options;
        options.executor = make_executor(2);
        const ByteVector output = applied(setup, options);
#if defined(__SSE2__)
        _mm_setcsr(settings);
#endif
        std::fesetround(before);
        CHECK(output == expected);
    }
}

namespace {

ByteVector file_bytes(const std::string& path) {
    const auto file = MappedFile::open(path);
    REQUIRE(file);
    return {file->bytes().begin(), file->bytes().end()};
}

}  // namespace

TEST_CASE("an undo file gives the base back, the same with every number of threads") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Setup setup = mixed_stack(dtype);
        ByteVector first;
        for (const std::size_t threads : {1UL, 2UL, 3UL, 7UL}) {
            const Folder folder;
            ApplyOptions options;
            options.executor = make_executor(threads);
            const auto done = apply_with_undo(setup.plan(), folder.path("out"), folder.path("undo"),
                                              /*replace=*/false, options);
            REQUIRE(done);
            CHECK(folder.names().size() == 2);
            const ByteVector output = file_bytes(folder.path("out"));
            CHECK(output == applied(setup));
            CHECK(sha256(output) == done->applied.digest);
            const ByteVector undo_file = file_bytes(folder.path("undo"));
            CHECK(done->undo.bytes == undo_file.size());
            CHECK(done->undo.digest == sha256(undo_file));
            if (first.empty()) first = undo_file;
            CHECK(undo_file == first);

            const auto undo = read_undo(undo_file);
            REQUIRE(undo);
            CHECK(undo->run_count() == done->undo.runs);
            CHECK(undo->restored_bytes() == done->undo.restored_bytes);
            const auto reverted = revert_to_file({output, &*undo}, folder.path("base"), false);
            REQUIRE(reverted);
            CHECK(file_bytes(folder.path("base")) == setup.model_file());
        }
    }
}

TEST_CASE("of an application that fails, neither model nor undo file remains") {
    const Setup setup = mixed_stack(Dtype::q8_0);
    const Folder folder;
    const auto fails = [&](const ApplyOptions& options, FindingCode code) {
        const auto done = apply_with_undo(setup.plan(), folder.path("out"), folder.path("undo"),
                                          /*replace=*/false, options);
        REQUIRE_FALSE(done);
        CHECK(done.error()[0].code == code);
    };
    ApplyOptions demanding;
    demanding.min_survival = 2;
    fails(demanding, FindingCode::survival_below_threshold);
    CHECK(folder.names().size() == 0);

    // Cancelled at every call of the progress, those of the second pass included.
    std::size_t calls = 0;
    ApplyOptions counting;
    counting.progress = [&](std::uint64_t, std::uint64_t) { return ++calls > 0; };
    REQUIRE(apply_with_undo(setup.plan(), folder.path("a"), folder.path("b"), false, counting));
    std::filesystem::remove(folder.path("a"));
    std::filesystem::remove(folder.path("b"));
    const std::size_t all = calls;
    for (std::size_t last = 0; last < all; ++last) {
        ApplyOptions cancelling;
        std::size_t left = last;
        cancelling.progress = [&](std::uint64_t, std::uint64_t) { return left-- > 0; };
        fails(cancelling, FindingCode::output_failed);
        CHECK(folder.names().size() == 0);
    }
}

TEST_CASE("an undo file whose model cannot be published is taken back") {
    const Setup setup = mixed_stack(Dtype::q8_0);
    const Folder folder;
    std::filesystem::create_directory(folder.path("out"));  // in the model's place
    auto done = apply_with_undo(setup.plan(), folder.path("out"), folder.path("undo"),
                                /*replace=*/true);
    REQUIRE_FALSE(done);
    CHECK(done.error().size() == 1);
    CHECK(done.error()[0].code == FindingCode::output_failed);
    CHECK(folder.names().size() == 1);

    // One that it has replaced is there again.
    std::ofstream(folder.path("undo")) << "old";
    done = apply_with_undo(setup.plan(), folder.path("out"), folder.path("undo"), true);
    REQUIRE_FALSE(done);
    CHECK(done.error().size() == 1);
    CHECK(folder.names().size() == 2);
    CHECK(std::filesystem::file_size(folder.path("undo")) == 3);

    // The undo file comes first: where it may not lie, no model appears.
    done = apply_with_undo(setup.plan(), folder.path("new"), folder.path("undo"), false);
    REQUIRE_FALSE(done);
    CHECK(done.error()[0].code == FindingCode::usage_error);
    CHECK(folder.names().size() == 2);
}
