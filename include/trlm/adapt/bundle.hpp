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

namespace trlm::adapt {

/// One adapter of a recipe.
struct RecipeAdapter {
    std::string id;
    std::string package;  ///< path from the recipe's folder
    StrengthRange strength_range{-2, 2};
    std::optional<std::string> license;
    std::optional<std::string> source;
};

/// One stack of a recipe.
struct RecipeStack {
    std::string id;
    bool preferred = false;
    Rounding rounding;
    std::vector<OrderedMember> order;
};

/// The evaluation of a recipe.
struct RecipeEval {
    std::uint64_t cases = 0;
    std::uint64_t failures = 0;
    std::string body = "{}";  ///< JSON
};

/// The admission of a recipe.
struct RecipeAdmission {
    std::string status;
    std::string body = "{}";  ///< JSON
};

/// The bodies of the evidence files, each JSON.
struct RecipeEvidence {
    std::string review = "{}";
    std::string recipe = "{}";
    std::string operator_file = "{}";
    std::string candidate = "{}";
    std::string promotion = "{}";
    std::string runtime = "{}";
    RecipeEval eval;
    RecipeAdmission admission;
    std::string eval_cases = "{}";
};

/// One event of a recipe's ledger.
struct RecipeEvent {
    std::string event;
    std::optional<ContentDigest> subject;  ///< nothing: the base model
};

/// What a recipe allows a bundle to cost.
struct RecipeBudgets {
    Budgets parts;
    std::optional<std::uint64_t> total_bytes;  ///< nothing: what the files come to
};

/// `trlm/bundle-recipe@1`
struct BundleRecipe {
    std::string id;
    std::string model;  ///< path from the recipe's folder
    Strategy strategy = Strategy::manual;
    Profile profile = Profile::native;
    ExecutionProfile execution_profile = ExecutionProfile::native_simd;
    FetchPolicy fetch_policy = FetchPolicy::local_files;
    RecipeBudgets budgets;
    std::string source_kind = "unspecified";
    Claim quality_claim;
    Claim trained_quality_claim;
    std::optional<std::string> license;
    std::vector<RecipeAdapter> adapters;  ///< none: a bundle without adapter family
    std::vector<RecipeStack> stacks;
    RecipeEvidence evidence;
    std::vector<RecipeEvent> ledger;
};

/// Reads a recipe. Findings: those of strict reading. O(bytes).
[[nodiscard]] Result<BundleRecipe> read_recipe(std::string_view text,
                                               const DocumentOptions& options = {});

/// How a bundle is made.
struct BundleOptions {
    ChecksumPolicy checksum = ChecksumPolicy::verify;
    Executor executor = {};
    Progress progress = {};
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
