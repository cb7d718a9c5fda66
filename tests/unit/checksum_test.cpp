#include "trlm/adapt/checksum.hpp"

#include <algorithm>
#include <vector>

#include <xxhash.h>

#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {

std::vector<std::byte> counted_bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t i = 0; i < count; ++i)
        bytes[i] = static_cast<std::byte>(i * 167 >> 3 & 0xff);
    return bytes;
}

}  // namespace

TEST_CASE("XXH3-64 gives the published values", "[checksum]") {
    CHECK(xxh3_64({}) == 0x2d06800538d394c2);
    CHECK(xxh3_64(as_bytes("a")) == 0xe6c632b61e964e1f);
    CHECK(xxh3_64(as_bytes("abc")) == 0x78af5f94892f3950);
}

TEST_CASE("XXH3-64 of a BTOK section is that of the conformance vectors", "[checksum]") {
    std::vector<std::byte> section(28);
    const std::uint32_t numbers[] = {0x4b4f5442, 1, 260, 256, 257, 258, 259};
    for (std::size_t i = 0; i < 7; ++i)
        store(MutableBytes(section), 4 * i, numbers[i]);
    CHECK(xxh3_64(section) == 0x765e9d76749c51b6);
}

TEST_CASE("XXH3-128 is in canonical big-endian form", "[checksum]") {
    CHECK(to_hex(xxh3_128({})) == "99aa06d3014798d86001c324468d497f");
    CHECK(to_hex(xxh3_128(as_bytes("abc"))) == "06b05ab6733a618578af5f94892f3950");
}

TEST_CASE("A checksum of 0 is stored as 1", "[checksum]") {
    CHECK(stored_checksum(0) == 1);
    CHECK(stored_checksum(1) == 1);
    CHECK(stored_checksum(2) == 2);
    CHECK(checksum_of({}) == 0x2d06800538d394c2);
}

TEST_CASE("Hashing in pieces equals hashing at once", "[checksum]") {
    for (const std::size_t size :
         {0U, 1U, 16U, 17U, 128U, 240U, 241U, 1024U, 1025U, 5000U, 65'600U}) {
        const auto bytes = counted_bytes(size);
        for (const std::size_t piece : {1U, 7U, 64U, 255U, 256U, 4096U, 65'536U}) {
            Xxh3 hasher;
            for (std::size_t at = 0; at < size; at += piece) {
                hasher.update(slice(bytes, at, std::min(piece, size - at)));
            }
            hasher.update({});
            CHECK(hasher.hash() == xxh3_64(bytes));
            CHECK(hasher.checksum() == checksum_of(bytes));
            Xxh3Wide wide;
            for (std::size_t at = 0; at < size; at += piece) {
                wide.update(slice(bytes, at, std::min(piece, size - at)));
            }
            wide.update({});
            CHECK(wide.hash() == xxh3_128(bytes));
        }
    }
}

TEST_CASE("A hasher goes on after its hash was asked for, and moves", "[checksum]") {
    Xxh3 hasher;
    hasher.update(as_bytes("a"));
    CHECK(hasher.hash() == 0xe6c632b61e964e1f);
    Xxh3 moved = std::move(hasher);
    moved.update(as_bytes("bc"));
    CHECK(moved.hash() == 0x78af5f94892f3950);
}

TEST_CASE("Checksums as text", "[checksum]") {
    CHECK(format_checksum(0) == "xxh3-64:0000000000000000");
    CHECK(format_checksum(0x0123456789abcdef) == "xxh3-64:0123456789abcdef");
    CHECK(parse_checksum("xxh3-64:0123456789abcdef") == 0x0123456789abcdef);
    CHECK(parse_checksum("xxh3-64:ffffffffffffffff") == 0xffffffffffffffff);
    for (const char* text :
         {"", "xxh3-64:", "xxh3-64:0123456789abcde", "xxh3-64:0123456789abcdef0",
          "xxh3-64:0123456789ABCDEF", "xxh3-64:0123456789abcdeg", "XXH3-64:0123456789abcdef",
          "0123456789abcdef", "xxh3-64: 123456789abcdef", "sha256:0123456789abcdef"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_checksum(text).has_value());
    }
}

TEST_CASE("Hexadecimal text", "[checksum]") {
    CHECK(to_hex({}).empty());
    CHECK(to_hex(as_bytes(std::string_view("\x00\x7f\xff", 3))) == "007fff");
}

TEST_CASE("The hash is that of xxHash's portable functions", "[checksum]") {
    for (const std::size_t size : {0U, 3U, 100U, 200U, 241U, 1023U, 1025U, 4096U, 300'001U}) {
        const auto bytes = counted_bytes(size);
        CHECK(xxh3_64(bytes) == XXH3_64bits(bytes.data(), size));
        for (const std::size_t shift : {1U, 5U}) {
            const Bytes shifted = slice(bytes, std::min(shift, size), size - std::min(shift, size));
            CHECK(xxh3_64(shifted) == XXH3_64bits(shifted.data(), shifted.size()));
        }
    }
}
