#pragma once
// Files: read by mapping, written so that a crash leaves either the old file or the new one.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// How the bytes of a file come into memory.
enum class FileReading : std::uint8_t {
    /// Page by page when they are looked at, and nothing is copied. Where somebody shortens the
    /// file meanwhile, the system ends the program with SIGBUS at the pages that are gone, unless
    /// the host handles that.
    mapped,
    /// All of them at once, into memory of this process: for files that others may change.
    copied,
};

/// A regular file in memory, for reading.
class MappedFile {
public:
    /// `file_missing`; `file_unreadable` for a folder, a device, a pipe, no permission, or a file
    /// that became shorter while it was copied; `out_of_memory`. O(1) mapped, O(bytes) copied.
    [[nodiscard]] static Result<MappedFile> open(const std::string& path,
                                                 FileReading reading = FileReading::mapped);

    /// Takes the mapping over.
    MappedFile(MappedFile&& other) noexcept;
    /// The same.
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    /// The whole file; valid while this object lives.
    [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }

    /// Gives back the memory of the pages that were read; those that are read again come from the
    /// page cache. Pages of a mapping count as memory of the process, so that reading a file larger
    /// than that takes a release now and then. Other threads may read meanwhile. Of a copy nothing
    /// is given back. O(pages read).
    void release() const noexcept;

private:
    friend class OutputFile;
    MappedFile(Bytes bytes, FileReading reading) noexcept : bytes_(bytes), reading_(reading) {}
    Bytes bytes_;
    FileReading reading_ = FileReading::mapped;
};

/// A file that appears whole under its name, or not at all. Until `commit` it is a temporary file
/// named `.NAME.trlm-XXXXXXXX.tmp` in the target's folder; the destructor removes it. What a
/// process that was killed has left is tidied up by the next that writes into the folder (see
/// `tidy_up`).
class OutputFile {
public:
    /// Creates the temporary file and reserves `bytes` of room. `output_failed` when the folder is
    /// missing or not writable, or the disk is full.
    [[nodiscard]] static Result<OutputFile> create(const std::string& path, std::uint64_t bytes);

    /// Takes the file over; the other has none.
    OutputFile(OutputFile&& other) noexcept;
    /// The same.
    OutputFile& operator=(OutputFile&& other) noexcept;
    ~OutputFile();

    /// Appends, and now and then has the system start to bring what was written to the disk.
    /// `output_failed` on any error; short writes are continued.
    [[nodiscard]] Status write(Bytes bytes);

    /// Overwrites bytes written before.
    [[nodiscard]] Status write_at(std::uint64_t offset, Bytes bytes);

    /// Fills `buffer` from `offset`; `output_failed` when that much cannot be read back.
    [[nodiscard]] Status read_at(std::uint64_t offset, MutableBytes buffer) const;

    /// Maps what was written so far for reading; the mapping outlives the name and the object.
    /// `file_unreadable` or `out_of_memory` when the system refuses.
    [[nodiscard]] Result<MappedFile> map() const;

    /// fsync: what was written is on the disk. `commit` does so by itself; called before, on
    /// another thread, it may run beside `read_at`. `output_failed` on any error.
    [[nodiscard]] Status synchronize();

    /// fsync, rename to the target, fsync of its folder. Without `replace` an existing target is
    /// `usage_error` and stays as it is; so does one that is to be replaced, should anything fail.
    [[nodiscard]] Status commit(bool replace);

    /// The same for one of several files that belong together, of which `last` is committed last,
    /// into the same folder. The file that is replaced is kept as `.NAME.trlm-XXXXXXXX.old`, where
    /// the file system has links, until this object is gone; should the process be killed before
    /// `last` has its name, it gets its own back.
    [[nodiscard]] Status commit_before(const OutputFile& last, bool replace);

    /// Takes back what was committed: removes the file, and brings back the one that
    /// `commit_before` has kept. `output_failed` when it cannot be removed, or when it has replaced
    /// another that was not kept; it stays then.
    [[nodiscard]] Status withdraw();

private:
    struct [[gnu::visibility("hidden")]] State;
    explicit OutputFile(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

/// Tidies up in a folder after writers that were killed: temporary files and folders that nobody
/// has locked any more are removed, and a file that they had replaced, without coming to the end,
/// gets its name back. Nothing else is touched, and nothing of another user's. Every `OutputFile`
/// does this for its folder; before reading files that were written together it is worth a call.
/// Gives no findings but `out_of_memory`: what cannot be tidied up stays. O(names in the folder).
[[nodiscard]] Status tidy_up(const std::string& folder);

/// True when both paths lead to the same existing file.
[[nodiscard]] bool same_file(const std::string& a, const std::string& b) noexcept;

/// The packages of a folder: `*.adp1`, `*.asp1`, `*.alr1` in bytewise name order, as paths.
/// Subfolders and other files are not read. `file_missing` when there is none,
/// `file_unreadable` when it cannot be listed.
[[nodiscard]] Result<std::vector<std::string>> list_packages(const std::string& folder);

}  // namespace trlm::adapt
#pragma GCC visibility pop
