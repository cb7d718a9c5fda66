#include "trlm/adapt/produce/difference.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "about_tensor.hpp"
#include "factorize.hpp"
#include "fp_environment.hpp"
#include "guard.hpp"
#include "kernels/kernels.hpp"
#include "metadata.hpp"
#include "sparse_mask.hpp"
#include "survey.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

double ratio_of_roots(double error_squared, double difference_squared) noexcept {
    return difference_squared == 0 ? 0 : std::sqrt(error_squared / difference_squared);
}

/// One tensor's delta: exact at first, then what applying the entry adds.
struct TensorDelta {
    const SurveyedTensor& tensor;
    std::vector<float>& values;
    TensorDifference& report;

    [[nodiscard]] EntryContent entry() const {
        return {tensor.pair.base.name_hash, tensor.pair.base.shape, {}};
    }
};

Status add_dense(const TensorDelta& delta, PackageFile& file) {
    delta.report.stored = delta.values.size();
    EntryContent entry = delta.entry();
    entry.delta = DenseContent{delta.values};
    return file.add(entry);
}

/// `keeps(index, value)` tells what is stored, `stored(value)` as which value.
template <class Keeps, class Stored>
Status add_sparse(const TensorDelta& delta, PackageFile& file, const Keeps& keeps,
                  const Stored& stored) {
    std::vector<std::uint32_t> indexes;
    std::vector<float> values;
    indexes.reserve(static_cast<std::size_t>(delta.tensor.kept));
    values.reserve(static_cast<std::size_t>(delta.tensor.kept));
    for (std::size_t i = 0; i < delta.values.size(); ++i) {
        if (!keeps(i, delta.values[i])) {
            delta.values[i] = 0;
            continue;
        }
        delta.values[i] = stored(delta.values[i]);
        indexes.push_back(static_cast<std::uint32_t>(i));
        values.push_back(delta.values[i]);
    }
    delta.report.stored = indexes.size();
    EntryContent entry = delta.entry();
    entry.delta = SparseContent{indexes, values};
    return file.add(entry);
}

/// B * A as `apply` multiplies it, in the arithmetic of docs/formats.md section 4.
void multiply(const Factors& factors, std::uint64_t rows, std::uint64_t cols,
              std::vector<float>& product) {
    const auto a = std::as_bytes(std::span(factors.a));
    const auto b = std::as_bytes(std::span(factors.b));
    const auto width = static_cast<std::size_t>(cols);
    std::vector<float> packed(kernels::packed_elements(factors.rank, width));
    kernels::pack_panels(a.data(), factors.rank, width, packed.data());
    const kernels::LowRankOperand operand{packed.data(), b.data(), factors.rank, 1};
    kernels::best().multiply_low_rank(operand, static_cast<std::size_t>(rows), width,
                                      product.data());
}

Status add_factors(const TensorDelta& delta, const FactorSize& size, PackageFile& file) {
    const Shape& shape = delta.tensor.pair.base.shape;
    auto factors = factorize(delta.values, shape.rows(), shape.cols(), size);
    if (!factors) return failure(std::move(factors.error()));
    delta.report.rank = factors->rank;
    delta.report.stored = factors->a.size() + factors->b.size();
    EntryContent entry = delta.entry();
    entry.delta = LowRankContent{factors->rank, 1, factors->a, factors->b};
    if (Status added = file.add(entry); !added) return added;
    multiply(*factors, shape.rows(), shape.cols(), delta.values);
    return {};
}

/// Stores a delta in the way of a method.
struct DeltaStore {
    TensorDelta delta;
    PackageFile& file;

    Status operator()(const DenseDifference&) const { return add_dense(delta, file); }

    Status operator()(const LargestElements& method) const {
        MagnitudeCut cut =
            method.global ? delta.tensor.cut : largest(delta.values, delta.tensor.kept);
        return add_by_magnitude(cut);
    }

    Status operator()(const ElementsAbove&) const { return add_by_magnitude(delta.tensor.cut); }

    Status operator()(const RandomDrop& method) const {
        const DropMask mask(method, delta.tensor.pair.base.name_hash);
        return add_sparse(
            delta, file, [&](std::uint64_t i, float value) { return mask.keeps(i, value); },
            [&](float value) { return mask.stored(value); });
    }

    Status operator()(const LowRankDifference& method) const {
        return add_factors(delta, method.size, file);
    }

private:
    Status add_by_magnitude(MagnitudeCut cut) const {
        return add_sparse(
            delta, file, [&](std::uint64_t, float value) { return cut.takes(value); },
            [](float value) { return value; });
    }
};

/// One difference on its way to a file.
class DifferenceWriter {
public:
    DifferenceWriter(const Model& base, const Model& tuned, const DifferenceMethod& method,
                     const DifferencePaths& paths, const DifferenceOptions& options)
        : base_(base),
          tuned_(tuned),
          method_(method),
          paths_(paths),
          options_(options),
          work_(options.progress, total_work()) {}

