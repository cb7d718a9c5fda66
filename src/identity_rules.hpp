#pragma once
// How two identities differ.  docs/formats.md, section 2

#include <functional>
#include <string>
#include <string_view>

#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/identity.hpp"

namespace trlm::adapt {

/// The message about one field: "tensor count", what was expected and what is there.
using FieldSentence = std::function<std::string(std::string_view what, std::string_view expected,
                                                std::string_view actual)>;

/// `flags_differ`, `tensor_count_differs`, `parameter_count_differs`, `layout_differs` and
/// `tokenizer_differs`, each with `file`.
void compare_identities(const Identity& expected, const Identity& actual, const std::string& file,
                        const FieldSentence& sentence, Findings& findings);

}  // namespace trlm::adapt
