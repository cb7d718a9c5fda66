#include "stack_arguments.hpp"

#include <optional>

#include <fmt/format.h>

#include "trlm/adapt/stack.hpp"

namespace trlm::adapt::cli {
namespace {

/// Gives one package the strength of one NAME=X.
Status assign_strength(const std::string& argument, const StackFiles& stack,
                       std::vector<std::optional<float>>& strengths) {
    const auto refuse = [&](std::string_view why) -> Status {
        return failure(usage_error(fmt::format("--strength {}: {}", argument, why)));
    };
    const std::size_t equals = argument.rfind('=');
    if (equals == std::string::npos) {
        return refuse("expected NAME=X, the name of a package file and a number");
    }
    const std::string name = argument.substr(0, equals);
    std::vector<std::size_t> named;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < stack.packages.size(); ++i) {
        names.push_back(file_name_of(stack.packages[i]));
        const bool is_member = stack.family && stack.member_ids[i] == name;
        if (names.back() == name || is_member) named.push_back(i);
    }
    if (named.empty()) {
        return refuse(fmt::format("the stack has no package file of this name; it has {}",
                                  fmt::join(names, ", ")));
    }
    if (named.size() > 1) {
        return refuse("several package files of the stack have this name; rename or copy one");
    }
    if (strengths[named.front()]) return refuse("this package has a strength already");
    const Result<float> strength = parse_strength(argument.substr(equals + 1));
    if (!strength) return refuse(strength.error()[0].message);
    strengths[named.front()] = *strength;
    return {};
}

}  // namespace

Result<StackFiles> stack_files(const std::vector<std::string>& arguments) {
    if (arguments.size() == 1 && is_folder(arguments.front())) {
        return stack_of_folder(arguments.front());
    }
    Findings findings;
    for (const std::string& path : arguments) {
        if (!is_folder(path)) continue;
        findings.add(usage_error(
            "a stack is one folder or a list of package files; this folder is among others", path));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return StackFiles{.packages = arguments, .strengths = std::vector<float>(arguments.size(), 1)};
}

Result<std::vector<float>> stack_strengths(const std::vector<std::string>& arguments,
                                           const StackFiles& stack) {
    Findings findings;
    std::vector<std::optional<float>> given(stack.packages.size());
    for (const std::string& argument : arguments) {
        const Status assigned = assign_strength(argument, stack, given);
        if (!assigned) findings.append(assigned.error());
    }
    if (findings.has_errors()) return failure(std::move(findings));
    std::vector<float> strengths;
    strengths.reserve(given.size());
    for (std::size_t i = 0; i < given.size(); ++i)
        strengths.push_back(given[i].value_or(stack.strengths[i]));
    return strengths;
}

}  // namespace trlm::adapt::cli
