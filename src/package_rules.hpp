#pragma once
// The rules about one field, entry or section of a package, and the words for breaking them.
// docs/formats.md, section 3

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "package_format.hpp"
#include "scan.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt::package_rules {

namespace entry_field = package_format::entry;
using package_format::Field;

inline std::string number_text(std::uint64_t number) {
    return fmt::format("{}", number);
}

inline std::string label(const PackageEntry& entry) {
    return tensor_label(entry.name, entry.name_hash);
}

/// A u32 or u64 field of a header or entry that starts at `base`.
inline std::uint64_t read_number(Bytes file, const Field& field, std::uint64_t base = 0) noexcept {
    return field.bytes == sizeof(std::uint32_t) ? load<std::uint32_t>(file, base + field.offset)
                                                : load<std::uint64_t>(file, base + field.offset);
}

inline bool all_zero(Bytes bytes) noexcept {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; });
}

// --------------------------------------------------------------------------------------- findings

inline Finding not_canonical(const Field& field, std::uint64_t base, std::uint64_t expected,
                             std::uint64_t actual) {
    return {.code = FindingCode::offset_not_canonical,
            .message = fmt::format("{} is {}, but what precedes it puts it at {}; write the "
                                   "package anew in its one byte form",
                                   field.name, actual, expected),
            .offset = base + field.offset,
            .expected = number_text(expected),
            .actual = number_text(actual)};
}

inline Finding checksum_differs(FindingCode code, std::string_view what, std::uint64_t offset,
                                std::uint64_t stored, std::uint64_t computed) {
    return {.code = code,
            .message = fmt::format("{} was changed after its checksum was stored; fetch the file "
                                   "again from its source",
                                   what),
            .offset = offset,
            .expected = format_checksum(stored),
            .actual = format_checksum(computed)};
}

inline Finding index_out_of_range(std::uint64_t element, std::uint32_t index,
                                  std::uint64_t elements) {
    return {.code = FindingCode::index_out_of_range,
            .message = fmt::format("element {} of the sparse index is {}, but the tensor has {} "
                                   "elements; write the package anew",
                                   element, index, elements),
            .element = element,
            .expected = fmt::format("below {}", elements),
            .actual = number_text(index)};
}

inline Finding index_not_ascending(std::uint64_t element, std::uint32_t index,
                                   std::uint32_t previous) {
    return {.code = FindingCode::index_not_ascending,
            .message = fmt::format("element {} of the sparse index is {} after {}, but indexes "
                                   "must ascend strictly; sort them",
                                   element, index, previous),
            .element = element,
            .expected = fmt::format("above {}", previous),
            .actual = number_text(index)};
}

/// What is wrong in a scanned section; `element_name` says what its elements are, with a place
/// for their number.
inline Finding section_finding(Bytes file, const Section& section, const SectionOutcome& outcome,
                               std::string_view element_name) {
    const std::uint64_t element = outcome.element;
    const auto at = [&](std::uint64_t offset, Finding finding) {
        finding.offset = offset;
        return finding;
    };
    const std::uint64_t byte = section.offset + element;
    const std::uint64_t word = section.offset + sizeof(std::uint32_t) * element;
    switch (outcome.defect) {
        case SectionDefect::not_zero:
            return at(byte, {.code = FindingCode::padding_not_zero,
                             .message = "padding must be zero; write the package anew",
                             .expected = "0",
                             .actual = number_text(load<std::uint8_t>(file, byte))});
        case SectionDefect::non_finite: {
            const float value = load<float>(file, word);
            const std::string name = fmt::format(fmt::runtime(element_name), element);
            return at(word, {.code = FindingCode::non_finite,
                             .message = fmt::format("{} is {}, but every value must be finite; "
                                                    "make the adapter anew from finite weights",
                                                    name, value),
                             .element = element,
                             .expected = "finite",
                             .actual = fmt::format("{}", value)});
        }
        case SectionDefect::out_of_range:
            return at(word, index_out_of_range(element, load<std::uint32_t>(file, word),
                                               section.elements));
        case SectionDefect::not_ascending:
            return at(word,
                      index_not_ascending(element, load<std::uint32_t>(file, word),
                                          load<std::uint32_t>(file, word - sizeof(std::uint32_t))));
        case SectionDefect::bits_past_end:
            return at(section.offset + element / 8,
                      {.code = FindingCode::mask_bits_past_end,
                       .message = fmt::format("bit {} of the bitmask is set, but the tensor has {} "
                                              "elements; write the package anew",
                                              element, section.elements),
                       .element = element,
                       .expected = fmt::format("below {}", section.elements),
                       .actual = number_text(element)});
        case SectionDefect::bad_scale:  // no package has scales
        case SectionDefect::none:
            break;
    }
    return {};
}

