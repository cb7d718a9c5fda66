#pragma once
// Matrices as products of narrow ones.  docs/making-adapters.md

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// B * A, A [rank, cols], B [rows, rank], row-major. Column k of B and row k of A have the same
/// norm, the square root of a singular value; these descend.
struct Factors {
    std::uint32_t rank = 0;
    std::vector<float> a;
    std::vector<float> b;
};

/// A rank, or the share of the squared Frobenius norm that is to be kept.
using FactorSize = std::variant<std::uint32_t, double>;

/// The best factors of a matrix of finite values, not all zero, by singular value decomposition in
/// double: the same bits on every machine, on one thread. Of the two signs that a pair of vectors
/// can have it takes the one that makes the largest element of B's column, of equal ones the first,
/// positive. Parts that are rounding noise of the decomposition are left out, so that the rank may
/// be lower than asked for. `limit_exceeded` when the share takes a rank above `limits::low_rank`.
/// O(rows * cols * smaller of both); about five times the matrix in double.
[[nodiscard]] Result<Factors> factorize(std::span<const float> matrix, std::uint64_t rows,
                                        std::uint64_t cols, const FactorSize& size);

}  // namespace trlm::adapt
