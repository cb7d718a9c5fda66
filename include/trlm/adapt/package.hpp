#pragma once
// ADP1, ASP1, ALR1: the adapter packages behind one type.  docs/formats.md, section 3

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trlm/adapt/identity.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/tensor.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// dense = ADP1, sparse = ASP1, low_rank = ALR1.
enum class PackageKind : std::uint8_t { dense, sparse, low_rank };

/// "ADP1", "ASP1", "ALR1".
[[nodiscard]] std::string_view to_string(PackageKind kind) noexcept;

/// What a file claims to be by its first four bytes.
enum class FileFormat : std::uint8_t { slm1, adp1, asp1, alr1, und1 };

/// The format of a file by its magic, or nothing. Never by its name.
[[nodiscard]] std::optional<FileFormat> detect_format(Bytes file) noexcept;

/// "SLM1", "ADP1", "ASP1", "ALR1".
[[nodiscard]] std::string_view to_string(FileFormat format) noexcept;

/// How ASP1 says which elements it holds.
enum class SparseEncoding : std::uint32_t { index_list = 1, bitmask = 2 };

/// How an ASP1's elements were chosen.
enum class MaskMethod : std::uint32_t { unspecified, magnitude, random_drop, sign_consensus };

/// "unspecified", "magnitude", "random-drop", "sign-consensus".
[[nodiscard]] std::string_view to_string(MaskMethod method) noexcept;

/// What an ALR1 was made from.
enum class SourceKind : std::uint32_t { none, lora, svd, other };

/// "none", "lora", "svd", "other".
[[nodiscard]] std::string_view to_string(SourceKind kind) noexcept;

/// One directory entry. `encoding` and `count` are ASP1's, `rank` and `scale` ALR1's.
struct PackageEntry {
    std::string name;                    ///< from the metadata's tensor_names; empty when not given
    std::uint64_t name_hash = 0;         ///< `tensor_name_hash` of the tensor's name
    Shape shape;                         ///< the tensor's dimensions
    std::uint64_t payload_offset = 0;    ///< bytes from the start of the file
    std::uint64_t payload_length = 0;    ///< bytes
    std::uint64_t payload_checksum = 0;  ///< stored XXH3-64 of the payload
    SparseEncoding encoding = SparseEncoding::index_list;  ///< how positions are stored
    std::uint64_t count = 0;                               ///< stored elements
    std::uint32_t rank = 0;                                ///< columns of B, rows of A
    float scale = 0;  ///< what the product of the factors is multiplied by
    /// Largest magnitude of the stored values (ALR1: of A), known after `ReadDepth::everything`.
    float max_abs = std::numeric_limits<float>::infinity();
    float max_abs_b = std::numeric_limits<float>::infinity();  ///< ALR1: of B
};

/// Payload of an ADP1 entry: `elements` f32, row-major.
struct DenseDelta {
    Bytes values;  ///< f32, row-major
};

/// Payload of an ASP1 entry: positions (u32 each, or a bit per element) and `count` f32.
struct SparseDelta {
    SparseEncoding encoding = SparseEncoding::index_list;  ///< how `positions` are stored
    std::uint64_t count = 0;                               ///< stored elements
    Bytes positions;  ///< ascending u32 each, or a bit per element
    Bytes values;     ///< f32, one per position
};

/// Payload of an ALR1 entry: delta = scale * B * A, A [rank, cols], B [rows, rank], row-major f32.
struct LowRankDelta {
    std::uint32_t rank = 0;  ///< columns of B, rows of A
    float scale = 0;         ///< what the product is multiplied by
    Bytes a;                 ///< [rank, cols], f32, row-major
    Bytes b;                 ///< [rows, rank], f32, row-major
};

/// The payload of an entry of any kind.
using Delta = std::variant<DenseDelta, SparseDelta, LowRankDelta>;

