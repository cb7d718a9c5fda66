#include "scan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>

#include "kernels/kernels.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

// Small enough to stay in the second-level cache between the hashes and the check, and a multiple
// of every element's size, so that no element straddles two chunks.
constexpr std::uint64_t chunk_bytes = 65'536;
constexpr std::uint64_t checksum_bytes = 8;
constexpr std::uint64_t progress_bytes = std::uint64_t{1} << 20;

template <class T>
T element_at(Bytes chunk, std::uint64_t index) noexcept {
    T value;
    std::memcpy(&value, chunk.data() + index * sizeof(T), sizeof(T));
    return value;
}

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

// Checks one section chunk by chunk; the outcome keeps the first defect.
class SectionCheck {
public:
    SectionCheck(const Section& section, const kernels::Table& kernels, SectionOutcome& outcome)
        : section_(section), kernels_(kernels), outcome_(outcome) {}

    // `start` is the chunk's first byte within the section.
    void check(Bytes chunk, std::uint64_t start) noexcept {
        switch (section_.kind) {
            case SectionKind::opaque:
                return;
            case SectionKind::zeros:
                return check_zeros(chunk, start);
            case SectionKind::values:
                return check_values(chunk, start);
            case SectionKind::scales:
                return check_scales(chunk, start);
            case SectionKind::indexes:
                return check_indexes(chunk, start);
            case SectionKind::bitmask:
                return check_bitmask(chunk, start);
        }
    }

private:
    void found(SectionDefect defect, std::uint64_t element) noexcept {
        if (outcome_.defect != SectionDefect::none) return;
        outcome_.defect = defect;
        outcome_.element = element;
    }

    [[nodiscard]] bool decided() const noexcept { return outcome_.defect != SectionDefect::none; }

    void keep_largest(std::uint32_t magnitude) noexcept {
        outcome_.max_abs = std::max(outcome_.max_abs, std::bit_cast<float>(magnitude));
    }

    void check_zeros(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const auto nonzero =
            std::ranges::find_if(chunk, [](std::byte b) { return b != std::byte{}; });
        if (nonzero == chunk.end()) return;
        found(SectionDefect::not_zero, start + static_cast<std::uint64_t>(nonzero - chunk.begin()));
    }

    void check_values(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const std::size_t count = chunk.size() / sizeof(float);
        const std::uint32_t largest = kernels_.max_magnitude(chunk.data(), count);
        if (largest < kernels::infinity_bits) return keep_largest(largest);
        const std::size_t first = kernels_.first_non_finite(chunk.data(), count);
        found(SectionDefect::non_finite, start / sizeof(float) + first);
    }

    void check_scales(Bytes chunk, std::uint64_t start) noexcept {
        if (decided()) return;
        const std::size_t count = chunk.size() / sizeof(float);
        const std::size_t first = kernels_.first_bad_scale(chunk.data(), count, section_.bound);
        if (first == count) return keep_largest(kernels_.max_magnitude(chunk.data(), count));
        found(SectionDefect::bad_scale, start / sizeof(float) + first);
    }

    void check_indexes(Bytes chunk, std::uint64_t start) noexcept {
        const std::uint64_t count = chunk.size() / sizeof(std::uint32_t);
        if (decided() || count == 0) return;
        // One branch-free pass: where all ascend, the last one is the largest.
        bool ascending = previous_index_ < element_at<std::uint32_t>(chunk, 0);
        for (std::uint64_t i = 1; i < count; ++i) {
            ascending &=
                element_at<std::uint32_t>(chunk, i - 1) < element_at<std::uint32_t>(chunk, i);
        }
        const std::int64_t last = element_at<std::uint32_t>(chunk, count - 1);
        if (!ascending || static_cast<std::uint64_t>(last) >= section_.elements) {
            locate_index(chunk, count, start / sizeof(std::uint32_t));
        }
        previous_index_ = last;
    }

    void locate_index(Bytes chunk, std::uint64_t count, std::uint64_t first) noexcept {
        std::int64_t previous = previous_index_;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::int64_t index = element_at<std::uint32_t>(chunk, i);
            if (static_cast<std::uint64_t>(index) >= section_.elements) {
                return found(SectionDefect::out_of_range, first + i);
            }
            if (index <= previous) return found(SectionDefect::not_ascending, first + i);
            previous = index;
        }
    }

    void check_bitmask(Bytes chunk, std::uint64_t start) noexcept {
        if (section_.elements / 8 >= start + chunk.size()) {
            outcome_.popcount += kernels_.count_bits(chunk.data(), chunk.size());
            return;
        }
        const std::uint64_t whole = chunk.size() / sizeof(std::uint64_t);
        for (std::uint64_t i = 0; i < whole; ++i) {
            count_bits(element_at<std::uint64_t>(chunk, i),
                       8 * (start + i * sizeof(std::uint64_t)));
        }
        std::uint64_t rest = 0;
        const std::uint64_t done = whole * sizeof(std::uint64_t);
        if (done < chunk.size()) std::memcpy(&rest, chunk.data() + done, chunk.size() - done);
        count_bits(rest, 8 * (start + done));
    }

    // `word` holds the elements from `first` on.
    void count_bits(std::uint64_t word, std::uint64_t first) noexcept {
        const std::uint64_t valid = section_.elements > first ? section_.elements - first : 0;
        const std::uint64_t mask =
            valid >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << valid) - 1;
        outcome_.popcount += static_cast<std::uint64_t>(std::popcount(word & mask));
        const std::uint64_t past = word & ~mask;
        if (past != 0) {
            found(SectionDefect::bits_past_end,
                  first + static_cast<std::uint64_t>(std::countr_zero(past)));
        }
    }

    const Section& section_;
    const kernels::Table& kernels_;
    SectionOutcome& outcome_;
    std::int64_t previous_index_ = -1;
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
            cancelled_ = progress_ && !progress_(hash_.position(), bytes_);
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
