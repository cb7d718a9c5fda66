// Every allocation of a public call fails, one after the other, and from each one on all of them:
// the call must say `out_of_memory`, change nothing, and give back what it took.

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "faults/failing_heap.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/memory.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

namespace {

using namespace trlm::adapt;
using failing_heap::exhaust;
using failing_heap::fail;
using failing_heap::Verdict;
using failing_heap::verdict_of;

class Engine {
public:
    explicit Engine(Dtype dtype) : file_(sample::model(dtype)), memory_(file_) {
        model_ = *read_model(file_);
        tensors_ = *memory_tensors(model_, memory_);
        for (MemoryTensor& tensor : tensors_)
            tensor.max_abs.reset();  // the pass that looks for overflow is not spared
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
    std::vector<std::byte> memory(model_file);
    exhaust(
        "memory_tensors", [&] { return verdict_of(memory_tensors(model, memory)); }, nothing,
        always);
}

/// Fewer threads are slower, not wrong: without memory for any, the calling one does the work.
void exhaust_threads() {
    exhaust(
        "make_executor",
        []() -> Verdict {
            const Executor executor = make_executor(4);
            if (executor.parallel_for) return std::nullopt;
            return FindingCode::out_of_memory;
        },
        [] {}, [] { return true; });
}

}  // namespace

int main() {
    exhaust_threads();
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
