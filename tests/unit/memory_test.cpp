#include "trlm/adapt/memory.hpp"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>

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

    [[nodiscard]] MemoryModel model() const {
        MemoryModel model{identity(), tensors};
        model.access = access;
        model.quiescence = quiescence;
        model.allocator = allocator;
        return model;
    }
    [[nodiscard]] Identity identity() const { return model_.identity(); }
    [[nodiscard]] const Model& base() const { return model_; }

    /// All bytes of all tensors, as they are now.
    [[nodiscard]] std::string bytes() const {
        std::string all;
        for (std::size_t i = 0; i < payloads_.size(); ++i) {
            all += as_text(payloads_[i]);
            all += as_text(scales_[i]);
        }
        return all;
    }

    /// Takes the spans of every tensor away: what is left is access, which fails when `calls` of
    /// them have been made.
    void lend_nothing(std::size_t calls = std::numeric_limits<std::size_t>::max()) {
        for (MemoryTensor& tensor : tensors) {
            tensor.payload = {};
            tensor.scales = {};
        }
        calls_left = calls;
        access.read = [this](const RowRange& rows, MutableBytes payload, MutableBytes scales) {
            if (!is_call_left()) return false;
            const auto [there, scales_there] = part(rows, payload.size(), scales.size());
            std::ranges::copy(there, payload.begin());
            std::ranges::copy(scales_there, scales.begin());
            return true;
        };
        access.write = [this](const RowRange& rows, Bytes payload, Bytes scales) {
            if (!is_call_left()) return false;
            const auto [there, scales_there] = part(rows, payload.size(), scales.size());
            std::ranges::copy(payload, there.begin());
            std::ranges::copy(scales, scales_there.begin());
            return true;
        };
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
    TileAccess access;
    Quiescence quiescence;
    Allocator allocator;
    std::atomic<std::size_t> calls_left = 0;

private:
    bool is_call_left() {
        std::size_t left = calls_left;
        while (left > 0 && !calls_left.compare_exchange_weak(left, left - 1)) {
        }
        return left > 0;
    }

    std::pair<MutableBytes, MutableBytes> part(const RowRange& rows, std::size_t payload_bytes,
                                               std::size_t scale_bytes) {
        const std::uint64_t all = tensors[rows.tensor].shape.rows();
        ByteVector& payload = payloads_[rows.tensor];
        ByteVector& scales = scales_[rows.tensor];
        REQUIRE(payload_bytes == payload.size() / all * rows.rows);
        REQUIRE(scale_bytes == scales.size() / all * rows.rows);
        return {MutableBytes(payload).subspan(payload.size() / all * rows.first_row, payload_bytes),
                MutableBytes(scales).subspan(scales.size() / all * rows.first_row, scale_bytes)};
    }

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
        options.progress = [](std::uint64_t, std::uint64_t) -> bool { throw 1; };
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

// ------------------------------------------------------------------------------ undo and exchange

namespace {

/// Stacks that name other tensors each, or the same ones.
std::vector<Stack> some_stacks(const Stack& all) {
    return {{all[0]},         {all[1], all[2]},         {all[3]}, {all[4]},
            {all[5], all[4]}, {all[0], all[4], all[1]}, all};
}

/// The bytes that a stack gives on a fresh engine.
std::string bytes_with(Dtype dtype, const Stack& stack, const ApplyOptions& options) {
    Engine engine(dtype, mixed_packages());
    engine.stack = stack;
    return engine.expected(options);
}

/// Memory that counts what is out and gives only so many pieces.
struct CountingMemory {
    std::size_t left = std::numeric_limits<std::size_t>::max();
    std::size_t calls = 0;
    std::size_t pieces_out = 0;
    std::size_t bytes_out = 0;

    [[nodiscard]] Allocator allocator() {
        Allocator allocator;
        allocator.context = this;
        allocator.allocate = [](void* context, std::size_t bytes, std::size_t alignment) -> void* {
            auto& memory = *static_cast<CountingMemory*>(context);
            ++memory.calls;
            if (memory.left == 0) return nullptr;
            --memory.left;
            ++memory.pieces_out;
            memory.bytes_out += bytes;
            return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
        };
        allocator.release = [](void* context, void* piece, std::size_t bytes, std::size_t) {
            auto& memory = *static_cast<CountingMemory*>(context);
            --memory.pieces_out;
            memory.bytes_out -= bytes;
            std::free(piece);
        };
        return allocator;
    }
};

}  // namespace

TEST_CASE("a stack exchanged for another leaves what the other makes of the base") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        for (const bool lent : {true, false}) {
            for (const std::size_t threads : {1U, 3U}) {
                Engine engine(dtype, mixed_packages());
                const std::string base = engine.bytes();
                const std::vector<Stack> stacks = some_stacks(engine.stack);
                if (!lent) engine.lend_nothing();
                ApplyOptions options;
                options.executor = make_executor(threads);
                engine.stack = stacks[0];
                auto applied = engine.apply(options);
                REQUIRE(applied);
                for (const Stack& stack : stacks) {
                    const auto plan = plan_in_memory(engine.model(), stack);
                    REQUIRE(plan);
                    REQUIRE(applied->swap(*plan, options));
                    CHECK(engine.bytes() == bytes_with(dtype, stack, options));
                    CHECK(applied->state() == assembly_state(engine.base(), stack));
                }
                REQUIRE(applied->undo(options.executor));
                CHECK(engine.bytes() == base);
                CHECK(!applied->is_applied());
                CHECK(applied->kept_bytes() == 0);
            }
        }
    }
}

