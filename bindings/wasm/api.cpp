// The C interface of the WebAssembly module: bytes and texts in, bytes and JSON out. The JavaScript
// around it fetches, copies and shows; everything else is decided here.
//
// Texts and bytes come in as a pointer and a length; what a function answers lies in `trlm_answer`
// until the next call. A file's size is a double, JavaScript's number, exact up to 2^53.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "host.hpp"
#include "json.hpp"
#include "tools/trlm-adapt/documents.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/simd.hpp"
#include "trlm/adapt/stack.hpp"
#include "trlm/adapt/version.hpp"

#define TRLM_EXPORT(name) __attribute__((export_name(name), used))

namespace trlm::adapt::wasm {
namespace {

std::string answer;

void answer_json(const Json& json) {
    answer = json.dump();
}

void answer_document(std::string_view command, const Findings& findings,
                     const Json& result = nullptr) {
    answer = cli::outcome_document(command, findings, result);
}

std::string_view text_of(const char* text, std::size_t bytes) {
    return {text, bytes};
}

Progress host_progress_function() {
    return [](std::uint64_t done, std::uint64_t total) {
        return host_progress(static_cast<double>(done), static_cast<double>(total)) != 0;
    };
}

// --------------------------------------------------------------------------------------- options

Finding usage_error(std::string message) {
    return {.code = FindingCode::usage_error, .message = std::move(message)};
}

/// Options as a JSON object. What cannot be understood is refused: a pin that is misspelt must not
/// be no pin.
class Options {
public:
    /// All of its keys are among `known`.
    static Result<Options> read(std::string_view text,
                                std::initializer_list<std::string_view> known) {
        Result<Json> json = parse_json(text, {.max_bytes = limits::json_bytes, .max_depth = 4});
        if (!json) return failure(std::move(json.error()));
        for (const auto& [key, value] : json->members()) {
            if (std::find(known.begin(), known.end(), key) == known.end()) {
                return failure(usage_error(fmt::format("there is no option named {}", key)));
            }
        }
        return Options(std::move(*json));
    }

    /// Whether it is there and not null.
    [[nodiscard]] bool has(const char* key) const {
        const Json* const found = json_.find(key);
        return found != nullptr && !found->is_null();
    }
    [[nodiscard]] std::string text(const char* key, std::string_view otherwise = {}) {
        const Json* const value = find(key, "a text", &Json::is_text);
        return value != nullptr ? value->text() : std::string(otherwise);
    }
    [[nodiscard]] bool flag(const char* key, bool otherwise = false) {
        const Json* const value = find(key, "true or false", &Json::is_boolean);
        return value != nullptr ? value->boolean() : otherwise;
    }
    [[nodiscard]] std::optional<double> number(const char* key) {
        const Json* const value = find(key, "a number", &Json::is_number);
        return value != nullptr ? std::optional(value->number()) : std::nullopt;
    }
    [[nodiscard]] ChecksumPolicy checksum() {
        return flag("acceptForeignChecksum") ? ChecksumPolicy::accept_foreign
                                             : ChecksumPolicy::verify;
    }

    /// What was wrong with those that were asked for.
    [[nodiscard]] Findings& findings() noexcept { return findings_; }

private:
    explicit Options(Json json) : json_(std::move(json)) {}

    [[nodiscard]] const Json* find(const char* key, std::string_view expected,
                                   bool (Json::*is_right)() const noexcept) {
        const Json* const found = json_.find(key);
        if (found == nullptr || found->is_null()) return nullptr;
        if ((found->*is_right)()) return found;
        findings_.add(usage_error(fmt::format("the option {} is to be {}", key, expected)));
        return nullptr;
    }

