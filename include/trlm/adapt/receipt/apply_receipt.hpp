#pragma once
// The receipt of one application: inputs, arithmetic, result.  docs/formats.md

#include <cstdint>
#include <string>
#include <vector>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/survival.hpp"

namespace trlm::adapt {

/// A file that a document names: where, how large, and what is in it.
struct FileRef {
    std::string path;  ///< relative, `/`-separated
    std::uint64_t bytes = 0;
    Digest digest;
};

/// One adapter of an applied stack.
struct AppliedPackage {
    FileRef package;
    PackageKind kind = PackageKind::dense;
    std::uint64_t internal_checksum = 0;
    float strength = 1;
};

/// `trlm/apply-receipt@1`. No time, host or absolute path: the same inputs give the same bytes.
struct ApplyReceipt {
    Rounding rounding;
    std::string output_dtype = "keep";
    FileRef base;
    std::vector<AppliedPackage> stack;
    std::uint64_t state = 0;
    FileRef output;
    std::vector<TensorSurvival> tensors;
};

/// The document's bytes: JSON, two-space indented, one trailing newline.
[[nodiscard]] std::string write_apply_receipt(const ApplyReceipt& receipt);

/// The path by which a receipt in `receipt_folder` names `file`: relative to it where the file lies
/// beneath, else the bare file name (which `--root` finds). `usage_error` when a segment is not
/// `[A-Za-z0-9._-]{1,100}` or is `.` or `..`, or the path is longer than 255 characters.
[[nodiscard]] Result<std::string> receipt_path(const std::string& receipt_folder,
                                               const std::string& file);

}  // namespace trlm::adapt