    [[nodiscard]] Result<Difference> write() {
        auto tensors = survey(base_, tuned_, method_, work_);
        if (!tensors) return failure(std::move(tensors.error()));
        tensors_ = std::move(*tensors);
        if (Status placed = place(); !placed) return failure(std::move(placed.error()));
        return write_packages();
    }

private:
    using Tensors = std::vector<const SurveyedTensor*>;

    [[nodiscard]] std::uint64_t total_work() const {
        constexpr std::uint64_t write_and_measure = 2;
        const bool hashed = kind_of(method_) == PackageKind::low_rank;
        return (survey_passes(method_) + write_and_measure) * base_.identity().parameter_count *
                   sizeof(float) +
               (hashed ? tuned_.bytes().size() : 0);
    }

    // ------------------------------------------------------------------------ what goes where

    [[nodiscard]] Status place() {
        Findings findings;
        const auto* low_rank = std::get_if<LowRankDifference>(&method_);
        const bool sparse = kind_of(method_) == PackageKind::sparse;
        for (const SurveyedTensor& tensor : tensors_) {
            report_.not_restored += tensor.differing == 0 ? tensor.signed_zeros : 0;
            report_.equal_tensors += tensor.differing == 0 ? 1 : 0;
            if (tensor.differing == 0) continue;
            if (low_rank != nullptr && tensor.pair.base.shape.rank != 2) {
                place_vector(tensor, low_rank->vectors, findings);
            } else if (sparse && tensor.kept == 0) {
                left_out_.push_back(&tensor);
            } else {
                in_package_.push_back(&tensor);
            }
        }
        if (findings.has_errors()) return failure(std::move(findings));
        if (!in_package_.empty()) return {};
        return failure({.code = FindingCode::zero_effect,
                        .message = low_rank != nullptr
                                       ? "no matrix differs, and other tensors have no factors; "
                                         "write a dense or a sparse package instead"
                                       : "the models differ, but nothing of the difference is "
                                         "kept; keep more of it"});
    }

    void place_vector(const SurveyedTensor& tensor, VectorPolicy policy, Findings& findings) {
        switch (policy) {
            case VectorPolicy::dense:
                in_companion_.push_back(&tensor);
                break;
            case VectorPolicy::skip:
                left_out_.push_back(&tensor);
                break;
            case VectorPolicy::refuse:
                findings.add({.code = FindingCode::bad_low_rank,
                              .message = fmt::format("the tensor {} is no matrix and has no "
                                                     "factors; have it written to a companion, or "
                                                     "left out",
                                                     to_string(tensor.pair.base.shape)),
                              .tensor = label_of(tensor.pair)});
                break;
        }
    }

    // --------------------------------------------------------------------------------- writing

    [[nodiscard]] PackageHead head_of(PackageKind kind, const std::string& description,
                                      const Tensors& tensors) const {
        const std::string source =
            fmt::format("difference of the models {} and {}", format_checksum(tuned_.checksum()),
                        format_checksum(base_.checksum()));
        std::vector<std::string_view> names;
        for (const SurveyedTensor* tensor : tensors)
            names.push_back(tensor->pair.base.name);
        return {.kind = kind,
                .identity = base_.identity(),
                .entry_count = tensors.size(),
                .metadata = metadata_text(description, source, names)};
    }

    [[nodiscard]] Result<PackageFile> create_package() {
        PackageHead head = head_of(kind_of(method_), describe(method_), in_package_);
        if (head.kind == PackageKind::sparse) head.mask_method = MaskMethod::magnitude;
        if (const auto* drop = std::get_if<RandomDrop>(&method_)) {
            head.mask_method = MaskMethod::random_drop;
            head.mask_seed = drop->seed;
        }
        if (head.kind == PackageKind::low_rank) {
            auto hash = hash_of_tuned();
            if (!hash) return failure(std::move(hash.error()));
            head.source_kind = SourceKind::svd;
            head.source_hash = *hash;
        }
        return PackageFile::create(paths_.package, std::move(head));
    }

    [[nodiscard]] Result<std::array<std::byte, 16>> hash_of_tuned() {
        constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 20;
        const Bytes bytes = tuned_.bytes();
        Xxh3Wide hash;
        for (std::uint64_t at = 0; at < bytes.size(); at += piece_bytes) {
            const std::uint64_t piece = std::min<std::uint64_t>(piece_bytes, bytes.size() - at);
            hash.update(slice(bytes, at, piece));
            if (Status status = work_.advance(piece); !status) {
                return failure(std::move(status.error()));
            }
        }
        return hash.hash();
    }

    [[nodiscard]] Result<Difference> write_packages() {
        auto package = create_package();
        if (!package) return failure(std::move(package.error()));
        Difference result{.report = {}, .package = std::move(*package), .companion = {}};
        Status written =
            write_entries(in_package_, method_, DifferencePlace::package, result.package);
        if (!written) return failure(std::move(written.error()));
        if (!in_companion_.empty()) {
            auto companion = PackageFile::create(
                paths_.companion,
                head_of(PackageKind::dense, "tensors that have no factors", in_companion_));
            if (!companion) return failure(std::move(companion.error()));
            result.companion = std::move(*companion);
            written = write_entries(in_companion_, DenseDifference{}, DifferencePlace::companion,
                                    *result.companion);
            if (!written) return failure(std::move(written.error()));
        }
        if (Status done = measure_left_out(); !done) return failure(std::move(done.error()));
        return finish(std::move(result));
    }

