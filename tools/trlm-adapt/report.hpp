#pragma once
// One function prints what every command found and gave.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "documents.hpp"
#include "table.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt::cli {

/// What a command found and gave.
struct Outcome {
    Findings findings = {};
    Json result = nullptr;  ///< docs/cli.md, JSON output; null when there is none
    std::function<std::string(const Style&)> text = {};  ///< the result for people
    std::vector<std::string> advice = {};                ///< hints for people, beside the findings

    /// An outcome without a result.
    [[nodiscard]] static Outcome failed(Findings why) { return {.findings = std::move(why)}; }
};

/// How an outcome is shown.
struct Presentation {
    bool json = false;
    bool quiet = false;
    Style output;  ///< of stdout
    Style errors;  ///< of stderr
};

/// `color`: "auto", "always" or "never"; auto looks at NO_COLOR, TERM and the streams themselves.
[[nodiscard]] Presentation make_presentation(bool json, bool quiet, std::string_view color);

/// Prints `outcome` and returns the process's exit code: that of the findings, or that of
/// `output_failed` when they are fine but stdout takes no more.
[[nodiscard]] int print_outcome(std::string_view command, const Outcome& outcome,
                                const Presentation& presentation);

/// Writes all of `text` to a file descriptor; false when it cannot.
[[nodiscard]] bool write_all(int descriptor, std::string_view text) noexcept;

/// A `usage_error`, about `file` where there is one.
[[nodiscard]] Finding usage_error(std::string message, std::string file = {});

/// Adds what stands in the way of `result`, if anything, and says whether nothing does.
template <class T>
[[nodiscard]] bool succeeded(const Result<T>& result, Findings& findings) {
    if (result) return true;
    findings.append(result.error());
    return false;
}

/// "invalid" for exit code 1 and so on.
[[nodiscard]] std::string_view class_name(ExitCode code) noexcept;

/// The exit code that errors of a class give.
[[nodiscard]] ExitCode exit_code_of(FindingClass finding_class) noexcept;

}  // namespace trlm::adapt::cli
