#include "scan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>

#include "going_on.hpp"
#include "section_check.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

// Small enough to stay in the second-level cache between the hashes and the check, and a multiple
// of every element's size, so that no element straddles two chunks.
constexpr std::uint64_t chunk_bytes = 65'536;
constexpr std::uint64_t checksum_bytes = 8;
constexpr std::uint64_t progress_bytes = std::uint64_t{1} << 20;

// The file's hash, fed up to a point at a time, with the checksum's bytes as zero.
class FileHash {
public:
    FileHash(Bytes file, std::uint64_t checksum_offset)
        : file_(file),
          checksum_begin_(std::min<std::uint64_t>(checksum_offset, file.size())),
          checksum_end_(checksum_begin_ +
                        std::min<std::uint64_t>(checksum_bytes, file.size() - checksum_begin_)) {}

    // Does nothing when that much was hashed before, as it was where sections overlap.
    void hash_to(std::uint64_t offset) noexcept {
        hash_plain_to(std::min(offset, checksum_begin_));
        if (offset > checksum_begin_ && position_ < checksum_end_) {
            constexpr std::array<std::byte, checksum_bytes> zeros{};
            const std::uint64_t end = std::min(offset, checksum_end_);
            hash_.update(slice(zeros, 0, end - position_));
            position_ = end;
        }
        hash_plain_to(offset);
    }

    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_.hash(); }

private:
    void hash_plain_to(std::uint64_t offset) noexcept {
        if (offset <= position_) return;
        hash_.update(slice(file_, position_, offset - position_));
        position_ = offset;
    }

    Bytes file_;
    std::uint64_t checksum_begin_;
    std::uint64_t checksum_end_;
    std::uint64_t position_ = 0;
    Xxh3 hash_;
};

// The payload hashes of all owners. An owner's state lives from its first section to its last:
// in a well-formed file there is one at a time, however many owners there are.
class PayloadHashes {
public:
    PayloadHashes(const std::vector<Section>& sections, std::size_t owners)
        : sections_left_(owners), states_(owners), hashes_(owners, xxh3_64({})) {
        for (const Section& section : sections) {
            if (section.in_payload_hash) ++sections_left_[section.owner];
        }
    }

    // The owner's state, or nullptr for a section outside of any payload hash.
    [[nodiscard]] Xxh3* begin(const Section& section) {
        if (!section.in_payload_hash) return nullptr;
        std::unique_ptr<Xxh3>& state = states_[section.owner];
        if (!state) state = std::make_unique<Xxh3>();
        return state.get();
    }

    void end(const Section& section) noexcept {
        if (!section.in_payload_hash || --sections_left_[section.owner] != 0) return;
        hashes_[section.owner] = states_[section.owner]->hash();
        states_[section.owner].reset();
    }

    [[nodiscard]] std::vector<std::uint64_t> take() noexcept { return std::move(hashes_); }

private:
    std::vector<std::size_t> sections_left_;
    std::vector<std::unique_ptr<Xxh3>> states_;
    std::vector<std::uint64_t> hashes_;
};

// The file's hash on its way through the file, telling how far it is.
class FilePass {
public:
    FilePass(Bytes file, std::uint64_t checksum_offset, const Progress& progress)
        : bytes_(file.size()), hash_(file, checksum_offset), progress_(progress) {}

    // Hashes up to there; false when cancelled.
    [[nodiscard]] bool go_to(std::uint64_t offset) {
        while (!cancelled_ && hash_.position() < offset) {
            hash_.hash_to(std::min(offset, next_report_));
            if (hash_.position() < next_report_) continue;
            cancelled_ = !goes_on(progress_, hash_.position(), bytes_);
            next_report_ += progress_bytes;
        }
        return !cancelled_;
    }

    [[nodiscard]] bool finish() { return go_to(bytes_); }
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_.hash(); }

private:
    std::uint64_t bytes_;
    FileHash hash_;
    const Progress& progress_;
    std::uint64_t next_report_ = progress_bytes;
    bool cancelled_ = false;
};

std::vector<std::size_t> file_order(const std::vector<Section>& sections) {
    std::vector<std::size_t> order(sections.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return sections[i].offset; });
    return order;
}

}  // namespace

Finding reading_cancelled() {
    Finding finding;
    finding.code = FindingCode::output_failed;
    finding.message = "cancelled before the whole file was read";
    return finding;
}

ScanResult scan_file(Bytes file, std::uint64_t checksum_offset,
                     const std::vector<Section>& sections, std::size_t owners,
                     const Progress& progress) {
    ScanResult result;
    result.cancelled = true;  // until the end is reached
    result.outcomes.resize(sections.size());
    const kernels::Table& kernels = kernels::best();
    FilePass pass(file, checksum_offset, progress);
    PayloadHashes payload_hashes(sections, owners);
    Xxh3 mask_hash;

    for (const std::size_t i : file_order(sections)) {
        const Section& section = sections[i];
        const Bytes bytes = slice(file, section.offset, section.length);
        SectionCheck check(section, kernels, result.outcomes[i]);
        Xxh3* const payload_hash = payload_hashes.begin(section);
        if (!pass.go_to(section.offset)) return result;
        for (std::uint64_t start = 0; start < bytes.size(); start += chunk_bytes) {
            const std::uint64_t length = std::min<std::uint64_t>(chunk_bytes, bytes.size() - start);
            const Bytes chunk = slice(bytes, start, length);
            if (!pass.go_to(section.offset + start + length)) return result;
            if (payload_hash != nullptr) payload_hash->update(chunk);
            if (section.in_mask_hash) mask_hash.update(chunk);
            check.check(chunk, start);
        }
        payload_hashes.end(section);
    }

    if (!pass.finish()) return result;
    result.cancelled = false;
    result.file_hash = pass.hash();
    result.payload_hashes = payload_hashes.take();
    result.mask_hash = mask_hash.hash();
    return result;
}

}  // namespace trlm::adapt
