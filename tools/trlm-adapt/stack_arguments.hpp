#pragma once
// The packages of a command line and their strengths.

#include <string>
#include <vector>

#include "inputs.hpp"

namespace trlm::adapt::cli {

/// The package files: those named, or the stack of the one folder that is named.
[[nodiscard]] Result<StackFiles> stack_files(const std::vector<std::string>& arguments);

/// Strengths in stack order: what each NAME=X of `--strength` gives, NAME being a file's name or a
/// family's member, and the stack's own where none does. All that is wrong is reported.
[[nodiscard]] Result<std::vector<float>> stack_strengths(const std::vector<std::string>& arguments,
                                                         const StackFiles& stack);

}  // namespace trlm::adapt::cli
