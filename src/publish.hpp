#pragma once
// The end of every new model file: its checksum, its digest, its name.

#include <cstdint>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// What work says that was told to stop.
[[nodiscard]] Finding cancelled_before_publishing();

/// Puts the checksum into a model that is written but for it.
[[nodiscard]] Status seal_model(OutputFile& file, std::uint64_t checksum);

/// Seals a model of `bytes` bytes, computes its digest and gives it its name (see
/// `OutputFile::commit`). While the digest is computed, another thread, where one can be had,
/// brings the file to the disk. `output_failed`, also when cancelled.
[[nodiscard]] Result<Digest> publish_model(OutputFile& file, std::uint64_t bytes,
                                           std::uint64_t checksum, bool replace,
                                           const Progress& progress);

}  // namespace trlm::adapt
