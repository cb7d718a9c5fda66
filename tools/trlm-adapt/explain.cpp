#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "commands.hpp"

namespace trlm::adapt::cli {
namespace {

/// In the order in which they decide the exit code.
constexpr std::array classes = {FindingClass::drift,        FindingClass::invalid,
                                FindingClass::incompatible, FindingClass::policy,
                                FindingClass::cannot_check, FindingClass::usage};

/// Number of single-character changes that turn `a` into `b` (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

std::string_view nearest_name(std::string_view name) {
    constexpr std::size_t longest_compared = 64;
    const std::string_view compared = name.substr(0, longest_compared);
    const auto infos = all_finding_infos();
    const auto nearest =
        std::min_element(infos.begin(), infos.end(), [&](const auto& a, const auto& b) {
            return edit_distance(compared, a.name) < edit_distance(compared, b.name);
        });
    return nearest->name;
}

Json explanation_json(const FindingInfo& info) {
    return {{"code", info.name},
            {"class", to_string(info.finding_class)},
            {"exit_code", static_cast<int>(exit_code_of(info.finding_class))},
            {"meaning", info.meaning},
            {"cause", info.cause},
            {"remedy", info.remedy}};
}

std::string explanation_text(const FindingInfo& info, const Style& style) {
    constexpr std::size_t indent = 12;
    const auto row = [&](std::string_view label, std::string_view text) {
        return fmt::format("  {}{}\n", style.paint(Paint::dim, fmt::format("{:<10}", label)),
                           wrapped(text, indent, style.width));
    };
    const std::string verdict = fmt::format("{}, exit code {}", to_string(info.finding_class),
                                            static_cast<int>(exit_code_of(info.finding_class)));
    return style.paint(Paint::bold, info.name) + '\n' + row("class", verdict) +
           row("meaning", info.meaning) + row("cause", info.cause) + row("what to do", info.remedy);
}

std::string all_codes_text(const Style& style) {
    std::size_t indent = 0;
    for (const FindingInfo& info : all_finding_infos()) {
        indent = std::max(indent, info.name.size() + 4);
    }
    std::string text;
    for (const FindingClass finding_class : classes) {
        text += fmt::format(
            "{} {}\n", style.paint(Paint::bold, to_string(finding_class)),
            style.paint(Paint::dim, fmt::format("(exit code {})",
                                                static_cast<int>(exit_code_of(finding_class)))));
        for (const FindingInfo& info : all_finding_infos()) {
            if (info.finding_class != finding_class) continue;
            text += fmt::format("  {:<{}}{}\n", info.name, indent - 2,
                                wrapped(info.meaning, indent, style.width));
        }
        text += '\n';
    }
    return text + "trlm-adapt explain CODE tells what causes a finding and what to do.\n";
}

Outcome explain_all() {
    Json codes = Json::array();
    for (const FindingInfo& info : all_finding_infos())
        codes.push_back(explanation_json(info));
    return {.result = {{"codes", std::move(codes)}}, .text = all_codes_text};
}

}  // namespace

Outcome run_explain(const ExplainOptions& options) {
    if (!options.code) return explain_all();
    const std::optional<FindingCode> code = find_finding_code(*options.code);
    if (!code) {
        Findings findings;
        findings.add(usage_error(fmt::format(
            "there is no finding \"{}\"; did you mean {}? trlm-adapt explain lists all of them",
            *options.code, nearest_name(*options.code))));
        return Outcome::failed(std::move(findings));
    }
    const FindingInfo& info = finding_info(*code);
    return {.result = explanation_json(info),
            .text = [&info](const Style& style) { return explanation_text(info, style); }};
}

}  // namespace trlm::adapt::cli