    Json json_;
    Findings findings_;
};

Finding no_room_for_output() {
    return {.code = FindingCode::out_of_memory,
            .message = "the host has no memory for the new model; close what is not needed"};
}

// ---------------------------------------------------------------------------------------- output

/// Applies a plan into the host's memory: the new model is never in this module's.
Result<ApplyReport> apply_to_host(const ApplyPlan& plan, const ApplyOptions& options) {
    if (host_output_begin(static_cast<double>(plan.output_bytes)) == 0) {
        return failure(no_room_for_output());
    }
    std::uint64_t offset = 0;
    Result<ApplyReport> report = apply_to_sink(
        plan,
        [&](Bytes bytes) {
            host_output_write(static_cast<double>(offset), bytes.data(), bytes.size());
            offset += bytes.size();
            return true;
        },
        options);
    if (!report) return report;
    std::array<std::byte, 8> checksum{};
    store(MutableBytes(checksum), 0, report->internal_checksum);
    host_output_write(static_cast<double>(slm1_checksum_offset), checksum.data(), checksum.size());
    return report;
}

/// SHA-256 of what lies in the host's memory now.
Digest digest_of_output(std::uint64_t bytes) {
    constexpr std::uint64_t piece_bytes = 262'144;
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min(piece_bytes, bytes)));
    Sha256 sha;
    for (std::uint64_t at = 0; at < bytes; at += piece.size()) {
        const auto count =
            static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - at));
        host_output_read(static_cast<double>(at), piece.data(), count);
        sha.update(Bytes(piece).first(count));
    }
    return sha.finish();
}

// ------------------------------------------------------------------------------------- assemblies

/// A bundle on its way through the gates.
struct Assembly {
    explicit Assembly(const ChainOptions& options) : chain(options) {}
    Chain chain;
};

/// The budget of the registry that a gate's files count against; none for the registry itself.
Json budget_of(const Chain& chain, Gate gate) {
    const Registry* const registry = chain.registry();
    if (registry == nullptr) return nullptr;
    switch (gate) {
        case Gate::model_bytes:
            return {{"name", "model_bytes"}, {"bytes", registry->budgets.model_bytes}};
        case Gate::adapter_artifacts:
            return {{"name", "adapter_stack_bytes"},
                    {"bytes", registry->budgets.adapter_stack_bytes}};
        default:
            return {{"name", "text_sidecar_bytes"},
                    {"bytes", registry->budgets.text_sidecar_bytes}};
    }
}

Json gate_findings(const ChainReport& report, std::size_t gate) {
    Json list = Json::array();
    for (std::size_t i = gate == 0 ? 0 : report.findings_until[gate - 1];
         i < report.findings_until[gate]; ++i) {
        list.push_back(cli::finding_json(report.findings[i]));
    }
    return list;
}

Result<ChainOptions> chain_options(std::string_view text) {
    Result<Options> read = Options::read(text, {"registryDigest", "entry", "registryPath", "strict",
                                                "allowWeakDigests", "acceptForeignChecksum"});
    if (!read) return failure(std::move(read.error()));
    Options& options = *read;
    ChainOptions chain{.entry = options.text("entry"),
                       .allow_weak_digests = options.flag("allowWeakDigests"),
                       .strict = options.flag("strict"),
                       .checksum = options.checksum(),
                       .progress = host_progress_function(),
                       .hash_on_the_way = true};
    chain.registry_path = options.text("registryPath", chain.registry_path);
    // An empty pin is one that was misspelt, not none.
    if (options.has("registryDigest")) {
        const std::string digest = options.text("registryDigest");
        chain.registry_digest = parse_digest(digest);
        if (!chain.registry_digest) {
            return failure(usage_error(fmt::format(
                "registryDigest {}: expected sha256: and 64 lower-case hex digits", digest)));
        }
    }
    if (options.findings().has_errors()) return failure(std::move(options.findings()));
    return chain;
}

// ------------------------------------------------------------------------------------------ files

/// A file's bytes, which the host placed in this module's memory, and what findings call it.
struct NamedBytes {
    std::string name;
    Bytes bytes;
};

template <class T>
Findings named(Result<T>& result, const std::string& name) {
    Findings findings = std::move(result.error());
    findings.set_file(name);
    return findings;
}

/// How a file is looked at.
struct LookOptions {
    std::string file;
    bool statistics = false;
    ChecksumPolicy checksum = ChecksumPolicy::verify;

    [[nodiscard]] ReadDepth depth() const {
        return statistics ? ReadDepth::everything : ReadDepth::headers;
    }
};

Result<LookOptions> look_options(std::string_view text) {
    Result<Options> read = Options::read(text, {"file", "statistics", "acceptForeignChecksum"});
    if (!read) return failure(std::move(read.error()));
    LookOptions look{.file = read->text("file"),
                     .statistics = read->flag("statistics"),
                     .checksum = read->checksum()};
    if (read->findings().has_errors()) return failure(std::move(read->findings()));
    return look;
}

/// Undo files are the command line's: what they restore are files.
Findings undo_file(const std::string& name) {
    Findings findings;
    findings.add({.code = FindingCode::bad_magic,
                  .message = "this is an undo file (UND1), which is not read here; use the command "
                             "line",
                  .file = name,
                  .offset = 0,
                  .expected = "SLM1, ADP1, ASP1 or ALR1",
                  .actual = "UND1"});
    return findings;
}

