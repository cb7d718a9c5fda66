#pragma once
// Content to bytes: one entry, its directory record, the header. What writes a package in memory
// and what writes one to a file both go by it.  docs/formats.md, section 3

#include <cstdint>

#include "package_format.hpp"
#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt::package_encode {

/// What is stored of one entry; where it lies comes later.
struct Draft {
    const EntryContent* content = nullptr;
    PackageEntry entry;
    std::uint64_t elements = 0;
};

/// The draft of entry `index` of a package of `kind`. Findings tell what its spans contradict; the
/// values are not looked at.
[[nodiscard]] Draft draft_entry(PackageKind kind, const EntryContent& content, std::size_t index,
                                Findings& findings);

/// Writes the payload into as many zero bytes as the draft takes, and adds an ASP1's positions to
/// `mask`.
void encode_payload(const Draft& draft, PackageKind kind, MutableBytes payload, Xxh3& mask);

/// Writes a directory record into `package_format::entry_bytes` zero bytes.
void encode_entry(const PackageEntry& entry, PackageKind kind, MutableBytes record) noexcept;

/// What a header says besides its checksum.
struct Header {
    PackageKind kind = PackageKind::dense;
    Identity identity;
    std::uint64_t entry_count = 0;
    std::uint64_t metadata_length = 0;
    std::uint64_t file_length = 0;
    MaskMethod mask_method = MaskMethod::unspecified;
    std::uint64_t mask_seed = 0;
    std::uint64_t mask_checksum = 0;
    std::uint64_t stored = 0;    ///< ASP1: stored elements
    std::uint64_t elements = 0;  ///< ASP1: elements of the listed tensors
    SourceKind source_kind = SourceKind::none;
    std::array<std::byte, 16> source_hash{};
};

/// Where the payloads begin: behind header, directory and metadata.
[[nodiscard]] CheckedSize payload_offset(std::uint64_t entry_count,
                                         std::uint64_t metadata_length) noexcept;

/// Writes a header, its checksum left zero, into zero bytes. Needs the arithmetic's
/// floating-point environment.
void encode_header(const Header& header, MutableBytes file) noexcept;

}  // namespace trlm::adapt::package_encode
