#pragma once
// A stack applied in place, again and again, through the library.

#include <memory>
#include <vector>

#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/memory.hpp"
#include "workbench.hpp"

namespace trlm::adapt::bench {

/// How a stack is applied.
struct ApplicationOptions {
    Rounding rounding{RoundingMode::nearest, 0};
    bool survival = false;
    std::size_t threads = 1;
};

/// Applies deltas to a tensor, every other time with their signs turned, so that the values stay
/// where they are however often it is called. Nothing is checked beforehand: the check is part of
/// the one pass. Everything named must outlive it.
class Application {
public:
    Application(SampleTensor& tensor, std::vector<Delta> deltas, const ApplicationOptions& options);

    void operator()();

private:
    MemoryPlan plans_[2];
    std::size_t next_ = 0;
    ApplyOptions options_;
};

/// The same pass without `apply_in_memory` around it: tile after tile, in place.
class TileByTile {
public:
    TileByTile(SampleTensor& tensor, std::vector<Delta> deltas);

    void operator()();

private:
    SampleTensor* tensor_;
    std::vector<PlannedDelta> deltas_;
};

/// A dense package applied as a transaction: nothing changes before it is known that nothing can
/// overflow. With `bounded` the engine knows how large its values are.
class Transaction {
public:
    Transaction(SampleTensor& tensor, std::span<const float> delta, bool bounded);

    void operator()();

private:
    std::vector<std::byte> file_;
    Package package_;
    MemoryPlan plans_[2];
    std::size_t next_ = 0;
};

}  // namespace trlm::adapt::bench
