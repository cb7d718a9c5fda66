// Every allocation of a public call fails, one after the other, and from each one on all of them:
// the call must say `out_of_memory`, change nothing, and give back what it took.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "support/sample.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/memory.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

namespace {

// The calls run on this thread alone, so that plain numbers do.
long long until_failure = -1;  // allocations that still work; negative: all
bool fails_once = false;
long long pieces_out = 0;

void* take(std::size_t bytes, std::size_t alignment) {
    if (until_failure == 0) {
        if (fails_once) until_failure = -1;
        return nullptr;
    }
    if (until_failure > 0) --until_failure;
    ++pieces_out;
    if (bytes == 0) bytes = 1;
    return alignment <= alignof(std::max_align_t)
               ? std::malloc(bytes)
               : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* take_or_throw(std::size_t bytes, std::size_t alignment) {
    void* memory = take(bytes, alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void give(void* memory) noexcept {
    if (memory != nullptr) --pieces_out;
    std::free(memory);
}

constexpr std::size_t usual = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t bytes) {
    return take_or_throw(bytes, usual);
}
void* operator new[](std::size_t bytes) {
    return take_or_throw(bytes, usual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return take_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return take(bytes, usual);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return take(bytes, usual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return take(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
    give(memory);
}
void operator delete[](void* memory) noexcept {
    give(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    give(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    give(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    give(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    give(memory);
}

namespace {

using namespace trlm::adapt;

/// What came of a call: nothing when it worked.
using Verdict = std::optional<FindingCode>;

template <class T>
Verdict verdict_of(const Result<T>& result) {
    if (result) return std::nullopt;
    // There may have been no memory for the finding itself: then it still counts.
    if (result.error().empty()) {
        return result.error().exit_code() == ExitCode::cannot_check ? FindingCode::out_of_memory
                                                                    : FindingCode::usage_error;
    }
    return result.error()[0].code;
}

[[noreturn]] void fail(const std::string& call, long long at, const char* what) {
    std::fprintf(stderr, "%s, allocation %lld: %s\n", call.c_str(), at, what);
    std::exit(1);
}

/// Calls `act` until every one of its allocations has failed. `is_unchanged` looks after each
/// failure; `revert` takes back what a call that worked has done.
void exhaust(const std::string& call, const std::function<Verdict()>& act,
             const std::function<void()>& revert, const std::function<bool()>& is_unchanged) {
    for (const bool once : {true, false}) {
        long long failures = 0;
        for (long long at = 0;; ++at) {
            const long long before = pieces_out;
            fails_once = once;
            until_failure = at;
            const Verdict verdict = act();
            const bool had_failed = until_failure == (once ? -1 : 0);
            until_failure = -1;
            if (!verdict) {
                revert();
                // One that fails may be for a warning, which is left out.
                if (!had_failed) break;
                continue;
            }
            ++failures;
            if (*verdict != FindingCode::out_of_memory) fail(call, at, "another finding");
            if (!is_unchanged()) fail(call, at, "something has changed");
            if (pieces_out != before) fail(call, at, "memory was not given back");
            if (at > 1'000'000) fail(call, at, "it never works");
        }
        std::printf("%-28s %s: %lld failures\n", call.c_str(), once ? "one" : "all", failures);
        if (failures == 0) fail(call, 0, "no allocation was seen");
    }
}

class Engine {
public:
    explicit Engine(Dtype dtype) : file_(sample::model(dtype)), memory_(file_) {
        model_ = *read_model(file_);
        for (const ModelTensor& tensor : model_.tensors()) {
            const MutableBytes all(memory_);
            MemoryTensor described;
            described.name_hash = tensor.name_hash;
            described.name = tensor.name;
            described.dtype = tensor.dtype;
            described.shape = tensor.shape;
            described.block_size = tensor.block_size;
            described.payload = all.subspan(tensor.payload_offset, tensor.payload_length);
            if (tensor.scale_length > 0) {
                described.scales = all.subspan(tensor.scale_offset, tensor.scale_length);
            }
            tensors_.push_back(described);
        }
    }

    [[nodiscard]] MemoryModel model() const { return {model_.identity(), tensors_}; }
    [[nodiscard]] const std::vector<std::byte>& memory() const { return memory_; }
    [[nodiscard]] const std::vector<std::byte>& file() const { return file_; }

private:
    std::vector<std::byte> file_;
    std::vector<std::byte> memory_;
    Model model_;
    std::vector<MemoryTensor> tensors_;
};

void exhaust_transactions(Dtype dtype, const std::vector<Package>& packages) {
    const std::string name(to_string(dtype));
    Engine engine(dtype);
    const Stack stack{{&packages[0], 1, "a"}, {&packages[1], 1, "b"}, {&packages[2], 1, "c"}};
    const Stack other{{&packages[2], 0.5F, "c"}, {&packages[0], 0.5F, "a"}};
    std::vector<std::byte> kept = engine.memory();
    const auto unchanged = [&] { return engine.memory() == kept; };

    const auto nothing = [] {};
    exhaust(
        name + " plan_in_memory", [&] { return verdict_of(plan_in_memory(engine.model(), stack)); },
        nothing, unchanged);
    const MemoryPlan plan = *plan_in_memory(engine.model(), stack);
    const MemoryPlan next = *plan_in_memory(engine.model(), other);
    ApplyOptions options;
    options.survival = true;
    std::optional<Applied> applied;
    exhaust(
        name + " apply_in_memory",
        [&] {
            auto now = apply_in_memory(plan, options);
            const Verdict verdict = verdict_of(now);
            if (now) applied = std::move(*now);
            return verdict;
        },
        [&] {
            if (!applied->undo()) std::exit(1);
            applied.reset();
        },
        unchanged);
    applied = std::move(*apply_in_memory(plan, options));
    kept = engine.memory();
    const auto back = [&] {
        if (!applied->swap(plan, options)) std::exit(1);
    };
    exhaust(
        name + " swap", [&] { return verdict_of(applied->swap(next, options)); }, back, unchanged);
    exhaust(
        name + " undo", [&] { return verdict_of(applied->undo()); }, back, unchanged);
    if (!applied->undo() || engine.memory() != engine.file()) fail(name, 0, "the base is not back");
}

void exhaust_files(const std::vector<std::vector<std::byte>>& files) {
    const auto nothing = [] {};
    const auto always = [] { return true; };
    const auto model_file = sample::model(Dtype::q8_0);
    exhaust(
        "read_model", [&] { return verdict_of(read_model(model_file)); }, nothing, always);
    for (const auto& file : files) {
        exhaust(
            "read_package", [&] { return verdict_of(read_package(file)); }, nothing, always);
    }
    const Model model = *read_model(model_file);
    const Package package = *read_package(files[0]);
    const Stack stack{{&package, 1, "a"}};
    exhaust(
        "plan_apply", [&] { return verdict_of(plan_apply(model, stack)); }, nothing, always);
    const ApplyPlan plan = *plan_apply(model, stack);
    exhaust(
        "apply_to_memory",
        [&] {
            std::vector<std::byte> output;
            return verdict_of(apply_to_memory(plan, output));
        },
        nothing, always);
}

}  // namespace

int main() {
    const std::vector<std::vector<std::byte>> files{
        sample::dense_package({"norm.weight", "layers.0.w2.weight"}),
        sample::sparse_package("layers.0.w1.weight", 20),
        sample::low_rank_package("layers.0.w2.weight")};
    std::vector<Package> packages;
    for (const auto& file : files)
        packages.push_back(*read_package(file));
    exhaust_files(files);
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0})
        exhaust_transactions(dtype, packages);
    return 0;
}
