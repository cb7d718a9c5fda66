// XXH3 for the core, which links no library for it.

#include "trlm/adapt/checksum.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace trlm::adapt {

std::uint64_t xxh3_64(Bytes bytes) noexcept {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum_of(Bytes bytes) noexcept {
    return stored_checksum(xxh3_64(bytes));
}

}  // namespace trlm::adapt
