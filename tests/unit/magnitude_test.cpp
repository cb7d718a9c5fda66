#include "produce/magnitude.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "support/catch.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

/// Indexes of the `count` largest nonzero values by sorting, the first of equal ones first.
std::vector<std::size_t> sorted_largest(const std::vector<float>& values, std::size_t count) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(
        order, [&](auto a, auto b) { return std::fabs(values[a]) > std::fabs(values[b]); });
    std::erase_if(order, [&](std::size_t i) { return values[i] == 0; });
    order.resize(std::min(count, order.size()));
    std::ranges::sort(order);
    return order;
}

std::vector<std::size_t> taken(const std::vector<float>& values, MagnitudeCut cut) {
    std::vector<std::size_t> indexes;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (cut.takes(values[i])) indexes.push_back(i);
    return indexes;
}

}  // namespace

TEST_CASE("The largest magnitudes are those that sorting finds", "[magnitude]") {
    std::vector<float> values = sample::values("magnitudes", 500);
    const float denormal = std::numeric_limits<float>::denorm_min();
    // Ties, zeros of both signs, and values whose upper halves are equal.
    for (std::size_t i = 0; i < 60; ++i) {
        const float some[] = {0.0F, -0.0F, 0.25F, -0.25F, denormal, -denormal, 1.0F, 1.0000001F};
        values[3 * i] = some[i % 8];
    }
    for (const std::size_t count : {1U, 2U, 7U, 8U, 9U, 14U, 15U, 16U, 30U, 100U, 300U, 440U, 484U,
                                    485U, 486U, 500U, 5000U}) {
        CHECK(taken(values, largest(values, count)) == sorted_largest(values, count));
    }
}

TEST_CASE("A rank may be taken over parts", "[magnitude]") {
    const std::vector<float> values = sample::values("parts", 1000);
    MagnitudeRank rank(123);
    const std::span<const float> all(values);
    for (std::size_t at = 0; at < all.size(); at += 100)
        rank.count_upper(all.subspan(at, 100));
    rank.choose_upper();
    for (std::size_t at = 0; at < all.size(); at += 250)
        rank.count_lower(all.subspan(at, 250));
    CHECK(taken(values, rank.cut()) == sorted_largest(values, 123));
}

TEST_CASE("A threshold takes what is equal to it, and no zeros", "[magnitude]") {
    const std::vector<float> values = {0.5F, -0.5F, 0.49999997F, 0.0F, -0.0F, 1e-45F, 3e38F};
    CHECK(taken(values, at_least(0.5F)) == std::vector<std::size_t>{0, 1, 6});
    CHECK(taken(values, at_least(0.0F)) == std::vector<std::size_t>{0, 1, 2, 5, 6});
    CHECK(taken(values, at_least(-0.0F)) == std::vector<std::size_t>{0, 1, 2, 5, 6});
    CHECK(taken(values, at_least(1e-45F)) == std::vector<std::size_t>{0, 1, 2, 5, 6});
}
