#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "trlm/adapt/version.hpp"

namespace trlm::adapt::cli {
namespace {

/// Columns of the terminal at `descriptor`, within reason; 80 when it is none.
std::size_t columns_of(int descriptor) noexcept {
    winsize size{};
    if (::isatty(descriptor) == 0 || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 80;
    return std::clamp<std::size_t>(size.ws_col, 80, 120);
}

bool environment_is(const char* name, std::string_view value) noexcept {
    const char* const found = std::getenv(name);
    return found != nullptr && value == found;
}

bool environment_is_set(const char* name) noexcept {
    const char* const found = std::getenv(name);
    return found != nullptr && *found != '\0';
}

Style style_of(int descriptor, std::string_view color) {
    const bool suitable = ::isatty(descriptor) != 0 && !environment_is_set("NO_COLOR") &&
                          !environment_is("TERM", "dumb");
    return {.color = color == "always" || (color == "auto" && suitable),
            .width = columns_of(descriptor)};
}

bool says(std::string_view message, std::string_view part) noexcept {
    return message.find(part) != std::string_view::npos;
}

/// What the finding knows beyond its message: "(offset 448; expected 2, found 3)", or nothing.
std::string details_of(const Finding& finding) {
    std::vector<std::string> details;
    if (finding.offset) {
        std::string offset = fmt::format("offset {}", *finding.offset);
        if (!says(finding.message, offset)) details.push_back(std::move(offset));
    }
    if (!finding.pointer.empty() && !says(finding.message, finding.pointer)) {
        details.push_back("at " + finding.pointer);
    }
    std::vector<std::string> values;
    if (!finding.expected.empty() && !says(finding.message, finding.expected)) {
        values.push_back("expected " + finding.expected);
    }
    if (!finding.actual.empty() && !says(finding.message, finding.actual)) {
        values.push_back("found " + finding.actual);
    }
    if (!values.empty()) details.push_back(fmt::format("{}", fmt::join(values, ", ")));
    return details.empty() ? "" : fmt::format(" ({})", fmt::join(details, "; "));
}

/// `FILE: TENSOR: message (details) [code]`.
std::string finding_line(const Finding& finding) {
    std::string line;
    if (!finding.file.empty()) line += finding.file + ": ";
    if (!finding.tensor.empty() && !says(finding.message, finding.tensor)) {
        line += finding.tensor + ": ";
    }
    line += finding.message + details_of(finding);
    return printable(fmt::format("{} [{}]", line, finding_info(finding.code).name));
}

std::string severity_label(Severity severity, const Style& style) {
    return severity == Severity::error ? style.paint(Paint::red, "error:")
                                       : style.paint(Paint::yellow, "warning:");
}

/// A message's advice stands after a semicolon.
bool says_what_to_do(const Finding& finding) noexcept {
    return finding.code == FindingCode::usage_error || says(finding.message, "; ");
}

/// The findings, and what to do where a message does not say it, once for each code.
std::string findings_text(const Findings& findings, const Presentation& presentation) {
    constexpr std::size_t indent = 4;
    std::string text;
    std::set<FindingCode> explained;
    for (const Finding& finding : findings) {
        if (presentation.quiet && finding.severity == Severity::warning) continue;
        text += fmt::format("{} {}\n", severity_label(finding.severity, presentation.errors),
                            finding_line(finding));
        if (says_what_to_do(finding)) continue;
        if (!explained.insert(finding.code).second) continue;
        const std::string remedy =
            wrapped(finding_info(finding.code).remedy, indent, presentation.errors.width);
        text += fmt::format("{:{}}{}\n", "", indent, presentation.errors.paint(Paint::dim, remedy));
    }
    if (findings.dropped() > 0) text += fmt::format("and {} more\n", grouped(findings.dropped()));
    return text;
}

/// The code that decided: the first error of the class that gave the exit code.
std::string_view deciding_code(const Findings& findings) noexcept {
    const ExitCode exit_code = findings.exit_code();
    for (const Finding& finding : findings) {
        const FindingInfo& info = finding_info(finding.code);
        if (finding.severity == Severity::error && exit_code_of(info.finding_class) == exit_code) {
            return info.name;
        }
    }
    return {};
}

/// One line that says how the run ended and where to read on.
std::string verdict(std::string_view command, const Findings& findings) {
    const auto warnings = static_cast<std::uint64_t>(
        std::count_if(findings.begin(), findings.end(),
                      [](const Finding& f) { return f.severity == Severity::warning; }));
    const std::uint64_t errors = findings.size() - warnings + findings.dropped();
    if (!findings.has_errors()) {
        return fmt::format("{}, no error\n", counted(warnings, "warning", "warnings"));
    }
    std::string line = counted(errors, "error", "errors");
    if (warnings > 0) line += ", " + counted(warnings, "warning", "warnings");
    const ExitCode exit_code = findings.exit_code();
    line +=
        fmt::format("; exit code {} ({}); ", static_cast<int>(exit_code), class_name(exit_code));
    const std::string_view code = deciding_code(findings);
    if (exit_code == ExitCode::usage) {
        const std::string_view space = command.empty() ? "" : " ";
        line += fmt::format("see trlm-adapt {}{}--help", command, space);
    } else if (!code.empty()) {
        line += fmt::format("see trlm-adapt explain {}", code);
    }
    return line + '\n';
}

std::string messages_text(std::string_view command, const Outcome& outcome,
                          const Presentation& presentation) {
    std::string text = findings_text(outcome.findings, presentation);
    if (!presentation.quiet) {
        for (const std::string& advice : outcome.advice) {
            text += fmt::format("{} {}\n", presentation.errors.paint(Paint::yellow, "warning:"),
                                wrapped(advice, 9, presentation.errors.width));
        }
    }
    const bool silent = presentation.quiet && !outcome.findings.has_errors();
    if (!outcome.findings.empty() && !silent) text += verdict(command, outcome.findings);
    return text;
}

}  // namespace

Presentation make_presentation(bool json, bool quiet, std::string_view color) {
    return {.json = json,
            .quiet = quiet,
            .output = style_of(STDOUT_FILENO, color),
            .errors = style_of(STDERR_FILENO, color)};
}

int print_outcome(std::string_view command, const Outcome& outcome,
                  const Presentation& presentation) {
    const ExitCode exit_code = outcome.findings.exit_code();
    std::string output;
    std::string messages;
    if (presentation.json) {
        output = outcome_document(command, outcome.findings, outcome.result);
    } else {
        if (outcome.text && !presentation.quiet) output = outcome.text(presentation.output);
        messages = messages_text(command, outcome, presentation);
    }
    const bool printed = write_all(STDOUT_FILENO, output);
    const int error = errno;
    // There is nowhere left to complain about a stderr that takes nothing.
    (void)write_all(STDERR_FILENO, messages);
    if (printed) return static_cast<int>(exit_code);

    (void)write_all(STDERR_FILENO,
                    fmt::format("{} the result cannot be printed: {} [output_failed]\n",
                                severity_label(Severity::error, presentation.errors),
                                std::generic_category().message(error)));
    return static_cast<int>(exit_code == ExitCode::ok ? ExitCode::cannot_check : exit_code);
}

bool write_all(int descriptor, std::string_view text) noexcept {
    while (!text.empty()) {
        // cppcheck-suppress invalidLifetime ; the caller's text outlives the call
        const ssize_t done = ::write(descriptor, text.data(), text.size());
        if (done < 0 && errno == EINTR) continue;
        if (done < 0 && errno == EAGAIN) {
            pollfd room{.fd = descriptor, .events = POLLOUT, .revents = 0};
            (void)::poll(&room, 1, -1);
            continue;
        }
        if (done <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(done));
    }
    return true;
}

Finding usage_error(std::string message, std::string file) {
    return {
        .code = FindingCode::usage_error, .message = std::move(message), .file = std::move(file)};
}

std::string_view class_name(ExitCode code) noexcept {
    switch (code) {
        case ExitCode::invalid:
            return to_string(FindingClass::invalid);
        case ExitCode::usage:
            return to_string(FindingClass::usage);
        case ExitCode::drift:
            return to_string(FindingClass::drift);
        case ExitCode::incompatible:
            return to_string(FindingClass::incompatible);
        case ExitCode::cannot_check:
            return to_string(FindingClass::cannot_check);
        case ExitCode::policy:
            return to_string(FindingClass::policy);
        case ExitCode::ok:
            break;
    }
    return "ok";
}

ExitCode exit_code_of(FindingClass finding_class) noexcept {
    switch (finding_class) {
        case FindingClass::drift:
            return ExitCode::drift;
        case FindingClass::invalid:
            return ExitCode::invalid;
        case FindingClass::incompatible:
            return ExitCode::incompatible;
        case FindingClass::policy:
            return ExitCode::policy;
        case FindingClass::cannot_check:
            return ExitCode::cannot_check;
        case FindingClass::usage:
            break;
    }
    return ExitCode::usage;
}

}  // namespace trlm::adapt::cli
