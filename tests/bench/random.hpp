#pragma once
// Random numbers that are a function of seed and position: any part of a file can be made again,
// in any order, and compilers turn the loop into vector code.

#include <cstddef>
#include <cstdint>
#include <span>

namespace trlm::adapt::bench {

/// A permutation of the 64-bit numbers that leaves no trace of order.
[[nodiscard]] constexpr std::uint64_t mixed(std::uint64_t z) noexcept {
    z ^= z >> 30;
    z *= 0xbf58476d1ce4e5b9ULL;
    z ^= z >> 27;
    z *= 0x94d049bb133111ebULL;
    z ^= z >> 31;
    return z;
}

/// A seed for a part of what `seed` stands for.
[[nodiscard]] constexpr std::uint64_t derived_seed(std::uint64_t seed,
                                                   std::uint64_t part) noexcept {
    return mixed(mixed(seed + 0x9e3779b97f4a7c15ULL) ^ part);
}

/// Random number `index` of `seed`.
[[nodiscard]] constexpr std::uint64_t random_bits(std::uint64_t seed,
                                                  std::uint64_t index) noexcept {
    return mixed(seed + (index + 1) * 0x9e3779b97f4a7c15ULL);
}

/// Like a normal distribution of that deviation (a sum of four uniform numbers: no tails past
/// 3.5 deviations), never zero.
[[nodiscard]] constexpr float random_value(std::uint64_t seed, std::uint64_t index,
                                           float deviation) noexcept {
    const std::uint64_t bits = random_bits(seed, index);
    const auto sum = static_cast<std::int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                               ((bits >> 32) & 0xffff) + (bits >> 48));
    constexpr float mean = 131070.5F;
    constexpr float sum_deviation = 37837.0F;
    return (static_cast<float>(sum) - mean) * (deviation / sum_deviation);
}

/// Position `k` of `count` distinct ones below `elements`, ascending with k: one out of each of
/// `count` nearly equal stretches. The product of both numbers stays below 2^64.
[[nodiscard]] constexpr std::uint64_t stratified_index(std::uint64_t seed, std::uint64_t k,
                                                       std::uint64_t count,
                                                       std::uint64_t elements) noexcept {
    const std::uint64_t begin = k * elements / count;
    const std::uint64_t end = (k + 1) * elements / count;
    return begin + random_bits(seed, k) % (end - begin);
}

/// Values `first` and those after it.
inline void fill_random(std::uint64_t seed, std::uint64_t first, float deviation,
                        std::span<float> values) noexcept {
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = random_value(seed, first + i, deviation);
    }
}

}  // namespace trlm::adapt::bench
