#pragma once
// One pass over a file: whole-file hash, section hashes and value checks, chunk by chunk, so that
// each byte comes from memory once.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/progress.hpp"

namespace trlm::adapt {

enum class SectionKind : std::uint8_t {
    opaque,   ///< any bytes
    zeros,    ///< padding: every byte 0
    values,   ///< f32, all finite
    scales,   ///< f32, each > 0, finite and below `bound`
    indexes,  ///< u32, strictly ascending, below `elements`
    bitmask,  ///< one bit per element, bits past `elements` zero
};

/// A part of a file and what must hold in it. Offsets and lengths lie inside the file.
struct Section {
    SectionKind kind = SectionKind::opaque;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::size_t owner = 0;         ///< the tensor or entry it belongs to, for the caller
    float bound = 0;               ///< scales
    std::uint64_t elements = 0;    ///< indexes, bitmask: elements of the tensor
    bool in_payload_hash = false;  ///< part of the owner's payload checksum
    bool in_mask_hash = false;     ///< part of the package's mask checksum
};

enum class SectionDefect : std::uint8_t {
    none,
    not_zero,       ///< zeros
    non_finite,     ///< values
    bad_scale,      ///< scales
    not_ascending,  ///< indexes
    out_of_range,   ///< indexes
    bits_past_end,  ///< bitmask
};

/// What a section turned out to be.
struct SectionOutcome {
    SectionDefect defect = SectionDefect::none;  ///< of the first offending element
    std::uint64_t element = 0;   ///< its index in the section: byte, value, scale, index, or bit
    std::uint64_t popcount = 0;  ///< bitmask: set bits below `elements`
    float max_abs = 0;           ///< values, scales: the largest magnitude, where none is defective
};

struct ScanResult {
    bool cancelled = false;                     ///< by `progress`: the rest means nothing
    std::uint64_t file_hash = 0;                ///< XXH3-64 with the checksum field as zero
    std::vector<SectionOutcome> outcomes;       ///< as `sections`
    std::vector<std::uint64_t> payload_hashes;  ///< per owner: XXH3-64 of its payload sections
    std::uint64_t mask_hash = 0;                ///< XXH3-64 of the mask sections in file order
};

/// Scans `file`. Sections may come in any order and may overlap (a malformed file's do); hashes
/// take sections in file order. The eight bytes at `checksum_offset` count as zero in the file
/// hash. `owners` is one more than the largest owner. Each byte outside overlaps is read once.
/// `progress` is told the position in the file for each MiB.
[[nodiscard]] ScanResult scan_file(Bytes file, std::uint64_t checksum_offset,
                                   const std::vector<Section>& sections, std::size_t owners,
                                   const Progress& progress = {});

/// What a reader says of a scan that was cancelled.
[[nodiscard]] Finding reading_cancelled();

}  // namespace trlm::adapt
