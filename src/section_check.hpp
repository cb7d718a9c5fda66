#pragma once
// What must hold in a section of a file.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.hpp"
#include "scan.hpp"

namespace trlm::adapt {

/// Element `index` of a chunk of any alignment.
template <class T>
[[nodiscard]] T element_at(Bytes chunk, std::uint64_t index) noexcept {
    T value;
    std::memcpy(&value, chunk.data() + index * sizeof(T), sizeof(T));
    return value;
}

/// Checks one section chunk by chunk; the outcome keeps the first defect. Allocates nothing.
class SectionCheck {
public:
    SectionCheck(const Section& section, const kernels::Table& kernels, SectionOutcome& outcome)
        : section_(section), kernels_(kernels), outcome_(outcome) {}

    /// `start` is the chunk's first byte within the section.
    void check(Bytes chunk, std::uint64_t start) noexcept {
        switch (section_.kind) {
            case SectionKind::opaque:
                return;
            case SectionKind::zeros:
                return check_zeros(chunk, start);
            case SectionKind::values:
                return check_values(chunk, start);
            case SectionKind::scales:
                return check_scales(chunk, start);
            case SectionKind::indexes:
                return check_indexes(chunk, start);
            case SectionKind::bitmask:
                return check_bitmask(chunk, start);
        }
    }

private:
    void found(SectionDefect defect, std::uint64_t element) noexcept {
        if (outcome_.defect != SectionDefect::none) return;
        outcome_.defect = defect;
        outcome_.element = element;
    }

    [[nodiscard]] bool decided() const noexcept { return outcome_.defect != SectionDefect::none; }

    void keep_largest(std::uint32_t magnitude) noexcept {
        outcome_.max_abs = std::max(outcome_.max_abs, std::bit_cast<float>(magnitude));
    }

    void check_zeros(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const auto nonzero =
            std::ranges::find_if(chunk, [](std::byte b) { return b != std::byte{}; });
        if (nonzero == chunk.end()) return;
        found(SectionDefect::not_zero, start + static_cast<std::uint64_t>(nonzero - chunk.begin()));
    }

    void check_values(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const std::size_t count = chunk.size() / sizeof(float);
        const std::uint32_t largest = kernels_.max_magnitude(chunk.data(), count);
        if (largest < kernels::infinity_bits) return keep_largest(largest);
        const std::size_t first = kernels_.first_non_finite(chunk.data(), count);
        found(SectionDefect::non_finite, start / sizeof(float) + first);
    }

    void check_scales(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const std::size_t count = chunk.size() / sizeof(float);
        const std::size_t first = kernels_.first_bad_scale(chunk.data(), count, section_.bound);
        if (first == count) return keep_largest(kernels_.max_magnitude(chunk.data(), count));
        found(SectionDefect::bad_scale, start / sizeof(float) + first);
    }

    void check_indexes(Bytes chunk, std::uint64_t start) noexcept {
        const std::uint64_t count = chunk.size() / sizeof(std::uint32_t);
        if (decided() || count == 0) return;
        // One branch-free pass: where all ascend, the last one is the largest.
        bool ascending = previous_index_ < element_at<std::uint32_t>(chunk, 0);
        for (std::uint64_t i = 1; i < count; ++i) {
            ascending &=
                element_at<std::uint32_t>(chunk, i - 1) < element_at<std::uint32_t>(chunk, i);
        }
        const std::int64_t last = element_at<std::uint32_t>(chunk, count - 1);
        if (!ascending || static_cast<std::uint64_t>(last) >= section_.elements) {
            locate_index(chunk, count, start / sizeof(std::uint32_t));
        }
        previous_index_ = last;
    }

    void locate_index(Bytes chunk, std::uint64_t count, std::uint64_t first) noexcept {
        std::int64_t previous = previous_index_;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::int64_t index = element_at<std::uint32_t>(chunk, i);
            if (static_cast<std::uint64_t>(index) >= section_.elements) {
                return found(SectionDefect::out_of_range, first + i);
            }
            if (index <= previous) return found(SectionDefect::not_ascending, first + i);
            previous = index;
        }
    }

    void check_bitmask(Bytes chunk, std::uint64_t start) noexcept {
        if (section_.elements / 8 >= start + chunk.size()) {
            outcome_.popcount += kernels_.count_bits(chunk.data(), chunk.size());
            return;
        }
        const std::uint64_t whole = chunk.size() / sizeof(std::uint64_t);
        for (std::uint64_t i = 0; i < whole; ++i) {
            count_bits(element_at<std::uint64_t>(chunk, i),
                       8 * (start + i * sizeof(std::uint64_t)));
        }
        std::uint64_t rest = 0;
        const std::uint64_t done = whole * sizeof(std::uint64_t);
        if (done < chunk.size()) std::memcpy(&rest, chunk.data() + done, chunk.size() - done);
        count_bits(rest, 8 * (start + done));
    }

    // `word` holds the elements from `first` on.
    void count_bits(std::uint64_t word, std::uint64_t first) noexcept {
        const std::uint64_t valid = section_.elements > first ? section_.elements - first : 0;
        const std::uint64_t mask =
            valid >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << valid) - 1;
        outcome_.popcount += static_cast<std::uint64_t>(std::popcount(word & mask));
        const std::uint64_t past = word & ~mask;
        if (past != 0) {
            found(SectionDefect::bits_past_end,
                  first + static_cast<std::uint64_t>(std::countr_zero(past)));
        }
    }

    const Section& section_;
    const kernels::Table& kernels_;
    SectionOutcome& outcome_;
    std::int64_t previous_index_ = -1;
};

}  // namespace trlm::adapt