Findings check_file(const NamedBytes& file, ChecksumPolicy checksum, bool& ok) {
    const std::optional<FileFormat> format = detect_format(file.bytes);
    ok = false;
    if (!format) return cli::unknown_format(file.name, file.bytes);
    if (*format == FileFormat::und1) return undo_file(file.name);
    Findings warnings;
    if (*format == FileFormat::slm1) {
        Result<Model> model =
            read_model(file.bytes, {.checksum = checksum, .progress = host_progress_function()});
        if (!model) return named(model, file.name);
        warnings = model->warnings();
        warnings.set_file(file.name);
    } else {
        Result<Package> package =
            read_package(file.bytes, ReadDepth::everything, host_progress_function());
        if (!package) return named(package, file.name);
    }
    ok = true;
    return warnings;
}

void inspect_model(const NamedBytes& file, const LookOptions& look) {
    Result<Model> model =
        read_model(file.bytes, {.checksum = look.checksum, .depth = look.depth()});
    if (!model) return answer_document("inspect", named(model, file.name));
    std::vector<Statistics> statistics;
    for (std::size_t i = 0; look.statistics && i < model->tensors().size(); ++i)
        statistics.push_back(tensor_statistics(*model, i));
    Findings warnings = model->warnings();
    warnings.set_file(file.name);
    answer_document("inspect", warnings, cli::model_json(file.name, *model, statistics));
}

void inspect_package(const NamedBytes& file, const LookOptions& look) {
    Result<Package> package = read_package(file.bytes, look.depth());
    if (!package) return answer_document("inspect", named(package, file.name));
    std::vector<Statistics> statistics;
    for (std::size_t i = 0; look.statistics && i < package->entries().size(); ++i)
        statistics.push_back(entry_statistics(*package, i));
    answer_document("inspect", {}, cli::package_json(file.name, *package, statistics));
}

// ----------------------------------------------------------------------------------------- stacks

/// A model and what is to be applied to it, as the host placed them.
struct Application {
    NamedBytes model;
    std::vector<NamedBytes> packages = {};
    std::vector<float> strengths = {};
};

/// What the options say; findings tell what cannot be understood.
struct ApplicationRequest {
    ApplyOptions options;
    OutputDtype output_dtype = OutputDtype::keep;
    std::string output;
    ChecksumPolicy checksum = ChecksumPolicy::verify;
};

Result<ApplicationRequest> understand(std::string_view text) {
    Result<Options> read =
        Options::read(text, {"rounding", "outputDtype", "allowNoEffect", "minSurvival", "survival",
                             "output", "simdTarget", "acceptForeignChecksum"});
    if (!read) return failure(std::move(read.error()));
    Options& options = *read;
    Findings& findings = options.findings();
    ApplicationRequest request{.output = options.text("output", "adapted.slm"),
                               .checksum = options.checksum()};
    const std::string rounding = options.text("rounding");
    if (!rounding.empty()) {
        Result<Rounding> parsed = parse_rounding(rounding);
        if (parsed)
            request.options.rounding = *parsed;
        else
            findings.append(std::move(parsed.error()));
    }
    const std::string dtype = options.text("outputDtype", "keep");
    bool known = false;
    for (const OutputDtype each : {OutputDtype::keep, OutputDtype::q8_0, OutputDtype::f32}) {
        if (to_string(each) != dtype) continue;
        request.output_dtype = each;
        known = true;
    }
    if (!known) findings.add(usage_error("outputDtype: expected keep, q8_0 or f32"));
    request.options.survival = options.flag("survival", true);
    request.options.allow_no_effect = options.flag("allowNoEffect");
    request.options.min_survival = options.number("minSurvival");
    request.options.simd_target = options.text("simdTarget");
    if (Status usable = check_simd_target(request.options.simd_target); !usable)
        findings.append(std::move(usable.error()));
    request.options.progress = host_progress_function();
    if (findings.has_errors()) return failure(std::move(findings));
    return request;
}

