#include "identity_rules.hpp"

#include <fmt/format.h>

#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {

void compare_identities(const Identity& expected, const Identity& actual, const std::string& file,
                        const FieldSentence& sentence, Findings& findings) {
    const auto compare = [&](FindingCode code, std::string_view what, const std::string& wanted,
                             const std::string& found) {
        if (wanted == found) return;
        findings.add({.code = code,
                      .message = sentence(what, wanted, found),
                      .file = file,
                      .expected = wanted,
                      .actual = found});
    };
    const auto number = [](std::uint64_t value) { return fmt::format("{}", value); };
    compare(FindingCode::flags_differ, "flags field", number(expected.model_flags),
            number(actual.model_flags));
    compare(FindingCode::tensor_count_differs, "tensor count", number(expected.tensor_count),
            number(actual.tensor_count));
    compare(FindingCode::parameter_count_differs, "parameter count",
            number(expected.parameter_count), number(actual.parameter_count));
    compare(FindingCode::layout_differs, "tensor layout checksum",
            format_checksum(expected.tensor_layout_checksum),
            format_checksum(actual.tensor_layout_checksum));
    compare(FindingCode::tokenizer_differs, "tokenizer checksum",
            format_checksum(expected.tokenizer_checksum),
            format_checksum(actual.tokenizer_checksum));
}

}  // namespace trlm::adapt
