#include "trlm/adapt/bundle.hpp"

#include <fmt/format.h>

#include "inputs.hpp"
#include "progress.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt::cli {
namespace {

Result<BundleRecipe> load_recipe(const std::string& path) {
    const auto failed = [&](Findings findings) {
        findings.set_file(path);
        return failure(std::move(findings));
    };
    Result<MappedFile> file = open_input(path);
    if (!file) return failed(std::move(file.error()));
    Result<BundleRecipe> recipe = read_recipe(as_text(file->bytes()));
    if (!recipe) return failed(std::move(recipe.error()));
    return recipe;
}

Json bundle_json(const std::string& folder, const BundleReport& report) {
    return {{"folder", folder},
            {"files", report.files},
            {"bytes", report.bytes},
            {"registry_digest", to_string(report.registry_digest)},
            {"entry", report.verification.entry},
            {"state", report.verification.state ? Json(format_checksum(*report.verification.state))
                                                : Json(nullptr)}};
}

std::string bundle_text(const std::string& folder, const BundleReport& report, const Style& style) {
    std::string text =
        fmt::format("Wrote {}, which verifies\n", style.paint(Paint::bold, printable(folder)));
    for (const std::string& file : report.files)
        text += fmt::format("  {}\n", file);
    text += fmt::format("{}, {}\n", counted(report.files.size(), "file", "files"),
                        byte_size(report.bytes));
    text += fmt::format("registry digest\n  {}\n", to_string(report.registry_digest));
    return text;
}

}  // namespace

Outcome run_bundle_create(const BundleCreateOptions& options) {
    Findings findings;
    BundleOptions bundle{.checksum = options.work.accept_foreign_checksum
                                         ? ChecksumPolicy::accept_foreign
                                         : ChecksumPolicy::verify};
    const Result<std::size_t> threads = parse_threads(options.work.threads);
    if (succeeded(threads, findings)) bundle.executor = make_executor(*threads);
    const Result<std::string> target = chosen_simd_target();
    if (succeeded(target, findings)) bundle.simd_target = *target;
    if (findings.has_errors()) return Outcome::failed(std::move(findings));
    const Result<BundleRecipe> recipe = load_recipe(options.recipe);
    if (!recipe) return Outcome::failed(recipe.error());

    const StopRequests stop_requests;
    ProgressBar bar("building", options.work.progress);
    bundle.progress = [&](std::uint64_t done, std::uint64_t total) {
        return bar.update(done, total);
    };
    Result<BundleReport> report =
        create_bundle(*recipe, folder_of(options.recipe), options.output, bundle);
    if (!report) {
        findings = std::move(report.error());
        findings.set_file(options.recipe);
        return Outcome::failed(std::move(findings));
    }
    forget_inputs();
    return {.findings = report->verification.findings,
            .result = bundle_json(options.output, *report),
            .text = [folder = options.output, report = std::move(*report)](const Style& style) {
                return bundle_text(folder, report, style);
            }};
}

}  // namespace trlm::adapt::cli
