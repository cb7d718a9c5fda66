#pragma once
// The bytes that a tensor layout checksum is of.  docs/formats.md, section 2

#include <cstddef>
#include <string_view>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/identity.hpp"

namespace trlm::adapt {

inline constexpr std::string_view layout_magic = "TRLMLAY1";

/// A tensor's part: name hash, rank, dims. They follow the magic by ascending name hash.
inline constexpr std::size_t layout_record_bytes = 28;

inline void store_layout_record(MutableBytes record, const LayoutEntry& tensor) noexcept {
    store(record, 0, tensor.name_hash);
    store(record, 8, tensor.shape.rank);
    store(record, 12, tensor.shape.dims);
}

}  // namespace trlm::adapt
