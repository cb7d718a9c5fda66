#pragma once
// A sparse delta element by element, whatever its encoding.

#include <bit>
#include <cstdint>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt {

/// Goes through the positions of a sparse delta, which need not be right: what is read always lies
/// inside its bytes.
class SparseCursor {
public:
    explicit SparseCursor(const SparseDelta& delta) noexcept : delta_(delta) { find(); }

    [[nodiscard]] bool at_end() const noexcept { return at_end_; }

    /// Flat index of the element.
    [[nodiscard]] std::uint64_t index() const noexcept { return index_; }

    /// The element's value.
    [[nodiscard]] float value() const noexcept {
        return load<float>(delta_.values, ordinal_ * sizeof(float));
    }

    void advance() noexcept {
        ++ordinal_;
        find();
    }

private:
    void find() noexcept {
        if (delta_.encoding == SparseEncoding::index_list) {
            at_end_ = ordinal_ >= delta_.positions.size() / sizeof(std::uint32_t);
            index_ = load<std::uint32_t>(delta_.positions, ordinal_ * sizeof(std::uint32_t));
            return;
        }
        while (bits_ == 0 && next_byte_ < delta_.positions.size()) {
            bits_ = load<std::uint8_t>(delta_.positions, next_byte_++);
        }
        at_end_ = bits_ == 0;
        index_ = (next_byte_ - 1) * 8 + static_cast<unsigned>(std::countr_zero(bits_));
        bits_ &= static_cast<std::uint8_t>(bits_ - 1);
    }

    SparseDelta delta_;
    std::uint64_t index_ = 0;
    std::uint64_t ordinal_ = 0;
    std::uint64_t next_byte_ = 0;
    std::uint8_t bits_ = 0;  // of the byte before `next_byte_`, those still to come
    bool at_end_ = false;
};

}  // namespace trlm::adapt
