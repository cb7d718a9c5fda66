#include "trlm/adapt/stack.hpp"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <locale>
#include <sstream>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "identity_rules.hpp"
#include "stack_rules.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

/// digits [. digits] [e [sign] digits], with a sign in front or not: no hex, no inf, no spaces.
bool is_decimal_number(std::string_view text) {
    std::size_t i = 0;
    const auto digits = [&] {
        const std::size_t first = i;
        while (i < text.size() && text[i] >= '0' && text[i] <= '9')
            ++i;
        return i - first;
    };
    const auto sign = [&] {
        if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    };
    sign();
    std::size_t mantissa = digits();
    if (i < text.size() && text[i] == '.') {
        ++i;
        mantissa += digits();
    }
    if (mantissa == 0) return false;
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        sign();
        if (digits() == 0) return false;
    }
    return i == text.size();
}

/// The nearest binary64 of a decimal number, whatever the host's locale; NaN when it has none.
double nearest_double(std::string_view text) {
    if (text.starts_with('+')) text.remove_prefix(1);
    double value = std::numeric_limits<double>::quiet_NaN();
#if defined(__cpp_lib_to_chars)
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc{}) {
        value = std::numeric_limits<double>::quiet_NaN();
    }
#else  // a standard library without from_chars for floating point
    std::istringstream stream{std::string(text)};
    stream.imbue(std::locale::classic());
    if (!(stream >> value)) value = std::numeric_limits<double>::quiet_NaN();
#endif
    return value;
}

/// Judged by its bits: to a host that flushes subnormals a small one would equal zero.
bool is_usable_strength(float strength) noexcept {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(strength) & 0x7fffffffU;
    return magnitude > 0 && magnitude < 0x7f800000U;
}

void compare_identity(Findings& findings, const std::string& file, const Identity& model,
                      const Identity& package) {
    const auto sentence = [](std::string_view what, std::string_view expected,
                             std::string_view actual) {
        return fmt::format(
            "the adapter was made for a model whose {} is {}, but this model's is {}; use "
            "the base model that the adapter was made from",
            what, actual, expected);
    };
    compare_identities(model, package, file, sentence, findings);
}

void compare_entry(Findings& findings, const std::string& file, const FindTensor& find_tensor,
                   const PackageEntry& entry) {
    Finding finding;
    finding.file = file;
    finding.tensor = tensor_label(entry.name, entry.name_hash);
    const auto tensor = find_tensor(entry.name_hash);
    if (!tensor) {
        finding.code = FindingCode::tensor_unknown;
        finding.message =
            "the model has no tensor of this name; use the base model that the "
            "adapter was made from";
        findings.add(std::move(finding));
        return;
    }
    if (tensor->shape == entry.shape) return;
    finding.code = FindingCode::tensor_shape_differs;
    if (!tensor->name.empty()) finding.tensor = tensor->name;
    finding.expected = to_string(tensor->shape);
    finding.actual = to_string(entry.shape);
    finding.message = fmt::format("the adapter's shape is {}, but the model's tensor is {}",
                                  finding.actual, finding.expected);
    findings.add(std::move(finding));
}

}  // namespace

std::optional<float> usable_strength(double strength) noexcept {
    // Halfway from the largest f32 to 2^128: what lies below still rounds to that f32, and far
    // above the conversion would be undefined.
    constexpr double rounds_to_infinity = 0x1.ffffffp127;
    if (!(std::abs(strength) < rounds_to_infinity)) return std::nullopt;
    const FpEnvironment environment;
    const auto rounded = static_cast<float>(strength);
    return is_usable_strength(rounded) ? std::optional(rounded) : std::nullopt;
}

Result<float> parse_strength(std::string_view text) {
    return guarded([&]() -> Result<float> {
        if (is_decimal_number(text)) {
            const FpEnvironment environment;
            if (const auto strength = usable_strength(nearest_double(text))) return *strength;
        }
        Finding finding;
        finding.code = FindingCode::usage_error;
        finding.message = fmt::format(
            "'{}' is not a strength; it is a decimal number such as 0.5 or -1e-3 that "
            "is neither zero nor infinite as an f32",
            text);
        finding.expected = "a decimal number, not zero, finite as f32";
        finding.actual = std::string(text);
        return failure(std::move(finding));
    });
}

Findings check_stack(const Identity& identity, const FindTensor& find_tensor,
                     std::span<const StackMember> stack) {
    Findings findings;
    const auto complain = [&](FindingCode code, const std::string& file, std::string message) {
        Finding finding;
        finding.code = code;
        finding.file = file;
        finding.message = std::move(message);
        findings.add(std::move(finding));
    };
    if (stack.empty()) {
        complain(FindingCode::usage_error, {}, "the stack has no adapters; name at least one");
    }
    if (stack.size() > limits::stack_members) {
        complain(FindingCode::limit_exceeded, {},
                 fmt::format("the stack has {} adapters, but at most {} are allowed; merge some of "
                             "them into one package",
                             stack.size(), limits::stack_members));
    }
    for (const StackMember& member : stack) {
        if (!is_usable_strength(member.strength)) {
            complain(FindingCode::usage_error, member.file,
                     fmt::format("its strength is {}, but it must be finite and not zero",
                                 member.strength));
        }
        compare_identity(findings, member.file, identity, member.package->identity());
        for (const PackageEntry& entry : member.package->entries()) {
            compare_entry(findings, member.file, find_tensor, entry);
        }
    }
    return findings;
}

Findings check_compatibility(const Model& model, std::span<const StackMember> stack) {
    const auto find_tensor = [&](std::uint64_t name_hash) -> std::optional<KnownTensor> {
        const auto index = model.find_tensor(name_hash);
        if (!index) return std::nullopt;
        const ModelTensor& tensor = model.tensors()[*index];
        return KnownTensor{tensor.name, tensor.shape};
    };
    return check_stack(model.identity(), find_tensor, stack);
}

std::uint64_t assembly_state(const Model& model, std::span<const StackMember> stack) {
    return state_after(model.identity(), stack);
}

std::uint64_t state_after(const Identity& identity, std::span<const StackMember> stack) {
    std::uint64_t state = initial_state(identity);
    for (const StackMember& member : stack) {
        state = next_state(state, member.package->checksum(), member.strength);
    }
    return state;
}

}  // namespace trlm::adapt
