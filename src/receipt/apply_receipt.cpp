#include "trlm/adapt/receipt/apply_receipt.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "descriptions.hpp"
#include "trlm/adapt/version.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

void check_paths(const ApplyReceipt& receipt, const Place& root) {
    document::Names names;
    names.add_path(receipt.base.path, root.member("base").member("path"));
    const Place stack = root.member("stack");
    for (std::size_t i = 0; i < receipt.stack.size(); ++i) {
        names.add_path(receipt.stack[i].package.path,
                       stack.element(i).member("package").member("path"));
    }
    names.add_path(receipt.output.path, root.member("output").member("path"));
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

RecordedSurvival record(const TensorSurvival& survival) {
    std::optional<double> decibels = survival.snr_db();
    // The logarithm's last digits differ between machines. + 0.0: no negative zero.
    if (decibels) decibels = std::round(*decibels * 1000) / 1000 + 0.0;
    return {.name = survival.name,
            .elements = survival.elements,
            .touched = survival.touched,
            .changed = survival.changed,
            .kept = survival.kept(),
            .cosine = survival.cosine(),
            .snr_db = decibels,
            .max_abs_delta = survival.max_abs_delta,
            .rms_delta = survival.rms_delta()};
}

Result<ApplyReceipt> read_apply_receipt(std::string_view text, const DocumentOptions& options) {
    return document::read<ApplyReceipt>(text, schemas::apply_receipt, options, check_paths);
}

std::string write_apply_receipt(const ApplyReceipt& receipt) {
    ApplyReceipt complete = receipt;
    if (complete.tool.empty()) complete.tool = "trlm-adapt " + std::string(version);
    if (complete.arithmetic.empty()) complete.arithmetic = arithmetic_name;
    return document::write(complete, schemas::apply_receipt);
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
            if (is_document_path(segment.native())) continue;
            return failure({.code = FindingCode::usage_error,
                            .message = "a receipt cannot hold the name \"" + segment.string() +
                                       "\": it takes 1 to 100 of A-Z a-z 0-9 . _ - for each "
                                       "folder and file; rename it",
                            .file = file});
        }
        if (!is_document_path(text)) {
            return failure({.code = FindingCode::usage_error,
                            .message = "a receipt cannot hold this path: it takes 1 to 255 "
                                       "characters; move the receipt nearer to the file",
                            .file = file});
        }
        return text;
    });
}

}  // namespace trlm::adapt
