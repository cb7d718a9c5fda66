#include <array>
#include <cstddef>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/identity.hpp"

namespace trlm::adapt {

std::uint64_t initial_state(const Identity& identity) noexcept {
    std::array<std::byte, 32> record{};
    store(record, 0, identity.model_flags);
    store(record, 4, identity.tensor_count);
    store(record, 8, identity.parameter_count);
    store(record, 16, identity.tensor_layout_checksum);
    store(record, 24, identity.tokenizer_checksum);
    return xxh3_64(record);
}

std::uint64_t next_state(std::uint64_t state, std::uint64_t package_checksum,
                         float strength) noexcept {
    std::array<std::byte, 20> record{};
    store(record, 0, state);
    store(record, 8, package_checksum);
    store(record, 16, strength);
    return xxh3_64(record);
}

}  // namespace trlm::adapt
