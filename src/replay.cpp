#include "trlm/adapt/replay.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "guard.hpp"
#include "receipt/descriptions.hpp"
#include "receipt/file_findings.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/stack.hpp"

namespace trlm::adapt {
namespace {

Result<std::vector<std::byte>> read_file(const SourceFile& file, const FileRef& ref,
                                         const std::string& path) {
    // A file of another size is not read.
    if (file.bytes() != ref.bytes) {
        Finding wrong = size_differs(ref.bytes, file.bytes());
        wrong.file = path;
        return failure(std::move(wrong));
    }
    auto bytes = read_whole(file, ref.bytes);
    if (!bytes) return bytes;
    Findings wrong = check_file(ref, *bytes);
    if (!wrong.has_errors()) return bytes;
    wrong.set_file(path);
    return failure(std::move(wrong));
}

/// Finds and reads what a receipt names.
class Finder {
public:
    Finder(Source& folder, Source* root) : folder_(folder), root_(root) {}

    Result<std::vector<std::byte>> find(const FileRef& ref) {
        Result<SourceFile> file = folder_.open(ref.path);
        if (file) return read_file(*file, ref, ref.path);
        if (root_ == nullptr && file.error().contains(FindingCode::file_missing)) {
            return failure({.code = FindingCode::file_missing,
                            .message = "there is no such file beside the receipt; put it there, or "
                                       "name the folder that has it with --root",
                            .file = ref.path});
        }
        if (root_ == nullptr || !file.error().contains(FindingCode::file_missing))
            return failure(std::move(file.error()));
        Result<SourceFile> in_root = root_->open(ref.path);
        if (in_root) return read_file(*in_root, ref, ref.path);
        const bool bare = ref.path.find('/') == std::string::npos;
        if (!bare || !root_->can_list() || !in_root.error().contains(FindingCode::file_missing))
            return failure(std::move(in_root.error()));
        return find_by_name(ref, std::move(in_root.error()));
    }

private:
    /// The file of this name, in any folder, that is the recorded one.
    Result<std::vector<std::byte>> find_by_name(const FileRef& ref, Findings missing) {
        const Result<std::vector<std::string>> paths = root_->list();
        if (!paths) return failure(paths.error());
        Findings first = std::move(missing);
        bool any = false;
        for (const std::string& path : *paths) {
            if (!path.ends_with('/' + ref.path) || !is_document_path(path)) continue;
            Result<SourceFile> file = root_->open(path);
            auto bytes = file ? read_file(*file, ref, path)
                              : Result<std::vector<std::byte>>(failure(std::move(file.error())));
            if (bytes) return bytes;
            if (!any) first = std::move(bytes.error());
            any = true;
        }
        return failure(std::move(first));
    }

    Source& folder_;
    Source* root_;
};

class Replay {
public:
    Replay(const ApplyReceipt& receipt, Source& folder, Source* root, const ReplayOptions& options)
        : receipt_(receipt), finder_(folder, root), options_(options) {
        report_.recorded = receipt;
        report_.replayed = receipt;
    }

    Result<ReplayReport> run() {
        read_inputs();
        if (findings_.has_errors()) return failure(std::move(findings_));
        Stack stack;
        for (std::size_t i = 0; i < packages_.size(); ++i) {
            stack.push_back({.package = &*packages_[i],
                             .strength = receipt_.stack[i].strength,
                             .file = receipt_.stack[i].package.path});
        }
        const auto output_dtype = parse_output_dtype(receipt_.output_dtype);
        auto plan = plan_apply(*model_, stack, output_dtype.value_or(OutputDtype::keep));
        if (!plan) return failure(std::move(plan.error()));
        ApplyOptions options;
        options.rounding = receipt_.rounding;
        options.survival = true;
        options.allow_no_effect = true;  // what is recorded happened
        options.executor = options_.executor;
        options.progress = options_.progress;
        options.simd_target = options_.simd_target;
        auto predicted = predict(*plan, options);
        if (!predicted) {
            Findings findings = std::move(predicted.error());
            findings.set_file(receipt_.base.path);
            return failure(std::move(findings));
        }
        note(*predicted);
        compare();
        check_output_file();
        report_.findings = std::move(findings_);
        return std::move(report_);
    }

private:
    void add(Findings findings, const std::string& file) {
        findings.set_file(file);
        findings_.append(std::move(findings));
    }

    void read_inputs() {
        if (receipt_.arithmetic != arithmetic_name) {
            findings_.add({.code = FindingCode::unsupported_version,
                           .message = "the receipt's arithmetic is not one that this program has, "
                                      "so that its result cannot be computed; update trlm-adapt",
                           .pointer = "/arithmetic",
                           .expected = std::string(arithmetic_name),
                           .actual = receipt_.arithmetic});
        }
        auto base = finder_.find(receipt_.base);
        if (base) {
            base_ = std::move(*base);
            auto model =
                read_model(base_, {.checksum = options_.checksum, .progress = options_.progress});
            if (model) {
                model_ = std::move(*model);
            } else {
                add(std::move(model.error()), receipt_.base.path);
            }
        } else {
            add(std::move(base.error()), receipt_.base.path);
        }
        bytes_.resize(receipt_.stack.size());
        for (std::size_t i = 0; i < receipt_.stack.size(); ++i)
            read_member(i);
    }

