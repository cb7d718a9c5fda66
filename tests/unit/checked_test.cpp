#include "trlm/adapt/checked.hpp"

#include <limits>
#include <new>
#include <stdexcept>

#include "guard.hpp"
#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {
constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
}

TEST_CASE("a sum is exact up to 2^64 - 1 and overflowed one past it") {
    const CheckedSize exact = CheckedSize(most - 1) + 1;
    CHECK_FALSE(exact.overflowed());
    CHECK(exact.value() == most);

    const CheckedSize past = CheckedSize(most) + 1;
    CHECK(past.overflowed());
    CHECK(past.value() == most);
    CHECK_FALSE(past.fits(most));
}

TEST_CASE("a product is exact up to 2^64 - 1 and overflowed past it") {
    // 2^64 - 1 = 3 * 5 * 17 * 257 * 641 * 65537 * 6700417
    const CheckedSize exact = CheckedSize(0xffffffff) * 0x100000001;
    CHECK_FALSE(exact.overflowed());
    CHECK(exact.value() == most);
    CHECK((CheckedSize(std::uint64_t{1} << 32) * (std::uint64_t{1} << 32)).overflowed());
    CHECK((CheckedSize(most) * 2).overflowed());
    CHECK((CheckedSize(most) * 0).value() == 0);
    CHECK((CheckedSize(0) * most).value() == 0);
}

TEST_CASE("an overflow stays through whatever follows") {
    const CheckedSize past = CheckedSize(most) + 1;
    CHECK((past * 0).overflowed());
    CHECK((past + 0).overflowed());
    CHECK((CheckedSize(1) + past).overflowed());
    CHECK((CheckedSize(0) * past).overflowed());
    CHECK(align64(past).overflowed());
}

TEST_CASE("fits compares with the exact value") {
    CHECK(CheckedSize(10).fits(10));
    CHECK_FALSE(CheckedSize(11).fits(10));
    CHECK(CheckedSize(most).fits(most));
}

TEST_CASE("align64 rounds up to a multiple of 64") {
    CHECK(align64(0).value() == 0);
    CHECK(align64(1).value() == 64);
    CHECK(align64(63).value() == 64);
    CHECK(align64(64).value() == 64);
    CHECK(align64(65).value() == 128);
    CHECK(align64(most - 63).value() == most - 63);
    CHECK_FALSE(align64(most - 63).overflowed());
    CHECK(align64(most - 62).overflowed());
}

TEST_CASE("a size is computed when the program is compiled, too") {
    STATIC_REQUIRE((CheckedSize(6) * 7 + 8).value() == 50);
    STATIC_REQUIRE((CheckedSize(most) + 1).overflowed());
}

TEST_CASE("a failed allocation leaves as a finding, anything else as it is") {
    const Status no_memory = guarded([]() -> Status { throw std::bad_alloc(); });
    REQUIRE_FALSE(no_memory);
    CHECK(no_memory.error().contains(FindingCode::out_of_memory));
    CHECK(no_memory.error().exit_code() == ExitCode::cannot_check);

    const Status too_long = guarded([]() -> Status { throw std::length_error("vector"); });
    REQUIRE_FALSE(too_long);
    CHECK(too_long.error().contains(FindingCode::out_of_memory));

    CHECK(*guarded([]() -> Result<int> { return 7; }) == 7);
    CHECK_THROWS_AS(static_cast<void>(guarded([]() -> Status { throw std::runtime_error(""); })),
                    std::runtime_error);
}