/// An adapter package over bytes that the caller keeps alive. Nothing is copied.
class Package {
public:
    /// The whole file.
    [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
    /// Dense, sparse or low-rank.
    [[nodiscard]] PackageKind kind() const noexcept { return kind_; }
    /// The model that it is for.
    [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
    /// Internal checksum, as the header states it.
    [[nodiscard]] std::uint64_t checksum() const noexcept { return checksum_; }
    /// Directory entries by ascending name hash.
    [[nodiscard]] std::span<const PackageEntry> entries() const noexcept { return entries_; }

    /// Metadata JSON text; empty when the package has none.
    [[nodiscard]] std::string_view metadata() const noexcept { return metadata_; }

    /// The payload of entry `index`.
    [[nodiscard]] Delta delta(std::size_t index) const noexcept;

    [[nodiscard]] float retention() const noexcept { return retention_; }                  ///< ASP1
    [[nodiscard]] MaskMethod mask_method() const noexcept { return mask_method_; }         ///< ASP1
    [[nodiscard]] std::uint64_t mask_seed() const noexcept { return mask_seed_; }          ///< ASP1
    [[nodiscard]] std::uint64_t mask_checksum() const noexcept { return mask_checksum_; }  ///< ASP1
    [[nodiscard]] SourceKind source_kind() const noexcept { return source_kind_; }         ///< ALR1
    [[nodiscard]] const std::array<std::byte, 16>& source_hash() const noexcept {          ///< ALR1
        return source_hash_;
    }

private:
    friend class PackageReader;
    Bytes bytes_;
    PackageKind kind_ = PackageKind::dense;
    Identity identity_;
    std::uint64_t checksum_ = 0;
    std::vector<PackageEntry> entries_;
    std::string_view metadata_;
    float retention_ = 0;
    MaskMethod mask_method_ = MaskMethod::unspecified;
    std::uint64_t mask_seed_ = 0;
    std::uint64_t mask_checksum_ = 0;
    SourceKind source_kind_ = SourceKind::none;
    std::array<std::byte, 16> source_hash_{};
};

/// Reads and checks a whole package of any kind. On failure every defect is reported: codes of
/// class invalid in docs/formats.md section 3, `checksum_mismatch`, `payload_checksum_mismatch`,
/// `mask_checksum_mismatch`, `unsupported_version`; `output_failed` alone when `progress` cancels.
/// Each byte is read once. O(bytes).
[[nodiscard]] Result<Package> read_package(Bytes file, ReadDepth depth = ReadDepth::everything,
                                           const Progress& progress = {});

/// Values of a dense entry to be written.
struct DenseContent {
    std::span<const float> values;  ///< one per element, row-major
};

/// Values of a sparse entry to be written: ascending flat indexes and their values. Zero values
/// are dropped; the encoding with fewer bytes is chosen (ties: index list).
struct SparseContent {
    std::span<const std::uint32_t> indexes;  ///< flat, ascending
    std::span<const float> values;           ///< one per index
};

/// Factors of a low-rank entry to be written.
struct LowRankContent {
    std::uint32_t rank = 0;    ///< columns of B, rows of A
    float scale = 1;           ///< what the product is multiplied by
    std::span<const float> a;  ///< [rank, cols]
    std::span<const float> b;  ///< [rows, rank]
};

/// One tensor's delta to be written.
struct EntryContent {
    std::uint64_t name_hash = 0;  ///< `tensor_name_hash` of the tensor's name
    Shape shape;                  ///< the tensor's dimensions
    std::variant<DenseContent, SparseContent, LowRankContent> delta;  ///< of the package's kind
};

/// A whole package to be written. Every entry's delta must be of `kind`; entries may come in any
/// order.
struct PackageContent {
    PackageKind kind = PackageKind::dense;             ///< what all entries are
    Identity identity;                                 ///< the model that it is for
    std::vector<EntryContent> entries;                 ///< at least one, each tensor once
    std::string metadata;                              ///< JSON object text, or empty
    MaskMethod mask_method = MaskMethod::unspecified;  ///< ASP1: how elements were chosen
    std::uint64_t mask_seed = 0;  ///< ASP1: with which random numbers, where there were any
    SourceKind source_kind = SourceKind::none;  ///< ALR1: what it was made from
    std::array<std::byte, 16> source_hash{};    ///< ALR1: XXH3-128 of that file, or zero
};

/// The one byte form of `content`. Findings: those of `read_package` for content that it would
/// not accept, and `length_mismatch` where a span's size contradicts its shape. O(bytes).
[[nodiscard]] Result<std::vector<std::byte>> write_package(const PackageContent& content);

}  // namespace trlm::adapt
#pragma GCC visibility pop
