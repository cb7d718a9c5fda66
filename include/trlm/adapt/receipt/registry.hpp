#pragma once
// The selector registry: which models there are, and what a bundle may cost.  docs/receipts.md

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/receipt/file_ref.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// "admitted", "pending", "rejected".
enum class Admission : std::uint8_t { admitted, pending, rejected };

/// "none", "manual", "auto-apply".
enum class Strategy : std::uint8_t { none, manual, auto_apply };

/// How a model stores its tensors: "f32", "q8_0", "q4_0", or "mixed" where they differ.
enum class StorageDtype : std::uint8_t { f32, q8_0, q4_0, mixed };

/// What a bundle may cost. Bytes, but for `fetch_count`, a number of files.
struct Budgets {
    std::uint64_t model_bytes = limits::budget_model_bytes;  ///< size of the model's file
    std::uint64_t text_sidecar_bytes = limits::budget_text_sidecar_bytes;  ///< each of them
    /// The packages of a stack together.
    std::uint64_t adapter_stack_bytes = limits::budget_adapter_stack_bytes;
    std::uint64_t fetch_count = 64;  ///< files that are fetched, all together
};

/// One model that a host may choose.
struct RegistryEntry {
    std::string id;                            ///< unique in the registry
    StorageDtype dtype = StorageDtype::f32;    ///< how the model is stored
    Admission admission = Admission::pending;  ///< whether it may be used
    Strategy strategy = Strategy::none;        ///< whether and when an adapter is applied
    FileRef model;                             ///< the model's file
    FileRef manifest;                          ///< its `trlm/model-manifest@1`
    FileRef module_plan;                       ///< its `trlm/module-plan@1`
    FileRef assembly_receipt;                  ///< its `trlm/assembly@1`
    std::optional<FileRef> adapter_family;  ///< its `trlm/adapter-family@1`, where it has adapters
};

/// `trlm/selector-registry@1`
struct Registry {
    std::string registry_id;    ///< the registry's own
    Budgets budgets;            ///< what each entry may cost
    std::string default_entry;  ///< id of the entry that is used unless another is asked for
    std::vector<RegistryEntry> entries;  ///< the models, each once
};

/// Reads a registry. Findings: those of strict reading (`bad_json`, `duplicate_key`, `unknown_key`,
/// `missing_key`, `bad_value`, `path_escape`, `schema_unsupported`, `weak_digest`,
/// `limit_exceeded`), `duplicate_id`, `path_collision`, and `bad_value` for a default entry that is
/// not there. O(bytes).
[[nodiscard]] Result<Registry> read_registry(std::string_view text,
                                             const DocumentOptions& options = {});

/// The document's bytes: JSON, two-space indented, one trailing newline.
[[nodiscard]] std::string write_registry(const Registry& registry);

}  // namespace trlm::adapt
#pragma GCC visibility pop
