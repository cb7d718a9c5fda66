#pragma once
// A temporary file, read again before it gets its name.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "trlm/adapt/file.hpp"

namespace trlm::adapt {

/// Calls `visit(bytes)`, which returns a Status, for the first `length` bytes of `file` in order.
/// Ends with the first Status that is a failure.
template <class Visit>
[[nodiscard]] Status read_back(const OutputFile& file, std::uint64_t length, const Visit& visit) {
    constexpr std::uint64_t buffer_bytes = 262'144;  // stays in the second-level cache
    std::vector<std::byte> buffer(std::min(length, buffer_bytes));
    for (std::uint64_t at = 0; at < length;) {
        const MutableBytes piece(buffer.data(),
                                 std::min<std::uint64_t>(buffer.size(), length - at));
        if (Status read = file.read_at(at, piece); !read) return read;
        if (Status visited = visit(Bytes(piece)); !visited) return visited;
        at += piece.size();
    }
    return {};
}

}  // namespace trlm::adapt
