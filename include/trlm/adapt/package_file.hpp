#pragma once
// A package written to a file entry by entry, in the memory of one of them.
// docs/formats.md, section 3

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// All of a package but its entries.
struct PackageHead {
    PackageKind kind = PackageKind::dense;             ///< what all entries are
    Identity identity;                                 ///< the model that it is for
    std::uint64_t entry_count = 0;                     ///< how many will be added
    std::string metadata = {};                         ///< JSON object text, or empty
    MaskMethod mask_method = MaskMethod::unspecified;  ///< ASP1: how elements were chosen
    std::uint64_t mask_seed = 0;  ///< ASP1: with which random numbers, where there were any
    SourceKind source_kind = SourceKind::none;  ///< ALR1: what it was made from
    std::array<std::byte, 16> source_hash{};    ///< ALR1: XXH3-128 of that file, or zero
};

/// What was written.
struct WrittenPackage {
    std::uint64_t bytes = 0;     ///< size of the file
    std::uint64_t checksum = 0;  ///< internal checksum
    Digest digest;               ///< SHA-256 of the file
};

/// A package on its way to a file. The bytes are those that `write_package` gives for the same
/// content. Until `commit` there is only a temporary file, which the destructor removes.
class PackageFile {
public:
    /// `output_failed` as `OutputFile::create`; `limit_exceeded` for more entries than a package
    /// has, `bad_value` for none.
    [[nodiscard]] static Result<PackageFile> create(const std::string& path, PackageHead head);

    /// Takes over; the other may only be destroyed or assigned to.
    PackageFile(PackageFile&& other) noexcept;
    /// The same.
    PackageFile& operator=(PackageFile&& other) noexcept;
    ~PackageFile();

    /// Writes the next entry; they come by ascending name hash. Findings: those of `write_package`
    /// about an entry, `directory_not_sorted`, `count_mismatch` for one too many, `output_failed`.
    /// What was written is of no use after a failure. O(bytes of the entry).
    [[nodiscard]] Status add(const EntryContent& entry);

    /// Writes what precedes the entries, and reads all of it back for its checksum and its digest.
    /// `count_mismatch` when entries are missing, `bad_metadata`, `output_failed`, also when
    /// cancelled. O(bytes).
    [[nodiscard]] Result<WrittenPackage> finish(const Progress& progress = {});

    /// The finished file, to be read before it has a name. Findings as `OutputFile::map`.
    [[nodiscard]] Result<MappedFile> map() const;

    /// Gives the finished file its name, as `OutputFile::commit`.
    [[nodiscard]] Status commit(bool replace);

    /// The same before `last` gets its name, as `OutputFile::commit_before`.
    [[nodiscard]] Status commit_before(const PackageFile& last, bool replace);

    /// Takes a published package back, as `OutputFile::withdraw`.
    [[nodiscard]] Status withdraw();

private:
    struct [[gnu::visibility("hidden")]] State;
    explicit PackageFile(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
