#pragma once
// The assembly receipt: which evidence belongs to a model.  docs/receipts.md

#include <optional>
#include <string>

#include "trlm/adapt/receipt/file_ref.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The files that an assembly receipt binds.
struct Bindings {
    FileRef model_manifest;                 ///< `trlm/model-manifest@1`
    FileRef ledger;                         ///< `trlm/ledger@1`
    FileRef review;                         ///< `trlm/evidence-review@1`
    FileRef recipe;                         ///< `trlm/evidence-recipe@1`
    FileRef operator_file;                  ///< `trlm/evidence-operator@1`
    FileRef candidate;                      ///< `trlm/evidence-candidate@1`
    FileRef promotion;                      ///< `trlm/evidence-promotion@1`
    FileRef runtime;                        ///< `trlm/evidence-runtime@1`
    FileRef eval;                           ///< `trlm/evidence-eval@1`
    FileRef admission;                      ///< `trlm/evidence-admission@1`
    FileRef eval_cases;                     ///< `trlm/evidence-eval_cases@1`
    std::optional<FileRef> adapter_family;  ///< `trlm/adapter-family@1`, where there are adapters
};

/// `trlm/assembly@1`
struct AssemblyReceipt {
    std::string assembly_id;   ///< the receipt's own
    std::string entry_id;      ///< the registry's entry that it belongs to
    ContentDigest base_model;  ///< of the model's file
    Bindings bindings;         ///< the files, by what they are
};

/// Reads a receipt. Findings: those of strict reading, `path_collision`. O(bytes).
[[nodiscard]] Result<AssemblyReceipt> read_assembly(std::string_view text,
                                                    const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_assembly(const AssemblyReceipt& receipt);

}  // namespace trlm::adapt
#pragma GCC visibility pop
