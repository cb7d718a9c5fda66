#include <algorithm>

#include <fmt/format.h>

#include "inputs.hpp"
#include "progress.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/plan.hpp"

namespace trlm::adapt::cli {
namespace {

/// What `validate` does, file by file; findings and lines gather here.
class Validation {
public:
    Validation(const ValidateOptions& options, ApplyOptions apply_options)
        : options_(options), apply_options_(std::move(apply_options)) {}

    void run();
    [[nodiscard]] Outcome outcome() &&;

private:
    void check_model_option();
    void check_argument(const std::string& path);
    void check_stack(const StackFiles& stack);
    void check_fit(const StackFiles& files, const std::vector<PackageInput>& packages);
    void check_family(const StackFiles& stack, const std::vector<PackageInput>& packages);
    [[nodiscard]] std::optional<PackageInput> check_file(const std::string& path);
    void list_unread(const std::string& path, Findings why);
    void mark_failed(const std::string& path);

    const ValidateOptions& options_;
    ApplyOptions apply_options_;
    std::optional<ModelInput> model_;
    Findings findings_;
    std::vector<CheckedFile> files_;
};

void Validation::run() {
    if (options_.model) check_model_option();
    for (const std::string& path : options_.files)
        check_argument(path);
}

void Validation::check_model_option() {
    const std::string& path = *options_.model;
    Result<MappedFile> file = open_input(path);
    if (!file) return list_unread(path, std::move(file).error());
    files_.push_back({path, detect_format(file->bytes()), file->bytes().size(), false});
    Result<ModelInput> model = read_model_input(
        path, std::move(*file), options_.work.read_options(), options_.work.progress);
    if (!model) return findings_.append(std::move(model).error());
    files_.back().ok = true;
    model_ = std::move(*model);
    Findings warnings = model_->model.warnings();
    warnings.set_file(path);
    findings_.append(std::move(warnings));
}

void Validation::check_argument(const std::string& path) {
    if (!is_folder(path)) return check_stack({.packages = {path}, .strengths = {1}});
    Result<StackFiles> stack = stack_of_folder(path);
    if (!stack) return list_unread(path, std::move(stack).error());
    check_stack(*stack);
}

/// Each argument is a stack of its own, applied with strength 1 where no family says otherwise.
void Validation::check_stack(const StackFiles& stack) {
    const std::vector<std::string>& paths = stack.packages;
    std::vector<PackageInput> packages;
    for (const std::string& path : paths) {
        std::optional<PackageInput> package = check_file(path);
        if (package) packages.push_back(std::move(*package));
    }
    if (packages.size() == paths.size()) check_family(stack, packages);
    if (!model_ || packages.empty()) return;
    if (packages.size() == paths.size()) return check_fit(stack, packages);
    // With a member missing the sums would be wrong; whether the others fit can still be said.
    for (const PackageInput& package : packages) {
        const StackMember alone{.package = &package.package, .file = package.path};
        Findings findings = check_compatibility(model_->model, {&alone, 1});
        if (findings.has_errors()) mark_failed(package.path);
        findings_.append(std::move(findings));
    }
}

/// Where a family chose the packages, they are to be those that it names.
void Validation::check_family(const StackFiles& stack, const std::vector<PackageInput>& packages) {
    if (!stack.family) return;
    Findings findings = check_members(stack, packages);
    if (model_) {
        findings.append(check_use(stack, digest_of(model_->file, {}), stack.strengths));
    }
    for (const PackageInput& package : packages) {
        if (findings.has_errors()) mark_failed(package.path);
    }
    findings_.append(std::move(findings));
}

void Validation::check_fit(const StackFiles& files, const std::vector<PackageInput>& packages) {
    Stack stack;
    for (std::size_t i = 0; i < packages.size(); ++i) {
        stack.push_back({.package = &packages[i].package,
                         .strength = files.strengths[i],
                         .file = packages[i].path});
    }
    const auto fail = [&](Findings findings) {
        // The sum of a folder's members is a property of all of them.
        const bool alone = packages.size() == 1;
        findings.set_file(alone ? packages.front().path : folder_of(packages.front().path));
        for (const PackageInput& package : packages) {
            const bool named = std::any_of(findings.begin(), findings.end(), [&](const Finding& f) {
                return f.file == package.path || f.file == folder_of(package.path);
            });
            if (named) mark_failed(package.path);
        }
        findings_.append(std::move(findings));
    };
    const Result<ApplyPlan> plan = plan_apply(model_->model, stack);
    if (!plan) return fail(plan.error());
    findings_.append(plan->warnings);

    ProgressBar bar("checking", options_.work.progress);
    PageRelease pages(model_->file, packages);
    ApplyOptions options = apply_options_;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        pages.update(done);
        return bar.update(done, total);
    };
    const Status fused = check_fused(*plan, options);
    bar.clear();
    if (!fused) fail(fused.error());
}

/// Reads one file whole; the package, where it is one and a good one.
std::optional<PackageInput> Validation::check_file(const std::string& path) {
    Result<MappedFile> file = open_input(path);
    if (!file) {
        list_unread(path, std::move(file).error());
        return std::nullopt;
    }
    const std::optional<FileFormat> format = detect_format(file->bytes());
    files_.push_back({path, format, file->bytes().size(), false});
    bool& ok = files_.back().ok;
    if (format == FileFormat::slm1) {
        const Result<ModelInput> model = read_model_input(
            path, std::move(*file), options_.work.read_options(), options_.work.progress);
        ok = succeeded(model, findings_);
        if (ok) {
            Findings warnings = model->model.warnings();
            warnings.set_file(path);
            findings_.append(std::move(warnings));
        }
        return std::nullopt;
    }
    if (format == FileFormat::und1) {
        ok = succeeded(read_undo_input(path, std::move(*file), options_.work.progress), findings_);
        return std::nullopt;
    }
    Result<PackageInput> package =
        read_package_input(path, std::move(*file), ReadDepth::everything, options_.work.progress);
    ok = succeeded(package, findings_);
    if (!ok) return std::nullopt;
    return std::move(*package);
}

void Validation::list_unread(const std::string& path, Findings why) {
    findings_.append(std::move(why));
    files_.push_back({path, std::nullopt, 0, false});
}

void Validation::mark_failed(const std::string& path) {
    for (CheckedFile& file : files_) {
        if (file.path == path) file.ok = false;
    }
}

std::string summary(const std::vector<CheckedFile>& files,
                    const std::optional<std::string>& model) {
    const auto failed = static_cast<std::uint64_t>(std::count_if(
        files.begin(), files.end(), [](const CheckedFile& file) { return !file.ok; }));
    const std::string all = counted(files.size(), "file", "files");
    if (failed > 0) return fmt::format("{} of {} failed", grouped(failed), all);
    const bool any_package = std::any_of(files.begin(), files.end(), [](const CheckedFile& file) {
        return file.format != FileFormat::slm1 && file.format != FileFormat::und1;
    });
    std::string valid = files.size() == 1 ? "1 file, valid" : all + ", all valid";
    if (!model || !any_package) return valid;
    return fmt::format("{}; every adapter fits {}", valid, printable(*model));
}

std::string files_text(const std::vector<CheckedFile>& files,
                       const std::optional<std::string>& model, const Style& style) {
    Table table({{""}, {""}, {"", Align::right}, {"", Align::left, true}});
    for (const CheckedFile& file : files) {
        table.add({{file.ok ? "ok" : "FAILED", file.ok ? Paint::green : Paint::red},
                   {file.format ? std::string(to_string(*file.format)) : "?"},
                   {file.bytes > 0 ? short_byte_size(file.bytes) : ""},
                   {printable(file.path)}});
    }
    return table.print(style) + summary(files, model) + '\n';
}

Outcome Validation::outcome() && {
    Json result = files_json(files_);
    return {.findings = std::move(findings_),
            .result = std::move(result),
            .text = [files = std::move(files_), model = options_.model](const Style& style) {
                return files_text(files, model, style);
            }};
}

}  // namespace

Outcome run_validate(const ValidateOptions& options) {
    Findings findings;
    const Result<std::size_t> threads = parse_threads(options.work.threads);
    const Result<std::string> target = chosen_simd_target();
    const bool usable = succeeded(threads, findings) && succeeded(target, findings);
    if (!usable) return Outcome::failed(std::move(findings));

    ApplyOptions apply_options;
    apply_options.simd_target = *target;
    if (options.model) apply_options.executor = make_executor(*threads);
    Validation validation(options, std::move(apply_options));
    validation.run();
    return std::move(validation).outcome();
}

}  // namespace trlm::adapt::cli
