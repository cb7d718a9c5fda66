#pragma once
// The module plan: every file of an assembly, before any of them is opened.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/receipt/file_ref.hpp"
#include "trlm/adapt/receipt/registry.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// "browser", "native".
enum class Profile : std::uint8_t { browser, native };

/// "scalar", "native-simd", "wasm-simd128".
enum class ExecutionProfile : std::uint8_t { scalar, native_simd, wasm_simd128 };

/// "same-origin", "local-files".
enum class FetchPolicy : std::uint8_t { same_origin, local_files };

/// "model", "manifest", "receipt", "evidence", "adapter".
enum class ModuleClass : std::uint8_t { model, manifest, receipt, evidence, adapter };

/// "base-model", "model-manifest", ..., "evidence-ledger", ..., "adapter-package".
enum class ModuleRole : std::uint8_t {
    base_model,
    model_manifest,
    adapter_manifest,
    assembly_receipt,
    adapter_family_receipt,
    evidence_ledger,
    evidence_review,
    evidence_recipe,
    evidence_operator,
    evidence_candidate,
    evidence_promotion,
    evidence_runtime,
    evidence_eval,
    evidence_admission,
    evidence_eval_cases,
    adapter_package,
};

/// "sidecars", "model", "evidence", "stack": the order in which modules may depend on each other.
enum class Phase : std::uint8_t { sidecars, model, evidence, stack };

/// One file of the assembly.
struct Module {
    std::string id;  ///< unique in the plan
    FileRef
        file;  ///< its path is relative to the root; in the document its fields are the module's
    ModuleClass module_class = ModuleClass::model;  ///< what the file is; goes with `role`
    ModuleRole role = ModuleRole::base_model;       ///< what the file is for
    Phase phase = Phase::sidecars;                  ///< when it is loaded
    std::optional<std::string> slot;                ///< "base", or "stack/0", "stack/1" ...
    std::vector<std::string> depends_on;            ///< ids of modules that have to be there first
};

/// What the plan sets for itself: the registry's budgets and all bytes together.
struct PlanBudgets {
    Budgets parts;                  ///< each part's, as the registry states them
    std::uint64_t total_bytes = 0;  ///< all modules together
};

/// `trlm/module-plan@1`
struct ModulePlan {
    std::string plan_id;                ///< the plan's own
    std::string entry_id;               ///< the registry's entry that it belongs to
    Profile profile = Profile::native;  ///< where the bundle is used
    ExecutionProfile execution_profile = ExecutionProfile::native_simd;  ///< how its host computes
    FetchPolicy fetch_policy = FetchPolicy::local_files;  ///< where its host gets files from
    PlanBudgets budgets;                                  ///< what the modules may cost
    std::vector<Module> modules = {};                     ///< every file of the assembly, each once

    /// The module at `path`, or nullptr. O(modules).
    [[nodiscard]] const Module* find(std::string_view path) const noexcept;
};

/// The class that goes with a role. O(1).
[[nodiscard]] ModuleClass class_of(ModuleRole role) noexcept;

/// The phase that goes with a role. O(1).
[[nodiscard]] Phase phase_of(ModuleRole role) noexcept;

/// Reads a plan and judges everything that it says by itself. Findings: those of strict reading,
/// `duplicate_id`, `path_collision`, `slot_conflict`, `phase_order`, `dependency_unknown`,
/// `dependency_cycle`, `bad_value` (class and role), `budget_exceeded` (against its own budgets).
/// O(bytes + modules log modules).
[[nodiscard]] Result<ModulePlan> read_module_plan(std::string_view text,
                                                  const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_module_plan(const ModulePlan& plan);

}  // namespace trlm::adapt
#pragma GCC visibility pop