TEST_CASE("a thousand random transactions end in the base's bytes and in no more memory") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        Engine engine(dtype, mixed_packages());
        CountingMemory memory;
        engine.allocator = memory.allocator();
        const std::string base = engine.bytes();
        const std::vector<Stack> stacks = some_stacks(engine.stack);
        ApplyOptions options;
        options.executor = make_executor(2);
        std::vector<MemoryPlan> plans;
        std::vector<std::string> expected;
        for (const Stack& stack : stacks) {
            plans.push_back(*plan_in_memory(engine.model(), stack));
            expected.push_back(bytes_with(dtype, stack, options));
        }
        std::mt19937 random(7);
        std::size_t most = 0;
        std::size_t most_of_first_half = 0;
        std::optional<Applied> applied;
        for (int i = 0; i < 1000; ++i) {
            const std::size_t next = random() % plans.size();
            if (!applied) {
                auto fresh = apply_in_memory(plans[next], options);
                REQUIRE(fresh);
                applied = std::move(*fresh);
                REQUIRE(engine.bytes() == expected[next]);
            } else if (random() % 3 == 0) {
                REQUIRE(applied->undo(options.executor));
                applied.reset();
                REQUIRE(engine.bytes() == base);
                REQUIRE(memory.bytes_out == 0);
            } else {
                REQUIRE(applied->swap(plans[next], options));
                REQUIRE(engine.bytes() == expected[next]);
            }
            most = std::max(most, memory.bytes_out);
            if (i == 499) most_of_first_half = most;
        }
        if (applied) REQUIRE(applied->undo());
        applied.reset();
        CHECK(engine.bytes() == base);
        CHECK(most == most_of_first_half);
        CHECK(memory.pieces_out == 0);
    }
}

TEST_CASE("an undo that would not give the base back is refused") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        Engine engine(dtype, mixed_packages());
        const std::string base = engine.bytes();
        auto applied = engine.apply();
        REQUIRE(applied);
        // Any byte of any tensor that the stack names.
        for (MemoryTensor& tensor : engine.tensors) {
            const auto names_it = [&](const StackMember& member) {
                return std::ranges::any_of(member.package->entries(), [&](const auto& entry) {
                    return entry.name_hash == tensor.name_hash;
                });
            };
            if (std::ranges::none_of(engine.stack, names_it)) continue;
            for (const MutableBytes span : {tensor.payload, tensor.scales}) {
                if (span.empty()) continue;
                for (const std::size_t at : {std::size_t{0}, span.size() / 2, span.size() - 1}) {
                    const std::byte was = span[at];
                    span[at] ^= std::byte{1};
                    const std::string changed = engine.bytes();
                    const Status undone = applied->undo();
                    REQUIRE(!undone);
                    REQUIRE(undone.error().size() == 1);
                    CHECK(undone.error()[0].code == FindingCode::undo_stale);
                    CHECK(undone.error()[0].tensor == tensor.name);
                    const auto plan = plan_in_memory(engine.model(), engine.stack);
                    const Status swapped = applied->swap(*plan);
                    REQUIRE(!swapped);
                    CHECK(swapped.error()[0].code == FindingCode::undo_stale);
                    CHECK(engine.bytes() == changed);
                    span[at] = was;
                }
            }
        }
        REQUIRE(applied->undo());
        CHECK(engine.bytes() == base);
        // And a second time.
        const Status again = applied->undo();
        REQUIRE(!again);
        CHECK(again.error()[0].code == FindingCode::undo_stale);
        CHECK(engine.bytes() == base);
        // But a stack may come in again.
        REQUIRE(applied->swap(*plan_in_memory(engine.model(), engine.stack)));
        CHECK(engine.bytes() == engine.expected());
    }
}

