#pragma once
// Where a bundle's files come from: a folder, memory, or a host's own fetch.  docs/receipts.md

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A file of a source, open from its size to its last byte: what is read is one file, even when
/// its name leads to another meanwhile.
class SourceFile {
public:
    /// Fills as much of `buffer` as there is left; fewer bytes than asked for only at the end.
    using Read = std::function<Result<std::size_t>(MutableBytes buffer)>;

    /// A file of `bytes` bytes that `read` gives in order.
    SourceFile(std::uint64_t bytes, Read read) : bytes_(bytes), read_(std::move(read)) {}

    /// The size when it was opened.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

    /// The next bytes in file order. `file_unreadable` on any error.
    [[nodiscard]] Result<std::size_t> read(MutableBytes buffer) const { return read_(buffer); }

private:
    std::uint64_t bytes_;
    Read read_;
};

/// Files by their path from the root, as documents name them. A value; copies share the record of
/// what was opened. Not safe to use from several threads at once.
class Source {
public:
    /// Opens a file by its path from the root.
    using Open = std::function<Result<SourceFile>(const std::string& path)>;
    /// All files beneath the root, in any order.
    using List = std::function<Result<std::vector<std::string>>()>;

    /// The files beneath a folder. No symbolic link is followed beneath it, and nothing but a
    /// regular file is opened: `path_escape`. `file_missing`, `file_unreadable`.
    [[nodiscard]] static Result<Source> folder(const std::string& path);

    /// Files in memory, which must outlive the source.
    [[nodiscard]] static Source memory(std::map<std::string, Bytes> files);

    /// A host's own way to open files; `list` may be empty where they cannot be listed.
    [[nodiscard]] static Source callback(Open open, List list = {});

    /// Opens `path`, which is refused (`path_escape`) unless it is one that a document may hold,
    /// and records that. Every finding names the path.
    [[nodiscard]] Result<SourceFile> open(const std::string& path);

    /// What was opened, in order; a file that could not be opened is not among it.
    [[nodiscard]] const std::vector<std::string>& opened() const noexcept { return *opened_; }

    /// True when the files can be listed.
    [[nodiscard]] bool can_list() const noexcept { return list_ != nullptr; }

    /// Everything beneath the root that is not a folder, in bytewise order. At most 1,000,000.
    [[nodiscard]] Result<std::vector<std::string>> list() const;

private:
    Source(Open open, List list);
    Open open_;
    List list_;
    std::shared_ptr<std::vector<std::string>> opened_;
};

/// All of a file in memory. `limit_exceeded` when it has more than `most_bytes`. O(bytes).
[[nodiscard]] Result<std::vector<std::byte>> read_whole(const SourceFile& file,
                                                        std::uint64_t most_bytes);

}  // namespace trlm::adapt
#pragma GCC visibility pop
