#include "factorize.hpp"

// The same bits on every machine: vector units add in another order, so none is used, and the
// sizes of the caches, by which products are cut into blocks, are fixed below. The library's copy
// of these templates has a name of its own: a program that uses Eigen too, compiled in another way,
// must not share code with it.
#define EIGEN_DONT_VECTORIZE
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_MPL2_ONLY
#define Eigen trlm_adapt_eigen
#include <algorithm>
#include <cmath>
#include <limits>

#include <Eigen/SVD>
#include <fmt/format.h>

#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

using Matrix = Eigen::MatrixXd;

/// left * diag(values) * right^T; values descend.
struct Decomposition {
    Matrix left;
    Eigen::VectorXd values;
    Matrix right;
};

void fix_block_sizes() {
    static const bool fixed = [] {
        Eigen::setCpuCacheSizes(32 << 10, 256 << 10, 2 << 20);
        return true;
    }();
    (void)fixed;
}

/// Of a matrix with at least as many rows as columns.
template <class Solver>
Decomposition decompose_with(Solver& solver) {
    return {solver.matrixU(), solver.singularValues(), solver.matrixV()};
}

Decomposition decompose(const Matrix& matrix) {
    constexpr unsigned thin = Eigen::ComputeThinU | Eigen::ComputeThinV;
    Eigen::BDCSVD<Matrix> fast(matrix, thin);
    if (fast.info() == Eigen::Success) return decompose_with(fast);
    // Slower, and always converges for finite values.
    Eigen::JacobiSVD<Matrix> sure(matrix, thin);
    return decompose_with(sure);
}

/// How many singular values are more than rounding noise.
std::uint32_t numerical_rank(const Eigen::VectorXd& values, std::uint64_t longer_side) {
    const double noise =
        values(0) * static_cast<double>(longer_side) * std::numeric_limits<double>::epsilon();
    const auto first_noise =
        std::find_if(values.begin(), values.end(), [&](double value) { return !(value > noise); });
    return static_cast<std::uint32_t>(first_noise - values.begin());
}

/// The smallest rank that keeps `share` of the sum of squares, added from the largest on.
std::uint32_t rank_for_share(const Eigen::VectorXd& values, double share) {
    double total = 0;
    for (const double value : values)
        total += value * value;
    double kept = 0;
    std::uint32_t rank = 0;
    for (const double value : values) {
        kept += value * value;
        ++rank;
        if (kept >= share * total) break;
    }
    return rank;
}

Result<std::uint32_t> chosen_rank(const Eigen::VectorXd& values, std::uint64_t longer_side,
                                  const FactorSize& size) {
    const std::uint32_t most = numerical_rank(values, longer_side);
    if (const auto* rank = std::get_if<std::uint32_t>(&size)) return std::min(*rank, most);
    const double share = std::get<double>(size);
    const std::uint32_t rank = std::min(rank_for_share(values, share), most);
    if (rank <= limits::low_rank) return rank;
    return failure({.code = FindingCode::limit_exceeded,
                    .message = fmt::format("keeping {} of the difference takes rank {}, but at "
                                           "most {} is allowed; ask for less, or for a sparse or "
                                           "dense package",
                                           share, rank, limits::low_rank),
                    .expected = fmt::format("at most {}", limits::low_rank),
                    .actual = fmt::format("{}", rank)});
}

/// Index of the element of largest magnitude, the first of equal ones.
Eigen::Index largest_element(const Matrix& matrix, Eigen::Index column) {
    Eigen::Index largest = 0;
    for (Eigen::Index i = 1; i < matrix.rows(); ++i) {
        if (std::fabs(matrix(i, column)) > std::fabs(matrix(largest, column))) largest = i;
    }
    return largest;
}

/// `left` becomes B and `right` becomes A.
Factors balanced(const Matrix& left, const Eigen::VectorXd& values, const Matrix& right,
                 std::uint32_t rank) {
    const auto rows = static_cast<std::size_t>(left.rows());
    const auto cols = static_cast<std::size_t>(right.rows());
    Factors factors{
        .rank = rank, .a = std::vector<float>(rank * cols), .b = std::vector<float>(rows * rank)};
    for (std::uint32_t k = 0; k < rank; ++k) {
        const auto column = static_cast<Eigen::Index>(k);
        const double root = std::sqrt(values(column));
        const double factor = left(largest_element(left, column), column) < 0 ? -root : root;
        for (std::size_t i = 0; i < rows; ++i) {
            factors.b[i * rank + k] =
                static_cast<float>(left(static_cast<Eigen::Index>(i), column) * factor);
        }
        for (std::size_t j = 0; j < cols; ++j) {
            factors.a[k * cols + j] =
                static_cast<float>(right(static_cast<Eigen::Index>(j), column) * factor);
        }
    }
    return factors;
}

}  // namespace

Result<Factors> factorize(std::span<const float> matrix, std::uint64_t rows, std::uint64_t cols,
                          const FactorSize& size) {
    fix_block_sizes();
    using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const RowMajor> view(matrix.data(), static_cast<Eigen::Index>(rows),
                                          static_cast<Eigen::Index>(cols));
    const bool wide = cols > rows;
    const Matrix tall =
        wide ? Matrix(view.transpose().cast<double>()) : Matrix(view.cast<double>());
    const Decomposition parts = decompose(tall);
    const auto rank = chosen_rank(parts.values, std::max(rows, cols), size);
    if (!rank) return failure(rank.error());
    return wide ? balanced(parts.right, parts.values, parts.left, *rank)
                : balanced(parts.left, parts.values, parts.right, *rank);
}

}  // namespace trlm::adapt
