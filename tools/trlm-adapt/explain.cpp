#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "inputs.hpp"

namespace trlm::adapt::cli {
namespace {

/// In the order in which they decide the exit code.
constexpr std::array classes = {FindingClass::drift,        FindingClass::invalid,
                                FindingClass::incompatible, FindingClass::policy,
                                FindingClass::cannot_check, FindingClass::usage};

std::vector<std::string_view> all_names() {
    std::vector<std::string_view> names;
    for (const FindingInfo& info : all_finding_infos())
        names.push_back(info.name);
    return names;
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
    constexpr std::size_t indent = 14;
    const auto row = [&](std::string_view label, std::string_view text) {
        return fmt::format("  {}{}\n", style.paint(Paint::dim, fmt::format("{:<12}", label)),
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
            *options.code, nearest_name(*options.code, all_names()))));
        return Outcome::failed(std::move(findings));
    }
    const FindingInfo& info = finding_info(*code);
    return {.result = explanation_json(info),
            .text = [&info](const Style& style) { return explanation_text(info, style); }};
}

}  // namespace trlm::adapt::cli
