#include "packages_written.hpp"

#include <fmt/format.h>

#include "progress.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt::cli {
namespace {

Status commit(const UnnamedPackage& package, const std::optional<UnnamedPackage>& companion,
              bool replace) {
    if (!companion) return package.file->commit(replace);
    Status named = companion->file->commit_before(*package.file, replace);
    if (!named) return named;
    named = package.file->commit(replace);
    if (named) return named;
    Findings findings = std::move(named).error();
    if (Status withdrawn = companion->file->withdraw(); !withdrawn) {
        findings.append(std::move(withdrawn).error());
    }
    return failure(std::move(findings));
}

}  // namespace

Status publish(const UnnamedPackage& package, const std::optional<UnnamedPackage>& companion,
               bool replace) {
    if (!inputs_are_whole()) {
        return failure({.code = FindingCode::output_failed,
                        .message = "cancelled before anything was published",
                        .file = package.path});
    }
    Status named = commit(package, companion, replace);
    if (named) forget_inputs();
    return named;
}

Json written_json(const std::string& path, const WrittenPackage& package) {
    return {{"path", path},
            {"bytes", package.bytes},
            {"digest", to_string(package.digest)},
            {"internal_checksum", format_checksum(package.checksum)}};
}

std::string written_text(const std::string& path, const WrittenPackage& package,
                         const Style& style) {
    return fmt::format("Wrote {}\n  {}\n  {}\n", style.paint(Paint::bold, printable(path)),
                       byte_size(package.bytes), to_string(package.digest));
}

}  // namespace trlm::adapt::cli