/// Applies into the host's memory; true when there is a new model.
bool apply(const Application& application, std::string_view options) {
    const auto refuse = [](const Findings& findings) {
        answer_document("apply", findings);
        return false;
    };
    Result<ApplicationRequest> request = understand(options);
    if (!request) return refuse(request.error());
    const std::string& name = application.model.name;
    Result<Model> model = read_model(application.model.bytes, {.checksum = request->checksum});
    if (!model) return refuse(named(model, name));
    Findings warnings = model->warnings();
    Findings unreadable;
    std::vector<Package> packages;
    packages.reserve(application.packages.size());
    for (const NamedBytes& file : application.packages) {
        Result<Package> package = read_package(file.bytes);
        if (package)
            packages.push_back(std::move(*package));
        else
            unreadable.append(named(package, file.name));
    }
    if (unreadable.has_errors()) return refuse(unreadable);
    Stack stack;
    for (std::size_t i = 0; i < packages.size(); ++i) {
        stack.push_back({.package = &packages[i],
                         .strength = application.strengths[i],
                         .file = application.packages[i].name});
    }
    Result<ApplyPlan> plan = plan_apply(*model, stack, request->output_dtype);
    if (!plan) return refuse(named(plan, name));
    Result<ApplyReport> report = apply_to_host(*plan, request->options);
    if (!report) return refuse(named(report, name));
    warnings.append(report->warnings);
    warnings.set_file(name);
    const std::string digest = to_string(digest_of_output(report->bytes));
    answer_document(
        "apply", warnings,
        cli::application_json(*report, request->options.rounding, digest, request->output));
    return true;
}

}  // namespace

// -------------------------------------------------------------------------------------- interface

