#include "outputs.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "inputs.hpp"
#include "report.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt::cli {

std::string with_ending(const std::string& path, std::string_view ending) {
    const std::string name = file_name_of(path);
    const std::size_t dot = name.rfind('.');
    const std::size_t extension = dot == std::string::npos || dot == 0 ? name.size() : dot;
    std::string output = path;
    output.insert(path.size() - name.size() + extension, ending);
    return output;
}

bool same_place(const std::string& a, const std::string& b) {
    return same_file(a, b) ||
           (file_name_of(a) == file_name_of(b) && same_file(folder_of(a), folder_of(b)));
}

Findings check_not_read(std::string_view what, const std::string& target, std::string_view kind,
                        std::span<const std::string> inputs) {
    Findings findings;
    const bool read = std::any_of(inputs.begin(), inputs.end(), [&](const std::string& input) {
        return same_place(target, input);
    });
    if (read) {
        findings.add(usage_error(
            fmt::format("{} is {} that is read; choose another name", what, kind), target));
    }
    return findings;
}

Findings check_target(std::string_view what, const std::string& target, bool replace) {
    Findings findings;
    // What a run that was killed has left must not be in the way.
    (void)tidy_up(folder_of(target));
    if (is_folder(target) || file_name_of(target).empty()) {
        findings.add(usage_error(fmt::format("{} is a folder; name a file", what), target));
    } else if (!is_folder(folder_of(target))) {
        findings.add({.code = FindingCode::output_failed,
                      .message = fmt::format("there is no folder {} to write {} in",
                                             folder_of(target), what),
                      .file = target});
    } else if (name_is_taken(target) && !replace) {
        findings.add(usage_error(
            fmt::format("{} exists; choose another name, or replace it with --force", what),
            target));
    } else if (name_is_taken(target) && !is_regular_or_link(target)) {
        findings.add(usage_error(
            fmt::format("{} exists and is not a regular file; choose another name", what), target));
    }
    return findings;
}

}  // namespace trlm::adapt::cli
