#include "produce/factorize.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

double product(const Factors& factors, std::size_t cols, std::size_t i, std::size_t j) {
    double sum = 0;
    for (std::size_t k = 0; k < factors.rank; ++k) {
        sum += static_cast<double>(factors.b[i * factors.rank + k]) *
               static_cast<double>(factors.a[k * cols + j]);
    }
    return sum;
}

}  // namespace

TEST_CASE("Factors of all ranks give the matrix back, tall or wide", "[factorize]") {
    for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{7, 40},
                                     {40, 7},
                                     {24, 24},
                                     {1, 9},
                                     {9, 1},
                                     {1, 1},
                                     {70, 50}}) {
        const std::vector<float> matrix = sample::values("matrix", rows * cols);
        const auto factors = factorize(matrix, rows, cols, std::uint32_t{4096});
        REQUIRE(factors);
        CHECK(factors->rank == std::min(rows, cols));
        for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t j = 0; j < cols; ++j) {
                CHECK(std::fabs(product(*factors, cols, i, j) -
                                static_cast<double>(matrix[i * cols + j])) < 1e-7);
            }
        }
    }
}

TEST_CASE("A diagonal matrix has the factors that can be told without a calculation",
          "[factorize]") {
    // Singular values 9, 4, 1: their roots 3, 2, 1 stand on both sides, the sign in A.
    const std::vector<float> matrix = {0, -4, 0, 9, 0, 0, 0, 0, 1};
    const auto factors = factorize(matrix, 3, 3, std::uint32_t{2});
    REQUIRE(factors);
    REQUIRE(factors->rank == 2);
    const std::vector<float> a = {3, 0, 0, 0, -2, 0};
    const std::vector<float> b = {0, 2, 3, 0, 0, 0};
    for (std::size_t i = 0; i < 6; ++i) {
        CHECK(std::fabs(factors->a[i] - a[i]) < 1e-6F);
        CHECK(std::fabs(factors->b[i] - b[i]) < 1e-6F);
    }
    // 81 of 98 is 0.8265, 97 of 98 is 0.9898.
    for (const auto& [share, rank] :
         {std::pair{0.5, 1U}, {0.826, 1U}, {0.827, 2U}, {0.9897, 2U}, {0.99, 3U}, {1.0, 3U}}) {
        const auto kept = factorize(matrix, 3, 3, share);
        REQUIRE(kept);
        CHECK(kept->rank == rank);
    }
}
