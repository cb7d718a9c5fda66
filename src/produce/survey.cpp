#include "survey.hpp"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "package_format.hpp"
#include "sparse_mask.hpp"

namespace trlm::adapt {
namespace {

Finding difference_too_large(const TensorPair& pair, std::uint64_t element) {
    return {.code = FindingCode::non_finite,
            .message = fmt::format("element {} differs by more than an f32 holds; no package can "
                                   "store such a difference",
                                   element),
            .tensor = label_of(pair),
            .element = element,
            .expected = "finite",
            .actual = "infinite"};
}

std::uint64_t amount_of(const LargestElements& method, std::uint64_t elements) {
    const auto* count = std::get_if<std::uint64_t>(&method.amount);
    return count != nullptr ? *count : share_of(std::get<double>(method.amount), elements);
}

bool chooses_among_all(const DifferenceMethod& method) noexcept {
    const auto* largest = std::get_if<LargestElements>(&method);
    return largest != nullptr && largest->global;
}

/// The passes of one survey.
class Survey {
public:
    Survey(const Model& base, const Model& tuned, const DifferenceMethod& method, Work& work)
        : method_(method), work_(work), parameter_count_(base.identity().parameter_count) {
        for (const TensorPair& pair : pair_tensors(base, tuned))
            tensors_.emplace_back().pair = pair;
    }

    [[nodiscard]] Result<std::vector<SurveyedTensor>> run() {
        if (Status status = look(); !status) return failure(std::move(status.error()));
        if (Status status = choose(); !status) return failure(std::move(status.error()));
        return std::move(tensors_);
    }

private:
    template <class Take>
    [[nodiscard]] Status pass_over_all(const Take& take) {
        for (SurveyedTensor& tensor : tensors_) {
            Status status =
                pass_over(tensor.pair, work_, [&](const PairPart& part) { take(tensor, part); });
            if (!status) return status;
        }
        return {};
    }

    // ---------------------------------------------------------------------------------- survey

    [[nodiscard]] Status look() {
        Findings findings;
        const SurveyedTensor* refused = nullptr;
        Status status = pass_over_all([&](SurveyedTensor& tensor, const PairPart& part) {
            for (std::size_t i = 0; i < part.base.size(); ++i) {
                if (part.delta[i] != 0) {
                    ++tensor.differing;
                    if (package_format::is_finite(part.delta[i]) || refused == &tensor) continue;
                    refused = &tensor;  // once for each tensor
                    findings.add(difference_too_large(tensor.pair, part.first + i));
                } else if (std::bit_cast<std::uint32_t>(part.base[i]) !=
                           std::bit_cast<std::uint32_t>(part.tuned[i])) {
                    ++tensor.signed_zeros;
                }
            }
        });
        if (!status) return status;
        if (findings.has_errors()) return failure(std::move(findings));
        const bool any = std::ranges::any_of(
            tensors_, [](const SurveyedTensor& tensor) { return tensor.differing > 0; });
        if (any) return {};
        return failure({.code = FindingCode::zero_effect,
                        .message = "both models hold the same values; there is no difference to "
                                   "write"});
    }

    // ------------------------------------------------------------------- what a sparse one keeps

    [[nodiscard]] Status choose() {
        if (kind_of(method_) != PackageKind::sparse) return {};
        if (const auto* method = std::get_if<LargestElements>(&method_)) {
            if (!method->global) return choose_in_each(*method);
            if (Status status = choose_among_all(*method); !status) return status;
        } else if (const auto* above = std::get_if<ElementsAbove>(&method_)) {
            for (SurveyedTensor& tensor : tensors_)
                tensor.cut = at_least(above->threshold);
        }
        return count_kept();
    }

    /// How many each tensor keeps is known without its values.
    [[nodiscard]] Status choose_in_each(const LargestElements& method) {
        for (SurveyedTensor& tensor : tensors_) {
            tensor.kept = std::min(tensor.differing, amount_of(method, tensor.pair.elements()));
        }
        return work_.advance(parameter_count_ * sizeof(float));
    }

    [[nodiscard]] Status choose_among_all(const LargestElements& method) {
        std::uint64_t elements = 0;
        for (const SurveyedTensor& tensor : tensors_)
            if (tensor.differing > 0) elements += tensor.pair.elements();
        MagnitudeRank rank(amount_of(method, elements));
        Status upper = pass_over_all(
            [&](const SurveyedTensor&, const PairPart& part) { rank.count_upper(part.delta); });
        if (!upper) return upper;
        rank.choose_upper();
        Status lower = pass_over_all(
            [&](const SurveyedTensor&, const PairPart& part) { rank.count_lower(part.delta); });
        if (!lower) return lower;
        for (SurveyedTensor& tensor : tensors_)
            tensor.cut = rank.cut();
        return {};
    }

    /// Counts what each tensor keeps, and deals out the ties of a common cut in tensor order.
    [[nodiscard]] Status count_kept() {
        std::uint64_t ties = tensors_.front().cut.ties;
        for (SurveyedTensor& tensor : tensors_) {
            tensor.cut.ties = ties;
            MagnitudeCut cut = tensor.cut;
            Status status = pass_over(tensor.pair, work_, [&](const PairPart& part) {
                tensor.kept += count_kept(tensor, part, cut);
            });
            if (!status) return status;
            ties = cut.ties;
        }
        return {};
    }

    [[nodiscard]] std::uint64_t count_kept(const SurveyedTensor& tensor, const PairPart& part,
                                           MagnitudeCut& cut) const {
        std::uint64_t kept = 0;
        if (const auto* drop = std::get_if<RandomDrop>(&method_)) {
            const DropMask mask(*drop, tensor.pair.base.name_hash);
            for (std::size_t i = 0; i < part.delta.size(); ++i)
                kept += mask.keeps(part.first + i, part.delta[i]) ? 1 : 0;
            return kept;
        }
        for (const float delta : part.delta)
            kept += cut.takes(delta) ? 1 : 0;
        return kept;
    }

    const DifferenceMethod& method_;
    Work& work_;
    std::uint64_t parameter_count_;
    std::vector<SurveyedTensor> tensors_;
};

}  // namespace

std::string label_of(const TensorPair& pair) {
    return tensor_label(pair.base.name, pair.base.name_hash);
}

std::uint64_t survey_passes(const DifferenceMethod& method) noexcept {
    const std::uint64_t choosing = kind_of(method) == PackageKind::sparse ? 1 : 0;
    return 1 + choosing + (chooses_among_all(method) ? 2 : 0);
}

Result<std::vector<SurveyedTensor>> survey(const Model& base, const Model& tuned,
                                           const DifferenceMethod& method, Work& work) {
    return Survey(base, tuned, method, work).run();
}

}  // namespace trlm::adapt
