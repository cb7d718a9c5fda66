#include "trlm/adapt/produce/merge.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "about_tensor.hpp"
#include "fp_environment.hpp"
#include "guard.hpp"
#include "magnitude.hpp"
#include "members.hpp"
#include "metadata.hpp"
#include "package_format.hpp"
#include "sparse_cursor.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "work.hpp"

namespace trlm::adapt {
namespace {

// --------------------------------------------------------------------------------------- judging

/// What a member's factors are multiplied by: fl(strength * scale), as `apply` does.
float factor_of(const StackMember& member, const PackageEntry& entry) noexcept {
    return member.strength * entry.scale;
}

void judge_method(std::span<const StackMember> members, const MergeMethod& method,
                  Findings& findings) {
    const auto* consensus = std::get_if<SignConsensus>(&method);
    if (consensus == nullptr) return;
    if (!(consensus->density > 0 && consensus->density <= 1)) {
        findings.add({.code = FindingCode::usage_error,
                      .message = fmt::format("the density is {}, but must be above 0 and at most 1",
                                             consensus->density)});
    }
    for (const StackMember& member : members) {
        if (member.package->kind() == PackageKind::sparse) continue;
        findings.add({.code = FindingCode::usage_error,
                      .message = fmt::format("sign consensus is for sparse packages (ASP1), but "
                                             "this is {}; its deltas can be added",
                                             to_string(member.package->kind())),
                      .file = member.file});
    }
}

void judge_kinds(std::span<const StackMember> members, Findings& findings) {
    const PackageKind kind = members.front().package->kind();
    for (const StackMember& member : members) {
        if (member.package->kind() == kind) continue;
        findings.add({.code = FindingCode::usage_error,
                      .message = fmt::format("this is {}, but {} is {}, and only packages of one "
                                             "kind make one; apply them as a stack instead",
                                             to_string(member.package->kind()),
                                             members.front().file, to_string(kind)),
                      .file = member.file});
    }
}

void judge_strengths(std::span<const StackMember> members, Findings& findings) {
    for (const StackMember& member : members) {
        if (package_format::is_finite(member.strength) &&
            !package_format::is_zero(member.strength)) {
            continue;
        }
        findings.add({.code = FindingCode::usage_error,
                      .message = fmt::format("the strength is {}, but must be finite and not zero",
                                             member.strength),
                      .file = member.file});
    }
}

/// Ranks of one tensor must fit one entry, and so must the factor in front of them.
void judge_factors(std::span<const StackMember> members, const NamedTensor& tensor,
                   Findings& findings) {
    const PackageEntry& first = entry_of(members, tensor.entries.front());
    const std::string label = tensor_label(name_of(members, tensor), tensor.name_hash);
    const std::uint64_t most =
        std::min<std::uint64_t>({first.shape.rows(), first.shape.cols(), limits::low_rank});
    std::uint64_t rank = 0;
    for (const MemberEntry& place : tensor.entries) {
        const PackageEntry& entry = entry_of(members, place);
        rank += entry.rank;
        const float factor = factor_of(members[place.member], entry);
        if (package_format::is_finite(factor) && !package_format::is_zero(factor)) continue;
        findings.add({.code = FindingCode::bad_low_rank,
                      .message = fmt::format("strength {} times scale {} is {} in f32",
                                             members[place.member].strength, entry.scale, factor),
                      .file = members[place.member].file,
                      .tensor = label});
    }
    if (rank <= most) return;
    findings.add({.code = FindingCode::bad_low_rank,
                  .message = fmt::format("the ranks add up to {}, but the tensor {} takes at most "
                                         "{}; apply the packages as a stack instead",
                                         rank, to_string(first.shape), most),
                  .tensor = label,
                  .expected = fmt::format("at most {}", most),
                  .actual = fmt::format("{}", rank)});
}

Findings judge(std::span<const StackMember> members, const MergeMethod& method) {
    Findings findings;
    if (members.size() < 2) {
        findings.add(
            {.code = FindingCode::usage_error, .message = "a merge takes two packages at least"});
        return findings;
    }
    judge_kinds(members, findings);
    judge_strengths(members, findings);
    judge_method(members, method, findings);
    if (findings.has_errors()) return findings;
    findings = check_members(members);
    if (findings.has_errors() || members.front().package->kind() != PackageKind::low_rank) {
        return findings;
    }
    const FpEnvironment environment;
    for (const NamedTensor& tensor : named_tensors(members))
        judge_factors(members, tensor, findings);
    return findings;
}

// --------------------------------------------------------------------------------------- summing

/// A sum in double that knows whether it is exact.
class ExactSum {
public:
    void add(double value) noexcept {
        // What rounding took away (Knuth's two-sum).
        const double sum = sum_ + value;
        const double grown = sum - sum_;
        const double lost = (sum_ - (sum - grown)) + (value - grown);
        exact_ = exact_ && lost == 0;
        sum_ = sum;
    }

