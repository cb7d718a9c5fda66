#include "slm1_rules.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "trlm/adapt/limits.hpp"

namespace trlm::adapt::slm1 {
namespace {

constexpr std::array shape_fields{Field::vocab_size,    Field::hidden_size, Field::head_count,
                                  Field::kv_head_count, Field::head_dim,    Field::ffn_size};

std::string describe_range(std::uint64_t least, std::uint64_t most) {
    if (least == most) return fmt::format("{}", least);
    if (most == any) return fmt::format("at least {}", least);
    return fmt::format("between {} and {}", least, most);
}

Finding wrong_field(const FieldRule& field, FindingCode code, std::string message,
                    std::string expected, std::string actual) {
    return {.code = code,
            .message = std::move(message),
            .offset = field.offset,
            .expected = std::move(expected),
            .actual = std::move(actual)};
}

std::string describe_dims(std::uint32_t rank, const std::array<std::uint32_t, 4>& dims) {
    return to_string(Shape{rank, dims});
}

}  // namespace

Header::Header(Bytes file) noexcept {
    for (const FieldRule& field : header_rules) {
        set(field.field, field.type == FieldType::u64 ? load<std::uint64_t>(file, field.offset)
                                                      : load<std::uint32_t>(file, field.offset));
    }
}

ModelShape Header::shape() const noexcept {
    return {.vocab_size = u32(Field::vocab_size),
            .special_token_count = u32(Field::special_token_count),
            .hidden_size = u32(Field::hidden_size),
            .layer_count = u32(Field::layer_count),
            .head_count = u32(Field::head_count),
            .kv_head_count = u32(Field::kv_head_count),
            .head_dim = u32(Field::head_dim),
            .ffn_size = u32(Field::ffn_size),
            .max_context = u32(Field::max_context),
            .rope_theta = f32(Field::rope_theta),
            .rms_norm_epsilon = f32(Field::rms_norm_epsilon)};
}

void Header::set_shape(const ModelShape& shape) noexcept {
    set(Field::vocab_size, shape.vocab_size);
    set(Field::special_token_count, shape.special_token_count);
    set(Field::hidden_size, shape.hidden_size);
    set(Field::layer_count, shape.layer_count);
    set(Field::head_count, shape.head_count);
    set(Field::kv_head_count, shape.kv_head_count);
    set(Field::head_dim, shape.head_dim);
    set(Field::ffn_size, shape.ffn_size);
    set(Field::max_context, shape.max_context);
    set(Field::rope_theta, std::bit_cast<std::uint32_t>(shape.rope_theta));
    set(Field::rms_norm_epsilon, std::bit_cast<std::uint32_t>(shape.rms_norm_epsilon));
}

void Header::write(MutableBytes file) const noexcept {
    for (std::size_t i = 0; i < magic.size(); ++i)
        store(file, i, magic[i]);
    for (const FieldRule& field : header_rules) {
        if (field.type == FieldType::u64) {
            store(file, field.offset, (*this)[field.field]);
        } else {
            store(file, field.offset, u32(field.field));
        }
    }
}

bool judge_field(const Header& header, Field field, Findings& findings, std::uint64_t most) {
    const FieldRule& row = rule(field);
    most = std::min(most, row.most);
    std::string expected;
    std::string actual;
    if (row.type == FieldType::f32) {
        const float value = header.f32(field);
        if (std::isfinite(value) && value > 0) return true;
        expected = "finite and above 0";
        actual = fmt::format("{}", value);
    } else {
        const std::uint64_t value = header[field];
        if (row.least <= value && value <= most) return true;
        expected = describe_range(row.least, most);
        actual = fmt::format("{}", value);
    }
    findings.add(wrong_field(row, row.code,
                             fmt::format("{} is {}, but must be {}{}{}", row.name, actual, expected,
                                         row.reason.empty() ? "" : ": ", row.reason),
                             expected, actual));
    return false;
}

HeaderVerdict judge_fields(const Header& header, Findings& findings) {
    HeaderVerdict verdict;
    for (const FieldRule& row : header_rules) {
        if (row.field < Field::model_type || judge_field(header, row.field, findings)) continue;
        if (std::find(shape_fields.begin(), shape_fields.end(), row.field) != shape_fields.end()) {
            verdict.shape = false;
        }
        if (row.field == Field::model_type || row.field == Field::layer_count) {
            verdict.tensor_names = false;
        }
        if (row.field == Field::tensor_count) verdict.tensor_count = false;
    }
    const std::uint64_t heads = header[Field::head_count];
    const std::uint64_t kv_heads = header[Field::kv_head_count];
    if (heads != 0 && kv_heads != 0 && heads % kv_heads != 0) {
        verdict.shape = false;
        findings.add(wrong_field(rule(Field::kv_head_count), FindingCode::bad_value,
                                 fmt::format("kv_head_count is {}, which does not divide "
                                             "head_count {}",
                                             kv_heads, heads),
                                 fmt::format("a divisor of {}", heads),
                                 fmt::format("{}", kv_heads)));
    }
    if (header[Field::tensor_count] > limits::tensors) {
        verdict.tensor_count = false;
        findings.add(wrong_field(rule(Field::tensor_count), FindingCode::limit_exceeded,
                                 fmt::format("tensor_count is {}, but a model has at most {} "
                                             "tensors",
                                             header[Field::tensor_count], limits::tensors),
                                 fmt::format("at most {}", limits::tensors),
                                 fmt::format("{}", header[Field::tensor_count])));
    }
    return verdict;
}

Finding EntryPlace::finding(FindingCode code, std::uint64_t field, std::string message,
                            std::string expected, std::string actual) const {
    Finding finding{.code = code,
                    .message = std::move(message),
                    .tensor = std::string(label),
                    .expected = std::move(expected),
                    .actual = std::move(actual)};
    if (offset) finding.offset = *offset + field;
    return finding;
}

std::optional<Shape> judge_shape(const EntryPlace& place, std::uint32_t rank,
                                 const std::array<std::uint32_t, 4>& dims, Findings& findings) {
    if (rank == 0 || rank > limits::tensor_rank) {
        findings.add(
            place.finding(FindingCode::bad_rank, entry::rank,
                          fmt::format("the rank is {}, but a tensor has 1 to {} dimensions", rank,
                                      limits::tensor_rank),
                          fmt::format("1 to {}", limits::tensor_rank), fmt::format("{}", rank)));
        return std::nullopt;
    }
    bool sound = true;
    Shape shape{.rank = rank};
    for (std::uint32_t i = 0; i < dims.size(); ++i) {
        const bool used = i < rank;
        if (used ? dims[i] != 0 && dims[i] <= limits::dim : dims[i] <= 1) {
            if (used) shape.dims[i] = dims[i];
            continue;
        }
        sound = false;
        const std::string expected = used ? fmt::format("1 to {}", limits::dim) : "0 or 1";
        findings.add(place.finding(
            FindingCode::bad_dim, entry::dims + i * sizeof(dims[i]),
            fmt::format("dimension {}{} is {}, but must be {}", i,
                        used ? "" : fmt::format(", unused at rank {},", rank), dims[i], expected),
            expected, fmt::format("{}", dims[i])));
    }
    if (!sound) return std::nullopt;

    const CheckedSize elements = shape.elements();
    if (elements.fits(limits::elements)) return shape;
    if (elements.overflowed()) {
        findings.add(place.finding(
            FindingCode::size_overflow, entry::dims,
            fmt::format("the product of the dimensions {} is 2^64 or more, which no size can hold",
                        describe_dims(rank, dims)),
            fmt::format("at most {} elements", limits::elements), "2^64 or more"));
    }
    const std::string actual =
        elements.overflowed() ? "2^64 or more" : fmt::format("{}", elements.value());
    findings.add(
        place.finding(FindingCode::limit_exceeded, entry::dims,
                      fmt::format("the dimensions {} make {} elements, but a tensor has at most {}",
                                  describe_dims(rank, dims), actual, limits::elements),
                      fmt::format("at most {}", limits::elements), actual));
    return std::nullopt;
}

bool judge_block_size(const EntryPlace& place, Dtype dtype, const Shape& shape,
                      std::uint32_t block_size, Findings& findings) {
    const std::uint64_t cols = shape.cols();
    std::string expected;
    switch (dtype) {
        case Dtype::f32:
            if (block_size == 0) return true;
            expected = "0, since f32 has no blocks";
            break;
        case Dtype::q8_0:
            if (block_size == cols) return true;
            expected = fmt::format("{}, the length of a row", cols);
            break;
        case Dtype::q4_0:
            if (block_size != 0 && block_size % 2 == 0 && cols % block_size == 0) return true;
            expected = fmt::format("an even divisor of {}, the length of a row", cols);
            break;
    }
    findings.add(place.finding(FindingCode::bad_block_size, entry::block_size,
                               fmt::format("the block_size of this {} tensor is {}, but must be {}",
                                           to_string(dtype), block_size, expected),
                               expected, fmt::format("{}", block_size)));
    return false;
}

}  // namespace trlm::adapt::slm1