    [[nodiscard]] Status write_entries(const Tensors& tensors, const DifferenceMethod& method,
                                       DifferencePlace place, PackageFile& file) {
        std::vector<float> values;
        for (const SurveyedTensor* tensor : tensors) {
            values.clear();
            values.reserve(static_cast<std::size_t>(tensor->pair.elements()));
            Status status = pass_over(tensor->pair, work_, [&](const PairPart& part) {
                values.insert(values.end(), part.delta.begin(), part.delta.end());
            });
            if (!status) return status;
            TensorDifference& report = add_report(*tensor, place);
            status = about_tensor(std::visit(DeltaStore{{*tensor, values, report}, file}, method),
                                  label_of(tensor->pair));
            if (!status) return status;
            status = measure(tensor->pair, values, report);
            if (!status) return status;
        }
        return {};
    }

    // ------------------------------------------------------------------------------- measuring

    TensorDifference& add_report(const SurveyedTensor& tensor, DifferencePlace place) {
        TensorDifference& report = report_.tensors.emplace_back();
        report.name = tensor.pair.base.name;
        report.name_hash = tensor.pair.base.name_hash;
        report.place = place;
        report.elements = tensor.pair.elements();
        report.differing = tensor.differing;
        return report;
    }

    /// Compares base + `delta` with tuned, element by element in order.
    [[nodiscard]] Status measure(const TensorPair& pair, std::span<const float> delta,
                                 TensorDifference& report) {
        Status status = pass_over(pair, work_, [&](const PairPart& part) {
            for (std::size_t i = 0; i < part.base.size(); ++i) {
                const float added = delta[static_cast<std::size_t>(part.first) + i];
                const float result = added == 0 ? part.base[i] : part.base[i] + added;
                const bool restored = std::bit_cast<std::uint32_t>(result) ==
                                      std::bit_cast<std::uint32_t>(part.tuned[i]);
                report.not_restored += restored ? 0 : 1;
                const double difference =
                    static_cast<double>(part.tuned[i]) - static_cast<double>(part.base[i]);
                const double error = static_cast<double>(added) - difference;
                report.difference_squared += difference * difference;
                report.error_squared += error * error;
            }
        });
        report_.not_restored += report.not_restored;
        return status;
    }

    [[nodiscard]] Status measure_left_out() {
        for (const SurveyedTensor* tensor : left_out_) {
            const std::vector<float> nothing(static_cast<std::size_t>(tensor->pair.elements()));
            Status status =
                measure(tensor->pair, nothing, add_report(*tensor, DifferencePlace::left_out));
            if (!status) return status;
        }
        return {};
    }

    [[nodiscard]] Result<Difference> finish(Difference result) {
        std::ranges::sort(report_.tensors, {}, [&](const TensorDifference& tensor) {
            return base_.find_tensor(tensor.name_hash);
        });
        auto written = result.package.finish(options_.progress);
        if (!written) return failure(std::move(written.error()));
        report_.package = *written;
        if (result.companion) {
            auto companion = result.companion->finish(options_.progress);
            if (!companion) return failure(std::move(companion.error()));
            report_.companion = *companion;
        }
        result.report = std::move(report_);
        return result;
    }

    const Model& base_;
    const Model& tuned_;
    const DifferenceMethod& method_;
    const DifferencePaths& paths_;
    const DifferenceOptions& options_;
    Work work_;
    std::vector<SurveyedTensor> tensors_;
    Tensors in_package_;
    Tensors in_companion_;
    Tensors left_out_;
    DifferenceReport report_;
};

}  // namespace

std::string_view to_string(DifferencePlace place) noexcept {
    switch (place) {
        case DifferencePlace::package:
            return "package";
        case DifferencePlace::companion:
            return "companion";
        case DifferencePlace::left_out:
            break;
    }
    return "left-out";
}

double TensorDifference::relative_error() const noexcept {
    return ratio_of_roots(error_squared, difference_squared);
}

double DifferenceReport::relative_error() const noexcept {
    double error = 0;
    double difference = 0;
    for (const TensorDifference& tensor : tensors) {
        error += tensor.error_squared;
        difference += tensor.difference_squared;
    }
    return ratio_of_roots(error, difference);
}

Result<Difference> write_difference(const Model& base, const Model& tuned,
                                    const DifferenceMethod& method, const DifferencePaths& paths,
                                    const DifferenceOptions& options) {
    return guarded([&]() -> Result<Difference> {
        if (Status known = check_method(method); !known) return failure(std::move(known.error()));
        Findings findings = check_pair(base, tuned);
        if (findings.has_errors()) return failure(std::move(findings));
        const FpEnvironment environment;
        auto result = DifferenceWriter(base, tuned, method, paths, options).write();
        if (result) result->report.warnings = std::move(findings);
        return result;
    });
}

}  // namespace trlm::adapt
