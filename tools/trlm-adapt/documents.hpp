#pragma once
// The JSON of docs/cli.md, for whatever reports in it: the tool and the bindings.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../../src/json.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/statistics.hpp"
#include "trlm/adapt/survival.hpp"
#include "trlm/adapt/undo.hpp"

namespace trlm::adapt::cli {

/// `value` as the JSON number with the fewest digits that reads back to the same f32.
[[nodiscard]] Json json_number(float value);

/// `value`, or null when it is empty.
[[nodiscard]] Json json_text_or_null(std::string_view value);

/// One of `findings`.
[[nodiscard]] Json finding_json(const Finding& finding);

/// The whole document of a command, with a line feed; `result` may be null.
[[nodiscard]] std::string outcome_document(std::string_view command, const Findings& findings,
                                           const Json& result);

/// The result of verify.
[[nodiscard]] Json verification_json(const ChainReport& report);

/// The list `tensors` of apply.
[[nodiscard]] Json survival_json(std::span<const TensorSurvival> tensors);

/// The result of apply. `digest` is the new model's; `path` is where it was written, if it was.
[[nodiscard]] Json application_json(const ApplyReport& report, const Rounding& rounding,
                                    std::string_view digest,
                                    const std::optional<std::string>& path);

/// The results of inspect, by what the file is. `statistics` has one for each tensor, or none.
[[nodiscard]] Json model_json(const std::string& file, const Model& model,
                              std::span<const Statistics> statistics);
[[nodiscard]] Json package_json(const std::string& file, const Package& package,
                                std::span<const Statistics> statistics);
[[nodiscard]] Json undo_json(const std::string& file, const Undo& undo);

/// A package's metadata as JSON; null when there is none. Its reader has checked it.
[[nodiscard]] Json metadata_json(const Package& package);

/// Bytes of a tensor in its file, scales included.
[[nodiscard]] std::uint64_t stored_bytes(const ModelTensor& tensor);

/// "bitmask" or "index-list".
[[nodiscard]] std::string_view encoding_text(SparseEncoding encoding) noexcept;

/// One line of the result.
struct CheckedFile {
    std::string path;
    std::optional<FileFormat> format;
    std::uint64_t bytes = 0;
    bool ok = false;
};

/// The result of validate.
[[nodiscard]] Json files_json(const std::vector<CheckedFile>& files);

/// The finding about a file of none of the formats.
[[nodiscard]] Findings unknown_format(const std::string& path, Bytes bytes);

}  // namespace trlm::adapt::cli
