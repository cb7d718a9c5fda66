#include "trlm/adapt/memory.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

using ByteVector = std::vector<std::byte>;

/// A model's tensors in memory of their own, and a stack.
class Engine {
public:
    Engine(Dtype dtype, std::vector<ByteVector> package_files)
        : file_(sample::model(dtype, sample::wide_shape())),
          package_files_(std::move(package_files)) {
        auto read = read_model(file_);
        REQUIRE(read);
        model_ = std::move(*read);
        for (std::size_t i = 0; i < model_.tensors().size(); ++i) {
            const TensorView view = model_.view(i);
            payloads_.emplace_back(view.payload.begin(), view.payload.end());
            scales_.emplace_back(view.scales.begin(), view.scales.end());
        }
        for (std::size_t i = 0; i < model_.tensors().size(); ++i) {
            const ModelTensor& tensor = model_.tensors()[i];
            tensors.push_back({tensor.name_hash,
                               tensor.name,
                               tensor.dtype,
                               tensor.shape,
                               tensor.block_size,
                               payloads_[i],
                               scales_[i],
                               {}});
        }
        packages_.reserve(package_files_.size());
        for (const ByteVector& file : package_files_) {
            auto package = read_package(file);
            REQUIRE(package);
            packages_.push_back(std::move(*package));
            stack.push_back({&packages_.back(), 1.0F, {}});
        }
    }

    [[nodiscard]] MemoryModel model() const { return {identity(), tensors}; }
    [[nodiscard]] Identity identity() const { return model_.identity(); }
    [[nodiscard]] const Model& base() const { return model_; }

    /// All bytes of all tensors, as they are now.
    [[nodiscard]] std::string bytes() const {
        std::string all;
        for (const MemoryTensor& tensor : tensors) {
            all += as_text(tensor.payload);
            all += as_text(tensor.scales);
        }
        return all;
    }

    [[nodiscard]] Result<Applied> apply(const ApplyOptions& options = {}) const {
        auto plan = plan_in_memory(model(), stack);
        if (!plan) return failure(std::move(plan.error()));
        return apply_in_memory(*plan, options);
    }

    /// The bytes that an application through a file gives.
    [[nodiscard]] std::string expected(const ApplyOptions& options = {}) const {
        const auto plan = plan_apply(model_, stack);
        REQUIRE(plan);
        ByteVector output;
        REQUIRE(apply_to_memory(*plan, output, options));
        const auto result = read_model(output);
        REQUIRE(result);
        std::string all;
        for (std::size_t i = 0; i < result->tensors().size(); ++i) {
            const TensorView view = result->view(i);
            all += as_text(view.payload);
            all += as_text(view.scales);
        }
        return all;
    }

    std::vector<MemoryTensor> tensors;
    Stack stack;

private:
    ByteVector file_;
    std::vector<ByteVector> package_files_;
    Model model_;
    std::vector<ByteVector> payloads_;
    std::vector<ByteVector> scales_;
    std::vector<Package> packages_;
};

std::vector<ByteVector> mixed_packages() {
    const ModelShape shape = sample::wide_shape();
    return {sample::dense_package({"norm.weight", "layers.0.w2.weight"}, 0.002F, shape),
            sample::sparse_package("output.weight", 97, 0.002F, shape),       // index list
            sample::sparse_package("layers.0.w1.weight", 20, 0.002F, shape),  // bitmask
            sample::sparse_package("layers.0.w3.weight", 3, 0.002F, shape),   // dense bitmask
            sample::low_rank_package("layers.0.w2.weight", -0.3F, shape),
            sample::low_rank_package("layers.0.w2.weight", 0.1F, shape)};
}

FindingCode refusal(const Engine& engine, const ApplyOptions& options = {}) {
    const std::string before = engine.bytes();
    const auto report = engine.apply(options);
    REQUIRE(!report);
    CHECK(engine.bytes() == before);
    return report.error()[0].code;
}

}  // namespace

TEST_CASE("memory gets the bytes that a file gets, for every storage, rounding and thread count") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        for (const char* rounding : {"nearest", "stochastic:5", "adaptive:0"}) {
            for (const std::size_t threads : {1U, 3U}) {
                for (const bool bounds : {false, true}) {
                    for (const bool survival : {false, true}) {
                        Engine engine(dtype, mixed_packages());
                        if (bounds) {
                            for (std::size_t i = 0; i < engine.tensors.size(); ++i) {
                                engine.tensors[i].max_abs = engine.base().tensors()[i].max_abs;
                            }
                        }
                        ApplyOptions options;
                        options.rounding = *parse_rounding(rounding);
                        options.executor = make_executor(threads);
                        options.survival = survival;
                        const std::string expected = engine.expected(options);
                        const std::string base = engine.bytes();
                        auto applied = engine.apply(options);
                        REQUIRE(applied);
                        CHECK(engine.bytes() == expected);
                        CHECK(applied->report().kept.has_value() == survival);
                        CHECK(!applied->report().zero_effect);
                        CHECK(applied->state() == assembly_state(engine.base(), engine.stack));
                        REQUIRE(applied->undo(options.executor));
                        CHECK(engine.bytes() == base);
                        CHECK(applied->state() == initial_state(engine.identity()));
                    }
                }
            }
        }
    }
}

