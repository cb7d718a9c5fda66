#include <fmt/format.h>

#include "inputs.hpp"
#include "outputs.hpp"
#include "progress.hpp"

namespace trlm::adapt::cli {
namespace {

/// What the result needs when the inputs are gone.
struct Summary {
    std::string file;
    std::string output;
    RevertReport report;
    Digest base_digest;
    std::uint64_t runs = 0;
    std::uint64_t restored_bytes = 0;
};

Findings check_output(const RevertOptions& options, const std::string& output) {
    Findings findings = check_not_read("the output", output, "the model", {&options.file, 1});
    findings.append(check_not_read("the output", output, "the undo file", {&options.undo, 1}));
    if (findings.has_errors()) return findings;
    return check_target("the output", output, options.force);
}

Result<RevertReport> revert(const RevertInput& input, const MappedFile& file,
                            const MappedFile& undo_file, const std::string& output,
                            const RevertOptions& options) {
    const StopRequests stop_requests;
    ProgressBar bar("reverting", options.progress);
    PageRelease pages({&file, &undo_file});
    Result<RevertReport> report =
        revert_to_file(input, output, options.force, [&](std::uint64_t done, std::uint64_t total) {
            pages.update(done);
            return bar.update(done, total);
        });
    if (report) {
        forget_inputs();
        return report;
    }
    Findings findings = std::move(report).error();
    findings.set_file(output);
    return failure(std::move(findings));
}

Json revert_json(const Summary& summary) {
    return {{"output",
             {{"path", summary.output},
              {"bytes", summary.report.bytes},
              {"digest", to_string(summary.report.digest)}}},
            {"base_digest", to_string(summary.base_digest)},
            {"runs", summary.runs},
            {"restored_bytes", summary.restored_bytes}};
}

std::string revert_text(const Summary& summary, const Style& style) {
    return fmt::format("Reverted {}\n  {} restored in {}\n\nWrote {}\n  {}\n  {}\n  {}\n",
                       style.paint(Paint::bold, printable(summary.file)),
                       counted(summary.restored_bytes, "byte", "bytes"),
                       counted(summary.runs, "place", "places"),
                       style.paint(Paint::bold, printable(summary.output)),
                       byte_size(summary.report.bytes), to_string(summary.report.digest),
                       style.paint(Paint::dim,
                                   "the base, bit for bit: its digest is the one in the "
                                   "undo file"));
}

}  // namespace

Outcome run_revert(const RevertOptions& options) {
    const std::string output = options.output.value_or(with_ending(options.file, ".reverted"));
    // An application that was killed may have given one of the two its name and not the other.
    for (const std::string& path : {options.file, options.undo})
        (void)tidy_up(folder_of(path));
    Findings findings = check_output(options, output);
    if (findings.has_errors()) return Outcome::failed(std::move(findings));

    const Result<MappedFile> file = open_input(options.file);
    const Result<UndoInput> undo = load_undo(options.undo, options.progress);
    const bool file_is_open = succeeded(file, findings);
    if (!succeeded(undo, findings) || !file_is_open) return Outcome::failed(std::move(findings));

    const RevertInput input{.output = file->bytes(),
                            .undo = &undo->undo,
                            .output_file = options.file,
                            .undo_file = options.undo};
    const Result<RevertReport> report = revert(input, *file, undo->file, output, options);
    if (!report) return Outcome::failed(report.error());
    const Summary summary{.file = options.file,
                          .output = output,
                          .report = *report,
                          .base_digest = undo->undo.base_digest(),
                          .runs = undo->undo.run_count(),
                          .restored_bytes = undo->undo.restored_bytes()};
    return {.result = revert_json(summary),
            .text = [summary](const Style& style) { return revert_text(summary, style); }};
}

}  // namespace trlm::adapt::cli
