#pragma once
// SLM1 as data: where each field lies, what it may hold, and which tensors a model has. Reader and
// writer share it.  docs/formats.md, section 1

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/tensor.hpp"

namespace trlm::adapt::slm1 {

inline constexpr std::string_view magic = "SLM1";
inline constexpr std::uint64_t shortest_header_bytes = 108;  // the original writer's
inline constexpr std::uint64_t header_bytes = 128;  // as written; from here on with checksum_kind
inline constexpr std::uint64_t reserved_offset = 112;
inline constexpr std::uint32_t checksum_kind_xxh3_64 = 1;
inline constexpr std::uint64_t scale_alignment = 4;

/// The header's fields, in file order.
enum class Field : std::uint8_t {
    version,
    header_length,
    model_type,
    flags,
    vocab_size,
    special_token_count,
    hidden_size,
    layer_count,
    head_count,
    kv_head_count,
    head_dim,
    ffn_size,
    max_context,
    rope_theta,
    rms_norm_epsilon,
    tokenizer_offset,
    tokenizer_length,
    tensor_directory_offset,
    tensor_count,
    tensor_data_offset,
    checksum,
    checksum_kind,
};

enum class FieldType : std::uint8_t { u32, u64, f32 };

/// A header field and its rule: between `least` and `most`; an f32 is finite and above 0.
struct FieldRule {
    Field field;
    std::string_view name;
    FieldType type;
    std::uint64_t offset;
    std::uint64_t least;
    std::uint64_t most;
    FindingCode code = FindingCode::bad_value;
    std::string_view reason = {};  ///< ends the finding's sentence
};

inline constexpr std::uint64_t any = std::numeric_limits<std::uint64_t>::max();

inline constexpr std::array header_rules{
    FieldRule{Field::version, "version", FieldType::u32, 4, 1, 1, FindingCode::unsupported_version,
              "the only version that this reader knows"},
    FieldRule{Field::header_length, "header_length", FieldType::u32, 8, shortest_header_bytes, any,
              FindingCode::bad_header_length, "the header's own size, inside the file"},
    FieldRule{Field::model_type, "model_type", FieldType::u32, 12, 1, 1, FindingCode::bad_value,
              "the only type whose tensors are defined"},
    FieldRule{Field::flags, "flags", FieldType::u32, 16, 0, model_flag_tied_output,
              FindingCode::bad_value, "bit 0 is a tied output and no other bit is defined"},
    FieldRule{Field::vocab_size, "vocab_size", FieldType::u32, 20, 260, any, FindingCode::bad_value,
              "256 bytes and 4 special tokens"},
    FieldRule{Field::special_token_count, "special_token_count", FieldType::u32, 24, 4, any,
              FindingCode::bad_value, "BOS, EOS, PAD and UNK"},
    FieldRule{Field::hidden_size, "hidden_size", FieldType::u32, 28, 1, any},
    FieldRule{Field::layer_count, "layer_count", FieldType::u32, 32, 1, any},
    FieldRule{Field::head_count, "head_count", FieldType::u32, 36, 1, any},
    FieldRule{Field::kv_head_count, "kv_head_count", FieldType::u32, 40, 1, any},
    FieldRule{Field::head_dim, "head_dim", FieldType::u32, 44, 1, any},
    FieldRule{Field::ffn_size, "ffn_size", FieldType::u32, 48, 1, any},
    FieldRule{Field::max_context, "max_context", FieldType::u32, 52, 1, any},
    FieldRule{Field::rope_theta, "rope_theta", FieldType::f32, 56, 0, any},
    FieldRule{Field::rms_norm_epsilon, "rms_norm_epsilon", FieldType::f32, 60, 0, any},
    FieldRule{Field::tokenizer_offset, "tokenizer_offset", FieldType::u64, 64, 0, any},
    FieldRule{Field::tokenizer_length, "tokenizer_length", FieldType::u64, 72, 0, any},
    FieldRule{Field::tensor_directory_offset, "tensor_directory_offset", FieldType::u64, 80, 0,
              any},
    FieldRule{Field::tensor_count, "tensor_count", FieldType::u32, 88, 1, any},
    FieldRule{Field::tensor_data_offset, "tensor_data_offset", FieldType::u64, 92, 0, any},
    FieldRule{Field::checksum, "checksum", FieldType::u64, slm1_checksum_offset, 0, any},
    FieldRule{Field::checksum_kind, "checksum_kind", FieldType::u32, 108, 0, any},
};

[[nodiscard]] constexpr std::uint64_t width(FieldType type) noexcept {
    return type == FieldType::u64 ? 8 : 4;
}

[[nodiscard]] constexpr const FieldRule& rule(Field field) noexcept {
    return header_rules[static_cast<std::size_t>(field)];
}

static_assert(
    [] {
        std::uint64_t offset = magic.size();
        for (const FieldRule& field : header_rules) {
            if (&field != &rule(field.field) || field.offset != offset) return false;
            offset += width(field.type);
        }
        return offset == reserved_offset;
    }(),
    "the fields fill the header without a gap, in the order of the enum");

/// The header's numbers; an f32 as its bits.
class Header {
public:
    Header() = default;

    /// The fields of `file`; those past its end are 0.
    explicit Header(Bytes file) noexcept;