extern "C" {

TRLM_EXPORT("trlm_answer") const char* trlm_answer() {
    return answer.data();
}
TRLM_EXPORT("trlm_answer_bytes") std::size_t trlm_answer_bytes() {
    return answer.size();
}

/// Memory for the host to place bytes in; null when there is none.
TRLM_EXPORT("trlm_take_memory") void* trlm_take_memory(double bytes) {
    constexpr double most = 0x7fffffff;
    return bytes <= most ? std::malloc(std::max<std::size_t>(1, static_cast<std::size_t>(bytes)))
                         : nullptr;
}
TRLM_EXPORT("trlm_give_memory") void trlm_give_memory(void* memory) {
    std::free(memory);
}

TRLM_EXPORT("trlm_version") void trlm_version() {
    answer_json({{"version", version}, {"simd", simd_targets()}});
}

/// Null when the options are no good: the answer is the report that says so.
TRLM_EXPORT("trlm_assembly_begin")
Assembly* trlm_assembly_begin(const char* options, std::size_t bytes) {
    Result<ChainOptions> chain = chain_options(text_of(options, bytes));
    if (!chain) {
        answer_document("verify", chain.error());
        return nullptr;
    }
    return std::make_unique<Assembly>(*chain).release();
}
TRLM_EXPORT("trlm_assembly_end") void trlm_assembly_end(Assembly* assembly) {
    delete assembly;
}

/// The answer is the file to be opened next; false when every gate has been judged.
TRLM_EXPORT("trlm_assembly_wanted") bool trlm_assembly_wanted(const Assembly* assembly) {
    const WantedFile* const wanted = assembly->chain.wanted();
    if (wanted == nullptr) return false;
    answer_json({{"gate", to_string(wanted->gate)},
                 {"path", wanted->path},
                 {"bytes", wanted->bytes ? Json(*wanted->bytes) : Json(nullptr)},
                 {"mostBytes", wanted->most_bytes},
                 {"budget", budget_of(assembly->chain, wanted->gate)}});
    return true;
}

/// The wanted file is there and has that many bytes. False when it is not to be read.
TRLM_EXPORT("trlm_assembly_open") bool trlm_assembly_open(Assembly* assembly, double bytes) {
    return assembly->chain.open(static_cast<std::uint64_t>(bytes));
}

/// Where the next bytes of the open file are placed, and how many at most.
TRLM_EXPORT("trlm_assembly_room") std::byte* trlm_assembly_room(const Assembly* assembly) {
    return assembly->chain.room().data();
}
TRLM_EXPORT("trlm_assembly_room_bytes")
std::size_t trlm_assembly_room_bytes(const Assembly* assembly) {
    return assembly->chain.room().size();
}

/// So many bytes were placed there.
TRLM_EXPORT("trlm_assembly_feed") bool trlm_assembly_feed(Assembly* assembly, std::size_t bytes) {
    return assembly->chain.feed(assembly->chain.room().first(bytes));
}

/// The file goes on where it should have ended.
TRLM_EXPORT("trlm_assembly_overflow") void trlm_assembly_overflow(Assembly* assembly) {
    const std::vector<std::byte> beyond(assembly->chain.room().size() + 1);
    (void)assembly->chain.feed(beyond);
}

/// The file has ended.
TRLM_EXPORT("trlm_assembly_close") void trlm_assembly_close(Assembly* assembly) {
    assembly->chain.close();
}

/// The wanted file cannot be had; where it is missing, the finding is the one for a folder.
TRLM_EXPORT("trlm_assembly_refuse")
void trlm_assembly_refuse(Assembly* assembly, bool missing, const char* why, std::size_t bytes) {
    const WantedFile* const wanted = assembly->chain.wanted();
    if (wanted == nullptr) return;
    Findings findings;
    findings.add({.code = missing ? FindingCode::file_missing : FindingCode::file_unreadable,
                  .message = missing ? "the bundle has no such file; add it, or take a whole copy"
                                     : std::string(text_of(why, bytes)),
                  .file = wanted->path});
    assembly->chain.refuse(std::move(findings));
}

/// The names of all files of the bundle, with a NUL behind each, from a host that can list them:
/// once no file is wanted. Afterwards files may be wanted again.
TRLM_EXPORT("trlm_assembly_list")
void trlm_assembly_list(Assembly* assembly, const char* names, std::size_t bytes) {
    std::vector<std::string> files;
    for (std::string_view rest = text_of(names, bytes); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\0'), rest.size() - 1);
        files.emplace_back(rest.substr(0, end));
        rest.remove_prefix(end + 1);
    }
    assembly->chain.list(files);
}

/// The answer is the digest of the file that was closed last; false when it has none.
TRLM_EXPORT("trlm_assembly_digest") bool trlm_assembly_digest(const Assembly* assembly) {
    const std::optional<Digest> digest = assembly->chain.closed_digest();
    if (digest) answer = to_string(*digest);
    return digest.has_value();
}

/// `GateStatus` of a gate, and as the answer its name, status and findings.
TRLM_EXPORT("trlm_assembly_gate_status")
int trlm_assembly_gate_status(const Assembly* assembly, std::size_t gate) {
    return static_cast<int>(assembly->chain.report().gates[std::min(gate, gate_count - 1)]);
}
TRLM_EXPORT("trlm_assembly_gate")
void trlm_assembly_gate(const Assembly* assembly, std::size_t gate) {
    const std::size_t index = std::min(gate, gate_count - 1);
    const ChainReport& report = assembly->chain.report();
    answer_json({{"gate", to_string(static_cast<Gate>(index))},
                 {"index", index},
                 {"status", to_string(report.gates[index])},
                 {"findings", gate_findings(report, index)}});
}

/// The answer is the document of `trlm-adapt verify --json`.
TRLM_EXPORT("trlm_assembly_report") void trlm_assembly_report(const Assembly* assembly) {
    const ChainReport& report = assembly->chain.report();
    answer_document("verify", report.findings, cli::verification_json(report));
}

/// The verified bytes of a file, empty where there are none, and how many they are.
TRLM_EXPORT("trlm_assembly_file")
const std::byte* trlm_assembly_file(const Assembly* assembly, const char* path, std::size_t bytes) {
    return assembly->chain.file(std::string(text_of(path, bytes))).value_or(Bytes()).data();
}
TRLM_EXPORT("trlm_assembly_file_bytes")
std::size_t trlm_assembly_file_bytes(const Assembly* assembly, const char* path,
                                     std::size_t bytes) {
    return assembly->chain.file(std::string(text_of(path, bytes))).value_or(Bytes()).size();
}

/// What follows is there once every gate has passed, and false before.
/// The answer is the model as `inspect` shows it.
TRLM_EXPORT("trlm_assembly_model") bool trlm_assembly_model(const Assembly* assembly) {
    const auto verified = assembly->chain.verified();
    if (!verified) return false;
    answer_json(cli::model_json({}, *verified->model, {}));
    return true;
}

/// The answer is where a tensor lies in the model's file, base and adapted alike. False when there
/// is none of that name.
TRLM_EXPORT("trlm_assembly_tensor")
bool trlm_assembly_tensor(const Assembly* assembly, const char* name, std::size_t bytes) {
    const auto verified = assembly->chain.verified();
    if (!verified) return false;
    const auto index = verified->model->find_tensor(tensor_name_hash(text_of(name, bytes)));
    if (!index) return false;
    const ModelTensor& tensor = verified->model->tensors()[*index];
    answer_json({{"payload", {{"offset", tensor.payload_offset}, {"bytes", tensor.payload_length}}},
                 {"scales", {{"offset", tensor.scale_offset}, {"bytes", tensor.scale_length}}}});
    return true;
}

/// The verified model's bytes.
TRLM_EXPORT("trlm_assembly_base") const std::byte* trlm_assembly_base(const Assembly* assembly) {
    const auto verified = assembly->chain.verified();
    return verified ? verified->model->bytes().data() : nullptr;
}
TRLM_EXPORT("trlm_assembly_base_bytes")
std::size_t trlm_assembly_base_bytes(const Assembly* assembly) {
    const auto verified = assembly->chain.verified();
    return verified ? verified->model->bytes().size() : 0;
}

/// Applies the preferred stack into the host's memory, or nowhere. The answer is how much of it was
/// left, or the findings. False when there is nothing to apply or it failed.
TRLM_EXPORT("trlm_assembly_apply")
bool trlm_assembly_apply(const Assembly* assembly, bool keep_output) {
    const auto verified = assembly->chain.verified();
    if (!verified || verified->plan == nullptr) {
        answer_json({{"tensors", Json::array()}, {"kept", nullptr}});
        return false;
    }
    const ApplyOptions options{.rounding = verified->rounding,
                               .survival = !keep_output,
                               .progress = host_progress_function()};
    const Result<ApplyReport> report =
        keep_output ? apply_to_host(*verified->plan, options)
                    : apply_to_sink(
                          *verified->plan, [](Bytes) { return true; }, options);
    if (!report) {
        answer_document("apply", report.error());
        return false;
    }
    answer_json({{"tensors", cli::survival_json(report->tensors)},
                 {"kept", report->kept ? Json(*report->kept) : Json(nullptr)}});
    return true;
}

/// The answer is the document of `trlm-adapt validate --json`.
TRLM_EXPORT("trlm_validate")
void trlm_validate(const std::byte* data, std::size_t bytes, const char* options,
                   std::size_t options_bytes) {
    const Result<LookOptions> look = look_options(text_of(options, options_bytes));
    if (!look) return answer_document("validate", look.error());
    const NamedBytes file{look->file, {data, bytes}};
    bool ok = false;
    const Findings findings = check_file(file, look->checksum, ok);
    answer_document("validate", findings,
                    cli::files_json({{file.name, detect_format(file.bytes), bytes, ok}}));
}

/// The answer is the document of `trlm-adapt inspect --json`.
TRLM_EXPORT("trlm_inspect")
void trlm_inspect(const std::byte* data, std::size_t bytes, const char* options,
                  std::size_t options_bytes) {
    const Result<LookOptions> look = look_options(text_of(options, options_bytes));
    if (!look) return answer_document("inspect", look.error());
    const NamedBytes file{look->file, {data, bytes}};
    const std::optional<FileFormat> format = detect_format(file.bytes);
    if (!format) return answer_document("inspect", cli::unknown_format(file.name, file.bytes));
    if (*format == FileFormat::und1) return answer_document("inspect", undo_file(file.name));
    if (*format == FileFormat::slm1) return inspect_model(file, *look);
    inspect_package(file, *look);
}

/// A stack to be applied; its bytes stay with the host, in this module's memory.
TRLM_EXPORT("trlm_application_begin")
Application* trlm_application_begin(const std::byte* data, std::size_t bytes, const char* name,
                                    std::size_t name_bytes) {
    Application application{.model = {std::string(text_of(name, name_bytes)), {data, bytes}}};
    return std::make_unique<Application>(std::move(application)).release();
}
TRLM_EXPORT("trlm_application_end") void trlm_application_end(Application* application) {
    delete application;
}
TRLM_EXPORT("trlm_application_add")
void trlm_application_add(Application* application, const std::byte* data, std::size_t bytes,
                          const char* name, std::size_t name_bytes, double strength) {
    application->packages.push_back({std::string(text_of(name, name_bytes)), {data, bytes}});
    application->strengths.push_back(static_cast<float>(strength));
}

/// Applies it. The answer is the document of `trlm-adapt apply --json`; true when the host has a
/// new model.
TRLM_EXPORT("trlm_application_run")
bool trlm_application_run(const Application* application, const char* options,
                          std::size_t options_bytes) {
    return apply(*application, text_of(options, options_bytes));
}
}

}  // namespace trlm::adapt::wasm
