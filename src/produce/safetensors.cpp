#include "trlm/adapt/produce/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "guard.hpp"
#include "json.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

struct DtypeRow {
    SafetensorsDtype dtype;
    std::string_view name;
    std::uint64_t bytes;
};

constexpr std::array dtypes{
    DtypeRow{SafetensorsDtype::f32, "F32", 4},
    DtypeRow{SafetensorsDtype::f16, "F16", 2},
    DtypeRow{SafetensorsDtype::bf16, "BF16", 2},
    DtypeRow{SafetensorsDtype::f64, "F64", 8},
    DtypeRow{SafetensorsDtype::i64, "I64", 8},
    DtypeRow{SafetensorsDtype::u64, "U64", 8},
    DtypeRow{SafetensorsDtype::i32, "I32", 4},
    DtypeRow{SafetensorsDtype::u32, "U32", 4},
    DtypeRow{SafetensorsDtype::i16, "I16", 2},
    DtypeRow{SafetensorsDtype::u16, "U16", 2},
    DtypeRow{SafetensorsDtype::i8, "I8", 1},
    DtypeRow{SafetensorsDtype::u8, "U8", 1},
    DtypeRow{SafetensorsDtype::boolean, "BOOL", 1},
    DtypeRow{SafetensorsDtype::f8_e4m3, "F8_E4M3", 1},
    DtypeRow{SafetensorsDtype::f8_e5m2, "F8_E5M2", 1},
};

constexpr const DtypeRow& row_of(SafetensorsDtype dtype) noexcept {
    return dtypes[static_cast<std::size_t>(dtype)];
}

static_assert(
    [] {
        for (const DtypeRow& row : dtypes) {
            if (&row_of(row.dtype) != &row) return false;
        }
        return true;
    }(),
    "the rows are in the order of the enum");

constexpr std::string_view metadata_key = "__metadata__";
constexpr std::uint64_t length_bytes = 8;  // of the header's length, before the header

/// An f16 as an f32, exactly.
float from_half(std::uint16_t half) noexcept {
    const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
    const std::uint32_t exponent = half >> 10 & 0x1fU;
    const std::uint32_t fraction = half & 0x3ffU;
    constexpr std::uint32_t rebias = 127 - 15;
    if (exponent == 0x1f) {  // infinity and NaN
        return std::bit_cast<float>(sign | 0x7f800000U | fraction << 13);
    }
    if (exponent != 0)
        return std::bit_cast<float>(sign | (exponent + rebias) << 23 | fraction << 13);
    if (fraction == 0) return std::bit_cast<float>(sign);
    // A subnormal f16 is a normal f32: its highest bit becomes the implicit one.
    const auto shift = static_cast<std::uint32_t>(std::countl_zero(fraction)) - 21;
    return std::bit_cast<float>(sign | (rebias + 1 - shift) << 23 |
                                ((fraction << shift) & 0x3ffU) << 13);
}

std::string pointer_to(std::string_view name, std::string_view field = {}) {
    const std::string pointer = json_pointer({}, name);
    return field.empty() ? pointer : json_pointer(pointer, field);
}

}  // namespace

/// Judges the header and places the tensors.
class SafetensorsReader {
public:
    explicit SafetensorsReader(Bytes file) : file_(file) {}

    [[nodiscard]] Result<Safetensors> read() {
        const std::optional<std::string_view> text = header_text();
        if (!text) return failure(std::move(findings_));
        auto header = parse_json(
            *text, {.max_bytes = safetensors_header_limit, .max_depth = limits::json_depth});
        if (!header) {
            for (const Finding& finding : header.error()) {
                Finding moved = finding;
                if (moved.offset) *moved.offset += length_bytes;
                findings_.add(std::move(moved));
            }
            return failure(std::move(findings_));
        }
        data_offset_ = length_bytes + text->size();
        for (const auto& [name, value] : header->members()) {
            if (name == metadata_key) {
                read_metadata(value);
            } else {
                read_tensor(name, value);
            }
        }
        judge_coverage();
        if (findings_.has_errors()) return failure(std::move(findings_));
        index_names();
        return std::move(result_);
    }

private:
    void add(FindingCode code, std::string_view name, std::string_view field, std::string message,
             std::string expected = {}, std::string actual = {}) {
        whole_ = false;
        findings_.add({.code = code,
                       .message = std::move(message),
                       .tensor = std::string(name),
                       .pointer = pointer_to(name, field),
                       .expected = std::move(expected),
                       .actual = std::move(actual)});
    }

