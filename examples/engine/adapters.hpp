#pragma once
// Adapters: read from files, put into the weights, exchanged, taken out again.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <trlm/adapt/executor.hpp>
#include <trlm/adapt/file.hpp>
#include <trlm/adapt/memory.hpp>
#include <trlm/adapt/package.hpp>
#include <trlm/adapt/result.hpp>
#include <trlm/adapt/rounding.hpp>

#include "weights.hpp"

namespace engine {

/// A package and how strongly it is to act.
struct Adapter {
    std::string path;
    float strength = 1;
    adapt::MappedFile file;
    adapt::Package package;  // over the file's bytes
};

/// Reads PACKAGE or PACKAGE:STRENGTH. Findings: those of `MappedFile::open`, `read_package` and
/// `parse_strength`, with the file's name.
[[nodiscard]] adapt::Result<Adapter> read_adapter(const std::string& argument);

/// The same for each argument, in their order.
[[nodiscard]] adapt::Result<std::vector<Adapter>> read_adapters(
    std::span<const std::string> arguments);

/// The place for adapters in an engine: at most one stack at a time is in the weights.
class AdapterSlot {
public:
    /// `weights` outlive the slot. `changed` is called when they were changed.
    AdapterSlot(Weights& weights, adapt::ApplyOptions options, std::function<void()> changed);

    /// Puts `adapters`, as one stack, into the weights, in place of those that are there now. All
    /// or nothing: on failure those stay. Findings: those of `plan_in_memory`, `apply_in_memory`
    /// and `Applied::swap`.
    [[nodiscard]] adapt::Status put(std::vector<Adapter> adapters);

    /// Takes the adapters out: every byte of the weights is the base's again. Findings: those of
    /// `Applied::undo`.
    [[nodiscard]] adapt::Status take_out();

    /// The assembly state: what is in the weights, in one number.
    [[nodiscard]] std::uint64_t state() const noexcept;

private:
    adapt::MemoryModel model_;
    adapt::ApplyOptions options_;
    std::vector<Adapter> adapters_;  // those that are in the weights
    std::optional<adapt::Applied> applied_;
};

}  // namespace engine
