#include "trlm/adapt/rounding.hpp"

#include "support/catch.hpp"

using namespace trlm::adapt;

TEST_CASE("a rounding reads and writes alike") {
    for (const char* text : {"nearest", "adaptive:0", "stochastic:7",
                             "adaptive:12345678901234567890", "stochastic:18446744073709551615"}) {
        const auto rounding = parse_rounding(text);
        REQUIRE(rounding);
        CHECK(to_string(*rounding) == text);
    }
    CHECK(to_string(Rounding{}) == "adaptive:0");
}

TEST_CASE("what is not a rounding is a usage error") {
    for (const char* text :
         {"", "Nearest", "nearest:0", "adaptive", "adaptive:", "adaptive:-1", "adaptive:+1",
          "adaptive:1.5", "adaptive: 1", "stochastic:18446744073709551616", "stochastic:0x10",
          "stochastic:1 ", "random:1", ":1"}) {
        INFO(text);
        const auto rounding = parse_rounding(text);
        REQUIRE(!rounding);
        CHECK(rounding.error().contains(FindingCode::usage_error));
        CHECK(rounding.error().exit_code() == ExitCode::usage);
    }
}
