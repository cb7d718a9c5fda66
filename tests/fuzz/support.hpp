#pragma once
// What the fuzz targets share: how a property that does not hold ends the program, checksums made
// right again after a mutation, and fields that are set to values at the edge.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/checksum.hpp"

// libFuzzer's own mutation; AFL++ has it too.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace trlm::adapt::fuzz {

/// A property of the library that an input disproves is a crash.
inline void require(bool holds, const char* property) {
    if (holds) return;
    std::fprintf(stderr, "property does not hold: %s\n", property);
    std::abort();
}

inline Bytes bytes_of(const std::uint8_t* data, std::size_t size) {
    return std::as_bytes(std::span(data, size));
}

/// The mutator's random numbers: the same seed gives the same mutation.
class Random {
public:
    explicit Random(unsigned seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}

    [[nodiscard]] std::uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return next() % bound; }

private:
    std::uint64_t state_;
};

/// Sets a u32 or u64 at a multiple of four to a value at some edge.
inline void set_a_field(std::uint8_t* data, std::size_t size, Random& random) {
    static constexpr std::uint64_t edges[] = {
        0,          1,          2,          3,          4,          63,
        64,         65,         127,        128,        255,        256,
        65'535,     65'536,     0x7f800000, 0x7fc00000, 0x7fffffff, 0x80000000,
        0xff800000, 0xffffffff, 1ULL << 40, 1ULL << 63, ~0ULL,
    };
    const std::uint64_t value = edges[random.below(std::size(edges))];
    const std::size_t width = random.below(2) == 0 ? 4 : 8;
    if (size < width) return;
    // Most fields lie in the head.
    const std::size_t limit = random.below(4) == 0 ? size : std::min<std::size_t>(size, 512);
    const std::size_t at = random.below((limit - width) / 4 + 1) * 4;
    std::memcpy(data + at, &value, width);
}

/// Libfuzzer's mutation, or a field; then `seal` puts checksums right, mostly.
template <class Seal>
std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed,
                   const Seal& seal) {
    Random random(seed);
    if (random.below(2) == 0) {
        size = LLVMFuzzerMutate(data, size, most);
    } else {
        for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes)
            set_a_field(data, size, random);
    }
    if (random.below(8) != 0) seal(MutableBytes(reinterpret_cast<std::byte*>(data), size));
    return size;
}

/// XXH3-64 of `file` with the eight bytes at `offset` as zero, stored there.
inline void seal_at(MutableBytes file, std::uint64_t offset) {
    if (!range_inside(offset, 8, file.size())) return;
    store<std::uint64_t>(file, offset, 0);
    store<std::uint64_t>(file, offset, checksum_of(file));
}

/// Checksums of every payload, of the mask, and of a package.
inline void seal_package(MutableBytes file) {
    if (file.size() < 128) return;
    const std::uint64_t entries = load<std::uint32_t>(file, 48);
    Xxh3 mask;
    for (std::uint64_t i = 0; i < entries && range_inside(128 + 64 * i, 64, file.size()); ++i) {
        const std::uint64_t entry = 128 + 64 * i;
        const std::uint64_t offset = load<std::uint64_t>(file, entry + 32);
        const std::uint64_t length = load<std::uint64_t>(file, entry + 40);
        store<std::uint64_t>(file, entry + 56, checksum_of(slice(file, offset, length)));
        const std::uint64_t count = load<std::uint64_t>(file, entry + 48);
        const std::uint64_t elements = std::uint64_t{load<std::uint32_t>(file, entry + 16)} *
                                       load<std::uint32_t>(file, entry + 20) *
                                       load<std::uint32_t>(file, entry + 24) *
                                       load<std::uint32_t>(file, entry + 28);
        const bool list = load<std::uint32_t>(file, entry + 12) == 1;
        mask.update(slice(file, offset, list ? 4 * count : (elements + 7) / 8));
    }
    if (as_text(slice(file, 0, 4)) == "ASP1") store<std::uint64_t>(file, 112, mask.checksum());
    seal_at(file, 120);
}

}  // namespace trlm::adapt::fuzz
