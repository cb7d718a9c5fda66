#pragma once
// The version of the library and of the command line tool.

#include <string_view>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// `MAJOR.MINOR.PATCH`. CMakeLists.txt reads it from this line: it is written down only here.
inline constexpr std::string_view version = "1.0.0";

}  // namespace trlm::adapt
#pragma GCC visibility pop
