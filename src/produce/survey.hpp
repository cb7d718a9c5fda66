#pragma once
// Which tensors differ, and what a sparse package will keep of them: all that has to be known
// before the first entry is written.

#include <cstdint>
#include <string>
#include <vector>

#include "magnitude.hpp"
#include "tensor_pair.hpp"
#include "trlm/adapt/produce/difference.hpp"
#include "work.hpp"

namespace trlm::adapt {

/// What is known of a tensor.
struct SurveyedTensor {
    TensorPair pair;
    std::uint64_t differing = 0;     ///< elements whose values differ
    std::uint64_t signed_zeros = 0;  ///< elements of equal values and other bits
    std::uint64_t kept = 0;          ///< elements that a sparse package will store
    MagnitudeCut cut;                ///< of a choice by magnitude
};

/// Name, or hash, of a tensor.
[[nodiscard]] std::string label_of(const TensorPair& pair);

/// Hands over the parts of a tensor and counts them; stops when cancelled.
template <class Take>
[[nodiscard]] Status pass_over(const TensorPair& pair, Work& work, const Take& take) {
    Status status;
    (void)for_each_part(pair, [&](const PairPart& part) {
        take(part);
        status = work.advance(part.base.size() * sizeof(float));
        return status.has_value();
    });
    return status;
}

/// Passes over all values that `survey` makes for a method.
[[nodiscard]] std::uint64_t survey_passes(const DifferenceMethod& method) noexcept;

/// Surveys two models that `check_pair` accepts, by ascending name hash. `non_finite` for a
/// difference that no f32 holds, `zero_effect` when no value differs, `output_failed` when
/// cancelled. The caller is inside an FpEnvironment.
[[nodiscard]] Result<std::vector<SurveyedTensor>> survey(const Model& base, const Model& tuned,
                                                         const DifferenceMethod& method,
                                                         Work& work);

}  // namespace trlm::adapt
