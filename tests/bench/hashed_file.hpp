#pragma once
// A file that is written from front to back and gets its checksum at the end.

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt::bench {

/// Collects what is written into large pieces and hashes them. The first error ends the writing
/// and is returned by `finish`.
class HashedFile {
public:
    [[nodiscard]] static Result<HashedFile> create(const std::string& path, std::uint64_t bytes) {
        Result<OutputFile> file = OutputFile::create(path, bytes);
        if (!file) return failure(std::move(file).error());
        return HashedFile(std::move(*file));
    }

    void write(Bytes bytes) {
        if (!buffer_.empty() && buffer_.size() + bytes.size() > piece_bytes) flush();
        if (bytes.size() > piece_bytes) {
            put(bytes);
        } else {
            buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
        }
        written_ += bytes.size();
    }

    /// Zeros up to `offset`.
    void pad_to(std::uint64_t offset) {
        static constexpr std::array<std::byte, region_alignment> zeros{};
        write(Bytes(zeros).first(static_cast<std::size_t>(offset - written_)));
    }

    /// Writes the checksum of everything, in which it counts as zero, and publishes the file.
    [[nodiscard]] Status finish(std::uint64_t checksum_offset) {
        flush();
        if (!status_) return status_;
        std::array<std::byte, 8> checksum{};
        store(MutableBytes(checksum), 0, hash_.checksum());
        if (Status sealed = file_.write_at(checksum_offset, checksum); !sealed) return sealed;
        return file_.commit(/*replace=*/true);
    }

private:
    static constexpr std::size_t piece_bytes = std::size_t{1} << 20;

    explicit HashedFile(OutputFile file) : file_(std::move(file)) { buffer_.reserve(piece_bytes); }

    void flush() {
        put(buffer_);
        buffer_.clear();
    }

    void put(Bytes bytes) {
        if (!status_) return;
        hash_.update(bytes);
        status_ = file_.write(bytes);
    }

    OutputFile file_;
    Xxh3 hash_;
    std::vector<std::byte> buffer_;
    std::uint64_t written_ = 0;
    Status status_;
};

}  // namespace trlm::adapt::bench
