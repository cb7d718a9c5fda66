#include "magnitude.hpp"

#include <algorithm>
#include <limits>

#include "kernels/element.hpp"

namespace trlm::adapt {
namespace {

constexpr unsigned half_bits = 16;
constexpr std::uint32_t lower_mask = 0xffff;

}  // namespace

std::uint64_t share_of(double share, std::uint64_t elements) noexcept {
    const auto whole = static_cast<std::uint64_t>(share * static_cast<double>(elements));
    return std::max<std::uint64_t>(1, whole);
}

bool MagnitudeCut::takes(float value) noexcept {
    const std::uint32_t magnitude = kernels::magnitude_bits(value);
    if (magnitude != bits) return magnitude > bits;
    if (ties == 0) return false;
    --ties;
    return true;
}

void MagnitudeRank::count_upper(std::span<const float> values) noexcept {
    for (const float value : values) {
        const std::uint32_t magnitude = kernels::magnitude_bits(value);
        if (magnitude != 0) ++bins_[magnitude >> half_bits];
    }
}

void MagnitudeRank::choose_upper() noexcept {
    std::uint64_t nonzero = 0;
    for (const std::uint64_t bin : bins_)
        nonzero += bin;
    all_ = nonzero <= count_;
    if (!all_) upper_ = bin_of_rank();
    std::ranges::fill(bins_, 0);
}

void MagnitudeRank::count_lower(std::span<const float> values) noexcept {
    if (all_) return;
    for (const float value : values) {
        const std::uint32_t magnitude = kernels::magnitude_bits(value);
        if (magnitude != 0 && magnitude >> half_bits == upper_) ++bins_[magnitude & lower_mask];
    }
}

MagnitudeCut MagnitudeRank::cut() const noexcept {
    if (all_) return {};
    MagnitudeRank lower = *this;
    const std::uint32_t bin = lower.bin_of_rank();
    return {.bits = upper_ << half_bits | bin, .ties = lower.count_};
}

std::uint32_t MagnitudeRank::bin_of_rank() noexcept {
    for (std::size_t bin = bins; bin-- > 0;) {
        if (bins_[bin] >= count_) return static_cast<std::uint32_t>(bin);
        count_ -= bins_[bin];
    }
    return 0;
}

MagnitudeCut largest(std::span<const float> values, std::uint64_t count) {
    MagnitudeRank rank(count);
    rank.count_upper(values);
    rank.choose_upper();
    rank.count_lower(values);
    return rank.cut();
}

MagnitudeCut at_least(float threshold) noexcept {
    const std::uint32_t magnitude = kernels::magnitude_bits(threshold);
    return {.bits = magnitude == 0 ? 0 : magnitude - 1, .ties = 0};
}

}  // namespace trlm::adapt