    [[nodiscard]] double value() const noexcept { return sum_; }
    [[nodiscard]] bool exact() const noexcept { return exact_; }

private:
    double sum_ = 0;
    bool exact_ = true;
};

/// Values to be stored, and how many of them are rounded.
struct MergedValues {
    std::vector<std::uint32_t> indexes;  // sparse
    std::vector<float> values;
    std::uint64_t rounded = 0;

    float round(double value, bool exact) noexcept {
        const auto result = static_cast<float>(value);
        rounded += exact && static_cast<double>(result) == value ? 0 : 1;
        return result;
    }
};

/// One member's delta of a tensor.
struct Operand {
    double strength = 1;
    Delta delta;
};

MergedValues sum_dense(const std::vector<Operand>& operands, std::uint64_t elements) {
    MergedValues merged;
    merged.values.resize(static_cast<std::size_t>(elements));
    for (std::size_t i = 0; i < merged.values.size(); ++i) {
        ExactSum sum;
        for (const Operand& operand : operands) {
            const auto value =
                load<float>(std::get<DenseDelta>(operand.delta).values, i * sizeof(float));
            sum.add(operand.strength * static_cast<double>(value));
        }
        merged.values[i] = merged.round(sum.value(), sum.exact());
    }
    return merged;
}

/// A sparse delta on its way through a merge.
struct SparseOperand {
    double strength = 1;
    SparseCursor cursor;
    MagnitudeCut cut;  // what trimming leaves; by itself, everything
};

/// Calls `take(index, contributions)` for each element that at least one operand keeps, in order.
template <class Take>
void for_each_element(std::vector<SparseOperand> operands, const Take& take) {
    std::vector<double> contributions;
    while (true) {
        std::erase_if(operands, [](const SparseOperand& o) { return o.cursor.at_end(); });
        if (operands.empty()) return;
        std::uint64_t next = operands.front().cursor.index();
        for (const SparseOperand& operand : operands)
            next = std::min(next, operand.cursor.index());
        contributions.clear();
        for (SparseOperand& operand : operands) {
            if (operand.cursor.index() != next) continue;
            const float value = operand.cursor.value();
            if (operand.cut.takes(value)) {
                contributions.push_back(operand.strength * static_cast<double>(value));
            }
            operand.cursor.advance();
        }
        if (!contributions.empty()) take(static_cast<std::uint32_t>(next), contributions);
    }
}

/// Keeps a value unless it is zero.
void keep(MergedValues& merged, std::uint32_t index, double value, bool exact) {
    const std::uint64_t rounded_before = merged.rounded;
    const float stored = merged.round(value, exact);
    if (package_format::is_zero(stored)) {
        merged.rounded = rounded_before;
        return;
    }
    merged.indexes.push_back(index);
    merged.values.push_back(stored);
}

MergedValues sum_sparse(std::vector<SparseOperand> operands) {
    MergedValues merged;
    for_each_element(std::move(operands),
                     [&](std::uint32_t index, const std::vector<double>& contributions) {
                         ExactSum sum;
                         for (const double contribution : contributions)
                             sum.add(contribution);
                         keep(merged, index, sum.value(), sum.exact());
                     });
    return merged;
}

MergedValues agree(std::vector<SparseOperand> operands) {
    MergedValues merged;
    for_each_element(
        std::move(operands), [&](std::uint32_t index, const std::vector<double>& contributions) {
            double sum = 0;
            for (const double contribution : contributions)
                sum += contribution;
            ExactSum agreeing;
            double count = 0;
            for (const double contribution : contributions) {
                if (!(contribution > 0 && sum > 0) && !(contribution < 0 && sum < 0)) continue;
                agreeing.add(contribution);
                count += 1;
            }
            if (count == 0) return;
            const double mean = agreeing.value() / count;
            keep(merged, index, mean, agreeing.exact() && mean * count == agreeing.value());
        });
    return merged;
}

/// Factors side by side.
struct MergedFactors {
    std::uint32_t rank = 0;
    float scale = 1;
    std::vector<float> a;
    std::vector<float> b;
    std::uint64_t rounded = 0;
};

// -------------------------------------------------------------------------------------- writing

class Merger {
public:
    Merger(std::span<const StackMember> members, const MergeMethod& method, const std::string& path,
           const MergeOptions& options)
        : members_(members),
          method_(method),
          path_(path),
          options_(options),
          kind_(members.front().package->kind()),
          tensors_(named_tensors(members)),
          work_(options.progress, total_work()) {}

