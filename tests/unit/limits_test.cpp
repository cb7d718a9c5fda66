#include "trlm/adapt/limits.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace trlm::adapt;

// The numbers of docs/formats.md, section 5.
TEST_CASE("The table holds every limit in the order of the document", "[limits]") {
    const std::vector<std::uint64_t> expected = {65'536,
                                                 4,
                                                 2'147'483'647,
                                                 1'099'511'627'776,
                                                 4'294'967'296,
                                                 4'096,
                                                 1'048'576,
                                                 16,
                                                 1'048'576,
                                                 32,
                                                 64,
                                                 1'000,
                                                 33'554'432,
                                                 1'048'576,
                                                 262'144};
    std::vector<std::uint64_t> actual;
    for (const Limit& limit : all_limits())
        actual.push_back(limit.value);
    CHECK(actual == expected);
}

TEST_CASE("Every limit has a name of its own, a unit and an explanation", "[limits]") {
    std::set<std::string_view> names;
    for (const Limit& limit : all_limits()) {
        CAPTURE(limit.name);
        CHECK(names.insert(limit.name).second);
        CHECK_FALSE(limit.name.empty());
        CHECK_FALSE(limit.unit.empty());
        CHECK_FALSE(limit.applies.empty());
    }
}
