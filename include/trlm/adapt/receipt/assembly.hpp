#pragma once
// The assembly receipt: which evidence belongs to a model.  docs/receipts.md

#include <optional>
#include <string>

#include "trlm/adapt/receipt/file_ref.hpp"

namespace trlm::adapt {

/// The files that an assembly receipt binds.
struct Bindings {
    FileRef model_manifest;
    FileRef ledger;
    FileRef review;
    FileRef recipe;
    FileRef operator_file;
    FileRef candidate;
    FileRef promotion;
    FileRef runtime;
    FileRef eval;
    FileRef admission;
    FileRef eval_cases;
    std::optional<FileRef> adapter_family;
};

/// `trlm/assembly@1`
struct AssemblyReceipt {
    std::string assembly_id;
    std::string entry_id;
    ContentDigest base_model;
    Bindings bindings;
};

/// Reads a receipt. Findings: those of strict reading, `path_collision`. O(bytes).
[[nodiscard]] Result<AssemblyReceipt> read_assembly(std::string_view text,
                                                    const DocumentOptions& options = {});

/// The document's bytes.
[[nodiscard]] std::string write_assembly(const AssemblyReceipt& receipt);

}  // namespace trlm::adapt
