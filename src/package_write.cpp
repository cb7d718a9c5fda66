#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "package_encode.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt {
namespace {

namespace format = package_format;
using package_encode::Draft;

/// Writes one package: judges the content as far as its spans need it, then lays it out.
class PackageWriter {
public:
    explicit PackageWriter(const PackageContent& content) : content_(content) {}

    [[nodiscard]] Result<std::vector<std::byte>> write() {
        if (content_.entries.size() > limits::tensors) return too_many_entries();
        draft_entries();
        if (findings_.has_errors()) return failure(std::move(findings_));
        if (!lay_out()) return failure(std::move(findings_));
        for (std::size_t i = 0; i < drafts_.size(); ++i)
            write_entry(i);
        std::ranges::copy(as_bytes(content_.metadata),
                          file_.begin() + static_cast<std::ptrdiff_t>(metadata_offset_));
        write_header();
        store(MutableBytes(file_), format::header::checksum.offset, checksum_of(file_));
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

    void draft_entries() {
        std::vector<const EntryContent*> sorted;
        for (const EntryContent& content : content_.entries)
            sorted.push_back(&content);
        std::ranges::stable_sort(sorted, {}, &EntryContent::name_hash);
        for (const EntryContent* content : sorted) {
            drafts_.push_back(
                package_encode::draft_entry(content_.kind, *content, drafts_.size(), findings_));
        }
    }

    // Offsets of everything, and the file's bytes, zero.
    bool lay_out() {
        const std::uint64_t directory_end = format::entry_offset(drafts_.size());
        metadata_offset_ = directory_end;
        CheckedSize end = CheckedSize(directory_end) + content_.metadata.size();
        const std::uint64_t payload_offset = align64(end).value();
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
        if (drafts_.empty()) end = payload_offset;
        file_.resize(static_cast<std::size_t>(end.value()));
        return true;
    }

    void write_entry(std::size_t i) {
        PackageEntry& entry = drafts_[i].entry;
        const MutableBytes payload =
            MutableBytes(file_).subspan(static_cast<std::size_t>(entry.payload_offset),
                                        static_cast<std::size_t>(entry.payload_length));
        package_encode::encode_payload(drafts_[i], content_.kind, payload, mask_);
        entry.payload_checksum = checksum_of(payload);
        package_encode::encode_entry(
            entry, content_.kind,
            MutableBytes(file_).subspan(static_cast<std::size_t>(format::entry_offset(i)),
                                        format::entry_bytes));
    }

    void write_header() {
        package_encode::Header header{.kind = content_.kind,
                                      .identity = content_.identity,
                                      .entry_count = drafts_.size(),
                                      .metadata_length = content_.metadata.size(),
                                      .file_length = file_.size(),
                                      .mask_method = content_.mask_method,
                                      .mask_seed = content_.mask_seed,
                                      .mask_checksum = mask_.checksum(),
                                      .source_kind = content_.source_kind,
                                      .source_hash = content_.source_hash};
        for (const Draft& draft : drafts_) {
            header.stored += draft.entry.count;
            header.elements += draft.elements;
        }
        package_encode::encode_header(header, file_);
    }

    const PackageContent& content_;
    Findings findings_;
    std::vector<Draft> drafts_;
    std::uint64_t metadata_offset_ = 0;
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
