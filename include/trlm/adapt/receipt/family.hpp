#pragma once
// The adapter family: the adapters of one model, and the stacks that are made of them.
// docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/receipt/file_ref.hpp"
#include "trlm/adapt/rounding.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// What the adapters of a family may cost together.
struct FamilyBudgets {
    std::uint64_t stack_bytes = 0;  ///< the packages of all members
    std::uint64_t stack_count = 0;  ///< number of members
};

/// One adapter of the family.
struct FamilyMember {
    std::string id;    ///< unique in the family
    FileRef manifest;  ///< its `trlm/adapter-manifest@1`
    FileRef package;   ///< the adapter itself
};

/// One adapter of a stack.
struct OrderedMember {
    std::string member;  ///< a member's id
    float strength = 1;  ///< what its values are multiplied by
};

/// A new model that is expected.
struct ExpectedOutput {
    std::uint64_t bytes = 0;  ///< size of its file
    ContentDigest digest;     ///< of its file
};

/// A way to combine members.
struct FamilyStack {
    std::string id;                    ///< unique in the family
    bool preferred = false;            ///< the one that is applied unless another is asked for
    Rounding rounding;                 ///< how quantized values are rounded
    std::vector<OrderedMember> order;  ///< in which members are added
    std::uint64_t expected_state = 0;  ///< assembly state after all of them
    std::optional<ExpectedOutput> expected_output;  ///< the new model's, where it was recorded
};

/// `trlm/adapter-family@1`
struct AdapterFamily {
    std::string family_id;                   ///< the family's own
    ContentDigest base_model;                ///< of the file of the model that it is for
    FamilyBudgets budgets;                   ///< what its stacks may cost
    std::vector<FamilyMember> members = {};  ///< the adapters, each once
    std::vector<FamilyStack> stacks = {};    ///< ways to combine them

    /// The stack that is applied unless another is asked for, or nullptr. O(stacks).
    [[nodiscard]] const FamilyStack* preferred_stack() const noexcept;
    /// The member with this id, or nullptr. O(members).
    [[nodiscard]] const FamilyMember* find(std::string_view id) const noexcept;
};

/// Reads a family. Findings: those of strict reading, `duplicate_id`, `path_collision`,
/// `dependency_unknown` for a stack's member that is not there, `bad_value` for more or fewer than
/// one preferred stack, `budget_exceeded`. O(bytes).
[[nodiscard]] Result<AdapterFamily> read_family(std::string_view text,
                                                const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_family(const AdapterFamily& family);

}  // namespace trlm::adapt
#pragma GCC visibility pop
