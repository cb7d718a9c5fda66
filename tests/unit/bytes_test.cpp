#include "trlm/adapt/bytes.hpp"

#include <array>
#include <limits>

#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

std::vector<std::byte> counting(std::size_t count) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < count; ++i)
        bytes.push_back(static_cast<std::byte>(i + 1));
    return bytes;
}

}  // namespace

TEST_CASE("a range lies inside up to the last byte and not one past it") {
    CHECK(range_inside(0, 0, 0));
    CHECK(range_inside(0, 8, 8));
    CHECK(range_inside(8, 0, 8));
    CHECK_FALSE(range_inside(9, 0, 8));
    CHECK_FALSE(range_inside(0, 9, 8));
    CHECK_FALSE(range_inside(1, 8, 8));
}

TEST_CASE("a range whose end wraps is outside") {
    CHECK_FALSE(range_inside(most, 2, 8));
    CHECK_FALSE(range_inside(2, most, 8));
    CHECK_FALSE(range_inside(most, most, most));
    CHECK(range_inside(most, 0, most));
}

TEST_CASE("numbers are little-endian at any alignment") {
    const auto bytes = counting(12);
    CHECK(load<std::uint32_t>(bytes, 0) == 0x04030201);
    CHECK(load<std::uint32_t>(bytes, 1) == 0x05040302);
    CHECK(load<std::uint64_t>(bytes, 3) == 0x0b0a090807060504);
    CHECK(load<std::uint16_t>(bytes, 10) == 0x0c0b);
}

TEST_CASE("a number that is not wholly inside loads as zero") {
    const auto bytes = counting(4);
    CHECK(load<std::uint32_t>(bytes, 0) == 0x04030201);
    CHECK(load<std::uint32_t>(bytes, 1) == 0);
    CHECK(load<std::uint32_t>(bytes, most) == 0);
    CHECK(load<std::uint64_t>(bytes, 0) == 0);
    CHECK(load<std::uint8_t>({}, 0) == 0);
}

TEST_CASE("a number is stored where it fits and nowhere else") {
    std::vector<std::byte> bytes(6);
    store(MutableBytes(bytes), 1, std::uint32_t{0x04030201});
    CHECK(bytes == std::vector{std::byte{0}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                               std::byte{0}});
    const auto before = bytes;
    store(MutableBytes(bytes), 3, std::uint32_t{0xffffffff});
    store(MutableBytes(bytes), most, std::uint32_t{0xffffffff});
    CHECK(bytes == before);
}

TEST_CASE("a slice is empty when it would leave the bytes") {
    const auto bytes = counting(8);
    CHECK(slice(bytes, 2, 3).size() == 3);
    CHECK(slice(bytes, 2, 3)[0] == std::byte{3});
    CHECK(slice(bytes, 8, 0).empty());
    CHECK(slice(bytes, 7, 2).empty());
    CHECK(slice(bytes, most, 2).empty());
}

TEST_CASE("a text and its bytes are the same memory") {
    const std::string_view text = "SLM1";
    CHECK(as_bytes(text).size() == 4);
    CHECK(as_bytes(text)[0] == std::byte{0x53});
    CHECK(as_text(as_bytes(text)).data() == text.data());
}
