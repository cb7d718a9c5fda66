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

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// One adapter of an applied stack.
struct AppliedPackage {
    FileRef package;                        ///< the file
    PackageKind kind = PackageKind::dense;  ///< its kind
    std::uint64_t internal_checksum = 0;    ///< as its header states it
    float strength = 1;                     ///< what its values were multiplied by
};

/// What a receipt records of one tensor's survival.
struct RecordedSurvival {
    std::string name;              ///< of the tensor
    std::uint64_t elements = 0;    ///< of the tensor
    std::uint64_t touched = 0;     ///< elements with at least one nonzero delta
    std::uint64_t changed = 0;     ///< elements whose decoded value differs
    double kept = 0;               ///< share of the intended change that arrived
    double cosine = 0;             ///< of intended and effective change
    std::optional<double> snr_db;  ///< rounded to 0.001: its last digits differ between machines
    double max_abs_delta = 0;      ///< largest magnitude of the intended change
    double rms_delta = 0;          ///< root of the mean square of the intended change
    friend bool operator==(const RecordedSurvival&, const RecordedSurvival&) = default;
};

/// What is recorded of `survival`.
[[nodiscard]] RecordedSurvival record(const TensorSurvival& survival);

/// `trlm/apply-receipt@1`. No time, host or absolute path: the same inputs give the same bytes.
struct ApplyReceipt {
    std::string tool;                       ///< "trlm-adapt 1.0.0"; set when written where empty
    std::string arithmetic;                 ///< `arithmetic_name`; set when written where empty
    Rounding rounding;                      ///< how quantized values were rounded
    std::string output_dtype = "keep";      ///< "keep", "q8_0" or "f32"
    FileRef base;                           ///< the model that the stack was applied to
    std::vector<AppliedPackage> stack;      ///< the adapters in the order in which they were added
    std::uint64_t state = 0;                ///< assembly state of the new model
    FileRef output;                         ///< the new model
    std::vector<RecordedSurvival> tensors;  ///< what survived, per tensor of the stack
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
#pragma GCC visibility pop
