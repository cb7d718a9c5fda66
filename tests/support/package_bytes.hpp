#pragma once
// Adapter packages byte by byte, from the numbers of docs/formats.md section 3 and independent of
// the library's writer, so that a test can break any rule.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt::package_bytes {

/// A file to be mutated.
struct File {
    std::vector<std::byte> bytes;

    template <class T>
    File& put(std::uint64_t offset, T value) {
        store(MutableBytes(bytes), offset, value);
        return *this;
    }

    template <class T>
    [[nodiscard]] T get(std::uint64_t offset) const {
        return load<T>(bytes, offset);
    }

    /// Recomputes the file's checksum.
    File& seal() {
        put<std::uint64_t>(120, 0);
        return put(120, checksum_of(bytes));
    }

    /// Recomputes the payload checksum of entry `index`.
    File& seal_payload(std::uint64_t index) {
        const std::uint64_t entry = 128 + 64 * index;
        const Bytes payload =
            slice(bytes, get<std::uint64_t>(entry + 32), get<std::uint64_t>(entry + 40));
        return put(entry + 56, checksum_of(payload));
    }

    [[nodiscard]] Result<Package> read(ReadDepth depth = ReadDepth::everything) const {
        return read_package(bytes, depth);
    }
};

/// A directory entry and its payload.
struct Entry {
    std::uint64_t name_hash = 0;
    std::uint32_t rank = 1;
    std::array<std::uint32_t, 4> dims{1, 1, 1, 1};
    std::uint32_t encoding = 0;
    std::uint64_t detail = 0;
    std::vector<std::byte> payload = {};
};

/// Everything that a package's bytes follow from.
struct Content {
    std::string_view magic = "ADP1";
    std::uint32_t tensor_count = 21;
    std::vector<Entry> entries = {};
    std::string metadata = {};
    std::array<std::uint64_t, 3> kind_bytes = {};
};

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
    bytes.resize(bytes.size() + sizeof(T));
    store(MutableBytes(bytes), bytes.size() - sizeof(T), value);
}

inline void pad(std::vector<std::byte>& bytes) {
    bytes.resize((bytes.size() + 63) / 64 * 64);
}

/// The canonical file, sealed. Every rule about values is the test's to keep or break.
inline File build(const Content& content) {
    File file;
    auto& bytes = file.bytes;
    bytes.resize(128 + 64 * content.entries.size());
    const std::uint64_t metadata_offset = content.metadata.empty() ? 0 : bytes.size();
    for (const char c : content.metadata)
        bytes.push_back(static_cast<std::byte>(c));
    pad(bytes);
    const std::uint64_t payload_offset = bytes.size();
    for (std::size_t i = 0; i < content.entries.size(); ++i) {
        const Entry& entry = content.entries[i];
        pad(bytes);
        const std::uint64_t offset = bytes.size();
        bytes.insert(bytes.end(), entry.payload.begin(), entry.payload.end());
        const std::uint64_t base = 128 + 64 * i;
        file.put(base, entry.name_hash).put(base + 8, entry.rank).put(base + 12, entry.encoding);
        file.put(base + 16, entry.dims).put(base + 32, offset);
        file.put(base + 40, std::uint64_t{entry.payload.size()}).put(base + 48, entry.detail);
        file.seal_payload(i);
    }
    for (std::size_t i = 0; i < 4; ++i)
        bytes[i] = static_cast<std::byte>(content.magic[i]);
    file.put(4, std::uint32_t{1}).put(8, std::uint32_t{128});
    file.put(16, std::uint32_t{1}).put(20, content.tensor_count);
    file.put(24, std::uint64_t{103232})
        .put(32, std::uint64_t{0x1111})
        .put(40, std::uint64_t{0x2222});
    file.put(48, static_cast<std::uint32_t>(content.entries.size()));
    file.put(56, std::uint64_t{128}).put(64, metadata_offset);
    file.put(72, std::uint64_t{content.metadata.size()}).put(80, payload_offset);
    file.put(88, std::uint64_t{bytes.size()}).put(96, content.kind_bytes);
    return file.seal();
}

