// Straightforward loops that the compiler turns into vector code for this machine. The build gives
// this file -O3 -march=native and leave to reorder maxima; values are finite and sums stay as
// they are written.

#include "baselines.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace trlm::adapt::bench {
namespace {

constexpr float smallest_scale = 0x1p-126F;

struct Q8 {
    static constexpr float lo = -127;
    static constexpr float hi = 127;
    static float fit(float pos, float neg) { return std::max(pos, neg) / 127.0F; }
};
struct Q4 {
    static constexpr float lo = -8;
    static constexpr float hi = 7;
    static float fit(float pos, float neg) { return std::max(pos / 7.0F, neg / 8.0F); }
};

std::uint32_t mix(std::uint32_t z) {
    z ^= z >> 16;
    z *= 0x7feb352dU;
    z ^= z >> 15;
    z *= 0x846ca68bU;
    z ^= z >> 16;
    return z;
}

float uniform(std::uint64_t key, std::uint64_t index) {
    const auto k0 = static_cast<std::uint32_t>(key);
    const auto k1 = static_cast<std::uint32_t>(key >> 32);
    const std::uint32_t high = static_cast<std::uint32_t>(index >> 32) * 0x9e3779b9U;
    const std::uint32_t h = mix((mix(static_cast<std::uint32_t>(index) ^ k0) ^ k1) + high);
    return static_cast<float>(static_cast<std::int32_t>(h >> 8)) * 0x1p-24F;
}

template <class Q>
std::int8_t to_code(float x) {
    return static_cast<std::int8_t>(std::clamp(x, Q::lo, Q::hi));
}

void decode(const std::int8_t* codes, float scale, std::size_t count, float* w) {
    for (std::size_t i = 0; i < count; ++i)
        w[i] = static_cast<float>(codes[i]) * scale;
}

void add_delta(std::span<const float> delta, float strength, std::span<float> w) {
    for (std::size_t i = 0; i < w.size(); ++i) {
        const float d = strength * delta[i];
        w[i] = d == 0.0F ? w[i] : w[i] + d;
    }
}

/// Encodes one group whose old codes are in `codes`.
template <class Q>
void encode(const float* w, const float* delta, float strength, RoundingMode mode,
            std::uint64_t key, std::uint64_t first, std::size_t count, std::int8_t* codes,
            float& scale) {
    float pos = 0;
    float neg = 0;
    float change = 0;
    int touched = 0;
    for (std::size_t i = 0; i < count; ++i) {
        pos = std::max(pos, w[i]);
        neg = std::max(neg, -w[i]);
        touched |= strength * delta[i] != 0.0F ? 1 : 0;
    }
    if (touched == 0) return;
    if (mode == RoundingMode::adaptive) {
        for (std::size_t i = 0; i < count; ++i) {
            change = std::max(change, std::fabs(w[i] - static_cast<float>(codes[i]) * scale));
        }
    }
    const bool stochastic = mode == RoundingMode::stochastic ||
                            (mode == RoundingMode::adaptive && change < 0.75F * scale);
    const bool kept = stochastic && neg <= -Q::lo * scale && pos <= Q::hi * scale;
    if (!kept) scale = std::max(Q::fit(pos, neg), smallest_scale);
    const float inv = 1.0F / scale;
    if (!stochastic) {
        for (std::size_t i = 0; i < count; ++i)
            codes[i] = to_code<Q>(std::nearbyint(w[i] * inv));
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const float x = w[i] * inv;
        const float floor = std::floor(x);
        const float up = uniform(key, first + i) < x - floor ? 1.0F : 0.0F;
        const std::int8_t drawn = to_code<Q>(floor + up);
        const std::int8_t still = kept ? codes[i] : to_code<Q>(std::nearbyint(x));
        codes[i] = strength * delta[i] == 0.0F ? still : drawn;
    }
}

void unpack(const std::byte* packed, std::size_t count, std::int8_t* codes) {
    for (std::size_t i = 0; i < count / 2; ++i) {
        const auto byte = static_cast<std::uint8_t>(packed[i]);
        codes[2 * i] = static_cast<std::int8_t>(static_cast<std::int8_t>(byte << 4) >> 4);
        codes[2 * i + 1] = static_cast<std::int8_t>(static_cast<std::int8_t>(byte) >> 4);
    }
}

void pack(const std::int8_t* codes, std::size_t count, std::byte* packed) {
    for (std::size_t i = 0; i < count / 2; ++i) {
        packed[i] = static_cast<std::byte>((codes[2 * i] & 15) | (codes[2 * i + 1] << 4));
    }
}

}  // namespace

std::uint64_t read_all(std::span<const float> x) {
    std::uint64_t sum = 0;
    for (const float value : x)
        sum += std::bit_cast<std::uint32_t>(value);
    return sum;
}

std::uint64_t read_both(std::span<const float> x, std::span<const float> y) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        sum += std::bit_cast<std::uint32_t>(x[i]) ^ std::bit_cast<std::uint32_t>(y[i]);
    return sum;
}

void add(std::span<const float> x, std::span<float> y) {
    for (std::size_t i = 0; i < y.size(); ++i)
        y[i] += x[i];
}

void triad(std::span<const float> b, std::span<const float> c, float s, std::span<float> a) {
    for (std::size_t i = 0; i < a.size(); ++i)
        a[i] = b[i] + s * c[i];
}

void three_pass_q8(const QuantizedSpan& tensor, std::span<const float> delta, float strength,
                   RoundingMode mode, std::uint64_t key, std::span<float> w) {
    const std::size_t size = tensor.group_size;
    auto* codes = reinterpret_cast<std::int8_t*>(tensor.codes.data());
    for (std::size_t g = 0; g < tensor.scales.size(); ++g) {
        decode(codes + g * size, tensor.scales[g], size, w.data() + g * size);
    }
    add_delta(delta, strength, w);
    for (std::size_t g = 0; g < tensor.scales.size(); ++g) {
        const std::size_t first = g * size;
        encode<Q8>(w.data() + first, delta.data() + first, strength, mode, key, first, size,
                   codes + first, tensor.scales[g]);
    }
}

void three_pass_q4(const QuantizedSpan& tensor, std::span<const float> delta, float strength,
                   RoundingMode mode, std::uint64_t key, std::span<float> w) {
    const std::size_t size = tensor.group_size;
    std::vector<std::int8_t> codes(size);
    for (std::size_t g = 0; g < tensor.scales.size(); ++g) {
        unpack(tensor.codes.data() + g * size / 2, size, codes.data());
        decode(codes.data(), tensor.scales[g], size, w.data() + g * size);
    }
    add_delta(delta, strength, w);
    for (std::size_t g = 0; g < tensor.scales.size(); ++g) {
        const std::size_t first = g * size;
        std::byte* packed = tensor.codes.data() + first / 2;
        unpack(packed, size, codes.data());
        encode<Q4>(w.data() + first, delta.data() + first, strength, mode, key, first, size,
                   codes.data(), tensor.scales[g]);
        pack(codes.data(), size, packed);
    }
}

}  // namespace trlm::adapt::bench