// ------------------------------------------------------------------------------- header or entry

/// `reserved_not_zero` for each of `fields` that holds something else.
inline void judge_zeros(Bytes file, std::span<const package_format::ZeroField> fields,
                        PackageKind kind, std::uint64_t base, const std::string& tensor,
                        Findings& findings) {
    for (const package_format::ZeroField& zero : fields) {
        const Bytes bytes = slice(file, base + zero.field.offset, zero.field.bytes);
        if (!zero.applies(kind) || all_zero(bytes)) continue;
        const bool number = bytes.size() <= sizeof(std::uint64_t);
        findings.add(
            {.code = FindingCode::reserved_not_zero,
             .message = fmt::format("{} of {} must be 0; write the package anew", zero.field.name,
                                    to_string(kind)),
             .offset = base + zero.field.offset,
             .tensor = tensor,
             .expected = "0",
             .actual = number ? number_text(read_number(file, zero.field, base)) : to_hex(bytes)});
    }
}

/// Judges the entries of one package, each at its place in the file.
class EntryJudge {
public:
    EntryJudge(PackageKind kind, const PackageEntry& entry, std::size_t index, Findings& findings)
        : kind_(kind),
          entry_(entry),
          offset_(package_format::entry_offset(index)),
          findings_(findings) {}

    /// The tensor's elements, when its rank and dims keep their rules.
    [[nodiscard]] std::optional<std::uint64_t> judge_shape() {
        const bool rank_right = judge_rank();
        if (!judge_dims() || !rank_right) return std::nullopt;
        const CheckedSize elements = entry_.shape.elements();
        const std::uint64_t limit =
            kind_ == PackageKind::sparse ? limits::sparse_elements : limits::elements;
        if (elements.fits(limit)) return elements.value();
        if (elements.overflowed()) {
            add(entry_field::dims,
                {.code = FindingCode::size_overflow,
                 .message = fmt::format("the dimensions {} multiply to more than 64 bits can "
                                        "count; write the package anew",
                                        to_string(entry_.shape))});
        }
        add(entry_field::dims,
            {.code = FindingCode::limit_exceeded,
             .message = fmt::format("the tensor {} has more than the {} elements that {} allows; "
                                    "split the tensor",
                                    to_string(entry_.shape), limit, to_string(kind_)),
             .expected = fmt::format("at most {}", limit),
             .actual = elements.overflowed() ? "" : number_text(elements.value())});
        return std::nullopt;
    }

    /// The encoding of an ASP1 entry.
    bool judge_encoding() {
        if (entry_.encoding == SparseEncoding::index_list ||
            entry_.encoding == SparseEncoding::bitmask) {
            return true;
        }
        const auto encoding = static_cast<std::uint32_t>(entry_.encoding);
        add(entry_field::encoding,
            {.code = FindingCode::bad_value,
             .message = fmt::format("the encoding is {}, but must be 1 (index list) or 2 "
                                    "(bitmask); write the package anew",
                                    encoding),
             .expected = "1 or 2",
             .actual = number_text(encoding)});
        return false;
    }

    /// The stored count of an ASP1 entry, whose `elements` may not be known.
    bool judge_count(std::optional<std::uint64_t> elements) {
        const std::uint64_t most = elements.value_or(limits::sparse_elements);
        if (entry_.count >= 1 && entry_.count <= most) return true;
        add(entry_field::count,
            {.code = FindingCode::bad_value,
             .message = fmt::format("the stored count is {}, but must be from 1 to the tensor's {} "
                                    "elements; write the package anew",
                                    entry_.count, most),
             .expected = fmt::format("1 to {}", most),
             .actual = number_text(entry_.count)});
        return false;
    }