TEST_CASE("survival in memory is that of a file") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const Engine engine(dtype, mixed_packages());
        const auto plan = plan_apply(engine.base(), engine.stack);
        REQUIRE(plan);
        ApplyOptions options;
        options.min_survival = 0.1;
        ByteVector output;
        const auto expected = apply_to_memory(*plan, output, options);
        const auto applied = engine.apply(options);
        REQUIRE(expected);
        REQUIRE(applied);
        const ApplyReport* report = &applied->report();
        CHECK(report->kept == expected->kept);
        REQUIRE(report->tensors.size() == expected->tensors.size());
        for (std::size_t i = 0; i < report->tensors.size(); ++i) {
            CHECK(report->tensors[i].name == expected->tensors[i].name);
            CHECK(report->tensors[i].effective_squared == expected->tensors[i].effective_squared);
            CHECK(report->tensors[i].changed == expected->tensors[i].changed);
        }
    }
}

TEST_CASE("whatever fails leaves the memory as it was") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        Engine overflow(dtype, {sample::dense_package({"layers.0.w1.weight", "norm.weight"}, 1e38F,
                                                      sample::wide_shape())});
        overflow.stack.assign(8, overflow.stack[0]);
        CHECK(refusal(overflow) == FindingCode::fused_non_finite);

        const Engine nothing(dtype,
                             {sample::dense_package({"norm.weight"}, 0.0F, sample::wide_shape())});
        CHECK(refusal(nothing) == FindingCode::zero_effect);

        const Engine engine(dtype, mixed_packages());
        ApplyOptions options;
        options.min_survival = 2.0;
        CHECK(refusal(engine, options) == FindingCode::survival_below_threshold);
        options = {};
        options.progress = [](std::uint64_t, std::uint64_t) { return false; };
        CHECK(refusal(engine, options) == FindingCode::output_failed);
        options = {};
        options.simd_target = "none such";
        CHECK(refusal(engine, options) == FindingCode::usage_error);
        options = {};
        options.executor.concurrency = 2;
        options.executor.parallel_for = [](std::size_t, const auto&) { throw 1; };
        CHECK(refusal(engine, options) == FindingCode::executor_failed);
    }
}

TEST_CASE("a task dropped while memory changes is made up for") {
    Engine engine(Dtype::q8_0, mixed_packages());
    for (std::size_t i = 0; i < engine.tensors.size(); ++i) {
        engine.tensors[i].max_abs = engine.base().tensors()[i].max_abs;  // no check before
    }
    ApplyOptions options;
    options.executor.concurrency = 2;
    options.executor.parallel_for = [](std::size_t count, const auto& task) {
        for (std::size_t i = 1; i < count; ++i)
            task(i);
    };
    const std::string expected = engine.expected();
    REQUIRE(engine.apply(options));
    CHECK(engine.bytes() == expected);
}

TEST_CASE("a description that is wrong is refused") {
    const auto broken = [](auto&& change) {
        Engine engine(Dtype::q4_0, mixed_packages());
        change(engine.tensors);
        const auto plan = plan_in_memory(engine.model(), engine.stack);
        REQUIRE(!plan);
        return plan.error()[0].code;
    };
    using Tensors = std::vector<MemoryTensor>;
    CHECK(broken([](Tensors& t) { t[0].payload = t[0].payload.first(3); }) ==
          FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].scales = {}; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) {
              t[0].payload = {static_cast<std::byte*>(nullptr), 0};
          }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].block_size = 3; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].shape.rank = 5; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].shape.dims[3] = 2; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].name = "other"; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].max_abs = -1.0F; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[2].payload = t[3].payload; }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t.pop_back(); }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t.push_back(t[0]); }) == FindingCode::bad_view);
    CHECK(broken([](Tensors& t) { t[0].dtype = static_cast<Dtype>(9); }) ==
          FindingCode::unsupported_dtype);
    // Scales one byte off.
    CHECK(broken([storage = ByteVector(1 << 16)](Tensors& t) mutable {
              t[0].scales = MutableBytes(storage).subspan(1, t[0].scales.size());
          }) == FindingCode::bad_view);
}

TEST_CASE("bounds prove what cannot overflow, and no more") {
    const auto file = sample::dense_package({"norm.weight"}, 1.0F);
    const auto package = read_package(file);
    REQUIRE(package);
    // The largest magnitude, found independently.
    float largest = 0;
    for (const float value : sample::values("norm.weight.delta", 8, 1.0F)) {
        largest = std::max(largest, std::fabs(value));
    }
    CHECK(package->entries()[0].max_abs == largest);
    const PlannedDelta delta = planned_delta(*package, 0, -2.0F);
    CHECK(delta.max_abs == 2.0 * largest);
    const PlannedDelta deltas[] = {delta, delta};
    CHECK(proves_finite(1.0, deltas));
    CHECK(proves_finite(0x1.fp126, deltas));
    CHECK(!proves_finite(0x1p127, deltas));
    CHECK(!proves_finite(std::numeric_limits<double>::infinity(), deltas));
    CHECK(!proves_finite(1.0, std::vector<PlannedDelta>{PlannedDelta{}}));

    const auto low_rank_file = sample::low_rank_package("layers.0.wq.weight", 0.5F);
    const auto low_rank = read_package(low_rank_file);
    REQUIRE(low_rank);
    const PackageEntry& entry = low_rank->entries()[0];
    const double sum = 2.0 * entry.max_abs * entry.max_abs_b;
    CHECK(planned_delta(*low_rank, 0, 1.0F).max_abs == std::max({sum, 0.5, sum * 0.5}));

    // Headers alone tell nothing.
    const auto headers = read_package(file, ReadDepth::headers);
    REQUIRE(headers);
    CHECK(std::isinf(headers->entries()[0].max_abs));
}
