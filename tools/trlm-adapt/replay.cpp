#include "trlm/adapt/replay.hpp"

#include <fmt/format.h>

#include "inputs.hpp"
#include "progress.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt::cli {
namespace {

Json replay_json(const std::string& path, const ReplayReport& report) {
    const ApplyReceipt& replayed = report.replayed;
    return {{"receipt", path},
            {"same", !report.findings.has_errors()},
            {"state", format_checksum(replayed.state)},
            {"output",
             {{"path", replayed.output.path},
              {"bytes", replayed.output.bytes},
              {"digest", to_string(replayed.output.digest)}}}};
}

std::string replay_text(const std::string& path, const ReplayReport& report, const Style& style) {
    const ApplyReceipt& replayed = report.replayed;
    const bool same = !report.findings.has_errors();
    std::string text = fmt::format("Replayed {}\n", style.paint(Paint::bold, printable(path)));
    text += fmt::format("  base    {}\n", replayed.base.path);
    for (const AppliedPackage& applied : replayed.stack)
        text += fmt::format("  adapter {} x {}\n", applied.package.path, applied.strength);
    text += fmt::format("  output  {}\n  {}\n", replayed.output.path,
                        to_string(replayed.output.digest));
    text += fmt::format("  state   {}\n", format_checksum(replayed.state));
    text += same ? style.paint(Paint::green, "the same, to the last bit") + "\n"
                 : style.paint(Paint::red, "NOT the same") + "\n";
    return text;
}

}  // namespace

Outcome run_replay(const ReplayCommandOptions& options) {
    Findings findings;
    ReplayOptions replay_options{.checksum = options.work.accept_foreign_checksum
                                                 ? ChecksumPolicy::accept_foreign
                                                 : ChecksumPolicy::verify,
                                 .allow_weak_digests = options.allow_weak_digests};
    const Result<std::size_t> threads = parse_threads(options.work.threads);
    if (succeeded(threads, findings)) replay_options.executor = make_executor(*threads);
    const Result<std::string> target = chosen_simd_target();
    if (succeeded(target, findings)) replay_options.simd_target = *target;
    if (findings.has_errors()) return Outcome::failed(std::move(findings));

    const Result<MappedFile> receipt = open_input(options.receipt);
    if (!receipt) return Outcome::failed(receipt.error());
    Result<Source> folder = Source::folder(folder_of(options.receipt));
    if (!folder) return Outcome::failed(std::move(folder.error()));
    std::optional<Source> root;
    if (options.root) {
        Result<Source> opened = Source::folder(*options.root);
        if (!opened) return Outcome::failed(std::move(opened.error()));
        root = std::move(*opened);
    }
    const StopRequests stop_requests;
    ProgressBar bar("replaying", options.work.progress);
    replay_options.progress = [&](std::uint64_t done, std::uint64_t total) {
        return bar.update(done, total);
    };
    Result<ReplayReport> report =
        replay(as_text(receipt->bytes()), *folder, root ? &*root : nullptr, replay_options);
    if (!report) {
        findings = std::move(report.error());
        findings.set_file(options.receipt);
        return Outcome::failed(std::move(findings));
    }
    findings = report->findings;
    findings.set_file(options.receipt);
    return {.findings = std::move(findings),
            .result = replay_json(options.receipt, *report),
            .text = [path = options.receipt, report = std::move(*report)](const Style& style) {
                return replay_text(path, report, style);
            }};
}

}  // namespace trlm::adapt::cli
