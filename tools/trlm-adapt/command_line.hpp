#pragma once
// The tool but for its process: what it does with a command line.

namespace trlm::adapt::cli {

/// Parses `count` arguments, of which the first is the program's name, runs the command that they
/// name and prints its outcome; gives the exit code. Ends the process by a signal that asked for
/// it meanwhile. May throw std::bad_alloc, where even the words for a finding find no room.
[[nodiscard]] int run_command_line(int count, const char* const* values);

}  // namespace trlm::adapt::cli
