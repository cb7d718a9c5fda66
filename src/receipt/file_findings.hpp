#pragma once
// What is said of a file that is not the one that a document names.

#include <fmt/format.h>

#include "trlm/adapt/receipt/file_ref.hpp"

namespace trlm::adapt {

[[nodiscard]] inline Finding size_differs(std::uint64_t expected, std::uint64_t actual) {
    return {.code = FindingCode::size_mismatch,
            .message =
                "the file has another size than the document that names it states; take both "
                "from the same release",
            .expected = fmt::format("{}", expected),
            .actual = fmt::format("{}", actual)};
}

[[nodiscard]] inline Finding digest_differs(const ContentDigest& expected,
                                            const ContentDigest& actual) {
    return {.code = FindingCode::digest_mismatch,
            .message =
                "the file's content is not the one that was named; take the file and the "
                "document that names it from the same release",
            .expected = to_string(expected),
            .actual = to_string(actual)};
}

}  // namespace trlm::adapt
