#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "package_format.hpp"
#include "package_rules.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt {
namespace {

namespace format = package_format;
namespace header = package_format::header;
namespace entry_field = package_format::entry;
using package_format::entry_offset;
using package_rules::EntryJudge;

// What is stored of one entry, in directory order.
struct Draft {
    const EntryContent* content = nullptr;
    PackageEntry entry;
    std::uint64_t elements = 0;
};

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

/// Writes one package: judges the content as far as its spans need it, then lays it out.
class PackageWriter {
public:
    explicit PackageWriter(const PackageContent& content) : content_(content) {}

    [[nodiscard]] Result<std::vector<std::byte>> write() {
        if (content_.entries.size() > limits::tensors) return too_many_entries();
        draft_entries();
        if (findings_.has_errors()) return failure(std::move(findings_));
        if (!lay_out()) return failure(std::move(findings_));
        write_header();
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            write_entry(i);
        std::ranges::copy(as_bytes(content_.metadata),
                          file_.begin() + static_cast<std::ptrdiff_t>(metadata_offset_));
        if (content_.kind == PackageKind::sparse)
            write_number(file_, header::mask_checksum, mask_.checksum());
        write_number(file_, header::checksum, checksum_of(file_));
        // The reader knows every other rule.
        if (auto package = read_package(file_); !package) {
            return failure(std::move(package.error()));
        }
        return std::move(file_);
    }

private:
    [[nodiscard]] Result<std::vector<std::byte>> too_many_entries() const {
        return failure({.code = FindingCode::limit_exceeded,
                        .message = fmt::format("there are {} entries, but a package has at most "
                                               "{}; split the package",
                                               content_.entries.size(), limits::tensors),
                        .expected = fmt::format("at most {}", limits::tensors),
                        .actual = fmt::format("{}", content_.entries.size())});
    }

    // ------------------------------------------------------------------------------- content

    void draft_entries() {
        for (const EntryContent& content : content_.entries) {
            Draft& draft = drafts_.emplace_back();
            draft.content = &content;
            draft.entry.name_hash = content.name_hash;
            draft.entry.shape = content.shape;
        }
        std::ranges::stable_sort(drafts_, {}, [](const Draft& d) { return d.entry.name_hash; });
        for (std::size_t i = 0; i < drafts_.size(); ++i) {
            Draft& draft = drafts_[i];
            const auto elements =
                EntryJudge(content_.kind, draft.entry, i, findings_).judge_shape();
            if (!elements) continue;
            draft.elements = *elements;
            std::visit([&](const auto& delta) { draft_delta(draft, delta); }, draft.content->delta);
        }
    }

    void draft_delta(const Draft& draft, const DenseContent& delta) {
        if (is_kind(draft, PackageKind::dense)) {
            judge_size(draft, "values", delta.values.size(), draft.elements);
        }
    }

    void draft_delta(Draft& draft, const SparseContent& delta) {
        if (!is_kind(draft, PackageKind::sparse) ||
            !judge_size(draft, "values", delta.values.size(), delta.indexes.size()) ||
            !judge_indexes(draft, delta.indexes)) {
            return;
        }
        PackageEntry& entry = draft.entry;
        entry.count = static_cast<std::uint64_t>(std::ranges::count_if(
            delta.values, [](float value) { return !format::is_zero(value); }));
        if (entry.count == 0) {
            add(draft, {.code = FindingCode::bad_value,
                        .message = "no value is nonzero, but an entry stores at least one; leave "
                                   "the tensor out"});
            return;
        }
        const auto size = [&](SparseEncoding encoding) {
            return align64(format::position_bytes(encoding, entry.count, draft.elements)).value();
        };
        entry.encoding = size(SparseEncoding::bitmask) < size(SparseEncoding::index_list)
                             ? SparseEncoding::bitmask
                             : SparseEncoding::index_list;
    }

