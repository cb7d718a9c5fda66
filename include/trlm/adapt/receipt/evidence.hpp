#pragma once
// Evidence files: what people and programs state about a model.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trlm/adapt/receipt/file_ref.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The kinds of evidence, each named as the binding of the assembly receipt that leads to it.
enum class EvidenceKind : std::uint8_t {
    review,
    recipe,
    operator_file,  ///< "operator"
    candidate,
    promotion,
    runtime,
    eval,
    admission,
    eval_cases,
};

/// Number of kinds; values are 0 .. evidence_kind_count - 1.
inline constexpr std::size_t evidence_kind_count =
    static_cast<std::size_t>(EvidenceKind::eval_cases) + 1;

/// "review", "recipe", "operator", ...
[[nodiscard]] std::string_view to_string(EvidenceKind kind) noexcept;

/// `trlm/evidence-<kind>@1`
struct Evidence {
    EvidenceKind kind = EvidenceKind::review;  ///< which of the documents it is
    ContentDigest subject = {};                ///< of the base model
    std::string body = "{}";                   ///< JSON text of any value
    std::uint64_t cases = 0;                   ///< eval
    std::uint64_t failures = 0;                ///< eval
    ContentDigest eval_cases = {};             ///< eval: digest of the bound cases
    std::string status = {};                   ///< admission: "admitted" is what a gate wants
};

/// Reads the evidence of one kind. Findings: those of strict reading; `eval_failed` for an eval
/// without cases or with failures, `not_admitted` for an admission that does not admit. O(bytes).
[[nodiscard]] Result<Evidence> read_evidence(EvidenceKind kind, std::string_view text,
                                             const DocumentOptions& options = {});

/// The document's bytes. `bad_json` when `body` is not JSON.
[[nodiscard]] Result<std::string> write_evidence(const Evidence& evidence);

}  // namespace trlm::adapt
#pragma GCC visibility pop