    /// The header's bytes, where the file has them.
    std::optional<std::string_view> header_text() {
        if (file_.size() < length_bytes) {
            findings_.add({.code = FindingCode::truncated,
                           .message = fmt::format("the file has {} of the 8 bytes that state the "
                                                  "length of a safetensors header; fetch the file "
                                                  "again",
                                                  file_.size()),
                           .offset = file_.size()});
            return std::nullopt;
        }
        const auto length = load<std::uint64_t>(file_, 0);
        if (length > safetensors_header_limit) {
            findings_.add({.code = FindingCode::limit_exceeded,
                           .message = fmt::format("the header is stated to have {} bytes, but a "
                                                  "safetensors header has at most {}; this is no "
                                                  "safetensors file, or a damaged one",
                                                  length, safetensors_header_limit),
                           .offset = 0,
                           .expected = fmt::format("at most {}", safetensors_header_limit),
                           .actual = fmt::format("{}", length)});
            return std::nullopt;
        }
        if (!range_inside(length_bytes, length, file_.size())) {
            findings_.add({.code = FindingCode::truncated,
                           .message = fmt::format("the header is stated to have {} bytes, but only "
                                                  "{} follow; fetch the file again",
                                                  length, file_.size() - length_bytes),
                           .offset = file_.size(),
                           .expected = fmt::format("{}", length),
                           .actual = fmt::format("{}", file_.size() - length_bytes)});
            return std::nullopt;
        }
        const std::string_view text = as_text(slice(file_, length_bytes, length));
        if (!text.starts_with('{')) {
            findings_.add({.code = FindingCode::bad_json,
                           .message = "the header does not begin with {; this is no safetensors "
                                      "file, or a damaged one",
                           .offset = length_bytes});
            return std::nullopt;
        }
        return text;
    }

    void read_metadata(const Json& value) {
        if (!value.is_object()) {
            add(FindingCode::bad_value, metadata_key, {},
                fmt::format("{} is {}, but must be an object of texts", metadata_key,
                            value.type_name()),
                "object", value.type_name());
            return;
        }
        for (const auto& [key, text] : value.members()) {
            if (text.is_text()) {
                result_.metadata_.emplace_back(key, text.text());
                continue;
            }
            add(FindingCode::bad_value, metadata_key, key,
                fmt::format("this entry of {} is {}, but must be a text", metadata_key,
                            text.type_name()),
                "string", text.type_name());
        }
    }

    void read_tensor(const std::string& name, const Json& value) {
        if (!value.is_object()) {
            add(FindingCode::bad_value, name, {},
                fmt::format("the entry is {}, but must be an object with dtype, shape and "
                            "data_offsets",
                            value.type_name()),
                "object", value.type_name());
            return;
        }
        for (const auto& [key, field] : value.members()) {
            if (key == "dtype" || key == "shape" || key == "data_offsets") continue;
            add(FindingCode::unknown_key, name, key,
                "an entry has dtype, shape and data_offsets and nothing else");
        }
        SafetensorsTensor tensor;
        tensor.name = name;
        const bool dtype_known = read_dtype(value, tensor);
        const bool shape_known = read_shape(value, tensor);
        if (!read_data(value, tensor)) return;
        if (dtype_known && shape_known) judge_length(tensor);
        result_.tensors_.push_back(std::move(tensor));
    }

    /// The field, or a finding.
    const Json* member(const Json& entry, const std::string& name, std::string_view field) {
        if (const Json* const found = entry.find(field)) return found;
        add(FindingCode::missing_key, name, {}, fmt::format("the entry has no {}", field));
        return nullptr;
    }

    bool read_dtype(const Json& entry, SafetensorsTensor& tensor) {
        const Json* const field = member(entry, tensor.name, "dtype");
        if (field == nullptr) return false;
        if (!field->is_text()) {
            add(FindingCode::bad_value, tensor.name, "dtype",
                fmt::format("dtype is {}, but must be a text", field->type_name()), "string",
                field->type_name());
            return false;
        }
        const auto& text = field->text();
        const auto row = std::ranges::find(dtypes, text, &DtypeRow::name);
        if (row == dtypes.end()) {
            add(FindingCode::unsupported_dtype, tensor.name, "dtype",
                fmt::format("the dtype {} is not known; export the tensor as F32, F16 or BF16",
                            text),
                "F32, F16 or BF16", text);
            return false;
        }
        tensor.dtype = row->dtype;
        return true;
    }

    /// A list of whole numbers, or a finding.
    std::optional<std::vector<std::uint64_t>> numbers(const Json& entry, const std::string& name,
                                                      std::string_view field) {
        const Json* const list = member(entry, name, field);
        if (list == nullptr) return std::nullopt;
        const bool whole =
            list->is_array() && std::ranges::all_of(list->elements(), &Json::is_unsigned);
        if (!whole) {
            add(FindingCode::bad_value, name, field,
                fmt::format("{} must be a list of whole numbers, none below 0", field));
            return std::nullopt;
        }
        std::vector<std::uint64_t> values;
        for (const Json& number : list->elements())
            values.push_back(number.unsigned_number());
        return values;
    }

    bool read_shape(const Json& entry, SafetensorsTensor& tensor) {
        auto dims = numbers(entry, tensor.name, "shape");
        if (!dims) return false;
        tensor.dims = std::move(*dims);
        return true;
    }