    void draft_delta(Draft& draft, const LowRankContent& delta) {
        if (!is_kind(draft, PackageKind::low_rank)) return;
        draft.entry.rank = delta.rank;
        draft.entry.scale = delta.scale;
        const CheckedSize rank = delta.rank;
        judge_size(draft, "values of A", delta.a.size(), rank * draft.entry.shape.cols());
        judge_size(draft, "values of B", delta.b.size(), rank * draft.entry.shape.rows());
    }

    bool is_kind(const Draft& draft, PackageKind kind) {
        if (kind == content_.kind) return true;
        add(draft, {.code = FindingCode::bad_value,
                    .message = fmt::format("the delta is that of {} in a package of kind {}; give "
                                           "all entries of a package the same kind",
                                           to_string(kind), to_string(content_.kind)),
                    .expected = std::string(to_string(content_.kind)),
                    .actual = std::string(to_string(kind))});
        return false;
    }

    bool judge_size(const Draft& draft, std::string_view what, std::uint64_t actual,
                    CheckedSize expected) {
        if (!expected.overflowed() && actual == expected.value()) return true;
        add(draft, {.code = FindingCode::length_mismatch,
                    .message = fmt::format("there are {} {}, but {} are expected", actual, what,
                                           expected.value()),
                    .expected = fmt::format("{}", expected.value()),
                    .actual = fmt::format("{}", actual)});
        return false;
    }

    bool judge_indexes(const Draft& draft, std::span<const std::uint32_t> indexes) {
        for (std::size_t i = 0; i < indexes.size(); ++i) {
            if (indexes[i] >= draft.elements) {
                add(draft, package_rules::index_out_of_range(i, indexes[i], draft.elements));
                return false;
            }
            if (i > 0 && indexes[i] <= indexes[i - 1]) {
                add(draft, package_rules::index_not_ascending(i, indexes[i], indexes[i - 1]));
                return false;
            }
        }
        return true;
    }

    void add(const Draft& draft, Finding finding) {
        finding.tensor = package_rules::label(draft.entry);
        findings_.add(std::move(finding));
    }

    // -------------------------------------------------------------------------------- layout

    // Offsets of everything, and the file's bytes, zero.
    bool lay_out() {
        const std::uint64_t directory_end = entry_offset(drafts_.size());
        metadata_offset_ = directory_end;
        CheckedSize end = CheckedSize(directory_end) + content_.metadata.size();
        payload_offset_ = align64(end).value();
        for (Draft& draft : drafts_) {
            const CheckedSize offset = align64(end);
            const CheckedSize length = format::payload_parts(content_.kind, draft.entry).bytes();
            draft.entry.payload_offset = offset.value();
            draft.entry.payload_length = length.value();
            end = offset + length;
        }
        if (!end.fits(file_.max_size())) {
            findings_.add({.code = FindingCode::size_overflow,
                           .message = "the package is larger than this machine can address; split "
                                      "it"});
            return false;
        }
        // Without entries the reader refuses the package: its header alone says why.
        if (drafts_.empty()) end = payload_offset_;
        file_.resize(static_cast<std::size_t>(end.value()));
        return true;
    }

    void write_header() {
        const Identity& identity = content_.identity;
        std::ranges::copy(as_bytes(to_string(content_.kind)), file_.begin());
        write_number(file_, header::version, format::version);
        write_number(file_, header::header_length, format::header_bytes);
        write_number(file_, header::model_flags, identity.model_flags);
        write_number(file_, header::tensor_count, identity.tensor_count);
        write_number(file_, header::parameter_count, identity.parameter_count);
        write_number(file_, header::tensor_layout_checksum, identity.tensor_layout_checksum);
        write_number(file_, header::tokenizer_checksum, identity.tokenizer_checksum);
        write_number(file_, header::entry_count, drafts_.size());
        write_number(file_, header::directory_offset, format::header_bytes);
        write_number(file_, header::metadata_offset,
                     content_.metadata.empty() ? 0 : metadata_offset_);
        write_number(file_, header::metadata_length, content_.metadata.size());
        write_number(file_, header::payload_offset, payload_offset_);
        write_number(file_, header::file_length, file_.size());
        if (content_.kind == PackageKind::sparse) write_mask_fields();
        if (content_.kind == PackageKind::low_rank) {
            write_number(file_, header::source_kind,
                         static_cast<std::uint32_t>(content_.source_kind));
            std::ranges::copy(content_.source_hash,
                              file_.begin() + std::ptrdiff_t{header::source_hash.offset});
        }
    }

