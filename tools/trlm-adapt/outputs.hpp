#pragma once
// Where results go: names for them, and what stands in the way of writing there.

#include <span>
#include <string>
#include <string_view>

#include "trlm/adapt/finding.hpp"

namespace trlm::adapt::cli {

/// `path` with `ending` before its extension: "union.q8_0.slm" and ".adapted" give
/// "union.q8_0.adapted.slm", "model" gives "model.adapted".
[[nodiscard]] std::string with_ending(const std::string& path, std::string_view ending);

/// True when writing `a` would write where `b` is or will be.
[[nodiscard]] bool same_place(const std::string& a, const std::string& b);

/// `usage_error` when the file to be written, `target`, is one of `inputs`, whatever its name.
/// `what` and `kind` call them by name in the message: "the output", "a package".
[[nodiscard]] Findings check_not_read(std::string_view what, const std::string& target,
                                      std::string_view kind, std::span<const std::string> inputs);

/// A file to be written needs a folder (`output_failed`), and a name that is free unless it may be
/// replaced (`usage_error`).
[[nodiscard]] Findings check_target(std::string_view what, const std::string& target, bool replace);

}  // namespace trlm::adapt::cli
