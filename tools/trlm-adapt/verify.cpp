#include <algorithm>

#include <fmt/format.h>

#include "inputs.hpp"
#include "progress.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/source.hpp"

namespace trlm::adapt::cli {
namespace {

Paint paint_of(GateStatus status) noexcept {
    switch (status) {
        case GateStatus::passed:
            return Paint::green;
        case GateStatus::failed:
            return Paint::red;
        default:
            return Paint::yellow;
    }
}

std::string summary_of(const ChainReport& report) {
    const auto count = [&](GateStatus status) {
        return std::count(report.gates.begin(), report.gates.end(), status);
    };
    std::string text = fmt::format("{} of {} gates passed", count(GateStatus::passed), gate_count);
    const auto add = [&](GateStatus status) {
        if (count(status) > 0) text += fmt::format(", {} {}", count(status), to_string(status));
    };
    add(GateStatus::failed);
    add(GateStatus::blocked);
    add(GateStatus::not_applicable);
    return text;
}

}  // namespace

std::string verification_text(const std::string& bundle, const ChainReport& report,
                              const Style& style) {
    std::string text = style.paint(Paint::bold, printable(bundle));
    if (!report.entry.empty()) text += fmt::format(", entry {}", printable(report.entry));
    text += '\n';
    Table table({{"", Align::right}, {""}, {""}});
    for (std::size_t i = 0; i < gate_count; ++i) {
        const GateStatus status = report.gates[i];
        table.add({std::to_string(i + 1), std::string(to_string(static_cast<Gate>(i))),
                   Cell(std::string(to_string(status)), paint_of(status))});
    }
    text += table.print(style, 2);
    text += fmt::format("{}; {} opened\n", summary_of(report),
                        counted(report.opened.size(), "file", "files"));
    if (report.state) text += fmt::format("assembly state {}\n", format_checksum(*report.state));
    return text;
}

Outcome run_verify(const VerifyOptions& options) {
    Findings findings;
    ChainOptions chain{.entry = options.entry.value_or(""),
                       .allow_weak_digests = options.allow_weak_digests,
                       .strict = options.work.strict,
                       .checksum = options.work.accept_foreign_checksum
                                       ? ChecksumPolicy::accept_foreign
                                       : ChecksumPolicy::verify};
    if (options.registry_digest) {
        chain.registry_digest = parse_digest(*options.registry_digest);
        if (!chain.registry_digest) {
            findings.add(usage_error(
                fmt::format("--registry-digest {}: expected sha256: and 64 lower-case hex digits",
                            *options.registry_digest)));
        }
    }
    if (options.entry && options.entry->empty()) {
        findings.add(usage_error("--entry: expected the id of an entry, not an empty text"));
    }
    const Result<std::size_t> threads = parse_threads(options.work.threads);
    if (succeeded(threads, findings)) chain.executor = make_executor(*threads);
    const Result<std::string> target = chosen_simd_target();
    if (succeeded(target, findings)) chain.simd_target = *target;
    if (findings.has_errors()) return Outcome::failed(std::move(findings));
    Result<Source> source = Source::folder(options.bundle);
    if (!source) return Outcome::failed(std::move(source.error()));

    const StopRequests stop_requests;
    ProgressBar bar("verifying", options.work.progress);
    chain.progress = [&](std::uint64_t done, std::uint64_t total) {
        return bar.update(done, total);
    };
    ChainReport report = verify(*source, chain);
    Findings found = report.findings;
    return {.findings = std::move(found),
            .result = verification_json(report),
            .text = [bundle = options.bundle, report = std::move(report)](const Style& style) {
                return verification_text(bundle, report, style);
            }};
}

}  // namespace trlm::adapt::cli