TEST_CASE("without a copy of the base there is no way back, and it says so") {
    Engine engine(Dtype::q8_0, mixed_packages());
    MemoryModel model = engine.model();
    model.keep_base = false;
    const auto plan = plan_in_memory(model, engine.stack);
    REQUIRE(plan);
    auto applied = apply_in_memory(*plan);
    REQUIRE(applied);
    CHECK(applied->kept_bytes() == 0);
    const std::string after = engine.bytes();
    CHECK(after == engine.expected());
    CHECK(applied->undo().error()[0].code == FindingCode::undo_stale);
    CHECK(applied->swap(*plan).error()[0].code == FindingCode::undo_stale);
    CHECK(engine.bytes() == after);
}

TEST_CASE("an exchange that fails leaves the stack that was applied") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        std::vector<ByteVector> packages = mixed_packages();
        packages.push_back(
            sample::dense_package({"layers.0.w2.weight"}, 1e38F, sample::wide_shape()));
        packages.push_back(sample::dense_package({"norm.weight"}, 0.0F, sample::wide_shape()));
        Engine engine(dtype, std::move(packages));
        const Stack too_large(8, engine.stack[6]);
        const Stack nothing{engine.stack[7]};
        engine.stack.resize(6);
        const std::string base = engine.bytes();
        auto applied = engine.apply();
        REQUIRE(applied);
        const std::string before = engine.bytes();
        const std::uint64_t state = applied->state();
        const auto code_of = [&](const Stack& stack, const ApplyOptions& options = {}) {
            const auto plan = plan_in_memory(engine.model(), stack);
            REQUIRE(plan);
            const Status swapped = applied->swap(*plan, options);
            REQUIRE(!swapped);
            CHECK(engine.bytes() == before);
            CHECK(applied->state() == state);
            return swapped.error()[0].code;
        };
        CHECK(code_of(too_large) == FindingCode::fused_non_finite);
        CHECK(code_of(nothing) == FindingCode::zero_effect);
        ApplyOptions options;
        options.min_survival = 2.0;
        CHECK(code_of(engine.stack, options) == FindingCode::survival_below_threshold);
        options = {};
        options.progress = [](std::uint64_t, std::uint64_t) { return false; };
        CHECK(code_of(engine.stack, options) == FindingCode::output_failed);
        options = {};
        options.executor.concurrency = 2;
        options.executor.parallel_for = [](std::size_t, const auto&) { throw 1; };
        CHECK(code_of(engine.stack, options) == FindingCode::executor_failed);
        options.executor.parallel_for = [](std::size_t, const auto&) {};
        CHECK(code_of(engine.stack, options) == FindingCode::executor_failed);
        // A bound that is wrong does not let an infinity in.
        for (MemoryTensor& tensor : engine.tensors)
            tensor.max_abs = 0.0F;
        CHECK(code_of(too_large) == FindingCode::fused_non_finite);
        REQUIRE(applied->undo());
        CHECK(engine.bytes() == base);
    }
}

TEST_CASE("a wrong bound is found out and everything put back") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        // Every value near the top, whatever the engine says.
        Engine engine(dtype,
                      {sample::dense_package({"layers.0.w2.weight"}, 1e38F, sample::wide_shape())});
        auto first = engine.apply();
        REQUIRE(first);
        for (MemoryTensor& tensor : engine.tensors)
            tensor.max_abs = 0.0F;
        const std::string before = engine.bytes();
        bool refused = false;
        for (int i = 0; i < 40 && !refused; ++i) {
            const std::string now = engine.bytes();
            const auto more = engine.apply();
            if (more) continue;
            refused = true;
            CHECK(more.error()[0].code == FindingCode::fused_non_finite);
            CHECK(engine.bytes() == now);
        }
        CHECK(refused);
    }
}

TEST_CASE("access that fails at any call leaves what was there") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        for (const std::size_t threads : {1U, 2U}) {
            ApplyOptions options;
            options.executor = make_executor(threads);
            bool applied_at_last = false;
            for (std::size_t calls = 0; !applied_at_last; ++calls) {
                Engine engine(dtype, mixed_packages());
                const std::string base = engine.bytes();
                engine.lend_nothing(calls);
                const auto plan = plan_in_memory(engine.model(), engine.stack);
                REQUIRE(plan);
                const auto applied = apply_in_memory(*plan, options);
                applied_at_last = applied.has_value();
                if (applied_at_last) {
                    CHECK(engine.bytes() == bytes_with(dtype, engine.stack, options));
                    break;
                }
                CHECK(applied.error()[0].code == FindingCode::output_failed);
                // Once writing has begun and nothing can be written any more, there is no way
                // back: the finding says so.
                const bool torn =
                    applied.error()[0].message.find("load the model anew") != std::string::npos;
                CHECK((torn || engine.bytes() == base));
                REQUIRE(calls < 10'000);
            }
        }
    }
}