    [[nodiscard]] std::uint64_t operator[](Field field) const noexcept {
        return values_[static_cast<std::size_t>(field)];
    }
    [[nodiscard]] std::uint32_t u32(Field field) const noexcept {
        return static_cast<std::uint32_t>((*this)[field]);
    }
    [[nodiscard]] float f32(Field field) const noexcept { return std::bit_cast<float>(u32(field)); }
    void set(Field field, std::uint64_t value) noexcept {
        values_[static_cast<std::size_t>(field)] = value;
    }

    [[nodiscard]] ModelShape shape() const noexcept;
    void set_shape(const ModelShape& shape) noexcept;

    /// Writes magic and fields to the beginning of `file`.
    void write(MutableBytes file) const noexcept;

private:
    std::array<std::uint64_t, header_rules.size()> values_{};
};

/// Judges one field against its row; `most` may be tighter than the row's. True when it holds.
bool judge_field(const Header& header, Field field, Findings& findings, std::uint64_t most = any);

/// Which parts of a header later judgements may rest on.
struct HeaderVerdict {
    bool shape = true;         ///< the numbers that tensor shapes follow from
    bool tensor_names = true;  ///< model_type and layer_count
    bool tensor_count = true;  ///< within its rule and the limit
};

/// Judges every field from model_type on that has a rule of its own.
[[nodiscard]] HeaderVerdict judge_fields(const Header& header, Findings& findings);

/// Offsets within a directory entry.
namespace entry {
inline constexpr std::uint64_t name_hash = 0;
inline constexpr std::uint64_t dtype = 8;
inline constexpr std::uint64_t rank = 12;
inline constexpr std::uint64_t dims = 16;
inline constexpr std::uint64_t byte_offset = 32;
inline constexpr std::uint64_t byte_length = 40;
inline constexpr std::uint64_t scale_offset = 48;
inline constexpr std::uint64_t block_size = 56;
inline constexpr std::uint64_t reserved = 60;
inline constexpr std::uint64_t bytes = 64;
}  // namespace entry

/// The tensor that a finding is about.
struct EntryPlace {
    std::string_view label;  ///< name or hash
    std::optional<std::uint64_t>
        offset;  ///< of its directory entry; nothing before there is a file

    /// A finding at `field`, one of the offsets above.
    [[nodiscard]] Finding finding(FindingCode code, std::uint64_t field, std::string message,
                                  std::string expected, std::string actual) const;
};

/// The shape that rank and dims say, when they keep their rules: `bad_rank`, `bad_dim`,
/// `limit_exceeded`, `size_overflow`.
[[nodiscard]] std::optional<Shape> judge_shape(const EntryPlace& place, std::uint32_t rank,
                                               const std::array<std::uint32_t, 4>& dims,
                                               Findings& findings);

/// `bad_block_size` unless block_size is the one that a dtype and a shape allow.
bool judge_block_size(const EntryPlace& place, Dtype dtype, const Shape& shape,
                      std::uint32_t block_size, Findings& findings);

/// The dimensions of a tensor that model_type 1 demands; `rows` may be past what a Shape can hold.
struct ContractShape {
    std::uint32_t rank = 0;
    std::uint64_t rows = 0;
    std::uint64_t cols = 0;
};

/// A tensor that model_type 1 demands.
struct ContractTensor {
    std::string name;
    ContractShape shape;
};

/// Calls `visit(ContractTensor)` for each tensor in the order in which they are written, until it
/// returns false. Returns whether all were visited.
template <class Visit>
bool visit_contract(const ModelShape& shape, std::uint32_t flags, Visit visit) {
    const std::uint64_t hidden = shape.hidden_size;
    const std::uint64_t query = std::uint64_t{shape.head_count} * shape.head_dim;
    const std::uint64_t key = std::uint64_t{shape.kv_head_count} * shape.head_dim;
    const std::uint64_t ffn = shape.ffn_size;
    const auto vector = [&](std::string name) {
        return visit(ContractTensor{std::move(name), {1, 1, hidden}});
    };
    const auto matrix = [&](std::string name, std::uint64_t rows, std::uint64_t cols) {
        return visit(ContractTensor{std::move(name), {2, rows, cols}});
    };
    if (!matrix("tok_embeddings.weight", shape.vocab_size, hidden)) return false;
    for (std::uint32_t layer = 0; layer < shape.layer_count; ++layer) {
        const auto name = [&](std::string_view part) {
            return fmt::format("layers.{}.{}.weight", layer, part);
        };
        const bool more = vector(name("attn_norm")) && matrix(name("wq"), query, hidden) &&
                          matrix(name("wk"), key, hidden) && matrix(name("wv"), key, hidden) &&
                          matrix(name("wo"), hidden, query) && vector(name("ffn_norm")) &&
                          matrix(name("w1"), ffn, hidden) && matrix(name("w2"), hidden, ffn) &&
                          matrix(name("w3"), ffn, hidden);
        if (!more) return false;
    }
    if (!vector("norm.weight")) return false;
    if ((flags & model_flag_tied_output) != 0) return true;
    return matrix("output.weight", shape.vocab_size, hidden);
}

}  // namespace trlm::adapt::slm1
