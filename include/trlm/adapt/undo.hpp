#pragma once
// Undo files: what turns an adapted model back into its base, bit for bit.
// docs/formats.md, section 6

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A run holds at most so many bytes; a longer stretch of changes is cut into several.
inline constexpr std::uint64_t undo_run_bytes = 65'536;

/// Fewer unchanged bytes than this do not end a run: to say where the next one starts would take
/// more than to keep them.
inline constexpr std::uint64_t undo_shortest_gap = 3;

/// Neighbouring bytes that are to be kept.
struct ChangedRun {
    std::uint64_t offset = 0;  ///< bytes from the start
    std::uint64_t length = 0;  ///< 1 to `undo_run_bytes`
    friend bool operator==(const ChangedRun&, const ChangedRun&) = default;
};

/// Finds the runs in which two sequences of bytes differ. The sequences arrive piece by piece; how
/// they are cut into pieces does not matter.  docs/formats.md, section 6
class ChangedRuns {
public:
    /// Takes the next piece of both, from the same offset on, and appends the runs that end in it.
    /// Where `before` is longer, `after` has come to its end: the rest of `before` counts as
    /// changed. What `after` has more is nothing to keep. O(bytes), memory only for the runs.
    void compare(Bytes before, Bytes after, std::vector<ChangedRun>& runs);

    /// Appends the run that reaches to the end, if there is one.
    void finish(std::vector<ChangedRun>& runs);

private:
    void pass_over(std::uint64_t unchanged, std::vector<ChangedRun>& runs);
    void take(std::uint64_t changed, std::vector<ChangedRun>& runs);

    std::uint64_t position_ = 0;   // bytes compared so far
    bool open_ = false;            // fewer than `undo_shortest_gap` unchanged bytes ago
    ChangedRun run_;               // the open one, up to the last change
    std::uint64_t unchanged_ = 0;  // bytes since
};

/// What was written.
struct UndoReport {
    std::uint64_t bytes = 0;           ///< size of the undo file
    std::uint64_t runs = 0;            ///< changed places
    std::uint64_t restored_bytes = 0;  ///< bytes of the base that it holds
    Digest digest;                     ///< SHA-256 of the undo file
};

/// Writes an undo file while the output that it is for is read once. Memory is bounded, whatever
/// the size of the models.
class UndoWriter {
public:
    /// Creates the temporary file beside `path`. `base` is the whole base and must outlive the
    /// writer. `output_failed` as in `OutputFile::create`.
    [[nodiscard]] static Result<UndoWriter> create(const std::string& path, Bytes base);

    /// Takes over; the other may only be destroyed or assigned to.
    UndoWriter(UndoWriter&& other) noexcept;
    /// The same.
    UndoWriter& operator=(UndoWriter&& other) noexcept;
    ~UndoWriter();

    /// Takes the next bytes of the output, in any number of pieces. `output_failed`.
    [[nodiscard]] Status add(Bytes output);

    /// Completes the temporary file; `output` is the digest of what was added. `output_failed`.
    [[nodiscard]] Result<UndoReport> finish(const Digest& output);

    /// Gives the finished file its name, as `OutputFile::commit`.
    [[nodiscard]] Status publish(bool replace);

    /// Gives it its name before `output` gets its own, as `OutputFile::commit_before`.
    [[nodiscard]] Status publish_before(const OutputFile& output, bool replace);

    /// Takes a published file back, as `OutputFile::withdraw`.
    [[nodiscard]] Status withdraw();

private:
    struct State;
    explicit UndoWriter(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

/// An undo file that was read and kept every rule. Refers to the file's bytes.
class Undo {
public:
    /// Size of the base.
    [[nodiscard]] std::uint64_t base_length() const noexcept { return base_length_; }
    /// Size of the adapted model.
    [[nodiscard]] std::uint64_t output_length() const noexcept { return output_length_; }
    /// SHA-256 of the base.
    [[nodiscard]] const Digest& base_digest() const noexcept { return base_digest_; }
    /// SHA-256 of the adapted model.
    [[nodiscard]] const Digest& output_digest() const noexcept { return output_digest_; }
    /// Changed places.
    [[nodiscard]] std::uint64_t run_count() const noexcept { return run_count_; }
    /// Bytes of the base that it holds.
    [[nodiscard]] std::uint64_t restored_bytes() const noexcept { return restored_bytes_; }
    /// Internal checksum, as the header states it.
    [[nodiscard]] std::uint64_t checksum() const noexcept { return checksum_; }
    /// The whole undo file.
    [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }

private:
    friend class UndoReader;
    Bytes bytes_;
    std::uint64_t base_length_ = 0;
    std::uint64_t output_length_ = 0;
    Digest base_digest_;
    Digest output_digest_;
    std::uint64_t run_count_ = 0;
    std::uint64_t restored_bytes_ = 0;
    std::uint64_t checksum_ = 0;
};

/// Reads a whole undo file; its bytes must outlive the result. All defects are reported:
/// `bad_magic`, `unsupported_version`, `bad_header_length`, `truncated`, `trailing_bytes`,
/// `reserved_not_zero`, `bad_value`, `range_out_of_file`, `size_overflow`, `count_mismatch`,
/// `length_mismatch`, `hole`, `checksum_mismatch`; `output_failed` when cancelled. `progress` is
/// told of two passes, each from 0 on. O(bytes), no memory beside the findings.
[[nodiscard]] Result<Undo> read_undo(Bytes file, const Progress& progress = {});

/// Bytes of the base and where they belong.
struct UndoRun {
    std::uint64_t offset = 0;  ///< in the base
    Bytes old_bytes;           ///< what they are in the base
};

/// The runs of an undo file, in ascending order.
class UndoRuns {
public:
    /// Starts before the first run.
    explicit UndoRuns(const Undo& undo) noexcept;

    /// The next run, or nothing after the last. O(1).
    [[nodiscard]] std::optional<UndoRun> next() noexcept;

private:
    Bytes file_;
    std::uint64_t offset_;        // of the next run in the undo file
    std::uint64_t position_ = 0;  // in the base, behind the run before
};

/// An adapted model and the undo file that its application wrote.
struct RevertInput {
    Bytes output;                  ///< the adapted model's whole file
    const Undo* undo = nullptr;    ///< of the model's application
    std::string output_file = {};  ///< for findings
    std::string undo_file = {};    ///< for findings
};

/// What was restored.
struct RevertReport {
    std::uint64_t bytes = 0;  ///< size of the base
    Digest digest;            ///< its SHA-256, computed from the bytes that were written
};

/// Writes the base to `path` as `OutputFile` does, in one pass. `size_mismatch` or
/// `digest_mismatch` with `undo_stale` when `output` is not the file that the undo file is for;
/// `digest_mismatch` when what would be restored is not the base; `output_failed`, also when
/// cancelled; `usage_error` when `path` exists and may not be replaced. On any failure nothing is
/// published.
[[nodiscard]] Result<RevertReport> revert_to_file(const RevertInput& input, const std::string& path,
                                                  bool replace, const Progress& progress = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