TEST_CASE("one write that fails is undone, in an application, an exchange and an undo") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        bool reached_the_end = false;
        for (std::size_t bad = 0; !reached_the_end; ++bad) {
            Engine engine(dtype, mixed_packages());
            const std::string base = engine.bytes();
            const Stack all = engine.stack;
            engine.lend_nothing();
            std::size_t writes = 0;
            std::size_t bad_write = std::numeric_limits<std::size_t>::max();
            const auto write = engine.access.write;
            engine.access.write = [&](const RowRange& rows, Bytes payload, Bytes scales) {
                if (writes++ == bad_write) throw 1;
                return write(rows, payload, scales);
            };
            engine.stack = {all[0], all[1]};
            bad_write = bad;
            auto applied = engine.apply();
            bool failed = !applied.has_value();
            if (failed) {
                CHECK(applied.error()[0].code == FindingCode::output_failed);
                REQUIRE(engine.bytes() == base);
                bad_write = std::numeric_limits<std::size_t>::max();
                applied = engine.apply();
            }
            REQUIRE(applied);
            const std::string first = engine.bytes();
            const auto plan = plan_in_memory(engine.model(), {{all[4], all[0]}});
            writes = 0;
            bad_write = bad;
            if (!applied->swap(*plan)) {
                failed = true;
                REQUIRE(engine.bytes() == first);
                bad_write = std::numeric_limits<std::size_t>::max();
                REQUIRE(applied->swap(*plan));
            }
            const std::string second = engine.bytes();
            writes = 0;
            bad_write = bad;
            if (!applied->undo()) {
                failed = true;
                REQUIRE(engine.bytes() == second);
                bad_write = std::numeric_limits<std::size_t>::max();
                REQUIRE(applied->undo());
            }
            REQUIRE(engine.bytes() == base);
            reached_the_end = !failed;
            REQUIRE(bad < 10'000);
        }
    }
}

TEST_CASE("the engine rests while its weights change, and only then") {
    Engine engine(Dtype::q8_0, mixed_packages());
    const std::string base = engine.bytes();
    std::string calls;
    std::string at_begin;
    std::string at_end;
    bool says = true;
    engine.quiescence.begin = [&] {
        calls += 'b';
        at_begin = engine.bytes();
        return says;
    };
    engine.quiescence.end = [&] {
        calls += 'e';
        at_end = engine.bytes();
    };
    auto applied = engine.apply();
    REQUIRE(applied);
    CHECK(calls == "be");
    CHECK(at_begin == base);
    CHECK(at_end == engine.expected());
    REQUIRE(applied->undo());
    CHECK(calls == "bebe");
    CHECK(at_end == base);

    says = false;
    CHECK(refusal(engine) == FindingCode::output_failed);
    CHECK(calls == "bebeb");
    engine.quiescence.begin = []() -> bool { throw 1; };
    CHECK(refusal(engine) == FindingCode::output_failed);
    // What fails before is found without disturbing anybody.
    calls.clear();
    engine.quiescence.begin = [&] {
        calls += 'b';
        return true;
    };
    ApplyOptions options;
    options.min_survival = 2.0;
    CHECK(refusal(engine, options) == FindingCode::survival_below_threshold);
    CHECK(calls.empty());
}

