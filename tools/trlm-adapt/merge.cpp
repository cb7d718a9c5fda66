#include "trlm/adapt/produce/merge.hpp"

#include <fmt/format.h>

#include "commands.hpp"
#include "inputs.hpp"
#include "outputs.hpp"
#include "packages_written.hpp"
#include "progress.hpp"
#include "stack_arguments.hpp"

namespace trlm::adapt::cli {
namespace {

/// The command line, understood and checked as far as that goes without reading a package.
struct Request {
    StackFiles stack;
    MergeMethod method;
    std::string output;
    bool replace = false;
};

Result<MergeMethod> wanted_method(const MergeCommandOptions& options) {
    if (options.method == "sum") {
        if (!options.density) return SumMerge{};
        return failure(usage_error("--density goes with --method ties"));
    }
    if (options.method != "ties") {
        return failure(
            usage_error(fmt::format("--method {}: expected sum or ties", options.method)));
    }
    if (!options.density) return SignConsensus{};
    const Result<double> density = parse_finite("--density", *options.density);
    if (!density) return failure(density.error());
    if (*density > 0 && *density <= 1) return SignConsensus{.density = *density};
    return failure(usage_error(
        fmt::format("--density {}: expected a number above 0 and at most 1", *options.density)));
}

Result<Request> understand(const MergeCommandOptions& options) {
    Findings findings;
    Request request{.stack = {}, .method = {}, .output = options.output, .replace = options.force};
    const Result<MergeMethod> method = wanted_method(options);
    if (succeeded(method, findings)) request.method = *method;
    Result<StackFiles> stack = stack_files(options.packages);
    if (succeeded(stack, findings)) {
        request.stack = std::move(*stack);
        Result<std::vector<float>> strengths = stack_strengths(options.strengths, request.stack);
        if (succeeded(strengths, findings)) request.stack.strengths = std::move(*strengths);
        findings.append(
            check_not_read("the output", request.output, "a package", request.stack.packages));
    }
    if (!findings.has_errors()) {
        findings.append(check_target("the output", request.output, request.replace));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return request;
}

/// Reads all packages even where one fails.
Result<std::vector<PackageInput>> read_packages(const Request& request, bool progress) {
    Findings findings;
    std::vector<PackageInput> packages;
    for (const std::string& path : request.stack.packages) {
        Result<PackageInput> package = load_package(path, progress);
        if (succeeded(package, findings)) packages.push_back(std::move(*package));
    }
    if (!findings.has_errors()) findings.append(check_members(request.stack, packages));
    if (findings.has_errors()) return failure(std::move(findings));
    return packages;
}

Result<MergeReport> make_merge(const Request& request, const std::vector<PackageInput>& packages,
                               bool progress) {
    Stack stack;
    std::vector<const MappedFile*> files;
    for (std::size_t i = 0; i < packages.size(); ++i) {
        stack.push_back({.package = &packages[i].package,
                         .strength = request.stack.strengths[i],
                         .file = packages[i].path});
        files.push_back(&packages[i].file);
    }
    const StopRequests stop_requests;
    ProgressBar bar("merging", progress);
    PageRelease pages(std::move(files));
    MergeOptions options;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        pages.update(done);
        return bar.update(done, total);
    };
    Result<Merge> merge = write_merge(stack, request.method, request.output, options);
    if (!merge) {
        Findings findings = std::move(merge).error();
        findings.set_file(request.output);
        return failure(std::move(findings));
    }
    Status named = publish({&merge->package, request.output}, std::nullopt, request.replace);
    if (!named) return failure(std::move(named).error());
    return std::move(merge->report);
}

// --------------------------------------------------------------------------------------- result

/// What is told of a merge.
struct Summary {
    Request request;
    PackageKind kind = PackageKind::dense;
    MergeReport report;
};

std::string name_of(const MergedTensor& tensor) {
    return tensor_label(tensor.name, tensor.name_hash);
}

Json merge_json(const Summary& summary) {
    Json json = Json::object();
    json["output"] = written_json(summary.request.output, summary.report.package);
    json["format"] = to_string(summary.kind);
    json["method"] = describe(summary.request.method, summary.request.stack.packages.size());
    json["packages"] = Json::array();
    for (std::size_t i = 0; i < summary.request.stack.packages.size(); ++i) {
        json["packages"].push_back({{"file", summary.request.stack.packages[i]},
                                    {"strength", json_number(summary.request.stack.strengths[i])}});
    }
    json["rounded"] = summary.report.rounded();
    json["tensors"] = Json::array();
    for (const MergedTensor& tensor : summary.report.tensors) {
        json["tensors"].push_back({{"name", name_of(tensor)},
                                   {"elements", tensor.elements},
                                   {"packages", tensor.members},
                                   {"stored", tensor.stored},
                                   {"rank", tensor.rank > 0 ? Json(tensor.rank) : Json(nullptr)},
                                   {"rounded", tensor.rounded}});
    }
    return json;
}

std::string merge_table(const MergeReport& report, const Style& style) {
    Table table({{"tensor", Align::left, true},
                 {"packages", Align::right},
                 {"stored", Align::right},
                 {"rounded", Align::right}});
    for (const MergedTensor& tensor : report.tensors) {
        const std::string stored = tensor.stored == 0 ? "cancelled out"
                                   : tensor.rank > 0  ? fmt::format("rank {}", tensor.rank)
                                                      : grouped(tensor.stored);
        table.add(
            {printable(name_of(tensor)), grouped(tensor.members), stored, grouped(tensor.rounded)});
    }
    table.add({Cell("all together", Paint::bold), std::string(), std::string(),
               grouped(report.rounded())});
    return table.print(style, 2);
}

std::string merge_text(const Summary& summary, const Style& style) {
    const Request& request = summary.request;
    std::string text =
        fmt::format("Merged: {}\n", describe(request.method, request.stack.packages.size()));
    Table packages(
        {{"#", Align::right}, {"package", Align::left, true}, {"strength", Align::right}});
    for (std::size_t i = 0; i < request.stack.packages.size(); ++i) {
        packages.add({std::to_string(i + 1), printable(request.stack.packages[i]),
                      fmt::format("{}", request.stack.strengths[i])});
    }
    text += packages.print(style, 2) + '\n' + merge_table(summary.report, style) + '\n';
    return text + written_text(request.output, summary.report.package, style);
}

}  // namespace

Outcome run_merge(const MergeCommandOptions& options) {
    const Result<Request> request = understand(options);
    if (!request) return Outcome::failed(request.error());
    const Result<std::vector<PackageInput>> packages =
        read_packages(*request, options.work.progress);
    if (!packages) return Outcome::failed(packages.error());
    Result<MergeReport> report = make_merge(*request, *packages, options.work.progress);
    if (!report) return Outcome::failed(std::move(report).error());
    const Summary summary{*request, packages->front().package.kind(), std::move(*report)};
    return {.result = merge_json(summary),
            .text = [summary](const Style& style) { return merge_text(summary, style); }};
}

}  // namespace trlm::adapt::cli
