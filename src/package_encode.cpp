#include "package_encode.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "package_rules.hpp"

namespace trlm::adapt::package_encode {
namespace {

namespace format = package_format;
namespace header_field = package_format::header;
namespace entry_field = package_format::entry;

void write_number(MutableBytes bytes, const format::Field& field, std::uint64_t number) noexcept {
    if (field.bytes == sizeof(std::uint32_t)) {
        store(bytes, field.offset, static_cast<std::uint32_t>(number));
    } else {
        store(bytes, field.offset, number);
    }
}

void write_values(MutableBytes bytes, std::span<const float> values) noexcept {
    std::ranges::copy(std::as_bytes(values), bytes.begin());
}

MutableBytes part(MutableBytes bytes, CheckedSize offset, CheckedSize length) noexcept {
    return bytes.subspan(static_cast<std::size_t>(offset.value()),
                         static_cast<std::size_t>(length.value()));
}

/// Judges the spans of one entry against its shape.
class Drafter {
public:
    Drafter(PackageKind kind, Draft& draft, Findings& findings)
        : kind_(kind), draft_(draft), findings_(findings) {}

    void operator()(const DenseContent& delta) {
        if (is_kind(PackageKind::dense)) judge_size("values", delta.values.size(), draft_.elements);
    }

    void operator()(const SparseContent& delta) {
        if (!is_kind(PackageKind::sparse) ||
            !judge_size("values", delta.values.size(), delta.indexes.size()) ||
            !judge_indexes(delta.indexes)) {
            return;
        }
        PackageEntry& entry = draft_.entry;
        entry.count = static_cast<std::uint64_t>(std::ranges::count_if(
            delta.values, [](float value) { return !format::is_zero(value); }));
        if (entry.count == 0) {
            add({.code = FindingCode::bad_value,
                 .message = "no value is nonzero, but an entry stores at least one; leave "
                            "the tensor out"});
            return;
        }
        const auto size = [&](SparseEncoding encoding) {
            return align64(format::position_bytes(encoding, entry.count, draft_.elements)).value();
        };
        entry.encoding = size(SparseEncoding::bitmask) < size(SparseEncoding::index_list)
                             ? SparseEncoding::bitmask
                             : SparseEncoding::index_list;
    }

    void operator()(const LowRankContent& delta) {
        if (!is_kind(PackageKind::low_rank)) return;
        draft_.entry.rank = delta.rank;
        draft_.entry.scale = delta.scale;
        const CheckedSize rank = delta.rank;
        judge_size("values of A", delta.a.size(), rank * draft_.entry.shape.cols());
        judge_size("values of B", delta.b.size(), rank * draft_.entry.shape.rows());
    }

private:
    bool is_kind(PackageKind kind) {
        if (kind == kind_) return true;
        add({.code = FindingCode::bad_value,
             .message = fmt::format("the delta is that of {} in a package of kind {}; give "
                                    "all entries of a package the same kind",
                                    to_string(kind), to_string(kind_)),
             .expected = std::string(to_string(kind_)),
             .actual = std::string(to_string(kind))});
        return false;
    }

    bool judge_size(std::string_view what, std::uint64_t actual, CheckedSize expected) {
        if (!expected.overflowed() && actual == expected.value()) return true;
        add({.code = FindingCode::length_mismatch,
             .message = fmt::format("there are {} {}, but {} are expected", actual, what,
                                    expected.value()),
             .expected = fmt::format("{}", expected.value()),
             .actual = fmt::format("{}", actual)});
        return false;
    }

    bool judge_indexes(std::span<const std::uint32_t> indexes) {
        for (std::size_t i = 0; i < indexes.size(); ++i) {
            if (indexes[i] >= draft_.elements) {
                add(package_rules::index_out_of_range(i, indexes[i], draft_.elements));
                return false;
            }
            if (i > 0 && indexes[i] <= indexes[i - 1]) {
                add(package_rules::index_not_ascending(i, indexes[i], indexes[i - 1]));
                return false;
            }
        }
        return true;
    }

    void add(Finding finding) {
        finding.tensor = package_rules::label(draft_.entry);
        findings_.add(std::move(finding));
    }

    PackageKind kind_;
    Draft& draft_;
    Findings& findings_;
};

/// Writes one payload's two parts.
struct PayloadEncoder {
    const PackageEntry& entry;
    MutableBytes first;
    MutableBytes second;
    Xxh3& mask;

    void operator()(const DenseContent& delta) const noexcept {
        write_values(second, delta.values);
    }

