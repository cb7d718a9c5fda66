// What a difference may be asked for, and of which models.

#include <fmt/format.h>

#include "guard.hpp"
#include "identity_rules.hpp"
#include "package_format.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/produce/difference.hpp"

namespace trlm::adapt {
namespace {

tl::unexpected<Findings> refused_value(std::string message) {
    return failure({.code = FindingCode::usage_error, .message = std::move(message)});
}

bool is_share(double share) {
    return share > 0 && share <= 1;
}

/// Judges a method's own numbers.
struct MethodJudge {
    Status operator()(const DenseDifference&) const { return {}; }

    Status operator()(const LargestElements& method) const {
        if (const auto* share = std::get_if<double>(&method.amount)) {
            if (is_share(*share)) return {};
            return refused_value(
                fmt::format("the density is {}, but must be above 0 and at most 1", *share));
        }
        if (std::get<std::uint64_t>(method.amount) > 0) return {};
        return refused_value("the number of elements to keep is 0, but must be at least 1");
    }

    Status operator()(const ElementsAbove& method) const {
        if (method.threshold >= 0 && package_format::is_finite(method.threshold)) return {};
        return refused_value(fmt::format("the threshold is {}, but must be finite and not negative",
                                         method.threshold));
    }

    Status operator()(const RandomDrop& method) const {
        if (method.probability >= 0 && method.probability < 1) return {};
        return refused_value(
            fmt::format("the probability of dropping is {}, but must be at least 0 and below 1",
                        method.probability));
    }

    Status operator()(const LowRankDifference& method) const {
        if (const auto* share = std::get_if<double>(&method.size)) {
            if (is_share(*share)) return {};
            return refused_value(
                fmt::format("the energy is {}, but must be above 0 and at most 1", *share));
        }
        const std::uint32_t rank = std::get<std::uint32_t>(method.size);
        if (rank >= 1 && rank <= limits::low_rank) return {};
        return refused_value(
            fmt::format("the rank is {}, but must be from 1 to {}", rank, limits::low_rank));
    }
};

/// A method in words.
struct MethodWords {
    std::string operator()(const DenseDifference&) const { return "every element that differs"; }

    std::string operator()(const LargestElements& method) const {
        const std::string amount =
            std::visit([](auto number) { return fmt::format("{}", number); }, method.amount);
        const bool share = std::holds_alternative<double>(method.amount);
        return fmt::format("the largest {}{} of {}", amount, share ? "" : " elements",
                           method.global ? "all tensors together" : "each tensor");
    }

    std::string operator()(const ElementsAbove& method) const {
        return fmt::format("elements of magnitude {} and more", method.threshold);
    }

    std::string operator()(const RandomDrop& method) const {
        return fmt::format("elements dropped with probability {} and seed {}{}", method.probability,
                           method.seed, method.rescale ? ", the rest rescaled" : "");
    }

    std::string operator()(const LowRankDifference& method) const {
        if (const auto* rank = std::get_if<std::uint32_t>(&method.size)) {
            return fmt::format("factors of rank {}", *rank);
        }
        return fmt::format("factors that keep {} of each matrix", std::get<double>(method.size));
    }
};

/// The kind of package of a method.
struct MethodKind {
    PackageKind operator()(const DenseDifference&) const { return PackageKind::dense; }
    PackageKind operator()(const LargestElements&) const { return PackageKind::sparse; }
    PackageKind operator()(const ElementsAbove&) const { return PackageKind::sparse; }
    PackageKind operator()(const RandomDrop&) const { return PackageKind::sparse; }
    PackageKind operator()(const LowRankDifference&) const { return PackageKind::low_rank; }
};

/// Identity, tensors and shapes.
void compare_tensors(const Model& base, const Model& tuned, Findings& findings) {
    compare_identities(
        base.identity(), tuned.identity(), "",
        [](std::string_view what, std::string_view expected, std::string_view actual) {
            return fmt::format(
                "the tuned model's {} is {}, but the base's is {}; a difference "
                "needs two states of one model",
                what, actual, expected);
        },
        findings);
    for (const ModelTensor& tensor : tuned.tensors()) {
        const std::string label = tensor_label(tensor.name, tensor.name_hash);
        const auto index = base.find_tensor(tensor.name_hash);
        if (!index) {
            findings.add({.code = FindingCode::tensor_unknown,
                          .message = "the tuned model has this tensor, but the base has not",
                          .tensor = label});
            continue;
        }
        const Shape& shape = base.tensors()[*index].shape;
        if (shape == tensor.shape) continue;
        findings.add({.code = FindingCode::tensor_shape_differs,
                      .message = fmt::format("the tuned model's shape is {}, but the base's is {}",
                                             to_string(tensor.shape), to_string(shape)),
                      .tensor = label,
                      .expected = to_string(shape),
                      .actual = to_string(tensor.shape)});
    }
    for (const ModelTensor& tensor : base.tensors()) {
        if (tuned.find_tensor(tensor.name_hash)) continue;
        findings.add({.code = FindingCode::tensor_unknown,
                      .message = "the base has this tensor, but the tuned model has not",
                      .tensor = tensor_label(tensor.name, tensor.name_hash)});
    }
}

/// Numbers of the network that tensors and shapes do not tell.
void compare_network(const ModelShape& base, const ModelShape& tuned, Findings& findings) {
    const auto compare = [&](std::string_view what, auto expected, auto actual, Severity severity) {
        if (expected == actual) return;
        findings.add(
            {.code = FindingCode::layout_differs,
             .message = fmt::format("the tuned model's {} is {}, but the base's is {}, and "
                                    "an adapter, which holds weights only, cannot change "
                                    "it",
                                    what, actual, expected),
             .severity = severity,
             .expected = fmt::format("{}", expected),
             .actual = fmt::format("{}", actual)});
    };
    compare("number of heads", base.head_count, tuned.head_count, Severity::error);
    compare("number of key-value heads", base.kv_head_count, tuned.kv_head_count, Severity::error);
    compare("head size", base.head_dim, tuned.head_dim, Severity::error);
    compare("RoPE theta", base.rope_theta, tuned.rope_theta, Severity::error);
    compare("RMS epsilon", base.rms_norm_epsilon, tuned.rms_norm_epsilon, Severity::error);
    compare("context length", base.max_context, tuned.max_context, Severity::warning);
}

}  // namespace

PackageKind kind_of(const DifferenceMethod& method) noexcept {
    return std::visit(MethodKind{}, method);
}

std::string describe(const DifferenceMethod& method) {
    return std::visit(MethodWords{}, method);
}

Status check_method(const DifferenceMethod& method) {
    return guarded([&] { return std::visit(MethodJudge{}, method); });
}

Findings check_pair(const Model& base, const Model& tuned) {
    Status status = guarded([&]() -> Status {
        Findings found;
        compare_tensors(base, tuned, found);
        compare_network(base.shape(), tuned.shape(), found);
        if (found.empty()) return {};
        return failure(std::move(found));
    });
    return status ? Findings{} : std::move(status.error());
}

}  // namespace trlm::adapt