    /// Rank and scale of an ALR1 entry; false when the rank is wrong.
    bool judge_factors(bool shape_right) {
        std::uint64_t most = limits::low_rank;
        if (shape_right) most = std::min({most, entry_.shape.rows(), entry_.shape.cols()});
        const bool rank_right = entry_.rank >= 1 && entry_.rank <= most;
        if (!rank_right) {
            add(entry_field::low_rank,
                {.code = FindingCode::bad_low_rank,
                 .message = fmt::format("the rank r is {}, but must be from 1 to {}, the least of "
                                        "rows, columns and {}; factorize again",
                                        entry_.rank, most, limits::low_rank),
                 .expected = fmt::format("1 to {}", most),
                 .actual = number_text(entry_.rank)});
        }
        if (entry_.rank > limits::low_rank) {
            add(entry_field::low_rank,
                {.code = FindingCode::limit_exceeded,
                 .message = fmt::format("the rank r is {}, but at most {} is allowed; factorize "
                                        "again with a smaller one",
                                        entry_.rank, limits::low_rank),
                 .expected = fmt::format("at most {}", limits::low_rank),
                 .actual = number_text(entry_.rank)});
        }
        if (!package_format::is_finite(entry_.scale) || package_format::is_zero(entry_.scale)) {
            add(entry_field::scale,
                {.code = FindingCode::bad_low_rank,
                 .message = fmt::format("the scale is {}, but must be finite and not zero; write "
                                        "the package anew",
                                        entry_.scale),
                 .expected = "finite, not 0",
                 .actual = fmt::format("{}", entry_.scale)});
        }
        return rank_right;
    }

    /// The payload's length, when shape, encoding, count and rank are right.
    bool judge_payload_length() {
        const CheckedSize expected = package_format::payload_parts(kind_, entry_).bytes();
        if (!expected.overflowed() && entry_.payload_length == expected.value()) return true;
        add(entry_field::payload_length,
            {.code = FindingCode::length_mismatch,
             .message =
                 fmt::format("payload_length is {}, but the shape {} and what the entry "
                             "stores take {} bytes; write the package anew",
                             entry_.payload_length, to_string(entry_.shape), expected.value()),
             .expected = number_text(expected.value()),
             .actual = number_text(entry_.payload_length)});
        return false;
    }

private:
    void add(const Field& field, Finding finding) {
        finding.offset = offset_ + field.offset;
        finding.tensor = label(entry_);
        findings_.add(std::move(finding));
    }

    bool judge_rank() {
        const std::uint32_t rank = entry_.shape.rank;
        const bool in_range = rank >= 1 && rank <= limits::tensor_rank;
        if (!in_range) {
            add(entry_field::rank,
                {.code = FindingCode::bad_rank,
                 .message = fmt::format("the tensor's rank is {}, but a tensor has 1 to {} "
                                        "dimensions; write the package anew",
                                        rank, limits::tensor_rank),
                 .expected = fmt::format("1 to {}", limits::tensor_rank),
                 .actual = number_text(rank)});
        }
        if (kind_ != PackageKind::low_rank || rank == 2) return in_range;
        add(entry_field::rank,
            {.code = FindingCode::bad_low_rank,
             .message = fmt::format("the tensor's rank is {}, but only a matrix (rank 2) has "
                                    "low-rank factors; use ADP1 or ASP1 for it",
                                    rank),
             .expected = "2",
             .actual = number_text(rank)});
        return false;
    }

    bool judge_dims() {
        const Shape& shape = entry_.shape;
        const bool rank_in_range = shape.rank >= 1 && shape.rank <= limits::tensor_rank;
        bool right = true;
        for (std::uint32_t i = 0; i < shape.dims.size(); ++i) {
            const std::uint32_t dim = shape.dims[i];
            const bool unused = rank_in_range && i >= shape.rank;
            if (unused ? dim == 1 : dim >= 1 && dim <= limits::dim) continue;
            right = false;
            const std::string expected = unused ? "1" : fmt::format("1 to {}", limits::dim);
            const Field field{"dim", entry_field::dims.offset + sizeof(dim) * i, sizeof(dim)};
            add(field, {.code = FindingCode::bad_dim,
                        .message = fmt::format("dimension {} is {}, but must be {}{}; write the "
                                               "package anew",
                                               i, dim, expected,
                                               unused ? " because the rank does not use it" : ""),
                        .expected = expected,
                        .actual = number_text(dim)});
        }
        return right;
    }

    PackageKind kind_;
    const PackageEntry& entry_;
    std::uint64_t offset_;
    Findings& findings_;
};

}  // namespace trlm::adapt::package_rules
