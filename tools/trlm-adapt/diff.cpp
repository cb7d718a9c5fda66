#include <algorithm>
#include <array>
#include <functional>

#include <fmt/format.h>

#include "commands.hpp"
#include "forecasting.hpp"
#include "inputs.hpp"
#include "outputs.hpp"
#include "packages_written.hpp"
#include "progress.hpp"
#include "trlm/adapt/produce/difference.hpp"

namespace trlm::adapt::cli {
namespace {

// ---------------------------------------------------------------------- before any work is done

/// The command line, understood and checked as far as that goes without reading a model.
struct Request {
    std::string base;
    std::string tuned;
    DifferenceMethod method = DenseDifference{};
    DifferencePaths paths = {};
    ForecastRequest forecast = {};
    bool replace = false;
};

struct KindName {
    std::string_view name;  // of --kind; an extension without its dot
    PackageKind kind;
};
constexpr std::array<KindName, 3> kind_names{
    {{"adp1", PackageKind::dense}, {"asp1", PackageKind::sparse}, {"alr1", PackageKind::low_rank}}};

/// The kind that --kind names, or else the extension of OUT.
Result<PackageKind> wanted_kind(const DiffOptions& options) {
    const std::string name = file_name_of(options.output);
    const std::size_t dot = name.rfind('.');
    const std::string extension = dot == std::string::npos ? "" : name.substr(dot + 1);
    const std::string wanted = options.kind.value_or(extension);
    for (const KindName& known : kind_names)
        if (known.name == wanted) return known.kind;
    if (options.kind) {
        return failure(
            usage_error(fmt::format("--kind {}: expected adp1, asp1 or alr1", *options.kind)));
    }
    return failure(
        usage_error("the kind of package is not told by the name, which ends neither in "
                    ".adp1 nor .asp1 nor .alr1; use --kind",
                    options.output));
}

/// An option that goes with one kind of package.
struct KindOption {
    std::string_view name;
    PackageKind kind;
    bool given;
};

std::vector<KindOption> kind_options(const DiffOptions& options) {
    using enum PackageKind;
    return {{"--density", sparse, options.density.has_value()},
            {"--threshold", sparse, options.threshold.has_value()},
            {"--top-k", sparse, options.top_k.has_value()},
            {"--global", sparse, options.global},
            {"--drop", sparse, options.drop.has_value()},
            {"--seed", sparse, options.seed.has_value()},
            {"--rescale", sparse, options.rescale},
            {"--rank", low_rank, options.rank.has_value()},
            {"--energy", low_rank, options.energy.has_value()},
            {"--vectors", low_rank, options.vectors.has_value()}};
}

/// Options of another kind than is to be written.
Findings check_kind_options(const DiffOptions& options, PackageKind kind) {
    Findings findings;
    for (const KindOption& option : kind_options(options)) {
        if (!option.given || option.kind == kind) continue;
        findings.add(
            usage_error(fmt::format("{} goes with {} packages, but {} is to be {}", option.name,
                                    to_string(option.kind), options.output, to_string(kind))));
    }
    return findings;
}

/// Exactly one of several options; `all` names them for the message.
Findings check_one_of(std::initializer_list<bool> given, PackageKind kind, std::string_view all) {
    Findings findings;
    const auto count = std::count(given.begin(), given.end(), true);
    if (count == 1) return findings;
    findings.add(usage_error(fmt::format("{} packages take {} of {}", to_string(kind),
                                         count == 0 ? "one" : "only one", all)));
    return findings;
}

Findings check_sparse_options(const DiffOptions& options) {
    Findings findings =
        check_one_of({options.density.has_value(), options.threshold.has_value(),
                      options.top_k.has_value(), options.drop.has_value()},
                     PackageKind::sparse, "--density, --threshold, --top-k and --drop");
    if (options.global && !options.density && !options.top_k) {
        findings.add(usage_error("--global goes with --density or --top-k"));
    }
    if (options.seed && !options.drop) findings.add(usage_error("--seed goes with --drop"));
    if (options.rescale && !options.drop) findings.add(usage_error("--rescale goes with --drop"));
    if (options.drop && !options.seed) {
        findings.add(usage_error("--drop needs --seed: the same seed gives the same package"));
    }
    return findings;
}

Result<DifferenceMethod> sparse_method(const DiffOptions& options) {
    Findings findings = check_sparse_options(options);
    if (findings.has_errors()) return failure(std::move(findings));
    if (options.density) {
        const Result<double> density = parse_finite("--density", *options.density);
        if (!density) return failure(density.error());
        return LargestElements{.amount = *density, .global = options.global};
    }
    if (options.top_k) {
        const Result<std::uint64_t> count = parse_whole("--top-k", *options.top_k);
        if (!count) return failure(count.error());
        return LargestElements{.amount = *count, .global = options.global};
    }
    if (options.threshold) {
        const Result<double> threshold = parse_finite("--threshold", *options.threshold);
        if (!threshold) return failure(threshold.error());
        return ElementsAbove{.threshold = static_cast<float>(*threshold)};
    }
    const Result<double> drop = parse_finite("--drop", *options.drop);
    const Result<std::uint64_t> seed = parse_whole("--seed", *options.seed);
    const bool drop_known = succeeded(drop, findings);
    const bool seed_known = succeeded(seed, findings);
    if (!drop_known || !seed_known) return failure(std::move(findings));
    return RandomDrop{.probability = *drop, .seed = *seed, .rescale = options.rescale};
}

Result<VectorPolicy> vector_policy(const std::string& text) {
    if (text == "dense") return VectorPolicy::dense;
    if (text == "skip") return VectorPolicy::skip;
    if (text == "error") return VectorPolicy::refuse;
    return failure(usage_error(fmt::format("--vectors {}: expected dense, skip or error", text)));
}

Result<DifferenceMethod> low_rank_method(const DiffOptions& options) {
    Findings findings = check_one_of({options.rank.has_value(), options.energy.has_value()},
                                     PackageKind::low_rank, "--rank and --energy");
    const Result<VectorPolicy> vectors = vector_policy(options.vectors.value_or("dense"));
    if (!succeeded(vectors, findings) || findings.has_errors()) {
        return failure(std::move(findings));
    }
    if (options.energy) {
        const Result<double> energy = parse_finite("--energy", *options.energy);
        if (!energy) return failure(energy.error());
        return LowRankDifference{.size = *energy, .vectors = *vectors};
    }
    const Result<std::uint64_t> rank = parse_whole("--rank", *options.rank);
    if (!rank) return failure(rank.error());
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    return LowRankDifference{.size = static_cast<std::uint32_t>(std::min(*rank, most)),
                             .vectors = *vectors};
}

Result<DifferenceMethod> wanted_method(const DiffOptions& options, PackageKind kind) {
    Findings findings = check_kind_options(options, kind);
    if (findings.has_errors()) return failure(std::move(findings));
    Result<DifferenceMethod> method = kind == PackageKind::dense    ? DenseDifference{}
                                      : kind == PackageKind::sparse ? sparse_method(options)
                                                                    : low_rank_method(options);
    if (!method) return method;
    if (Status known = check_method(*method); !known) return failure(std::move(known.error()));
    return method;
}

/// "whale.alr1" becomes "whale.adp1", any other name gets that behind it.
std::string companion_of(const std::string& path) {
    constexpr std::string_view extension = ".alr1";
    std::string companion = path;
    if (path.ends_with(extension)) companion.resize(path.size() - extension.size());
    companion += ".adp1";
    return companion;
}

/// Whether a companion may have to be written.
bool may_have_companion(const DifferenceMethod& method) {
    const auto* low_rank = std::get_if<LowRankDifference>(&method);
    return low_rank != nullptr && low_rank->vectors == VectorPolicy::dense;
}

Findings check_place(std::string_view what, const std::string& target, const Request& request) {
    std::vector<std::string> models{request.base, request.tuned};
    if (request.forecast.target) models.push_back(*request.forecast.target);
    Findings findings = check_not_read(what, target, "a model", models);
    if (!findings.has_errors()) findings = check_target(what, target, request.replace);
    return findings;
}

Result<Request> understand(const DiffOptions& options) {
    Findings findings;
    Request request{.base = options.base, .tuned = options.tuned, .replace = options.force};
    request.paths = {options.output, companion_of(options.output)};
    const Result<PackageKind> kind = wanted_kind(options);
    if (succeeded(kind, findings)) {
        Result<DifferenceMethod> method = wanted_method(options, *kind);
        if (succeeded(method, findings)) request.method = *method;
    }
    Result<ForecastRequest> forecast =
        understand_forecast(options.target, options.rounding, options.work.threads);
    if (succeeded(forecast, findings)) request.forecast = std::move(*forecast);
    findings.append(check_place("the output", request.paths.package, request));
    if (may_have_companion(request.method)) {
        findings.append(check_place("the companion", request.paths.companion, request));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return request;
}

// -------------------------------------------------------------------------------------- writing

struct Models {
    ModelInput base;
    ModelInput tuned;
    std::optional<ModelInput> target = {};
};

/// Reads all models even where one fails.
Result<Models> read_models(const Request& request, const WorkOptions& work) {
    Findings findings;
    Result<ModelInput> base = load_model(request.base, work.read_options(), work.progress);
    Result<ModelInput> tuned = load_model(request.tuned, work.read_options(), work.progress);
    const bool base_known = succeeded(base, findings);
    const bool tuned_known = succeeded(tuned, findings);
    std::optional<ModelInput> target;
    if (request.forecast.target) {
        Result<ModelInput> model =
            load_model(*request.forecast.target, work.read_options(), work.progress);
        if (succeeded(model, findings)) target = std::move(*model);
    }
    if (!base_known || !tuned_known || findings.has_errors()) return failure(std::move(findings));
    return Models{std::move(*base), std::move(*tuned), std::move(target)};
}

Result<Difference> make_difference(const Request& request, const Models& models, bool progress) {
    const StopRequests stop_requests;
    ProgressBar bar("comparing", progress);
    PageRelease pages({&models.base.file, &models.tuned.file});
    DifferenceOptions options;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        pages.update(done);
        return bar.update(done, total);
    };
    Result<Difference> difference = write_difference(models.base.model, models.tuned.model,
                                                     request.method, request.paths, options);
    if (difference) return difference;
    Findings findings = std::move(difference).error();
    // Of what the library says without a file, only a stop is about the new one.
    findings.set_file(findings.contains(FindingCode::output_failed) ? request.paths.package
                                                                    : request.tuned);
    return failure(std::move(findings));
}

/// A package that has no name yet, read back.
struct FinishedPackage {
    MappedFile file;
    Package package;
};

Result<FinishedPackage> read_finished(const PackageFile& file) {
    Result<MappedFile> mapped = file.map();
    if (!mapped) return failure(std::move(mapped).error());
    Result<Package> package = read_package(mapped->bytes());
    if (!package) return failure(std::move(package).error());
    return FinishedPackage{std::move(*mapped), std::move(*package)};
}

/// What the packages would leave on the target, which need not have the storage of the base.
Result<Forecast> forecast_difference(const Request& request, const ModelInput& target,
                                     const Difference& difference, bool progress) {
    const StopRequests stop_requests;
    std::vector<FinishedPackage> packages;
    Result<FinishedPackage> package = read_finished(difference.package);
    if (!package) return failure(std::move(package).error());
    packages.push_back(std::move(*package));
    if (difference.companion) {
        Result<FinishedPackage> companion = read_finished(*difference.companion);
        if (!companion) return failure(std::move(companion).error());
        packages.push_back(std::move(*companion));
    }
    Stack stack;
    for (const FinishedPackage& finished : packages)
        stack.push_back({.package = &finished.package, .file = request.paths.package});
    return forecast_on(target, stack, request.forecast, progress);
}

Status publish_difference(const Request& request, Difference& difference) {
    std::optional<UnnamedPackage> companion;
    if (difference.companion) {
        companion = UnnamedPackage{&*difference.companion, request.paths.companion};
    }
    return publish({&difference.package, request.paths.package}, companion, request.replace);
}

// --------------------------------------------------------------------------------------- result

/// What is told of a difference.
struct Summary {
    Request request;
    DifferenceReport report;
    std::optional<Forecast> forecast;
};

std::string name_of(const TensorDifference& tensor) {
    return tensor_label(tensor.name, tensor.name_hash);
}

std::vector<std::string> left_out(const DifferenceReport& report) {
    std::vector<std::string> names;
    for (const TensorDifference& tensor : report.tensors)
        if (tensor.place == DifferencePlace::left_out) names.push_back(name_of(tensor));
    return names;
}

Json tensor_json(const TensorDifference& tensor) {
    return {{"name", name_of(tensor)},
            {"place", to_string(tensor.place)},
            {"elements", tensor.elements},
            {"differing", tensor.differing},
            {"stored", tensor.stored},
            {"rank", tensor.rank > 0 ? Json(tensor.rank) : Json(nullptr)},
            {"not_restored", tensor.not_restored},
            {"relative_error", tensor.relative_error()}};
}

Json diff_json(const Summary& summary) {
    const DifferenceReport& report = summary.report;
    const DifferencePaths& paths = summary.request.paths;
    Json json = Json::object();
    json["output"] = written_json(paths.package, report.package);
    json["companion"] =
        report.companion ? written_json(paths.companion, *report.companion) : Json(nullptr);
    json["format"] = to_string(kind_of(summary.request.method));
    json["method"] = describe(summary.request.method);
    json["equal_tensors"] = report.equal_tensors;
    json["left_out"] = left_out(report);
    json["not_restored"] = report.not_restored;
    json["relative_error"] = report.relative_error();
    json["tensors"] = Json::array();
    for (const TensorDifference& tensor : report.tensors)
        json["tensors"].push_back(tensor_json(tensor));
    json["forecast"] = summary.forecast ? forecast_json(summary.request.forecast, *summary.forecast)
                                        : Json(nullptr);
    return json;
}

/// What "stored" is in a row of the table.
std::string stored_text(const TensorDifference& tensor) {
    switch (tensor.place) {
        case DifferencePlace::package:
            return tensor.rank > 0 ? fmt::format("rank {}", tensor.rank) : grouped(tensor.stored);
        case DifferencePlace::companion:
            return "companion";
        case DifferencePlace::left_out:
            break;
    }
    return "left out";
}

std::string difference_table(const DifferenceReport& report, const Style& style) {
    Table table({{"tensor", Align::left, true},
                 {"differing", Align::right},
                 {"stored", Align::right},
                 {"not restored", Align::right},
                 {"error", Align::right}});
    for (const TensorDifference& tensor : report.tensors) {
        table.add({printable(name_of(tensor)), grouped(tensor.differing), stored_text(tensor),
                   grouped(tensor.not_restored), fmt::format("{:.2g}", tensor.relative_error())});
    }
    table.add({Cell("all together", Paint::bold), std::string(), std::string(),
               grouped(report.not_restored), fmt::format("{:.2g}", report.relative_error())});
    return table.print(style, 2);
}

std::string diff_text(const Summary& summary, const Style& style) {
    const Request& request = summary.request;
    const DifferenceReport& report = summary.report;
    std::string text =
        fmt::format("From {} to {}\n  {}\n\n", style.paint(Paint::bold, printable(request.base)),
                    style.paint(Paint::bold, printable(request.tuned)), describe(request.method));
    text += difference_table(report, style);
    if (report.equal_tensors > 0) {
        text += fmt::format("  {} no difference\n",
                            counted(report.equal_tensors, "tensor has", "tensors have"));
    }
    if (summary.forecast) text += forecast_text(request.forecast, *summary.forecast, style);
    text += '\n';
    text += written_text(request.paths.package, report.package, style);
    if (report.companion) text += written_text(request.paths.companion, *report.companion, style);
    return text;
}

}  // namespace

Outcome run_diff(const DiffOptions& options) {
    const Result<Request> request = understand(options);
    if (!request) return Outcome::failed(request.error());
    const Result<Models> models = read_models(*request, options.work);
    if (!models) return Outcome::failed(models.error());
    Result<Difference> difference = make_difference(*request, *models, options.work.progress);
    if (!difference) return Outcome::failed(std::move(difference).error());
    std::optional<Forecast> forecast;
    if (models->target) {
        Result<Forecast> expected =
            forecast_difference(*request, *models->target, *difference, options.work.progress);
        if (!expected) return Outcome::failed(std::move(expected).error());
        forecast = std::move(*expected);
    }
    if (Status published = publish_difference(*request, *difference); !published) {
        return Outcome::failed(std::move(published).error());
    }

    Findings warnings = difference->report.warnings;
    warnings.set_file(request->tuned);
    for (const ModelInput* input : {&models->base, &models->tuned}) {
        Findings own = input->model.warnings();
        own.set_file(input->path);
        warnings.append(std::move(own));
    }
    if (models->target) {
        Findings own = models->target->model.warnings();
        own.set_file(models->target->path);
        warnings.append(std::move(own));
        warnings.append(forecast->warnings);
    }
    const Summary summary{*request, std::move(difference->report), std::move(forecast)};
    return {.findings = std::move(warnings),
            .result = diff_json(summary),
            .text = [summary](const Style& style) { return diff_text(summary, style); }};
}

}  // namespace trlm::adapt::cli
