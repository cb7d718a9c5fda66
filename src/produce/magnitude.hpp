#pragma once
// Which elements are the largest: an exact rank among any number of values, in little memory.

#include <cstdint>
#include <span>
#include <vector>

namespace trlm::adapt {

/// floor(share * elements), but one at least: how many elements a share of a tensor is.
[[nodiscard]] std::uint64_t share_of(double share, std::uint64_t elements) noexcept;

/// What is large enough: magnitudes whose bits are above `bits`, and the first `ties` of those that
/// are equal to them. Zeros never are.
struct MagnitudeCut {
    std::uint32_t bits = 0;
    std::uint64_t ties = 0;

    /// Takes or leaves the next value; `ties` counts down.
    [[nodiscard]] bool takes(float value) noexcept;
};

/// The cut that leaves the `count` largest of values that are passed over twice, in any parts: the
/// upper half of their bits is counted first, then the lower half where it matters.
class MagnitudeRank {
public:
    explicit MagnitudeRank(std::uint64_t count) : count_(count), bins_(bins) {}

    /// First pass.
    void count_upper(std::span<const float> values) noexcept;

    /// Between the passes.
    void choose_upper() noexcept;

    /// Second pass, over the same values.
    void count_lower(std::span<const float> values) noexcept;

    /// After both. With no more nonzero values than `count` it takes them all.
    [[nodiscard]] MagnitudeCut cut() const noexcept;

private:
    static constexpr std::size_t bins = std::size_t{1} << 16;
    /// The bin in which number `count_` from the top lies, what lies above it taken off `count_`;
    /// 0, the bin of zeros, when there are not so many.
    [[nodiscard]] std::uint32_t bin_of_rank() noexcept;

    std::uint64_t count_;
    std::vector<std::uint64_t> bins_;
    std::uint32_t upper_ = 0;
    bool all_ = false;
};

/// The cut of values that are all in memory.
[[nodiscard]] MagnitudeCut largest(std::span<const float> values, std::uint64_t count);

/// The cut of magnitudes from `threshold` on, which is not negative.
[[nodiscard]] MagnitudeCut at_least(float threshold) noexcept;

}  // namespace trlm::adapt