TEST_CASE("memory that runs out at any piece is a finding, and nothing changes") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        for (const bool lent : {true, false}) {
            Engine engine(dtype, mixed_packages());
            if (!lent) engine.lend_nothing();
            CountingMemory memory;
            engine.allocator = memory.allocator();
            const std::string base = engine.bytes();
            const Stack all = engine.stack;
            const auto other = plan_in_memory(engine.model(), {{all[4], all[0]}});
            const auto plan = plan_in_memory(engine.model(), all);
            REQUIRE(plan);
            ApplyOptions options;
            options.survival = true;
            const auto until_it_works = [&](auto&& act, const std::string& before) {
                for (std::size_t pieces = 0;; ++pieces) {
                    const std::size_t out = memory.pieces_out;
                    memory.left = pieces;
                    const auto code = act();
                    if (!code) break;
                    CHECK(*code == FindingCode::out_of_memory);
                    REQUIRE(engine.bytes() == before);
                    REQUIRE(memory.pieces_out == out);
                    REQUIRE(pieces < 10'000);
                }
            };
            const auto code_of = [](const Status& status) {
                return status ? std::nullopt : std::optional(status.error()[0].code);
            };
            std::optional<Applied> applied;
            until_it_works(
                [&]() -> std::optional<FindingCode> {
                    auto now = apply_in_memory(*plan, options);
                    if (!now) return now.error()[0].code;
                    applied = std::move(*now);
                    return std::nullopt;
                },
                base);
            CHECK(memory.calls > 20);
            until_it_works([&] { return code_of(applied->swap(*other, options)); }, engine.bytes());
            until_it_works([&] { return code_of(applied->undo()); }, engine.bytes());
            CHECK(engine.bytes() == base);
            applied.reset();
            CHECK(memory.pieces_out == 0);
        }
    }
}

TEST_CASE("a plan for another engine is not exchanged") {
    Engine engine(Dtype::q8_0, mixed_packages());
    Engine other(Dtype::q8_0, mixed_packages());
    auto applied = engine.apply();
    REQUIRE(applied);
    const std::string before = engine.bytes();
    const std::string others = other.bytes();
    const Status swapped = applied->swap(*plan_in_memory(other.model(), other.stack));
    REQUIRE(!swapped);
    CHECK(swapped.error()[0].code == FindingCode::bad_view);
    CHECK(engine.bytes() == before);
    CHECK(other.bytes() == others);
}

TEST_CASE("a name stands for its hash, and a hash for its name") {
    Engine engine(Dtype::q8_0, mixed_packages());
    const std::string expected = engine.expected();
    for (std::size_t i = 0; i < engine.tensors.size(); ++i) {
        if (i % 2 == 0) engine.tensors[i].name_hash = 0;
        if (i % 2 == 1) engine.tensors[i].name = {};
    }
    REQUIRE(engine.apply());
    CHECK(engine.bytes() == expected);
}

TEST_CASE("tensors of a file in memory lie where the file has them") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const ByteVector file = sample::model(dtype);
        const auto model = read_model(file);
        REQUIRE(model);
        ByteVector memory = file;
        const auto tensors = memory_tensors(*model, memory);
        REQUIRE(tensors);
        REQUIRE(tensors->size() == model->tensors().size());
        for (std::size_t i = 0; i < tensors->size(); ++i) {
            const MemoryTensor& tensor = (*tensors)[i];
            const TensorView view = model->view(i);
            CHECK(tensor.name == model->tensors()[i].name);
            CHECK(tensor.name_hash == view.name_hash);
            CHECK(tensor.dtype == dtype);
            CHECK(tensor.shape == view.shape);
            CHECK(tensor.block_size == view.block_size);
            CHECK(tensor.max_abs == model->tensors()[i].max_abs);
            CHECK(tensor.payload.data() - memory.data() == view.payload.data() - file.data());
            CHECK(tensor.payload.size() == view.payload.size());
            CHECK(tensor.scales.size() == view.scales.size());
            if (!view.scales.empty())
                CHECK(tensor.scales.data() - memory.data() == view.scales.data() - file.data());
        }
        for (const std::size_t bytes : {file.size() - 1, file.size() + 1}) {
            memory.resize(bytes);
            const auto refused = memory_tensors(*model, memory);
            REQUIRE(!refused);
            CHECK(refused.error()[0].code == FindingCode::bad_view);
        }
    }
}

TEST_CASE("half of what an engine lends is refused") {
    const auto refused = [](auto&& change) {
        Engine engine(Dtype::f32, mixed_packages());
        MemoryModel model = engine.model();
        change(model);
        const auto plan = plan_in_memory(model, engine.stack);
        return !plan && plan.error()[0].code == FindingCode::bad_view;
    };
    CHECK(refused([](MemoryModel& m) {
        m.access.read = [](const RowRange&, MutableBytes, MutableBytes) { return true; };
    }));
    CHECK(refused([](MemoryModel& m) {
        m.access.write = [](const RowRange&, Bytes, Bytes) { return true; };
    }));
    CHECK(refused([](MemoryModel& m) { m.quiescence.begin = [] { return true; }; }));
    CHECK(refused([](MemoryModel& m) { m.quiescence.end = [] {}; }));
    CHECK(refused([](MemoryModel& m) {
        m.allocator.allocate = [](void*, std::size_t, std::size_t) -> void* { return nullptr; };
    }));
}
