#pragma once
// The receipt of one application: inputs, arithmetic, result.  docs/formats.md

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/receipt/file_ref.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/survival.hpp"

namespace trlm::adapt {

/// One adapter of an applied stack.
struct AppliedPackage {
    FileRef package;
    PackageKind kind = PackageKind::dense;
    std::uint64_t internal_checksum = 0;
    float strength = 1;
};

/// What a receipt records of one tensor's survival.
struct RecordedSurvival {
    std::string name;
    std::uint64_t elements = 0;
    std::uint64_t touched = 0;
    std::uint64_t changed = 0;
    double kept = 0;
    double cosine = 0;
    std::optional<double> snr_db;  ///< rounded to 0.001: its last digits differ between machines
    double max_abs_delta = 0;
    double rms_delta = 0;
    friend bool operator==(const RecordedSurvival&, const RecordedSurvival&) = default;
};

/// What is recorded of `survival`.
[[nodiscard]] RecordedSurvival record(const TensorSurvival& survival);

/// `trlm/apply-receipt@1`. No time, host or absolute path: the same inputs give the same bytes.
struct ApplyReceipt {
    std::string tool;        ///< "trlm-adapt 1.0.0"; set when written where empty
    std::string arithmetic;  ///< `arithmetic_name`; set when written where empty
    Rounding rounding;
    std::string output_dtype = "keep";
    FileRef base;
    std::vector<AppliedPackage> stack;
    std::uint64_t state = 0;
    FileRef output;
    std::vector<RecordedSurvival> tensors;
};

/// Reads a receipt. Findings: those of strict reading, `path_collision`. O(bytes).
[[nodiscard]] Result<ApplyReceipt> read_apply_receipt(std::string_view text,
                                                      const DocumentOptions& options = {});

/// The document's bytes: JSON, two-space indented, one trailing newline.
[[nodiscard]] std::string write_apply_receipt(const ApplyReceipt& receipt);

/// The path by which a receipt in `receipt_folder` names `file`: relative to it where the file lies
/// beneath, else the bare file name (which `--root` finds). `usage_error` when a segment is not
/// `[A-Za-z0-9._-]{1,100}` or is `.` or `..`, or the path is longer than 255 characters.
[[nodiscard]] Result<std::string> receipt_path(const std::string& receipt_folder,
                                               const std::string& file);

}  // namespace trlm::adapt