    [[nodiscard]] Result<Merge> write() {
        if (Status status = survey(); !status) return failure(std::move(status.error()));
        auto file = PackageFile::create(path_, head());
        if (!file) return failure(std::move(file.error()));
        for (std::size_t i = 0; i < tensors_.size(); ++i) {
            if (report_.tensors[i].stored == 0) continue;
            Status added = about_tensor(add(i, *file), label_of(i));
            if (!added) return failure(std::move(added.error()));
            if (Status status = advance(tensors_[i]); !status) {
                return failure(std::move(status.error()));
            }
        }
        auto written = file->finish(options_.progress);
        if (!written) return failure(std::move(written.error()));
        report_.package = *written;
        return Merge{std::move(report_), std::move(*file)};
    }

private:
    [[nodiscard]] std::uint64_t total_work() const {
        std::uint64_t bytes = 0;
        for (const NamedTensor& tensor : tensors_)
            bytes += bytes_of(tensor);
        constexpr std::uint64_t survey_and_write = 2;
        return survey_and_write * bytes;
    }

    [[nodiscard]] std::uint64_t bytes_of(const NamedTensor& tensor) const {
        std::uint64_t bytes = 0;
        for (const MemberEntry& place : tensor.entries)
            bytes += entry_of(members_, place).payload_length;
        return bytes;
    }

    [[nodiscard]] std::string label_of(std::size_t i) const {
        return tensor_label(report_.tensors[i].name, report_.tensors[i].name_hash);
    }

    [[nodiscard]] Status advance(const NamedTensor& tensor) {
        return work_.advance(bytes_of(tensor));
    }

    // ----------------------------------------------------------------------- the merged tensors

    [[nodiscard]] std::vector<Operand> operands_of(const NamedTensor& tensor) const {
        std::vector<Operand> operands;
        for (const MemberEntry& place : tensor.entries) {
            const StackMember& member = members_[place.member];
            operands.push_back(
                {static_cast<double>(member.strength), member.package->delta(place.entry)});
        }
        return operands;
    }

    [[nodiscard]] MergedValues merged_values(const NamedTensor& tensor) const {
        const std::uint64_t elements =
            entry_of(members_, tensor.entries.front()).shape.elements().value();
        const std::vector<Operand> operands = operands_of(tensor);
        if (kind_ == PackageKind::dense) return sum_dense(operands, elements);
        std::vector<SparseOperand> sparse;
        const auto* consensus = std::get_if<SignConsensus>(&method_);
        for (const Operand& operand : operands) {
            const auto& delta = std::get<SparseDelta>(operand.delta);
            MagnitudeCut cut;
            if (consensus != nullptr) cut = trimmed(delta, consensus->density, elements);
            sparse.push_back({operand.strength, SparseCursor(delta), cut});
        }
        return consensus != nullptr ? agree(std::move(sparse)) : sum_sparse(std::move(sparse));
    }

    [[nodiscard]] static MagnitudeCut trimmed(const SparseDelta& delta, double density,
                                              std::uint64_t elements) {
        std::vector<float> values(static_cast<std::size_t>(delta.count));
        std::ranges::copy(delta.values, std::as_writable_bytes(std::span(values)).begin());
        return largest(values, share_of(density, elements));
    }

    [[nodiscard]] MergedFactors merged_factors(const NamedTensor& tensor) const {
        MergedFactors merged;
        const PackageEntry& first = entry_of(members_, tensor.entries.front());
        merged.scale = factor_of(members_[tensor.entries.front().member], first);
        for (const MemberEntry& place : tensor.entries)
            merged.rank += entry_of(members_, place).rank;
        merged.b.resize(static_cast<std::size_t>(first.shape.rows() * merged.rank));
        std::uint32_t column = 0;
        for (const MemberEntry& place : tensor.entries) {
            append(place, column, merged);
            column += entry_of(members_, place).rank;
        }
        return merged;
    }

    /// A's rows behind those that are there, B's columns from `column` on.
    void append(const MemberEntry& place, std::uint32_t column, MergedFactors& merged) const {
        const StackMember& member = members_[place.member];
        const PackageEntry& entry = entry_of(members_, place);
        const Delta delta = member.package->delta(place.entry);
        const auto& factors = std::get<LowRankDelta>(delta);
        for (std::uint64_t i = 0; i < factors.a.size(); i += sizeof(float))
            merged.a.push_back(load<float>(factors.a, i));
        const auto own = static_cast<double>(factor_of(member, entry));
        const auto common = static_cast<double>(merged.scale);
        for (std::uint64_t row = 0; row < entry.shape.rows(); ++row) {
            for (std::uint32_t k = 0; k < factors.rank; ++k) {
                const auto value = static_cast<double>(
                    load<float>(factors.b, (row * factors.rank + k) * sizeof(float)));
                const auto stored =
                    static_cast<float>(own == common ? value : value * own / common);
                // Products of two f32 are exact in double.
                if (static_cast<double>(stored) * common != value * own) ++merged.rounded;
                merged.b[static_cast<std::size_t>(row * merged.rank + column + k)] = stored;
            }
        }
    }

