#include "adapters.hpp"

#include <string_view>
#include <utility>

#include <trlm/adapt/identity.hpp>
#include <trlm/adapt/stack.hpp>

namespace engine {
namespace {

adapt::Stack stack_of(std::span<const Adapter> adapters) {
    adapt::Stack stack;
    for (const Adapter& adapter : adapters) {
        stack.push_back(
            {.package = &adapter.package, .strength = adapter.strength, .file = adapter.path});
    }
    return stack;
}

}  // namespace

adapt::Result<Adapter> read_adapter(const std::string& argument) {
    const std::size_t colon = argument.rfind(':');
    const std::string path = argument.substr(0, colon);
    float strength = 1;
    if (colon != std::string::npos) {
        auto parsed = adapt::parse_strength(std::string_view(argument).substr(colon + 1));
        if (!parsed) return adapt::failure(std::move(parsed.error()));
        strength = *parsed;
    }
    auto file = adapt::MappedFile::open(path);
    if (!file) return adapt::failure(std::move(file.error()));
    auto package = adapt::read_package(file->bytes());
    if (!package) {
        package.error().set_file(path);
        return adapt::failure(std::move(package.error()));
    }
    return Adapter{path, strength, std::move(*file), std::move(*package)};
}

adapt::Result<std::vector<Adapter>> read_adapters(std::span<const std::string> arguments) {
    std::vector<Adapter> adapters;
    for (const std::string& argument : arguments) {
        auto adapter = read_adapter(argument);
        if (!adapter) return adapt::failure(std::move(adapter.error()));
        adapters.push_back(std::move(*adapter));
    }
    return adapters;
}

AdapterSlot::AdapterSlot(Weights& weights, adapt::ApplyOptions options,
                         std::function<void()> changed)
    : model_(weights.describe()), options_(std::move(options)) {
    // Nothing else runs in this engine while it changes its weights, so there is nobody to wait
    // for.
    model_.quiescence = {.begin = [] { return true; }, .end = std::move(changed)};
}

adapt::Status AdapterSlot::put(std::vector<Adapter> adapters) {
    const auto plan = adapt::plan_in_memory(model_, stack_of(adapters));
    if (!plan) return adapt::failure(plan.error());
    if (applied_) {
        if (auto swapped = applied_->swap(*plan, options_); !swapped) return swapped;
    } else {
        auto applied = adapt::apply_in_memory(*plan, options_);
        if (!applied) return adapt::failure(std::move(applied.error()));
        applied_ = std::move(*applied);
    }
    adapters_ = std::move(adapters);
    return {};
}

adapt::Status AdapterSlot::take_out() {
    if (!applied_) return {};
    if (auto undone = applied_->undo(options_.executor); !undone) return undone;
    applied_.reset();
    adapters_.clear();
    return {};
}

std::uint64_t AdapterSlot::state() const noexcept {
    return applied_ ? applied_->state() : adapt::initial_state(model_.identity);
}

}  // namespace engine