    void operator()(const SparseContent& delta) const noexcept {
        std::uint64_t stored = 0;
        for (std::size_t i = 0; i < delta.values.size(); ++i) {
            if (format::is_zero(delta.values[i])) continue;
            const std::uint32_t index = delta.indexes[i];
            if (entry.encoding == SparseEncoding::bitmask) {
                first[index / 8] |= std::byte{1} << index % 8;
            } else {
                store(first, stored * sizeof(index), index);
            }
            store(second, stored * sizeof(float), delta.values[i]);
            ++stored;
        }
        mask.update(first);
    }

    void operator()(const LowRankContent& delta) const noexcept {
        write_values(first, delta.a);
        write_values(second, delta.b);
    }
};

}  // namespace

Draft draft_entry(PackageKind kind, const EntryContent& content, std::size_t index,
                  Findings& findings) {
    Draft draft;
    draft.content = &content;
    draft.entry.name_hash = content.name_hash;
    draft.entry.shape = content.shape;
    const auto elements =
        package_rules::EntryJudge(kind, draft.entry, index, findings).judge_shape();
    if (!elements) return draft;
    draft.elements = *elements;
    std::visit(Drafter(kind, draft, findings), content.delta);
    return draft;
}

void encode_payload(const Draft& draft, PackageKind kind, MutableBytes payload, Xxh3& mask) {
    const format::PayloadParts parts = format::payload_parts(kind, draft.entry);
    std::visit(PayloadEncoder{draft.entry, part(payload, 0, parts.first),
                              part(payload, parts.second_offset(), parts.second), mask},
               draft.content->delta);
}

void encode_entry(const PackageEntry& entry, PackageKind kind, MutableBytes record) noexcept {
    write_number(record, entry_field::name_hash, entry.name_hash);
    write_number(record, entry_field::rank, entry.shape.rank);
    store(record, entry_field::dims.offset, entry.shape.dims);
    write_number(record, entry_field::payload_offset, entry.payload_offset);
    write_number(record, entry_field::payload_length, entry.payload_length);
    write_number(record, entry_field::payload_checksum, entry.payload_checksum);
    if (kind == PackageKind::sparse) {
        write_number(record, entry_field::encoding, static_cast<std::uint32_t>(entry.encoding));
        write_number(record, entry_field::count, entry.count);
    } else if (kind == PackageKind::low_rank) {
        write_number(record, entry_field::low_rank, entry.rank);
        store(record, entry_field::scale.offset, entry.scale);
    }
}

CheckedSize payload_offset(std::uint64_t entry_count, std::uint64_t metadata_length) noexcept {
    return align64(CheckedSize(format::entry_offset(entry_count)) + metadata_length);
}

void encode_header(const Header& header, MutableBytes file) noexcept {
    const Identity& identity = header.identity;
    std::ranges::copy(as_bytes(to_string(header.kind)), file.begin());
    write_number(file, header_field::version, format::version);
    write_number(file, header_field::header_length, format::header_bytes);
    write_number(file, header_field::model_flags, identity.model_flags);
    write_number(file, header_field::tensor_count, identity.tensor_count);
    write_number(file, header_field::parameter_count, identity.parameter_count);
    write_number(file, header_field::tensor_layout_checksum, identity.tensor_layout_checksum);
    write_number(file, header_field::tokenizer_checksum, identity.tokenizer_checksum);
    write_number(file, header_field::entry_count, header.entry_count);
    write_number(file, header_field::directory_offset, format::header_bytes);
    write_number(file, header_field::metadata_offset,
                 header.metadata_length == 0 ? 0 : format::entry_offset(header.entry_count));
    write_number(file, header_field::metadata_length, header.metadata_length);
    write_number(file, header_field::payload_offset,
                 payload_offset(header.entry_count, header.metadata_length).value());
    write_number(file, header_field::file_length, header.file_length);
    if (header.kind == PackageKind::sparse) {
        store(file, header_field::retention.offset,
              format::retention_of(header.stored, std::max<std::uint64_t>(header.elements, 1)));
        write_number(file, header_field::mask_method,
                     static_cast<std::uint32_t>(header.mask_method));
        write_number(file, header_field::mask_seed, header.mask_seed);
        write_number(file, header_field::mask_checksum, header.mask_checksum);
    } else if (header.kind == PackageKind::low_rank) {
        write_number(file, header_field::source_kind,
                     static_cast<std::uint32_t>(header.source_kind));
        std::ranges::copy(header.source_hash,
                          file.begin() + std::ptrdiff_t{header_field::source_hash.offset});
    }
}

}  // namespace trlm::adapt::package_encode
