#pragma once
// Adapter packages full of random deltas, written without ever being in memory as a whole.

#include <cstdint>
#include <string>
#include <string_view>

#include "trlm/adapt/package.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::bench {

/// What a generated adapter is like.
struct AdapterSpec {
    PackageKind kind = PackageKind::dense;
    std::uint32_t rank = 8;           ///< low-rank
    double density = 0.01;            ///< sparse: share of the elements
    std::uint64_t largest_bytes = 0;  ///< no further tensor once the file would pass it; 0: none
    std::string tensors;              ///< only tensors whose name contains it
    std::uint64_t seed = 0;
};

/// Writes an adapter for `model`, replacing `path`. Tensors that the kind or the rank does not suit
/// are left out; `usage_error` when none remains. Each value is made twice, once for the checksums
/// in the directory.
[[nodiscard]] Status write_random_adapter(const std::string& path, const Model& model,
                                          const AdapterSpec& spec);

}  // namespace trlm::adapt::bench