    bool read_data(const Json& entry, SafetensorsTensor& tensor) {
        const auto offsets = numbers(entry, tensor.name, "data_offsets");
        if (!offsets) return false;
        if (offsets->size() != 2 || offsets->front() > offsets->back()) {
            add(FindingCode::bad_value, tensor.name, "data_offsets",
                fmt::format("data_offsets is {}, but must be a begin and an end that is not before "
                            "it",
                            dims_text(*offsets)));
            return false;
        }
        const std::uint64_t begin = offsets->front();
        const std::uint64_t length = offsets->back() - begin;
        const std::uint64_t data_bytes = file_.size() - data_offset_;
        if (!range_inside(begin, length, data_bytes)) {
            add(FindingCode::range_out_of_file, tensor.name, "data_offsets",
                fmt::format("the data end at {}, but the file has {} bytes of data; fetch the file "
                            "again",
                            offsets->back(), data_bytes),
                fmt::format("at most {}", data_bytes), fmt::format("{}", offsets->back()));
            return false;
        }
        tensor.offset = data_offset_ + begin;
        tensor.data = file_.subspan(static_cast<std::size_t>(tensor.offset),
                                    static_cast<std::size_t>(length));
        return true;
    }

    void judge_length(const SafetensorsTensor& tensor) {
        CheckedSize bytes = value_bytes(tensor.dtype);
        for (const std::uint64_t dim : tensor.dims)
            bytes = bytes * dim;
        if (bytes.overflowed()) {
            add(FindingCode::size_overflow, tensor.name, "shape",
                fmt::format("a tensor of shape {} would have 2^64 bytes or more",
                            dims_text(tensor.dims)));
        } else if (bytes.value() != tensor.data.size()) {
            add(FindingCode::length_mismatch, tensor.name, "data_offsets",
                fmt::format("{} of shape {} takes {} bytes, but data_offsets leave {}",
                            to_string(tensor.dtype), dims_text(tensor.dims), bytes.value(),
                            tensor.data.size()),
                fmt::format("{}", bytes.value()), fmt::format("{}", tensor.data.size()));
        }
    }

    /// The data lie one behind the other, from the header to the end of the file. Judged only where
    /// every region is known.
    void judge_coverage() {
        if (!whole_) return;
        auto& tensors = result_.tensors_;
        std::ranges::stable_sort(tensors, {}, [](const SafetensorsTensor& tensor) {
            return std::pair(tensor.offset, tensor.data.size());
        });
        std::uint64_t end = data_offset_;
        for (const SafetensorsTensor& tensor : tensors) {
            if (tensor.offset < end) {
                add(FindingCode::overlap, tensor.name, "data_offsets",
                    fmt::format("the data begin at {}, inside those of the tensor before, which "
                                "end at {}",
                                tensor.offset - data_offset_, end - data_offset_));
            } else if (tensor.offset > end) {
                add(FindingCode::hole, tensor.name, "data_offsets",
                    fmt::format("{} bytes before the data belong to no tensor",
                                tensor.offset - end));
            }
            end = std::max(end, tensor.offset + tensor.data.size());
        }
        if (end == file_.size()) return;
        findings_.add(
            {.code = FindingCode::trailing_bytes,
             .message = fmt::format("{} bytes follow the last tensor's data", file_.size() - end),
             .offset = end,
             .expected = fmt::format("{}", end),
             .actual = fmt::format("{}", file_.size())});
    }

    void index_names() {
        auto& index = result_.by_name_;
        index.resize(result_.tensors_.size());
        std::iota(index.begin(), index.end(), std::size_t{0});
        std::ranges::sort(index, {}, [&](std::size_t i) -> const std::string& {
            return result_.tensors_[i].name;
        });
    }

    Bytes file_;
    std::uint64_t data_offset_ = 0;
    bool whole_ = true;  // nothing is wrong with any entry so far
    Safetensors result_;
    Findings findings_;
};

std::string_view to_string(SafetensorsDtype dtype) noexcept {
    return row_of(dtype).name;
}

std::uint64_t value_bytes(SafetensorsDtype dtype) noexcept {
    return row_of(dtype).bytes;
}

std::string dims_text(std::span<const std::uint64_t> dims) {
    return fmt::format("[{}]", fmt::join(dims, ", "));
}

const SafetensorsTensor* Safetensors::find(std::string_view name) const noexcept {
    const auto found = std::ranges::lower_bound(
        by_name_, name, {}, [&](std::size_t i) -> std::string_view { return tensors_[i].name; });
    if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
    return &tensors_[*found];
}

Result<Safetensors> read_safetensors(Bytes file) {
    return guarded([&]() -> Result<Safetensors> { return SafetensorsReader(file).read(); });
}

void read_values(const SafetensorsTensor& tensor, std::uint64_t first,
                 std::span<float> out) noexcept {
    if (!is_convertible(tensor.dtype)) return;
    const std::uint64_t size = value_bytes(tensor.dtype);
    if (!range_inside(first, out.size(), tensor.data.size() / size)) return;
    const std::byte* const from = tensor.data.data() + first * size;
    if (tensor.dtype == SafetensorsDtype::f32) {
        if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
        return;
    }
    const bool half = tensor.dtype == SafetensorsDtype::f16;
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, from + i * sizeof bits, sizeof bits);
        out[i] = half ? from_half(bits) : std::bit_cast<float>(std::uint32_t{bits} << 16);
    }
}

}  // namespace trlm::adapt
