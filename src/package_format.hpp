#pragma once
// The bytes of ADP1, ASP1 and ALR1: what the reader and the writer both go by.
// docs/formats.md, section 3

#include <bit>
#include <cstdint>
#include <string_view>

#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt::package_format {

inline constexpr std::uint32_t version = 1;
inline constexpr std::uint64_t magic_bytes = 4;
inline constexpr std::uint64_t header_bytes = 128;
inline constexpr std::uint64_t entry_bytes = 64;

/// Where entry `index` of the directory starts.
[[nodiscard]] constexpr std::uint64_t entry_offset(std::uint64_t index) noexcept {
    return header_bytes + entry_bytes * index;
}

/// A field of the header or of an entry: u32 or u64 by its width, or plain bytes.
struct Field {
    std::string_view name;
    std::uint64_t offset;  ///< from the start of the header or entry
    std::uint64_t bytes;
};

namespace header {
inline constexpr Field version{"version", 4, 4};
inline constexpr Field header_length{"header_length", 8, 4};
inline constexpr Field package_flags{"package_flags", 12, 4};
inline constexpr Field model_flags{"model_flags", 16, 4};
inline constexpr Field tensor_count{"tensor_count", 20, 4};
inline constexpr Field parameter_count{"parameter_count", 24, 8};
inline constexpr Field tensor_layout_checksum{"tensor_layout_checksum", 32, 8};
inline constexpr Field tokenizer_checksum{"tokenizer_checksum", 40, 8};
inline constexpr Field entry_count{"entry_count", 48, 4};
inline constexpr Field reserved{"reserved", 52, 4};
inline constexpr Field directory_offset{"directory_offset", 56, 8};
inline constexpr Field metadata_offset{"metadata_offset", 64, 8};
inline constexpr Field metadata_length{"metadata_length", 72, 8};
inline constexpr Field payload_offset{"payload_offset", 80, 8};
inline constexpr Field file_length{"file_length", 88, 8};
inline constexpr Field checksum{"checksum", 120, 8};
// ADP1
inline constexpr Field dense_kind_bytes{"kind bytes", 96, 24};
// ASP1
inline constexpr Field retention{"retention", 96, 4};
inline constexpr Field mask_method{"mask_method", 100, 4};
inline constexpr Field mask_seed{"mask_seed", 104, 8};
inline constexpr Field mask_checksum{"mask_checksum", 112, 8};
// ALR1
inline constexpr Field source_kind{"source_kind", 96, 4};
inline constexpr Field low_rank_reserved{"reserved field at 100", 100, 4};
inline constexpr Field source_hash{"source hash", 104, 16};
}  // namespace header

namespace entry {
inline constexpr Field name_hash{"name_hash", 0, 8};
inline constexpr Field rank{"rank", 8, 4};
inline constexpr Field encoding{"encoding", 12, 4};
inline constexpr Field dims{"dim", 16, 16};
inline constexpr Field payload_offset{"payload_offset", 32, 8};
inline constexpr Field payload_length{"payload_length", 40, 8};
inline constexpr Field detail{"detail", 48, 8};
inline constexpr Field payload_checksum{"payload_checksum", 56, 8};
// detail of ASP1
inline constexpr Field count{"count", 48, 8};
// detail of ALR1
inline constexpr Field low_rank{"r", 48, 4};
inline constexpr Field scale{"scale", 52, 4};
}  // namespace entry

/// A field whose only legal value is zero, in some kinds or in all.
struct ZeroField {
    Field field;
    bool dense = false;
    bool sparse = false;
    bool low_rank = false;

    [[nodiscard]] constexpr bool applies(PackageKind kind) const noexcept {
        switch (kind) {
            case PackageKind::dense:
                return dense;
            case PackageKind::sparse:
                return sparse;
            case PackageKind::low_rank:
                return low_rank;
        }
        return false;
    }
};

inline constexpr ZeroField header_zeros[] = {
    {header::package_flags, true, true, true},
    {header::reserved, true, true, true},
    {header::dense_kind_bytes, true, false, false},
    {header::low_rank_reserved, false, false, true},
};

inline constexpr ZeroField entry_zeros[] = {
    {entry::encoding, true, false, true},
    {entry::detail, true, false, false},
};

/// A payload's parts: `first` is ASP1's positions or ALR1's A, then padding to a multiple of 64;
/// `second` is the values or B. ADP1 has only values.
struct PayloadParts {
    CheckedSize first;
    CheckedSize second;

    [[nodiscard]] constexpr CheckedSize second_offset() const noexcept { return align64(first); }
    [[nodiscard]] constexpr CheckedSize bytes() const noexcept { return second_offset() + second; }
};

/// Bytes of ASP1's positions.
[[nodiscard]] constexpr CheckedSize position_bytes(SparseEncoding encoding, std::uint64_t count,
                                                   std::uint64_t elements) noexcept {
    if (encoding == SparseEncoding::index_list) return CheckedSize(sizeof(std::uint32_t)) * count;
    return elements / 8 + (elements % 8 != 0 ? 1 : 0);
}

/// The parts of a payload whose shape, encoding, count and rank are right.
[[nodiscard]] constexpr PayloadParts payload_parts(PackageKind kind,
                                                   const PackageEntry& entry) noexcept {
    constexpr CheckedSize value_bytes = sizeof(float);
    const CheckedSize elements = entry.shape.elements();
    switch (kind) {
        case PackageKind::dense:
            break;
        case PackageKind::sparse:
            return {position_bytes(entry.encoding, entry.count, elements.value()),
                    value_bytes * entry.count};
        case PackageKind::low_rank:
            return {value_bytes * entry.rank * entry.shape.cols(),
                    value_bytes * entry.shape.rows() * entry.rank};
    }
    return {0, value_bytes * elements};
}

/// The payload of an entry that is right.
[[nodiscard]] inline Delta delta_of(Bytes file, PackageKind kind,
                                    const PackageEntry& entry) noexcept {
    const PayloadParts parts = payload_parts(kind, entry);
    const Bytes payload = slice(file, entry.payload_offset, entry.payload_length);
    const Bytes first = slice(payload, 0, parts.first.value());
    const Bytes second = slice(payload, parts.second_offset().value(), parts.second.value());
    switch (kind) {
        case PackageKind::sparse:
            return SparseDelta{entry.encoding, entry.count, first, second};
        case PackageKind::low_rank:
            return LowRankDelta{entry.rank, entry.scale, first, second};
        case PackageKind::dense:
            break;
    }
    return DenseDelta{second};
}

/// The share of the listed tensors' elements that an ASP1 stores, as its header states it. Needs
/// the arithmetic's floating-point environment.
[[nodiscard]] inline float retention_of(std::uint64_t stored, std::uint64_t elements) noexcept {
    return static_cast<float>(static_cast<double>(stored) / static_cast<double>(elements));
}

/// +0 or -0, whatever the host does with subnormals.
[[nodiscard]] constexpr bool is_zero(float value) noexcept {
    return (std::bit_cast<std::uint32_t>(value) & 0x7fff'ffffU) == 0;
}

/// Neither NaN nor infinite.
[[nodiscard]] constexpr bool is_finite(float value) noexcept {
    return (std::bit_cast<std::uint32_t>(value) & 0x7f80'0000U) != 0x7f80'0000U;
}

}  // namespace trlm::adapt::package_format