    // --------------------------------------------------------------------------------- passes

    /// Which tensors the package will have: those that do not cancel out.
    [[nodiscard]] Status survey() {
        for (const NamedTensor& tensor : tensors_) {
            const PackageEntry& entry = entry_of(members_, tensor.entries.front());
            MergedTensor& report = report_.tensors.emplace_back();
            report.name = name_of(members_, tensor);
            report.name_hash = tensor.name_hash;
            report.elements = entry.shape.elements().value();
            report.members = tensor.entries.size();
            if (kind_ == PackageKind::low_rank) {
                report.stored = 1;  // whatever they hold
            } else {
                const MergedValues merged = merged_values(tensor);
                const bool any = !std::ranges::all_of(merged.values, package_format::is_zero);
                report.stored = any ? merged.values.size() : 0;
                report.rounded = any ? merged.rounded : 0;
            }
            kept_ += report.stored > 0 ? 1 : 0;
            if (Status status = advance(tensor); !status) return status;
        }
        if (kept_ > 0) return {};
        return failure({.code = FindingCode::zero_effect,
                        .message = "the packages cancel each other out; nothing is left to write"});
    }

    [[nodiscard]] PackageHead head() const {
        std::vector<std::string_view> names;
        for (const MergedTensor& tensor : report_.tensors)
            if (tensor.stored > 0) names.push_back(tensor.name);
        std::string source = "packages";
        for (const StackMember& member : members_) {
            source += fmt::format("{} {} at strength {}", &member == &members_.front() ? "" : ",",
                                  format_checksum(member.package->checksum()), member.strength);
        }
        PackageHead head{
            .kind = kind_,
            .identity = members_.front().package->identity(),
            .entry_count = kept_,
            .metadata = metadata_text(describe(method_, members_.size()), source, names)};
        if (std::holds_alternative<SignConsensus>(method_)) {
            head.mask_method = MaskMethod::sign_consensus;
        }
        return head;
    }

    [[nodiscard]] Status add(std::size_t i, PackageFile& file) {
        const NamedTensor& tensor = tensors_[i];
        const PackageEntry& first = entry_of(members_, tensor.entries.front());
        EntryContent entry{tensor.name_hash, first.shape, {}};
        if (kind_ != PackageKind::low_rank) {
            const MergedValues merged = merged_values(tensor);
            if (kind_ == PackageKind::dense) {
                entry.delta = DenseContent{merged.values};
            } else {
                entry.delta = SparseContent{merged.indexes, merged.values};
            }
            return file.add(entry);
        }
        const MergedFactors merged = merged_factors(tensor);
        MergedTensor& report = report_.tensors[i];
        report.rank = merged.rank;
        report.stored = merged.a.size() + merged.b.size();
        report.rounded = merged.rounded;
        entry.delta = LowRankContent{merged.rank, merged.scale, merged.a, merged.b};
        return file.add(entry);
    }

    std::span<const StackMember> members_;
    const MergeMethod& method_;
    const std::string& path_;
    const MergeOptions& options_;
    PackageKind kind_;
    std::vector<NamedTensor> tensors_;
    Work work_;
    std::uint64_t kept_ = 0;
    MergeReport report_;
};

}  // namespace

std::string describe(const MergeMethod& method, std::size_t members) {
    const auto* consensus = std::get_if<SignConsensus>(&method);
    if (consensus == nullptr) return fmt::format("sum of {} packages", members);
    return fmt::format("sign consensus of {} packages, of each the largest {}", members,
                       consensus->density);
}

std::uint64_t MergeReport::rounded() const noexcept {
    std::uint64_t total = 0;
    for (const MergedTensor& tensor : tensors)
        total += tensor.rounded;
    return total;
}

Findings check_merge(std::span<const StackMember> members, const MergeMethod& method) {
    Status status = guarded([&]() -> Status {
        Findings findings = judge(members, method);
        if (findings.empty()) return {};
        return failure(std::move(findings));
    });
    return status ? Findings{} : std::move(status.error());
}

Result<Merge> write_merge(std::span<const StackMember> members, const MergeMethod& method,
                          const std::string& path, const MergeOptions& options) {
    return guarded([&]() -> Result<Merge> {
        Findings findings = judge(members, method);
        if (findings.has_errors()) return failure(std::move(findings));
        const FpEnvironment environment;
        return Merger(members, method, path, options).write();
    });
}

}  // namespace trlm::adapt
