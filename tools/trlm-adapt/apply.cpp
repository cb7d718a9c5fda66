#include "trlm/adapt/apply.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>

#include <fmt/format.h>

#include "inputs.hpp"
#include "outputs.hpp"
#include "progress.hpp"
#include "stack_arguments.hpp"
#include "survival.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"

namespace trlm::adapt::cli {
namespace {

// ---------------------------------------------------------------------- before any work is done

/// The command line, understood and checked as far as that goes without reading a model.
struct Request {
    std::string model;
    StackFiles stack = {};
    std::string output;
    std::optional<std::string> receipt;
    std::optional<std::string> undo;
    ApplyOptions options = {};
    bool as_the_family_says = false;  // strengths and rounding are those of its receipt
    bool strict = false;
    OutputDtype output_dtype = OutputDtype::keep;
    bool dry_run = false;
    bool replace = false;
    bool accept_foreign_checksum = false;
};

/// A file to be written must not be one that is read, whatever its name.
Findings check_not_an_input(std::string_view what, const std::string& target,
                            const Request& request) {
    Findings findings = check_not_read(what, target, "the model", {&request.model, 1});
    findings.append(check_not_read(what, target, "a package", request.stack.packages));
    return findings;
}

/// Every file that the receipt names needs a path of its own there, whatever the case of letters.
Findings check_receipt_names(const Request& request) {
    Findings findings;
    const std::string folder = folder_of(*request.receipt);
    std::map<std::string, std::string> taken;  // path in lower case -> file
    std::vector<std::string> files = request.stack.packages;
    files.push_back(request.model);
    files.push_back(request.output);
    for (const std::string& file : files) {
        const Result<std::string> path = receipt_path(folder, file);
        if (!succeeded(path, findings)) continue;
        std::string lowered = *path;
        std::transform(lowered.begin(), lowered.end(), lowered.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        const auto [other, added] = taken.emplace(std::move(lowered), file);
        if (added || same_place(other->second, file)) continue;
        findings.add(
            usage_error(fmt::format("the receipt would call this file and {} both {}; rename one, "
                                    "or place the receipt in a folder above both",
                                    other->second, *path),
                        file));
    }
    return findings;
}

/// A file that is written beside the new model: `option` asks for it, `what` is its name.
Findings check_companion(std::string_view option, std::string_view what, const std::string& target,
                         const Request& request) {
    Findings findings;
    if (request.dry_run) {
        findings.add(
            usage_error(fmt::format("{} needs an output, but --dry-run writes none", option)));
        return findings;
    }
    findings.append(check_not_an_input(what, target, request));
    if (same_place(target, request.output)) {
        findings.add(usage_error(
            fmt::format("{} and the new model are one file; choose another name", what), target));
    }
    if (findings.has_errors()) return findings;
    return check_target(what, target, request.replace);
}

Findings check_receipt(const Request& request) {
    Findings findings = check_companion("--receipt", "the receipt", *request.receipt, request);
    if (!findings.has_errors()) findings.append(check_receipt_names(request));
    return findings;
}

Findings check_undo(const Request& request) {
    Findings findings = check_companion("--undo", "the undo file", *request.undo, request);
    if (request.receipt && same_place(*request.undo, *request.receipt)) {
        findings.add(usage_error("the undo file and the receipt are one file; choose another name",
                                 *request.undo));
    }
    return findings;
}

Findings check_places(const Request& request) {
    Findings findings = check_not_an_input("the output", request.output, request);
    if (!findings.has_errors() && !request.dry_run) {
        findings = check_target("the output", request.output, request.replace);
    }
    if (request.receipt) findings.append(check_receipt(request));
    if (request.undo) findings.append(check_undo(request));
    return findings;
}

/// Where the family's stack is applied as it stands, its receipt says what is to come out.
void expect_result(const std::vector<float>& strengths, Request& request) {
    if (!request.stack.family) return;
    const FamilyStack& stack = request.stack.family->stack();
    request.as_the_family_says =
        strengths == request.stack.strengths && request.options.rounding == stack.rounding;
}

/// Understands and checks the command line; all that is wrong with it is reported.
Result<Request> understand(const ApplyCommandOptions& options) {
    Findings findings;
    Request request{.model = options.model,
                    .output = options.output.value_or(with_ending(options.model, ".adapted")),
                    .receipt = options.receipt,
                    .undo = options.undo,
                    .strict = options.work.strict,
                    .dry_run = options.dry_run,
                    .replace = options.force,
                    .accept_foreign_checksum = options.work.accept_foreign_checksum};
    request.options.survival = true;
    request.options.allow_no_effect = options.allow_no_effect;

    if (options.rounding) {
        const Result<Rounding> rounding = parse_rounding(*options.rounding);
        if (succeeded(rounding, findings)) request.options.rounding = *rounding;
    }
    const Result<OutputDtype> output_dtype = parse_output_dtype(options.output_dtype);
    if (succeeded(output_dtype, findings)) request.output_dtype = *output_dtype;
    if (options.min_survival) {
        const Result<double> least = parse_finite("--min-survival", *options.min_survival);
        if (succeeded(least, findings)) request.options.min_survival = *least;
    }
    const Result<std::size_t> threads = parse_threads(options.work.threads);
    const bool threads_known = succeeded(threads, findings);
    const Result<std::string> target = chosen_simd_target();
    if (succeeded(target, findings)) request.options.simd_target = *target;

    Result<StackFiles> stack = stack_files(options.stack);
    if (succeeded(stack, findings)) {
        request.stack = std::move(*stack);
        if (request.stack.family && !options.rounding) {
            request.options.rounding = request.stack.family->stack().rounding;
        }
        Result<std::vector<float>> strengths = stack_strengths(options.strengths, request.stack);
        if (succeeded(strengths, findings)) {
            expect_result(*strengths, request);
            request.stack.strengths = std::move(*strengths);
        }
        findings.append(check_places(request));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    if (threads_known) request.options.executor = make_executor(*threads);
    return request;
}

// -------------------------------------------------------------------------------------- reading

/// Everything that is read, whole and checked.
struct Inputs {
    ModelInput model;
    std::vector<PackageInput> packages;
};

/// Reads all inputs even where one fails, so that one run reports what is wrong with any.
Result<Inputs> read_inputs(const Request& request, bool progress) {
    Findings findings;
    const ModelReadOptions options{.checksum = request.accept_foreign_checksum
                                                   ? ChecksumPolicy::accept_foreign
                                                   : ChecksumPolicy::verify};
    Result<ModelInput> model = load_model(request.model, options, progress);
    const bool model_is_good = succeeded(model, findings);
    std::vector<PackageInput> packages;
    for (std::size_t i = 0; i < request.stack.packages.size(); ++i) {
        Result<PackageInput> package = load_stack_package(request.stack, i, progress);
        if (succeeded(package, findings)) packages.push_back(std::move(*package));
    }
    if (!findings.has_errors()) return Inputs{std::move(*model), std::move(packages)};
    // Whether the others fit can still be said.
    for (const PackageInput& package : packages) {
        if (!model_is_good) break;
        const StackMember alone{.package = &package.package, .file = package.path};
        findings.append(check_compatibility(model->model, {&alone, 1}));
    }
    return failure(std::move(findings));
}

/// What family and receipts have to say about this model and these packages.
Findings check_history(const Request& request, const Inputs& inputs) {
    Findings findings = check_members(request.stack, inputs.packages);
    if (findings.has_errors()) return findings;
    Result<Source> folder = Source::folder(folder_of(request.model));
    const bool recorded = folder && may_be_an_output(*folder, inputs.model.file.bytes().size());
    if (!request.stack.family && !recorded) return findings;  // digests cost time
    const Digest base = digest_of(inputs.model.file, {});
    findings.append(check_use(request.stack, base, request.stack.strengths));
    if (!recorded) return findings;
    std::vector<Digest> packages;
    for (const PackageInput& package : inputs.packages)
        packages.push_back(digest_of(package.file, {}));
    Findings earlier = find_earlier_application(*folder, base, inputs.model.file.bytes().size(),
                                                packages, request.strict);
    earlier.set_file(request.model);
    findings.append(std::move(earlier));
    return findings;
}

/// Where the family's stack is applied as it stands, to its own base, its receipt says what comes
/// out.
Findings check_expected_state(const Request& request, const FamilyStack& expected,
                              const ApplyPlan& plan) {
    Findings findings;
    if (plan.state == expected.expected_state) return findings;
    findings.add({.code = FindingCode::value_drift,
                  .message =
                      "the family receipt expects another assembly state of this stack; have "
                      "it written anew, and look at what changed",
                  .file = request.stack.folder + "/" + std::string(family_receipt_name),
                  .pointer = "/stacks",
                  .expected = format_checksum(plan.state),
                  .actual = format_checksum(expected.expected_state)});
    return findings;
}

/// The family's stack, where it says what is to come out.
const FamilyStack* expected_stack(const Request& request, const Inputs& inputs) {
    if (!request.as_the_family_says || request.output_dtype != OutputDtype::keep) return nullptr;
    const ChosenStack& chosen = *request.stack.family;
    const ContentDigest base = digest_of(inputs.model.file, {});
    const bool own_base = base == chosen.family.base_model;
    return own_base ? &chosen.stack() : nullptr;
}

Stack stack_of(const Inputs& inputs, const Request& request) {
    Stack stack;
    for (std::size_t i = 0; i < inputs.packages.size(); ++i) {
        stack.push_back({.package = &inputs.packages[i].package,
                         .strength = request.stack.strengths[i],
                         .file = inputs.packages[i].path});
    }
    return stack;
}

// -------------------------------------------------------------------------------------- receipt

FileRef file_ref(const std::string& folder, const std::string& file, std::uint64_t bytes,
                 const Digest& digest) {
    // The name was checked before any work.
    return {.path = receipt_path(folder, file).value_or(file_name_of(file)),
            .bytes = bytes,
            .digest = digest};
}

FileRef file_ref(const std::string& folder, const std::string& path, const MappedFile& file) {
    return file_ref(folder, path, file.bytes().size(), digest_of(file, {}));
}

/// A receipt whose file is open before the model is written, so that what can fail fails early.
struct ReceiptDraft {
    std::string path;
    OutputFile file;
    ApplyReceipt receipt;
};

Result<ReceiptDraft> draft_receipt(const Request& request, const Inputs& inputs) {
    Result<OutputFile> file = OutputFile::create(*request.receipt, 0);
    if (!file) return failure(std::move(file).error());
    const std::string folder = folder_of(*request.receipt);
    ApplyReceipt receipt;
    receipt.rounding = request.options.rounding;
    receipt.output_dtype = to_string(request.output_dtype);
    receipt.base = file_ref(folder, request.model, inputs.model.file);
    for (std::size_t i = 0; i < inputs.packages.size(); ++i) {
        const PackageInput& input = inputs.packages[i];
        receipt.stack.push_back({.package = file_ref(folder, input.path, input.file),
                                 .kind = input.package.kind(),
                                 .internal_checksum = input.package.checksum(),
                                 .strength = request.stack.strengths[i]});
    }
    return ReceiptDraft{*request.receipt, std::move(*file), std::move(receipt)};
}

Status publish_receipt(ReceiptDraft& draft, const Request& request, const DigestedReport& done,
                       const OutputFile& model) {
    draft.receipt.state = done.report.state;
    draft.receipt.output =
        file_ref(folder_of(draft.path), request.output, done.report.bytes, done.digest);
    for (const TensorSurvival& tensor : done.report.tensors)
        draft.receipt.tensors.push_back(record(tensor));
    const std::string text = write_apply_receipt(draft.receipt);
    if (Status written = draft.file.write(as_bytes(text)); !written) return written;
    if (Status named = draft.file.commit_before(model, request.replace); !named) return named;
    // Two names may be one to the file system: it does not tell "out" from "OUT", say.
    if (same_file(draft.path, request.output)) {
        return failure(usage_error("the receipt and the new model are one file", draft.path));
    }
    return {};
}

// ------------------------------------------------------------------------------------- applying

/// What was done, and the undo file, where one was asked for.
struct Applied {
    DigestedReport done;
    std::optional<UndoReport> undo = {};
};

/// Writes the new model, and the undo file where one is asked for.
Result<Applied> write_files(const Request& request, const ApplyPlan& plan,
                            const ApplyOptions& options) {
    if (!request.undo) {
        Result<DigestedReport> done = apply_to_file(plan, request.output, request.replace, options);
        if (!done) return failure(std::move(done).error());
        return Applied{std::move(*done)};
    }
    Result<UndoableReport> done =
        apply_with_undo(plan, request.output, *request.undo, request.replace, options);
    if (!done) return failure(std::move(done).error());
    return Applied{std::move(done->applied), done->undo};
}

Result<Applied> write_model_file(const Request& request, const ApplyPlan& plan,
                                 const Inputs& inputs, const ApplyOptions& options) {
    std::optional<ReceiptDraft> draft;
    if (request.receipt) {
        Result<ReceiptDraft> drafted = draft_receipt(request, inputs);
        if (!drafted) return failure(std::move(drafted).error());
        draft = std::move(*drafted);
    }
    ApplyOptions with_receipt = options;
    if (draft) {
        with_receipt.before_publishing = [&](const DigestedReport& done, const OutputFile& model) {
            return publish_receipt(*draft, request, done, model);
        };
    }
    Result<Applied> applied = write_files(request, plan, with_receipt);
    if (applied) forget_inputs();
    if (applied || !draft) return applied;
    // The receipt of a model that is not there.
    Findings findings = std::move(applied).error();
    if (Status withdrawn = draft->file.withdraw(); !withdrawn) {
        findings.append(std::move(withdrawn).error());
    }
    return failure(std::move(findings));
}

Result<Applied> predict_files(const ApplyPlan& plan, const ApplyOptions& options) {
    Result<DigestedReport> done = predict(plan, options);
    if (!done) return failure(std::move(done).error());
    return Applied{std::move(*done)};
}

Result<Applied> apply_stack(const Request& request, const ApplyPlan& plan, const Inputs& inputs,
                            bool progress) {
    const StopRequests stop_requests;
    ProgressBar bar(request.dry_run ? "predicting" : "applying", progress);
    PageRelease pages(inputs.model.file, inputs.packages);
    ApplyOptions options = request.options;
    // A prediction passes over everything twice, and so does an application that can be undone.
    const std::uint64_t passes = request.dry_run || request.undo ? 2 : 1;
    std::uint64_t earlier_passes = 0;
    std::uint64_t latest = 0;
    options.progress = [&](std::uint64_t done_bytes, std::uint64_t total) {
        if (done_bytes < latest) earlier_passes += total;
        latest = done_bytes;
        pages.update(done_bytes);
        return bar.update(earlier_passes + done_bytes, passes * total);
    };
    Result<Applied> applied = request.dry_run ? predict_files(plan, options)
                                              : write_model_file(request, plan, inputs, options);
    if (applied) return applied;
    Findings findings = std::move(applied).error();
    // Of what the library says without a file, only this is about the new one.
    findings.set_file(findings.contains(FindingCode::output_failed) ? request.output
                                                                    : request.model);
    return failure(std::move(findings));
}

// --------------------------------------------------------------------------------------- result

/// One line of the stack's table.
struct AppliedLine {
    std::string path;
    PackageKind kind = PackageKind::dense;
    std::size_t entries = 0;
    float strength = 1;
};

/// What the text needs when the inputs are gone.
struct Summary {
    std::string model;
    std::string output;
    std::optional<std::string> receipt;
    std::optional<std::string> undo;
    Rounding rounding;
    std::vector<AppliedLine> stack = {};
    DigestedReport done;
    std::optional<UndoReport> undo_report = {};
    bool dry_run = false;
    bool quantized = false;
};

Json undo_json(const std::string& path, const UndoReport& undo) {
    return {{"path", path},
            {"bytes", undo.bytes},
            {"digest", to_string(undo.digest)},
            {"runs", undo.runs},
            {"restored_bytes", undo.restored_bytes}};
}

Json apply_json(const Summary& summary) {
    Json json =
        application_json(summary.done.report, summary.rounding, to_string(summary.done.digest),
                         summary.dry_run ? std::nullopt : std::optional(summary.output));
    if (summary.undo_report) json["undo"] = undo_json(*summary.undo, *summary.undo_report);
    return json;
}

std::string stack_table(const Summary& summary, const Style& style) {
    Table table({{"#", Align::right},
                 {"adapter", Align::left, true},
                 {"format"},
                 {"tensors", Align::right},
                 {"strength", Align::right}});
    for (std::size_t i = 0; i < summary.stack.size(); ++i) {
        const AppliedLine& line = summary.stack[i];
        table.add({std::to_string(i + 1), printable(line.path), std::string(to_string(line.kind)),
                   grouped(line.entries), fmt::format("{}", line.strength)});
    }
    return table.print(style, 2);
}

std::string apply_text(const Summary& summary, const Style& style) {
    const ApplyReport& report = summary.done.report;
    const auto field = [&](std::string_view label, std::string_view text) {
        return fmt::format("  {}{}\n", style.paint(Paint::dim, fmt::format("{:<19}", label)), text);
    };
    std::string text = fmt::format("{} {}\n", summary.dry_run ? "Would apply to" : "Applied to",
                                   style.paint(Paint::bold, printable(summary.model)));
    text += stack_table(summary, style) + '\n';
    text += summary.quantized ? fmt::format("How much of each change is left after rounding ({})\n",
                                            to_string(summary.rounding))
                              : std::string("How much of each change is left\n");
    text += survival_table(report.tensors, style) + '\n';
    text += fmt::format("{} {}\n", summary.dry_run ? "Would write" : "Wrote",
                        style.paint(Paint::bold, printable(summary.output)));
    text += fmt::format("  {}\n  {}\n", byte_size(report.bytes), to_string(summary.done.digest));
    text += field("internal checksum", format_checksum(report.internal_checksum));
    text += field("assembly state", format_checksum(report.state));
    if (summary.receipt) text += field("receipt", printable(*summary.receipt));
    if (summary.undo_report) {
        text += field("undo file", fmt::format("{}, {}", printable(*summary.undo),
                                               byte_size(summary.undo_report->bytes)));
    }
    return text;
}

bool is_quantized(const ApplyPlan& plan) {
    return std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const PlannedTensor& tensor) {
        return tensor.storage.dtype != Dtype::f32;
    });
}

Summary summary_of(const Request& request, const Inputs& inputs, const ApplyPlan& plan,
                   Applied applied) {
    Summary summary{.model = request.model,
                    .output = request.output,
                    .receipt = request.receipt,
                    .undo = request.undo,
                    .rounding = request.options.rounding,
                    .done = std::move(applied.done),
                    .undo_report = applied.undo,
                    .dry_run = request.dry_run,
                    .quantized = is_quantized(plan)};
    for (std::size_t i = 0; i < inputs.packages.size(); ++i) {
        const PackageInput& input = inputs.packages[i];
        summary.stack.push_back({input.path, input.package.kind(), input.package.entries().size(),
                                 request.stack.strengths[i]});
    }
    return summary;
}

}  // namespace

Outcome run_apply(const ApplyCommandOptions& options) {
    Result<Request> request = understand(options);
    if (!request) return Outcome::failed(request.error());
    const Result<Inputs> inputs = read_inputs(*request, options.work.progress);
    if (!inputs) return Outcome::failed(inputs.error());
    Findings warnings = check_history(*request, *inputs);
    if (warnings.has_errors()) return Outcome::failed(std::move(warnings));
    const Result<ApplyPlan> plan =
        plan_apply(inputs->model.model, stack_of(*inputs, *request), request->output_dtype);
    if (!plan) return Outcome::failed(plan.error());
    if (const FamilyStack* const expected = expected_stack(*request, *inputs)) {
        Findings unexpected = check_expected_state(*request, *expected, *plan);
        if (unexpected.has_errors()) return Outcome::failed(std::move(unexpected));
        if (expected->expected_output) {
            if (const auto* digest = std::get_if<Digest>(&expected->expected_output->digest))
                request->options.expected_digest = *digest;
        }
    }
    Result<Applied> applied = apply_stack(*request, *plan, *inputs, options.work.progress);
    if (!applied) return Outcome::failed(std::move(applied).error());

    warnings.append(applied->done.report.warnings);
    warnings.set_file(request->model);
    const Summary summary = summary_of(*request, *inputs, *plan, std::move(*applied));
    return {.findings = std::move(warnings),
            .result = apply_json(summary),
            .text = [summary](const Style& style) { return apply_text(summary, style); }};
}

}  // namespace trlm::adapt::cli
