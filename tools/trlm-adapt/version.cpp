#include "trlm/adapt/version.hpp"

#include <array>

#include <fmt/format.h>

#include "inputs.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/simd.hpp"

namespace trlm::adapt::cli {
namespace {

struct FormatVersion {
    std::string_view name;
    int version;
};

constexpr std::array formats = {FormatVersion{"SLM1", 1}, FormatVersion{"ADP1", 1},
                                FormatVersion{"ASP1", 1}, FormatVersion{"ALR1", 1},
                                FormatVersion{"UND1", 1}};

std::string compiler() {
#if defined(__clang__)
    return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
    return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
    return "unknown";
#endif
}

Json version_json(const std::vector<std::string>& targets, const std::string& chosen) {
    Json versions = Json::object();
    for (const FormatVersion& format : formats)
        versions[std::string(format.name)] = format.version;
    return {{"version", version},
            {"formats", std::move(versions)},
            {"arithmetic", arithmetic_name},
            {"simd", {{"chosen", chosen}, {"available", targets}}},
            {"compiler", compiler()}};
}

std::string version_text(const std::vector<std::string>& targets, const std::string& chosen,
                         const Style& style) {
    std::vector<std::string> names;
    names.reserve(formats.size());
    for (const FormatVersion& format : formats) {
        names.push_back(fmt::format("{} version {}", format.name, format.version));
    }
    const auto row = [&](std::string_view label, std::string_view text) {
        return fmt::format("  {}{}\n", style.paint(Paint::dim, fmt::format("{:<12}", label)),
                           wrapped(text, 14, style.width));
    };
    return style.paint(Paint::bold, fmt::format("trlm-adapt {}", version)) + '\n' +
           row("formats", fmt::format("{}", fmt::join(names, ", "))) +
           row("arithmetic", arithmetic_name) +
           row("SIMD", fmt::format("{} (this machine has {})", chosen, fmt::join(targets, ", "))) +
           row("compiler", compiler());
}

}  // namespace

Outcome run_version() {
    const Result<std::string> wanted = chosen_simd_target();
    if (!wanted) return Outcome::failed(wanted.error());
    const std::vector<std::string> targets = simd_targets();
    const std::string chosen = wanted->empty() ? targets.front() : *wanted;
    return {.result = version_json(targets, chosen),
            .text = [=](const Style& style) { return version_text(targets, chosen, style); }};
}

}  // namespace trlm::adapt::cli
