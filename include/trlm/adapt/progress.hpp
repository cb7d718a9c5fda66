#pragma once
// How long work tells how far it is, and is told to stop.

#include <cstdint>
#include <functional>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Told how much is done; returns false to cancel, as does throwing. Called from one thread at a
/// time, at least once for each few MiB. It may release mappings that the work reads
/// (`MappedFile::release`).
using Progress = std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

}  // namespace trlm::adapt
#pragma GCC visibility pop