inline std::vector<std::byte> floats(std::initializer_list<float> values) {
    std::vector<std::byte> bytes;
    for (const float value : values)
        append(bytes, value);
    return bytes;
}

inline void append_floats(std::vector<std::byte>& bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        append(bytes, 0.25F + static_cast<float>(i));
    }
}

/// "a" [2, 5] and "b" [3], in the order of their hashes.
inline Content dense_content(std::string metadata = "") {
    Content content{.metadata = std::move(metadata)};
    Entry a{.name_hash = tensor_name_hash("a"), .rank = 2, .dims = {2, 5, 1, 1}};
    append_floats(a.payload, 10);
    Entry b{.name_hash = tensor_name_hash("b"), .rank = 1, .dims = {3, 1, 1, 1}};
    append_floats(b.payload, 3);
    content.entries = {a, b};
    return content;
}

/// An index list of 3 of 10 elements, [2, 5]: 1, 4, 9.
inline Entry index_list(std::string_view name) {
    Entry entry{.name_hash = tensor_name_hash(name),
                .rank = 2,
                .dims = {2, 5, 1, 1},
                .encoding = 1,
                .detail = 3};
    for (const std::uint32_t index : {1U, 4U, 9U})
        append(entry.payload, index);
    pad(entry.payload);
    append_floats(entry.payload, 3);
    return entry;
}

/// A bitmask of 4 of 13 elements, [13]: 0, 7, 8, 12.
inline Entry bitmask(std::string_view name) {
    Entry entry{.name_hash = tensor_name_hash(name),
                .rank = 1,
                .dims = {13, 1, 1, 1},
                .encoding = 2,
                .detail = 4};
    append(entry.payload, std::uint8_t{0x81});
    append(entry.payload, std::uint8_t{0x11});
    pad(entry.payload);
    append_floats(entry.payload, 4);
    return entry;
}

/// Sets retention and mask checksum of an ASP1 to what its entries demand.
inline File& seal_mask(File& file) {
    std::uint64_t stored = 0;
    std::uint64_t elements = 0;
    std::vector<std::byte> positions;
    for (std::uint64_t i = 0; i < file.get<std::uint32_t>(48); ++i) {
        const std::uint64_t entry = 128 + 64 * i;
        const auto dims = file.get<std::array<std::uint32_t, 4>>(entry + 16);
        const auto count = file.get<std::uint64_t>(entry + 48);
        const std::uint64_t n = std::uint64_t{dims[0]} * dims[1] * dims[2] * dims[3];
        const std::uint64_t bytes =
            file.get<std::uint32_t>(entry + 12) == 1 ? 4 * count : (n + 7) / 8;
        const Bytes section = slice(file.bytes, file.get<std::uint64_t>(entry + 32), bytes);
        positions.insert(positions.end(), section.begin(), section.end());
        stored += count;
        elements += n;
    }
    file.put(96, static_cast<float>(static_cast<double>(stored) / static_cast<double>(elements)));
    return file.put(112, checksum_of(positions));
}

inline File sparse_file(std::vector<Entry> entries, std::string metadata = "") {
    File file =
        build({.magic = "ASP1", .entries = std::move(entries), .metadata = std::move(metadata)});
    return seal_mask(file).seal();
}

/// "w" [3, 4] with rank 2 and scale 0.5: A has 8 values at 192, B has 6 at 256.
inline Content low_rank_content() {
    Entry entry{.name_hash = tensor_name_hash("w"),
                .rank = 2,
                .dims = {3, 4, 1, 1},
                .detail = 2 | std::uint64_t{0x3f000000} << 32};
    append_floats(entry.payload, 8);
    pad(entry.payload);
    append_floats(entry.payload, 6);
    return {.magic = "ALR1", .entries = {entry}};
}

/// The names of all codes, in the order found.
template <class T>
std::vector<std::string_view> codes(const Result<T>& result) {
    std::vector<std::string_view> names;
    if (result) return names;
    for (const Finding& finding : result.error())
        names.push_back(finding_info(finding.code).name);
    return names;
}

using Codes = std::vector<std::string_view>;

}  // namespace trlm::adapt::package_bytes
