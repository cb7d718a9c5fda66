#include "trlm/adapt/identity.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "layout_record.hpp"
#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {

std::uint64_t tensor_layout_checksum(std::span<const LayoutEntry> tensors) {
    std::vector<LayoutEntry> ascending(tensors.begin(), tensors.end());
    std::stable_sort(
        ascending.begin(), ascending.end(),
        [](const LayoutEntry& a, const LayoutEntry& b) { return a.name_hash < b.name_hash; });
    Xxh3 hash;
    hash.update(as_bytes(layout_magic));
    for (const LayoutEntry& tensor : ascending) {
        std::array<std::byte, layout_record_bytes> record{};
        store_layout_record(record, tensor);
        hash.update(record);
    }
    return hash.checksum();
}

}  // namespace trlm::adapt