    void write_mask_fields() {
        std::uint64_t stored = 0;
        std::uint64_t elements = 0;
        for (const Draft& draft : drafts_) {
            stored += draft.entry.count;
            elements += draft.elements;
        }
        store(MutableBytes(file_), header::retention.offset,
              format::retention_of(stored, std::max<std::uint64_t>(elements, 1)));
        write_number(file_, header::mask_method, static_cast<std::uint32_t>(content_.mask_method));
        write_number(file_, header::mask_seed, content_.mask_seed);
    }

    // -------------------------------------------------------------------------------- entries

    void write_entry(std::size_t i) {
        const Draft& draft = drafts_[i];
        const PackageEntry& entry = draft.entry;
        const format::PayloadParts parts = format::payload_parts(content_.kind, entry);
        const MutableBytes payload = part(file_, entry.payload_offset, entry.payload_length);
        const MutableBytes first = part(payload, 0, parts.first);
        const MutableBytes second = part(payload, parts.second_offset(), parts.second);
        std::visit([&](const auto& delta) { write_payload(entry, delta, first, second); },
                   draft.content->delta);

        const MutableBytes bytes = part(file_, entry_offset(i), format::entry_bytes);
        write_number(bytes, entry_field::name_hash, entry.name_hash);
        write_number(bytes, entry_field::rank, entry.shape.rank);
        store(bytes, entry_field::dims.offset, entry.shape.dims);
        write_number(bytes, entry_field::payload_offset, entry.payload_offset);
        write_number(bytes, entry_field::payload_length, entry.payload_length);
        write_number(bytes, entry_field::payload_checksum, checksum_of(payload));
        if (content_.kind == PackageKind::sparse) {
            write_number(bytes, entry_field::encoding, static_cast<std::uint32_t>(entry.encoding));
            write_number(bytes, entry_field::count, entry.count);
        } else if (content_.kind == PackageKind::low_rank) {
            write_number(bytes, entry_field::low_rank, entry.rank);
            store(bytes, entry_field::scale.offset, entry.scale);
        }
    }

    static void write_payload(const PackageEntry&, const DenseContent& delta, MutableBytes,
                              MutableBytes values) noexcept {
        write_values(values, delta.values);
    }

    void write_payload(const PackageEntry& entry, const SparseContent& delta,
                       MutableBytes positions, MutableBytes values) noexcept {
        std::uint64_t stored = 0;
        for (std::size_t i = 0; i < delta.values.size(); ++i) {
            if (format::is_zero(delta.values[i])) continue;
            const std::uint32_t index = delta.indexes[i];
            if (entry.encoding == SparseEncoding::bitmask) {
                positions[index / 8] |= std::byte{1} << index % 8;
            } else {
                store(positions, stored * sizeof(index), index);
            }
            store(values, stored * sizeof(float), delta.values[i]);
            ++stored;
        }
        mask_.update(positions);
    }

    static void write_payload(const PackageEntry&, const LowRankContent& delta, MutableBytes a,
                              MutableBytes b) noexcept {
        write_values(a, delta.a);
        write_values(b, delta.b);
    }

    const PackageContent& content_;
    Findings findings_;
    std::vector<Draft> drafts_;
    std::uint64_t metadata_offset_ = 0;
    std::uint64_t payload_offset_ = 0;
    std::vector<std::byte> file_;
    Xxh3 mask_;
};

}  // namespace

Result<std::vector<std::byte>> write_package(const PackageContent& content) {
    return guarded([&]() -> Result<std::vector<std::byte>> {
        const FpEnvironment environment;
        return PackageWriter(content).write();
    });
}

}  // namespace trlm::adapt
