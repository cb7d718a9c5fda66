#pragma once
// Sizes that cannot wrap: the one helper for every sum and product of sizes from a file.

#include <cstdint>
#include <limits>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// An unsigned 64-bit size that remembers an overflow. Once overflowed it stays so, so a whole
/// expression needs one check at its end.
class CheckedSize {
public:
    /// A size that has not overflowed.
    constexpr CheckedSize(std::uint64_t value) noexcept : value_(value) {}  // NOLINT: sizes mix

    /// True when an operation on the way here overflowed.
    [[nodiscard]] constexpr bool overflowed() const noexcept { return overflowed_; }

    /// The exact value; the largest u64 when overflowed, so that a bound check fails, never passes.
    [[nodiscard]] constexpr std::uint64_t value() const noexcept {
        return overflowed_ ? std::numeric_limits<std::uint64_t>::max() : value_;
    }

    /// True when the exact value is known and at most `bound`.
    [[nodiscard]] constexpr bool fits(std::uint64_t bound) const noexcept {
        return !overflowed_ && value_ <= bound;
    }

    friend constexpr CheckedSize operator+(CheckedSize a, CheckedSize b) noexcept {
        std::uint64_t sum = 0;
        const bool wraps = __builtin_add_overflow(a.value_, b.value_, &sum);
        return {sum, a.overflowed_ || b.overflowed_ || wraps};
    }

    friend constexpr CheckedSize operator*(CheckedSize a, CheckedSize b) noexcept {
        std::uint64_t product = 0;
        const bool wraps = __builtin_mul_overflow(a.value_, b.value_, &product);
        return {product, a.overflowed_ || b.overflowed_ || wraps};
    }

    /// Rounded up to a multiple of `alignment`, a power of two.
    [[nodiscard]] constexpr CheckedSize aligned(std::uint64_t alignment) const noexcept {
        const CheckedSize raised = *this + CheckedSize(alignment - 1);
        return {raised.value_ & ~(alignment - 1), raised.overflowed_};
    }

private:
    constexpr CheckedSize(std::uint64_t value, bool overflowed) noexcept
        : value_(value), overflowed_(overflowed) {}

    std::uint64_t value_;
    bool overflowed_ = false;
};

/// The packages' and SLM1's alignment.
inline constexpr std::uint64_t region_alignment = 64;

/// `value` rounded up to a multiple of 64.
[[nodiscard]] constexpr CheckedSize align64(CheckedSize value) noexcept {
    return value.aligned(region_alignment);
}

}  // namespace trlm::adapt
#pragma GCC visibility pop
