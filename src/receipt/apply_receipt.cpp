#include "trlm/adapt/receipt/apply_receipt.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "guard.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/version.hpp"

namespace trlm::adapt {
namespace {

using Json = nlohmann::ordered_json;

/// The double with the fewest digits that reads back to `value`: 0.1f becomes 0.1.
double shortest(float value) {
    const double read = std::strtod(fmt::format("{}", value).c_str(), nullptr);
    return static_cast<float>(read) == value ? read : static_cast<double>(value);
}

Json to_json(const FileRef& file) {
    return {{"path", file.path}, {"bytes", file.bytes}, {"digest", to_string(file.digest)}};
}

Json to_json(const AppliedPackage& applied) {
    return {{"package", to_json(applied.package)},
            {"format", to_string(applied.kind)},
            {"internal_checksum", format_checksum(applied.internal_checksum)},
            {"strength", shortest(applied.strength)}};
}

/// Rounded to 0.001: the logarithm's last digits differ between machines.
Json rounded_decibels(std::optional<double> decibels) {
    if (!decibels) return nullptr;
    return std::round(*decibels * 1000) / 1000 + 0.0;  // + 0.0: no negative zero
}

Json to_json(const TensorSurvival& tensor) {
    return {{"name", tensor.name},
            {"elements", tensor.elements},
            {"touched", tensor.touched},
            {"changed", tensor.changed},
            {"kept", tensor.kept()},
            {"cosine", tensor.cosine()},
            {"snr_db", rounded_decibels(tensor.snr_db())},
            {"max_abs_delta", tensor.max_abs_delta},
            {"rms_delta", tensor.rms_delta()}};
}

template <class Range>
Json to_json_array(const Range& range) {
    Json array = Json::array();
    for (const auto& element : range)
        array.push_back(to_json(element));
    return array;
}

constexpr std::size_t longest_segment = 100;
constexpr std::size_t longest_path = 255;

bool is_segment_character(char c) noexcept {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool is_segment(std::string_view text) noexcept {
    return !text.empty() && text.size() <= longest_segment && text != "." && text != ".." &&
           std::all_of(text.begin(), text.end(), is_segment_character);
}

/// `path` with the links and dots of its folder resolved, but not its own last link: a document
/// names the file that it was given.
std::filesystem::path resolved(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::path absolute = std::filesystem::absolute(path, error);
    if (error) absolute = path;
    std::filesystem::path folder = std::filesystem::weakly_canonical(absolute.parent_path(), error);
    if (error) folder = absolute.parent_path().lexically_normal();
    return folder / absolute.filename();
}

/// The segments from `folder` down to `file`, or nothing where it does not lie beneath.
std::optional<std::filesystem::path> path_beneath(const std::filesystem::path& folder,
                                                  const std::filesystem::path& file) {
    const auto [folder_end, file_rest] =
        std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
    if (folder_end != folder.end()) return std::nullopt;
    std::filesystem::path rest;
    for (auto segment = file_rest; segment != file.end(); ++segment)
        rest /= *segment;
    return rest;
}

}  // namespace

std::string write_apply_receipt(const ApplyReceipt& receipt) {
    const Json document = {
        {"schema", "trlm/apply-receipt@1"},      {"tool", "trlm-adapt " + std::string(version)},
        {"arithmetic", arithmetic_name},         {"rounding", to_string(receipt.rounding)},
        {"output_dtype", receipt.output_dtype},  {"base", to_json(receipt.base)},
        {"stack", to_json_array(receipt.stack)}, {"state", format_checksum(receipt.state)},
        {"output", to_json(receipt.output)},     {"tensors", to_json_array(receipt.tensors)}};
    return document.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

Result<std::string> receipt_path(const std::string& receipt_folder, const std::string& file) {
    return guarded([&]() -> Result<std::string> {
        const std::filesystem::path folder =
            resolved(std::filesystem::path(receipt_folder.empty() ? "." : receipt_folder) / "");
        const std::filesystem::path target = resolved(file);
        const std::filesystem::path named =
            path_beneath(folder.parent_path(), target).value_or(target.filename());

        std::string text = named.generic_string();
        for (const std::filesystem::path& segment : named) {
            if (is_segment(segment.native())) continue;
            return failure({.code = FindingCode::usage_error,
                            .message = "a receipt cannot hold the name \"" + segment.string() +
                                       "\": it takes 1 to 100 of A-Z a-z 0-9 . _ - for each "
                                       "folder and file; rename it",
                            .file = file});
        }
        if (text.empty() || text.size() > longest_path) {
            return failure({.code = FindingCode::usage_error,
                            .message = "a receipt cannot hold this path: it takes 1 to 255 "
                                       "characters; move the receipt nearer to the file",
                            .file = file});
        }
        return text;
    });
}

}  // namespace trlm::adapt
