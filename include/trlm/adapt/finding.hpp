#pragma once
// What can go wrong, and how a run's verdict follows from it.  docs/findings.md

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Stable names of everything that can be found. A released name never changes its meaning.
/// The order is that of docs/findings.md; `finding_info` gives class and explanation.
enum class FindingCode : std::uint16_t {
    // invalid: malformed bytes or text, a broken rule of a format
    truncated,
    trailing_bytes,
    bad_magic,
    bad_header_length,
    reserved_not_zero,
    bad_value,
    offset_not_canonical,
    range_out_of_file,
    misaligned,
    overlap,
    hole,
    padding_not_zero,
    size_overflow,
    length_mismatch,
    limit_exceeded,
    bad_rank,
    bad_dim,
    bad_block_size,
    bad_scale,
    non_finite,
    duplicate_tensor,
    missing_tensor,
    unexpected_tensor,
    shape_mismatch,
    directory_not_sorted,
    tokenizer_malformed,
    count_mismatch,
    index_out_of_range,
    index_not_ascending,
    mask_bits_past_end,
    retention_mismatch,
    bad_low_rank,
    bad_metadata,
    bad_json,
    duplicate_key,
    unknown_key,
    missing_key,
    path_escape,
    path_collision,
    duplicate_id,
    dependency_unknown,
    dependency_cycle,
    phase_order,
    slot_conflict,
    unplanned_file,
    unused_module,
    bad_view,
    // drift: a digest, checksum, size or recomputed value differs
    checksum_mismatch,
    payload_checksum_mismatch,
    mask_checksum_mismatch,
    digest_mismatch,
    size_mismatch,
    value_drift,
    link_mismatch,
    ledger_broken,
    replay_differs,
    undo_stale,
    // incompatible: well-formed, but does not fit this model
    flags_differ,
    tensor_count_differs,
    parameter_count_differs,
    layout_differs,
    tokenizer_differs,
    tensor_unknown,
    tensor_shape_differs,
    fused_non_finite,
    base_not_listed,
    // policy: readable and fitting, but not wanted
    budget_exceeded,
    survival_below_threshold,
    zero_effect,
    not_admitted,
    weak_digest,
    eval_failed,
    strength_out_of_range,
    already_applied,
    unlisted_file,
    // cannot_check: no verdict is possible
    file_missing,
    file_unreadable,
    checksum_unverifiable,
    unsupported_version,
    unsupported_dtype,
    schema_unsupported,
    unsupported_source,
    output_failed,
    out_of_memory,
    executor_failed,
    // usage: a bad call
    usage_error,
};

/// Number of codes; `FindingCode` values are 0 .. finding_code_count - 1.
inline constexpr std::size_t finding_code_count =
    static_cast<std::size_t>(FindingCode::usage_error) + 1;

/// A finding's class decides the exit code.
enum class FindingClass : std::uint8_t {
    drift,
    invalid,
    incompatible,
    policy,
    cannot_check,
    usage
};

/// Warnings are reported but do not decide the exit code.
enum class Severity : std::uint8_t { error, warning };

/// What `trlm-adapt explain CODE` and docs/findings.md say about a code.
struct FindingInfo {
    FindingCode code;            ///< the code itself
    std::string_view name;       ///< as it is written in JSON and documents
    FindingClass finding_class;  ///< decides the exit code
    std::string_view meaning;    ///< what it says about the file
    std::string_view cause;      ///< what usually brings it about
    std::string_view remedy;     ///< what to do
};

/// The row of `code`. O(1).
[[nodiscard]] const FindingInfo& finding_info(FindingCode code) noexcept;

/// All rows, in the order of the enum.
[[nodiscard]] std::span<const FindingInfo> all_finding_infos() noexcept;

/// The code named `name`, or nothing. O(codes).
[[nodiscard]] std::optional<FindingCode> find_finding_code(std::string_view name) noexcept;

/// "drift", "invalid", "incompatible", "policy", "cannot-check", "usage".
[[nodiscard]] std::string_view to_string(FindingClass finding_class) noexcept;

/// "error" or "warning".
[[nodiscard]] std::string_view to_string(Severity severity) noexcept;

/// One defect: what is wrong, where, what was expected, what to do.
struct Finding {
    FindingCode code = FindingCode::bad_value;  ///< what was found
    std::string message = {};                   ///< one sentence without file name and code
    Severity severity = Severity::error;        ///< whether it decides the exit code
    std::string file = {};                      ///< path as the caller gave it
    std::optional<std::uint64_t> offset = {};   ///< byte offset in `file`
    std::string tensor = {};                    ///< name, or `0x` and 16 digits of its hash
    std::optional<std::uint64_t> element = {};  ///< flat element, row or block, as the message says
    std::string pointer = {};                   ///< JSON pointer, in documents
    std::string expected = {};                  ///< what should have been there, in words or digits
    std::string actual = {};                    ///< what was there
};

/// Process exit codes: a fixed projection of the findings.
enum class ExitCode : int {
    ok = 0,
    invalid = 1,
    usage = 2,
    drift = 3,
    incompatible = 4,
    cannot_check = 5,
    policy = 6,
};

/// All defects of a run. Keeps the first `limits::findings` of them and counts the rest, whose
/// classes still take part in the exit code.
class Findings {
public:
    /// Adds one, or counts it where the limit is reached; O(1).
    void add(Finding finding);
    /// Adds all of another run, with those that it dropped; O(n).
    void append(Findings other);

    /// Sets `file` on every finding that does not name one yet.
    void set_file(std::string_view file);

    /// True when nothing was found.
    [[nodiscard]] bool empty() const noexcept { return findings_.empty(); }
    /// How many are kept.
    [[nodiscard]] std::size_t size() const noexcept { return findings_.size(); }
    /// The first that is kept.
    [[nodiscard]] auto begin() const noexcept { return findings_.begin(); }
    /// Behind the last that is kept.
    [[nodiscard]] auto end() const noexcept { return findings_.end(); }
    /// The `i`-th that is kept, below `size()`.
    [[nodiscard]] const Finding& operator[](std::size_t i) const noexcept { return findings_[i]; }

    /// Findings that were not kept because the limit was reached.
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

    /// True when no further finding will be kept, so that a caller may stop looking for more.
    [[nodiscard]] bool full() const noexcept;

    /// True when at least one finding is an error.
    [[nodiscard]] bool has_errors() const noexcept { return error_classes_ != 0; }

    /// True when a kept finding has this code.
    [[nodiscard]] bool contains(FindingCode code) const noexcept;

    /// The first of drift, invalid, incompatible, policy, cannot-check, usage that has an error.
    [[nodiscard]] ExitCode exit_code() const noexcept;

private:
    std::vector<Finding> findings_;
    std::uint64_t dropped_ = 0;
    std::uint8_t error_classes_ = 0;  // bit per FindingClass
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