    void read_member(std::size_t index) {
        const AppliedPackage& applied = receipt_.stack[index];
        const std::string& path = applied.package.path;
        auto bytes = finder_.find(applied.package);
        if (!bytes) return add(std::move(bytes.error()), path);
        bytes_[index] = std::move(*bytes);
        auto package = read_package(bytes_[index], ReadDepth::everything, options_.progress);
        if (!package) return add(std::move(package.error()), path);
        AppliedPackage computed = applied;
        computed.kind = package->kind();
        computed.internal_checksum = package->checksum();
        constexpr document::Object<AppliedPackage> rule{};
        Findings differences = document::compare(rule.write(applied), rule.write(computed));
        for (Finding finding : differences) {
            finding.pointer = fmt::format("/stack/{}{}", index, finding.pointer);
            findings_.add(std::move(finding));
        }
        packages_.push_back(std::move(*package));
    }

    void note(const DigestedReport& done) {
        report_.replayed.state = done.report.state;
        report_.replayed.output.bytes = done.report.bytes;
        if (is_weak(receipt_.output.digest)) {
            findings_.add({.code = FindingCode::weak_digest,
                           .message = "the output's digest is a weak one, which a replay does not "
                                      "compute; its size and the state are compared",
                           .severity = Severity::warning,
                           .pointer = "/output/digest"});
        } else {
            report_.replayed.output.digest = done.digest;
        }
        report_.replayed.tensors.clear();
        for (const TensorSurvival& tensor : done.report.tensors)
            report_.replayed.tensors.push_back(record(tensor));
        add(done.report.warnings, receipt_.base.path);
    }

    void compare() {
        const auto same_length = report_.replayed.tensors.size() == receipt_.tensors.size();
        // Element by element, so that the pointer leads to the value.
        const Json stated = document::to_json(receipt_, schemas::apply_receipt);
        const Json computed = document::to_json(report_.replayed, schemas::apply_receipt);
        Findings differences;
        for (const auto& key : {"state", "output"}) {
            gather(std::string("/") + key, stated[key], computed[key], differences);
        }
        // Where the state is another, so is everything that was measured.
        if (receipt_.state != report_.replayed.state) return report_differences(differences);
        if (!same_length) {
            differences.add({.pointer = "/tensors",
                             .expected = fmt::format("{} tensors", receipt_.tensors.size()),
                             .actual = fmt::format("{} tensors", report_.replayed.tensors.size())});
        }
        for (std::size_t i = 0; same_length && i < receipt_.tensors.size(); ++i) {
            gather(fmt::format("/tensors/{}", i), stated["tensors"].elements()[i],
                   computed["tensors"].elements()[i], differences);
        }
        report_differences(differences);
    }

    void report_differences(const Findings& differences) {
        for (Finding finding : differences) {
            finding.code = FindingCode::replay_differs;
            finding.message =
                "the replay gives another value than the receipt states: the receipt "
                "was edited, or comes from another program";
            findings_.add(std::move(finding));
        }
    }

    /// The recorded value is what is expected of a replay.
    static void gather(const std::string& pointer, const Json& stated, const Json& computed,
                       Findings& differences) {
        // A wrapper object keeps values that are no objects themselves.
        for (Finding finding :
             document::compare(Json{{"value", stated}}, Json{{"value", computed}})) {
            finding.pointer = pointer + finding.pointer.substr(std::string_view("/value").size());
            std::swap(finding.expected, finding.actual);
            differences.add(std::move(finding));
        }
    }

    /// The output need not be there, but where it is, it is the recorded one.
    void check_output_file() {
        auto output = finder_.find(receipt_.output);
        if (output || output.error().contains(FindingCode::file_missing)) return;
        add(std::move(output.error()), receipt_.output.path);
    }

    const ApplyReceipt& receipt_;
    Finder finder_;
    const ReplayOptions& options_;
    ReplayReport report_;
    Findings findings_;
    std::vector<std::byte> base_;
    std::optional<Model> model_;
    std::vector<std::vector<std::byte>> bytes_;  // as the receipt's stack
    std::vector<std::optional<Package>> packages_;
};

}  // namespace

Result<std::vector<std::byte>> read_verified(Source& source, const FileRef& file) {
    return guarded([&]() -> Result<std::vector<std::byte>> {
        Result<SourceFile> opened = source.open(file.path);
        if (!opened) return failure(std::move(opened.error()));
        auto bytes = read_file(*opened, file, file.path);
        if (!bytes) bytes.error().set_file(file.path);
        return bytes;
    });
}

Result<ReplayReport> replay(std::string_view text, Source& folder, Source* root,
                            const ReplayOptions& options) {
    return guarded([&]() -> Result<ReplayReport> {
        Findings warnings;
        const auto receipt = read_apply_receipt(
            text, {.allow_weak_digests = options.allow_weak_digests, .warnings = &warnings});
        if (!receipt) return failure(receipt.error());
        auto report = Replay(*receipt, folder, root, options).run();
        if (report) {
            report->findings.append(std::move(warnings));
        } else {
            report.error().append(std::move(warnings));
        }
        return report;
    });
}

}  // namespace trlm::adapt
