#include "trlm/adapt/receipt/evidence.hpp"

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

std::string schema_name(EvidenceKind kind) {
    return fmt::format("trlm/evidence-{}@1", to_string(kind));
}

void check_rules(const Evidence& evidence, const Place& root) {
    if (evidence.kind == EvidenceKind::eval) {
        if (evidence.cases == 0) {
            root.member("cases").add(FindingCode::eval_failed,
                                     "the evaluation ran no case; evaluate before release",
                                     "at least 1", "0");
        }
        if (evidence.failures != 0) {
            root.member("failures")
                .add(FindingCode::eval_failed,
                     "the evaluation had failures; look into them, and evaluate again", "0",
                     fmt::format("{}", evidence.failures));
        }
    }
    if (evidence.kind == EvidenceKind::admission && evidence.status != "admitted") {
        root.member("status").add(FindingCode::not_admitted,
                                  "the model is not admitted; complete the review", "admitted",
                                  evidence.status);
    }
}

template <EvidenceKind kind>
Result<Evidence> read_kind(std::string_view text, const DocumentOptions& options) {
    Result<EvidenceOf<kind>> read = document::read<EvidenceOf<kind>>(
        text, schema_name(kind), options, [](const EvidenceOf<kind>& document, const Place& root) {
            check_rules(document.evidence, root);
        });
    if (!read) return failure(std::move(read.error()));
    return std::move(read->evidence);
}

template <EvidenceKind kind>
std::string write_kind(const Evidence& evidence) {
    return document::write(EvidenceOf<kind>{evidence}, schema_name(kind));
}

/// Calls `use` with the kind as a constant.
template <std::size_t index = 0, class Use>
auto with_kind(EvidenceKind kind, const Use& use) {
    if constexpr (index + 1 == evidence_kind_count) {
        return use(std::integral_constant<EvidenceKind, static_cast<EvidenceKind>(index)>{});
    } else {
        if (static_cast<std::size_t>(kind) == index)
            return use(std::integral_constant<EvidenceKind, static_cast<EvidenceKind>(index)>{});
        return with_kind<index + 1>(kind, use);
    }
}

}  // namespace

std::string_view to_string(EvidenceKind kind) noexcept {
    return document::evidence_kinds.names[static_cast<std::size_t>(kind)];
}

Result<Evidence> read_evidence(EvidenceKind kind, std::string_view text,
                               const DocumentOptions& options) {
    return with_kind(kind, [&](auto constant) { return read_kind<constant()>(text, options); });
}

Result<std::string> write_evidence(const Evidence& evidence) {
    return guarded([&]() -> Result<std::string> {
        if (!document::Anything::parsed(evidence.body)) {
            return failure({.code = FindingCode::bad_json,
                            .message = "the body of the evidence is not JSON; correct it",
                            .pointer = "/body"});
        }
        return with_kind(evidence.kind,
                         [&](auto constant) { return write_kind<constant()>(evidence); });
    });
}

}  // namespace trlm::adapt
