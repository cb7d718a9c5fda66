#include "trlm/adapt/limits.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "commands.hpp"

namespace trlm::adapt::cli {
namespace {

Json limits_json() {
    Json list = Json::array();
    for (const Limit& limit : all_limits()) {
        list.push_back({{"name", limit.name},
                        {"value", limit.value},
                        {"unit", limit.unit},
                        {"applies", limit.applies}});
    }
    return {{"limits", std::move(list)}};
}

/// The columns before the last are as wide as their content; the last is wrapped.
std::string limits_text(const Style& style) {
    std::size_t name_width = 0;
    std::size_t value_width = 0;
    for (const Limit& limit : all_limits()) {
        name_width = std::max(name_width, limit.name.size());
        value_width = std::max(value_width, grouped(limit.value).size());
    }
    const std::size_t indent = name_width + 2 + value_width + 1;
    std::string text;
    for (const Limit& limit : all_limits()) {
        const std::string phrase = fmt::format("{} {}", limit.unit, limit.applies);
        text += fmt::format("{:<{}}  {:>{}} {}\n", limit.name, name_width, grouped(limit.value),
                            value_width, wrapped(phrase, indent, style.width));
    }
    return text;
}

}  // namespace

Outcome run_limits() {
    return {.result = limits_json(), .text = limits_text};
}

}  // namespace trlm::adapt::cli
