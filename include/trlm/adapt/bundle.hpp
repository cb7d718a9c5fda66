#pragma once
// A whole bundle from a recipe: every document, checksum and digest is computed.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/receipt/adapter_manifest.hpp"
#include "trlm/adapt/receipt/family.hpp"
#include "trlm/adapt/receipt/model_manifest.hpp"
#include "trlm/adapt/receipt/module_plan.hpp"
#include "trlm/adapt/receipt/registry.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// One adapter of a recipe.
struct RecipeAdapter {
    std::string id;                       ///< unique in the recipe
    std::string package;                  ///< path from the recipe's folder
    StrengthRange strength_range{-2, 2};  ///< what the manifest states
    std::optional<std::string> license;   ///< an SPDX identifier, say
    std::optional<std::string> source;    ///< where it comes from, in words
};

/// One stack of a recipe.
struct RecipeStack {
    std::string id;          ///< unique in the recipe
    bool preferred = false;  ///< the stack that is applied unless another is asked for; at most one
    Rounding rounding;       ///< how quantized values are rounded
    std::vector<OrderedMember> order;  ///< the members in the order in which they are added
};

/// The evaluation of a recipe.
struct RecipeEval {
    std::uint64_t cases = 0;     ///< how many cases there were
    std::uint64_t failures = 0;  ///< how many of them failed
    std::string body = "{}";     ///< JSON
};

/// The admission of a recipe.
struct RecipeAdmission {
    std::string status;       ///< "admitted" is what a gate wants
    std::string body = "{}";  ///< JSON
};

/// The bodies of the evidence files, each JSON.
struct RecipeEvidence {
    std::string review = "{}";         ///< JSON
    std::string recipe = "{}";         ///< JSON
    std::string operator_file = "{}";  ///< JSON
    std::string candidate = "{}";      ///< JSON
    std::string promotion = "{}";      ///< JSON
    std::string runtime = "{}";        ///< JSON
    RecipeEval eval;                   ///< what was measured
    RecipeAdmission admission;         ///< what was decided
    std::string eval_cases = "{}";     ///< JSON
};

/// One event of a recipe's ledger.
struct RecipeEvent {
    std::string event;                     ///< what happened, in words
    std::optional<ContentDigest> subject;  ///< nothing: the base model
};

/// What a recipe allows a bundle to cost.
struct RecipeBudgets {
    Budgets parts;                             ///< each part's, as the registry states them
    std::optional<std::uint64_t> total_bytes;  ///< nothing: what the files come to
};

/// `trlm/bundle-recipe@1`
struct BundleRecipe {
    std::string id;     ///< the bundle's; registry, plan and entry are named after it
    std::string model;  ///< path from the recipe's folder
    Strategy strategy = Strategy::manual;  ///< whether and when an adapter is applied
    Profile profile = Profile::native;     ///< where the bundle is used
    ExecutionProfile execution_profile = ExecutionProfile::native_simd;  ///< how its host computes
    FetchPolicy fetch_policy = FetchPolicy::local_files;  ///< where its host gets files from
    RecipeBudgets budgets;                                ///< what it may cost
    std::string source_kind = "unspecified";  ///< what the model was made from, in words
    Claim quality_claim;                      ///< what its maker says of its quality
    Claim trained_quality_claim;              ///< the same, of what training did
    std::optional<std::string> license;       ///< of the model, an SPDX identifier, say
    std::vector<RecipeAdapter> adapters;      ///< none: a bundle without adapter family
    std::vector<RecipeStack> stacks;          ///< ways to combine the adapters
    RecipeEvidence evidence;                  ///< what people and programs state of the model
    std::vector<RecipeEvent> ledger;          ///< what happened to the model, in order
};

/// Reads a recipe. Findings: those of strict reading. O(bytes).
[[nodiscard]] Result<BundleRecipe> read_recipe(std::string_view text,
                                               const DocumentOptions& options = {});

/// How a bundle is made.
struct BundleOptions {
    /// What to do with a checksum that cannot be verified.
    ChecksumPolicy checksum = ChecksumPolicy::verify;
    Executor executor = {};        ///< where the work runs
    Progress progress = {};        ///< told of the bytes done; may cancel
    std::string simd_target = {};  ///< see simd.hpp; empty: the best
};

/// What was made.
struct BundleReport {
    std::vector<std::string> files;  ///< paths from the bundle's root, ascending
    std::uint64_t bytes = 0;         ///< of all files
    Digest registry_digest;          ///< pins the bundle: `verify --registry-digest`
    ChainReport verification;        ///< of what was made; all gates passed
};

/// Makes the bundle of `recipe` in `folder`, which must not exist or be empty; paths of the recipe
/// are relative to `recipe_folder`. It is built under a temporary name beside `folder`, verified,
/// and renamed: what fails leaves nothing. The same inputs give the same bytes.
/// Findings: `usage_error` for a folder that is taken or a name that a document cannot hold, those
/// of reading model and packages, those of `verify`, `output_failed`. O(bytes + stacks * model).
[[nodiscard]] Result<BundleReport> create_bundle(const BundleRecipe& recipe,
                                                 const std::string& recipe_folder,
                                                 const std::string& folder,
                                                 const BundleOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
