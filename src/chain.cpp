#include "trlm/adapt/chain.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "buffer.hpp"
#include "going_on.hpp"
#include "guard.hpp"
#include "json.hpp"
#include "receipt/descriptions.hpp"
#include "receipt/file_findings.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/stack.hpp"

namespace trlm::adapt {
namespace {

constexpr std::array<std::string_view, gate_count> gate_names = {
    "registry",          "module-plan", "model-bytes",    "model-manifest",
    "assembly-receipt",  "evidence",    "adapter-family", "adapter-manifests",
    "adapter-artifacts", "validate",    "apply",          "diagnostics"};

constexpr std::array<std::string_view, 5> status_names = {"pending", "passed", "failed", "blocked",
                                                          "not-applicable"};

/// The evidence files of an assembly receipt with their kinds, in the order of its bindings.
struct BoundEvidence {
    EvidenceKind kind;
    ModuleRole role;
    const FileRef* file;
};

std::array<BoundEvidence, evidence_kind_count> bound_evidence(const Bindings& bindings) {
    using enum EvidenceKind;
    using Role = ModuleRole;
    return {{{review, Role::evidence_review, &bindings.review},
             {recipe, Role::evidence_recipe, &bindings.recipe},
             {operator_file, Role::evidence_operator, &bindings.operator_file},
             {candidate, Role::evidence_candidate, &bindings.candidate},
             {promotion, Role::evidence_promotion, &bindings.promotion},
             {runtime, Role::evidence_runtime, &bindings.runtime},
             {eval, Role::evidence_eval, &bindings.eval},
             {admission, Role::evidence_admission, &bindings.admission},
             {eval_cases, Role::evidence_eval_cases, &bindings.eval_cases}}};
}

/// A verified file, or one on its way.
struct HeldFile {
    MutableBytes memory;  // of the gate's buffer

    [[nodiscard]] Bytes bytes() const noexcept { return memory; }
    [[nodiscard]] std::string_view text() const noexcept { return as_text(memory); }
};

/// More than this is not reserved for files that are yet to come.
constexpr std::uint64_t most_reserved = std::uint64_t{256} << 20;

/// What a document demands of a file.
struct Request {
    WantedFile wanted;
    std::optional<ContentDigest> digest = {};
};

/// A file that is complete, and its digest where it is known already.
struct Received {
    const Request* request = nullptr;
    HeldFile file = {};
    std::optional<ContentDigest> digest = {};
};

std::string_view role_name(ModuleRole role) {
    return document::module_roles.names[static_cast<std::size_t>(role)];
}

}  // namespace

std::string_view to_string(Gate gate) noexcept {
    return gate_names[static_cast<std::size_t>(gate)];
}

std::string_view to_string(GateStatus status) noexcept {
    return status_names[static_cast<std::size_t>(status)];
}

// ---------------------------------------------------------------------------------------- machine

class Chain::Machine {
public:
    explicit Machine(const ChainOptions& options) : options_(options) {
        report_.gates.fill(GateStatus::pending);
        Request request{.wanted = {.gate = Gate::registry,
                                   .path = options_.registry_path,
                                   .most_bytes = limits::json_bytes}};
        if (options_.registry_digest) request.digest = *options_.registry_digest;
        requests_.push_back(std::move(request));
    }

    [[nodiscard]] const WantedFile* wanted() const noexcept {
        return next_ < requests_.size() ? &requests_[next_].wanted : nullptr;
    }

    bool open(std::uint64_t bytes);
    [[nodiscard]] MutableBytes room() const noexcept {
        return is_open_ ? incoming_.memory.subspan(static_cast<std::size_t>(filled_))
                        : MutableBytes{};
    }
    bool feed(Bytes piece);
    void close();
    void refuse(Findings why);
    void give_up_without_memory() noexcept;

    [[nodiscard]] const ChainReport& report() const noexcept { return report_; }
    [[nodiscard]] std::optional<Digest> closed_digest() const noexcept { return closed_digest_; }
    [[nodiscard]] std::optional<VerifiedAssembly> verified() const noexcept;
    [[nodiscard]] const Registry* registry() const noexcept {
        return registry_ ? &*registry_ : nullptr;
    }
    [[nodiscard]] std::optional<Bytes> file(const std::string& path) const;
    [[nodiscard]] bool can_judge_list() const noexcept {
        return gate_ == gate_count && plan_ && !is_listed_;
    }
    void list(const std::vector<std::string>& files);

private:
    // ------------------------------------------------------------------------------- state machine

    enum class Outcome : std::uint8_t { not_run, done, out_of_memory };

    [[nodiscard]] bool take_memory(std::uint64_t bytes, MutableBytes& memory);
    void drop_incoming();
    void verify_received();
    bool run_all(std::size_t count, const std::function<void(std::size_t)>& task);
    void advance();
    void begin();
    void judge();
    [[nodiscard]] bool prerequisites_passed() const;
    [[nodiscard]] bool passed(Gate gate) const {
        return report_.status(gate) == GateStatus::passed;
    }
    void request(Gate gate, const FileRef& file, const std::string& path);
    void request(const FileRef& file, const std::string& path) {
        request(static_cast<Gate>(gate_), file, path);
    }
    void judge_list();

    // ------------------------------------------------------------------------------------ findings

    void add(Finding finding) { current_.add(std::move(finding)); }
    void add(FindingCode code, const std::string& file, std::string pointer, std::string message,
             std::string expected = {}, std::string actual = {}) {
        add({.code = code,
             .message = std::move(message),
             .file = file,
             .pointer = std::move(pointer),
             .expected = std::move(expected),
             .actual = std::move(actual)});
    }
    void append(Findings findings, const std::string& file) {
        findings.set_file(file);
        current_.append(std::move(findings));
    }

    /// The value of a result, or nothing after its findings were noted.
    template <class T>
    std::optional<T> taken(Result<T> result, const std::string& file) {
        if (result) return std::move(*result);
        append(std::move(result.error()), file);
        return std::nullopt;
    }

    /// Reads a document that is held, if it is.
    template <class Read>
    auto read_document(const std::string& path, const Read& read)
        -> std::optional<typename decltype(read(std::string_view{},
                                                DocumentOptions{}))::value_type>;

    /// Two documents must say the same.
    template <class T>
    void agree(const T& stated, const T& other, const std::string& file, std::string pointer,
               std::string_view whose);

    // -------------------------------------------------------------------------------- closed world

    bool use(const std::string& document, const std::string& pointer, const FileRef& file,
             ModuleRole role);
    void check_unused_modules();

    // --------------------------------------------------------------------------------------- gates

    void judge_registry();
    void judge_entry();
    void judge_plan();
    void judge_plan_budgets();
    void judge_model_manifest();
    void judge_assembly();
    void judge_evidence();
    void judge_family();
    void judge_adapter_manifests();
    void judge_manifest(std::size_t index);
    void judge_identity(const AdapterManifest& manifest, const std::string& path);
    void judge_slots();
    void judge_artifacts();
    void judge_fit();
    void judge_application();
    void judge_diagnostics();

    [[nodiscard]] std::string entry_pointer(std::string_view key) const {
        return fmt::format("/entries/{}/{}", entry_index_, key);
    }
    [[nodiscard]] std::string family_path() const { return entry_->adapter_family->path; }
    [[nodiscard]] std::string family_file(const std::string& path) const {
        return resolve_path(family_path(), path);
    }
    [[nodiscard]] std::size_t preferred_index() const {
        return static_cast<std::size_t>(family_->preferred_stack() - family_->stacks.data());
    }
    [[nodiscard]] ApplyOptions apply_options() const {
        ApplyOptions options;
        options.executor = options_.executor;
        options.progress = options_.progress;
        options.simd_target = options_.simd_target;
        options.rounding = family_->preferred_stack()->rounding;
        return options;
    }

    ChainOptions options_;
    ChainReport report_;
    Findings current_;  // of the gate that is open
    std::size_t gate_ = 0;
    std::vector<Request> requests_;  // of the gate that is open
    std::size_t next_ = 0;

    std::vector<Buffer<std::byte>> buffers_;  // of all files
    MutableBytes free_memory_;                // of the last one

    // The file that is open.
    HeldFile incoming_;
    std::uint64_t filled_ = 0;
    bool is_open_ = false;
    std::optional<Sha256> hasher_;  // of what was fed, where that is hashed on the way
    std::optional<Digest> closed_digest_;
    std::vector<Received> received_;  // of the gate that is open

    std::map<std::string, HeldFile> files_;  // verified, by path
    std::map<std::string, std::string> folded_;
    std::set<std::string, std::less<>> used_;  // paths that a document named
    bool is_listed_ = false;                   // the host has told which files there are
    std::set<std::string> unlisted_;           // those that nothing is known to lead to

    std::optional<Registry> registry_;
    const RegistryEntry* entry_ = nullptr;
    std::size_t entry_index_ = 0;
    std::optional<ModulePlan> plan_;
    std::optional<ModelManifest> manifest_;
    std::optional<Model> model_;
    std::optional<AssemblyReceipt> assembly_;
    std::optional<AdapterFamily> family_;
    std::vector<std::optional<AdapterManifest>> adapter_manifests_;  // as members
    std::vector<std::optional<Package>> packages_;                   // as members
    std::optional<ApplyPlan> apply_plan_;
    std::optional<ApplyReport> applied_;
    std::optional<ContentDigest> output_digest_;
};

// --------------------------------------------------------------------------------- files coming in

bool Chain::Machine::open(std::uint64_t bytes) {
    const Request& request = requests_[next_];
    const std::string& path = request.wanted.path;
    report_.opened.push_back(path);
    if (request.wanted.bytes && bytes != *request.wanted.bytes) {
        Finding differs = size_differs(*request.wanted.bytes, bytes);
        differs.file = path;
        add(std::move(differs));
    } else if (bytes > request.wanted.most_bytes) {
        add({.code = FindingCode::limit_exceeded,
             .message = "the file is larger than such a document may be; shorten it",
             .file = path,
             .expected = fmt::format("at most {}", request.wanted.most_bytes),
             .actual = fmt::format("{}", bytes)});
    } else {
        if (!take_memory(bytes, incoming_.memory)) {
            give_up_without_memory();
            return false;
        }
        filled_ = 0;
        is_open_ = true;
        if (options_.hash_on_the_way) hasher_.emplace();
        return true;
    }
    ++next_;
    advance();
    return false;
}

bool Chain::Machine::feed(Bytes piece) {
    if (!is_open_) return false;
    const MutableBytes left = room();
    if (piece.size() <= left.size()) {
        if (piece.data() != left.data()) std::copy(piece.begin(), piece.end(), left.begin());
        if (hasher_) hasher_->update(left.first(piece.size()));
        filled_ += piece.size();
        return true;
    }
    add({.code = FindingCode::size_mismatch,
         .message = "the file goes on after the bytes that it had when it was opened: it changed, "
                    "or its sender does not keep to the plan",
         .file = requests_[next_].wanted.path,
         .expected = fmt::format("{}", incoming_.memory.size()),
         .actual = fmt::format("more than {}", incoming_.memory.size())});
    drop_incoming();
    return false;
}

/// Memory for a file: one buffer for all files of a gate, as long as their sizes are those that
/// were named. False when there is none.
bool Chain::Machine::take_memory(std::uint64_t bytes, MutableBytes& memory) {
    if (bytes > free_memory_.size()) {
        CheckedSize needed = bytes;
        for (std::size_t i = next_ + 1; i < requests_.size(); ++i)
            needed = needed + requests_[i].wanted.bytes.value_or(0);
        // Budgets allow what lies ahead, but a file at hand is all that memory is needed for.
        Buffer<std::byte> buffer;
        const bool allocated =
            (needed.fits(most_reserved) && buffer.allocate({}, needed.value())) ||
            buffer.allocate({}, bytes);
        if (!allocated) return false;
        buffers_.push_back(std::move(buffer));
        free_memory_ = {buffers_.back().data(), buffers_.back().size()};
    }
    memory = free_memory_.first(static_cast<std::size_t>(bytes));
    free_memory_ = free_memory_.subspan(memory.size());
    return true;
}

void Chain::Machine::drop_incoming() {
    is_open_ = false;
    incoming_ = {};
    hasher_.reset();
    ++next_;
    advance();
}

void Chain::Machine::close() {
    if (!is_open_) return;
    closed_digest_.reset();
    if (filled_ != incoming_.memory.size()) {
        add({.code = FindingCode::size_mismatch,
             .message = "the file ended before the bytes that it had when it was opened",
             .file = requests_[next_].wanted.path,
             .expected = fmt::format("{}", incoming_.memory.size()),
             .actual = fmt::format("{}", filled_)});
    } else {
        Received& received = received_.emplace_back();
        received.request = &requests_[next_];
        received.file = std::exchange(incoming_, {});
        if (hasher_) {
            closed_digest_ = hasher_->finish();
            const auto& wanted = received.request->digest;
            if (wanted && !is_weak(*wanted)) received.digest = *closed_digest_;
        }
    }
    drop_incoming();
}

/// The files of this gate are those that were named, or are not used.
void Chain::Machine::verify_received() {
    const bool ran = run_all(received_.size(), [&](std::size_t i) {
        auto& [request, file, digest] = received_[i];
        if (request->digest && !digest) digest = digest_like(*request->digest, file.bytes());
    });
    for (std::size_t i = 0; ran && i < received_.size(); ++i) {
        const auto& [request, file, digest] = received_[i];
        const std::string& path = request->wanted.path;
        if (digest == request->digest) {
            files_.insert_or_assign(path, file);
            continue;
        }
        Finding differs = digest_differs(*request->digest, *digest);
        differs.file = path;
        add(std::move(differs));
    }
    received_.clear();
}

/// Runs task(0) .. task(count - 1) on the caller's threads. False, with a finding, when not all of
/// them were run.
bool Chain::Machine::run_all(std::size_t count, const std::function<void(std::size_t)>& task) {
    std::vector<Outcome> outcomes(count, Outcome::not_run);
    const auto safe_task = [&](std::size_t i) noexcept {
        const bool done = memory_suffices([&] { task(i); });
        outcomes[i] = done ? Outcome::done : Outcome::out_of_memory;
    };
    const bool ran = quietly_with_memory([&] {
        if (options_.executor.parallel_for && count > 1) {
            options_.executor.parallel_for(count, safe_task);
        } else {
            for (std::size_t i = 0; i < count; ++i)
                safe_task(i);
        }
    });
    if (!ran) {
        add({.code = FindingCode::executor_failed, .message = "the executor threw an exception"});
        return false;
    }
    if (std::count(outcomes.begin(), outcomes.end(), Outcome::out_of_memory) > 0)
        throw_out_of_memory();
    if (std::count(outcomes.begin(), outcomes.end(), Outcome::not_run) == 0) return true;
    add({.code = FindingCode::executor_failed,
         .message = "the executor returned before it had run every task"});
    return false;
}

void Chain::Machine::refuse(Findings why) {
    if (next_ >= requests_.size()) return;
    append(std::move(why), requests_[next_].wanted.path);
    drop_incoming();
}

void Chain::Machine::give_up_without_memory() noexcept {
    report_.findings.append(std::exchange(current_, {}));
    report_.findings.append(std::move(out_of_memory().value()));
    for (; gate_ < gate_count; ++gate_) {
        report_.gates[gate_] = GateStatus::failed;
        report_.findings_until[gate_] = report_.findings.size();
    }
    requests_.clear();
    received_.clear();
    next_ = 0;
    is_open_ = false;
}

std::optional<VerifiedAssembly> Chain::Machine::verified() const noexcept {
    const auto good = [](GateStatus status) {
        return status == GateStatus::passed || status == GateStatus::not_applicable;
    };
    if (!std::all_of(report_.gates.begin(), report_.gates.end(), good)) return std::nullopt;
    if (!apply_plan_) return VerifiedAssembly{.model = &*model_};
    return VerifiedAssembly{
        .model = &*model_, .plan = &*apply_plan_, .rounding = family_->preferred_stack()->rounding};
}

std::optional<Bytes> Chain::Machine::file(const std::string& path) const {
    const auto found = files_.find(path);
    if (found == files_.end()) return std::nullopt;
    return found->second.bytes();
}

// ------------------------------------------------------------------------------- the list of files

void Chain::Machine::list(const std::vector<std::string>& files) {
    if (!can_judge_list()) return;
    is_listed_ = true;
    unlisted_ = {files.begin(), files.end()};
    unlisted_.erase(options_.registry_path);
    for (const Module& module : plan_->modules)
        unlisted_.erase(module.file.path);
    for (const RegistryEntry& entry : registry_->entries) {
        for (const FileRef* const file :
             {&entry.model, &entry.manifest, &entry.module_plan, &entry.assembly_receipt})
            unlisted_.erase(file->path);
        if (entry.adapter_family) unlisted_.erase(entry.adapter_family->path);
    }
    for (const RegistryEntry& entry : registry_->entries)
        request(Gate::module_plan, entry.module_plan, entry.module_plan.path);
    judge_list();
}

/// Goes on with the list, after the plan of another entry has come or could not be had.
void Chain::Machine::judge_list() {
    verify_received();
    throw_if_out_of_memory(current_);
    current_ = {};  // such a plan is the other entry's concern
    if (next_ > 0) {
        const auto plan = files_.find(requests_[next_ - 1].wanted.path);
        if (plan != files_.end()) {
            const auto read = read_module_plan(plan->second.text(), {.allow_weak_digests = true});
            if (!read) throw_if_out_of_memory(read.error());
            for (std::size_t i = 0; read && i < read->modules.size(); ++i)
                unlisted_.erase(read->modules[i].file.path);
        }
    }
    // Most bundles have no such file: then no further plan is needed.
    if (next_ < requests_.size() && !unlisted_.empty()) return;
    requests_.clear();
    next_ = 0;
    for (const std::string& path : unlisted_) {
        report_.findings.add({.code = FindingCode::unlisted_file,
                              .message = "no entry of the registry leads to this file; it was not "
                                         "opened, and is best removed",
                              .severity = options_.strict ? Severity::error : Severity::warning,
                              .file = path});
    }
}

// ----------------------------------------------------------------------------------- state machine

void Chain::Machine::request(Gate gate, const FileRef& file, const std::string& path) {
    if (files_.contains(path)) return;  // a file is opened once
    const auto same = [&](const Request& r) { return r.wanted.path == path; };
    if (std::any_of(requests_.begin(), requests_.end(), same)) return;
    const bool text = gate != Gate::model_bytes && gate != Gate::adapter_artifacts;
    requests_.push_back({.wanted = {.gate = gate,
                                    .path = path,
                                    .bytes = file.bytes,
                                    .most_bytes = text ? limits::json_bytes : file.bytes},
                         .digest = file.digest});
}

bool Chain::Machine::prerequisites_passed() const {
    using enum Gate;
    switch (static_cast<Gate>(gate_)) {
        case registry:
            return true;
        case module_plan:
            return passed(registry);
        case model_bytes:
        case assembly_receipt:
        case adapter_family:
            return passed(module_plan);
        case model_manifest:
            return passed(model_bytes);
        case evidence:
            return passed(assembly_receipt);
        case adapter_manifests:
            return passed(adapter_family);
        case adapter_artifacts:
            return passed(adapter_manifests);
        case validate:
            return passed(model_manifest) && passed(adapter_artifacts);
        case apply:
            return passed(validate);
        case diagnostics:
            return plan_ && passed(entry_->adapter_family ? apply : model_manifest);
    }
    return false;
}

/// Judges every gate whose files are there, up to one that wants a file.
void Chain::Machine::advance() {
    if (is_listed_) return judge_list();
    while (gate_ < gate_count && next_ >= requests_.size()) {
        verify_received();
        judge();
        report_.gates[gate_] = current_.has_errors() ? GateStatus::failed : GateStatus::passed;
        report_.findings.append(std::exchange(current_, {}));
        report_.findings_until[gate_] = report_.findings.size();
        requests_.clear();
        next_ = 0;
        for (++gate_; gate_ < gate_count; ++gate_) {
            report_.findings_until[gate_] = report_.findings.size();
            const auto gate = static_cast<Gate>(gate_);
            const bool of_family = gate >= Gate::adapter_family && gate <= Gate::apply;
            if (entry_ != nullptr && plan_ && of_family && !entry_->adapter_family) {
                report_.gates[gate_] = GateStatus::not_applicable;
            } else if (prerequisites_passed()) {
                begin();
                break;
            } else {
                report_.gates[gate_] = GateStatus::blocked;
            }
        }
    }
}

/// Asks for the files of the gate that has been reached.
void Chain::Machine::begin() {
    switch (static_cast<Gate>(gate_)) {
        case Gate::module_plan:
            request(entry_->module_plan, entry_->module_plan.path);
            break;
        case Gate::model_bytes:
            request(entry_->model, entry_->model.path);
            break;
        case Gate::model_manifest:
            request(entry_->manifest, entry_->manifest.path);
            break;
        case Gate::assembly_receipt:
            request(entry_->assembly_receipt, entry_->assembly_receipt.path);
            break;
        case Gate::evidence: {
            const std::string& document = entry_->assembly_receipt.path;
            const Bindings& bindings = assembly_->bindings;
            request(bindings.ledger, resolve_path(document, bindings.ledger.path));
            for (const BoundEvidence& bound : bound_evidence(bindings))
                request(*bound.file, resolve_path(document, bound.file->path));
            break;
        }
        case Gate::adapter_family:
            request(*entry_->adapter_family, family_path());
            break;
        case Gate::adapter_manifests:
            for (const FamilyMember& member : family_->members)
                request(member.manifest, family_file(member.manifest.path));
            break;
        case Gate::adapter_artifacts:
            for (const FamilyMember& member : family_->members)
                request(member.package, family_file(member.package.path));
            break;
        default:
            break;  // the others need no file
    }
}

void Chain::Machine::judge() {
    switch (static_cast<Gate>(gate_)) {
        case Gate::registry:
            return judge_registry();
        case Gate::module_plan:
            return judge_plan();
        case Gate::model_bytes:
            return;  // size and digest are all there is to it
        case Gate::model_manifest:
            return judge_model_manifest();
        case Gate::assembly_receipt:
            return judge_assembly();
        case Gate::evidence:
            return judge_evidence();
        case Gate::adapter_family:
            return judge_family();
        case Gate::adapter_manifests:
            return judge_adapter_manifests();
        case Gate::adapter_artifacts:
            return judge_artifacts();
        case Gate::validate:
            return judge_fit();
        case Gate::apply:
            return judge_application();
        case Gate::diagnostics:
            return judge_diagnostics();
    }
}

template <class Read>
auto Chain::Machine::read_document(const std::string& path, const Read& read)
    -> std::optional<typename decltype(read(std::string_view{}, DocumentOptions{}))::value_type> {
    const auto file = files_.find(path);
    if (file == files_.end()) return std::nullopt;  // why is noted already
    Findings warnings;
    const DocumentOptions options{.max_bytes = limits::json_bytes,
                                  .allow_weak_digests = options_.allow_weak_digests,
                                  .warnings = &warnings};
    auto document = taken(read(file->second.text(), options), path);
    append(std::move(warnings), path);
    return document;
}

template <class T>
void Chain::Machine::agree(const T& stated, const T& other, const std::string& file,
                           std::string pointer, std::string_view whose) {
    if (stated == other) return;
    const auto shown = [](const T& value) -> std::string {
        if constexpr (std::is_same_v<T, ContentDigest>) {
            return to_string(value);
        } else {
            return fmt::format("{}", value);
        }
    };
    add(FindingCode::link_mismatch, file, std::move(pointer),
        fmt::format("this is not what {} says; take both documents from the same release", whose),
        shown(other), shown(stated));
}

// ------------------------------------------------------------------------------------ closed world

/// Notes that `document` names `file`, which must be a module with this role, size and digest.
/// False when it is not.
bool Chain::Machine::use(const std::string& document, const std::string& pointer,
                         const FileRef& file, ModuleRole role) {
    const std::string path = resolve_path(document, file.path);
    const auto [other, added] = folded_.emplace(folded_path(path), path);
    if (!added && other->second != path) {
        add(FindingCode::path_collision, document, pointer + "/path",
            fmt::format("{} and {} differ in upper and lower case only, so that some systems take "
                        "them for one file; rename one",
                        path, other->second));
    }
    const Module* const module = plan_->find(path);
    if (module == nullptr) {
        add(FindingCode::unplanned_file, document, pointer,
            fmt::format("{} is not a module of the plan, and so is not opened; make the plan anew",
                        path));
        return false;
    }
    used_.insert(path);
    bool planned = true;
    if (module->file.bytes != file.bytes || module->file.digest != file.digest) {
        add(FindingCode::unplanned_file, document, pointer,
            fmt::format("the plan lists {} with another size or digest; make the plan anew", path),
            fmt::format("{} bytes, {}", module->file.bytes, to_string(module->file.digest)),
            fmt::format("{} bytes, {}", file.bytes, to_string(file.digest)));
        planned = false;
    }
    if (module->role != role) {
        const auto index = static_cast<std::size_t>(module - plan_->modules.data());
        add(FindingCode::link_mismatch, entry_->module_plan.path,
            fmt::format("/modules/{}/role", index),
            fmt::format("{} names this file in another role; correct the plan", document),
            std::string(role_name(role)), std::string(role_name(module->role)));
        planned = false;
    }
    return planned;
}

/// Judged when every document that names files has been read.
void Chain::Machine::check_unused_modules() {
    for (std::size_t i = 0; i < plan_->modules.size(); ++i) {
        const Module& module = plan_->modules[i];
        if (used_.contains(module.file.path)) continue;
        add(FindingCode::unused_module, entry_->module_plan.path, fmt::format("/modules/{}", i),
            fmt::format("no document names {}; leave it out of the plan", module.file.path));
    }
}

// ------------------------------------------------------------------------------------------- gates

void Chain::Machine::judge_registry() {
    registry_ = read_document(options_.registry_path, read_registry);
    if (!registry_) return;
    const std::string& wanted = options_.entry.empty() ? registry_->default_entry : options_.entry;
    const auto entry = std::find_if(registry_->entries.begin(), registry_->entries.end(),
                                    [&](const RegistryEntry& e) { return e.id == wanted; });
    if (entry == registry_->entries.end()) {
        add(FindingCode::usage_error, options_.registry_path, "/entries",
            fmt::format("the registry has no entry \"{}\"; choose one that it has", wanted));
        return;
    }
    entry_ = &*entry;
    entry_index_ = static_cast<std::size_t>(entry - registry_->entries.begin());
    report_.entry = entry_->id;
    judge_entry();
}

void Chain::Machine::judge_entry() {
    const std::string& path = options_.registry_path;
    if (entry_->admission != Admission::admitted) {
        add(FindingCode::not_admitted, path, entry_pointer("admission"),
            "the registry does not admit this entry; choose another, or complete its review",
            "admitted",
            std::string(document::admissions.names[static_cast<std::size_t>(entry_->admission)]));
    }
    const auto check = [&](std::string_view key, const FileRef& file, std::uint64_t budget) {
        if (file.bytes <= budget) return;
        add(FindingCode::budget_exceeded, path, entry_pointer(key) + "/bytes",
            fmt::format("{} is larger than the registry's budget for such a file", file.path),
            fmt::format("at most {}", budget), fmt::format("{}", file.bytes));
    };
    const Budgets& budgets = registry_->budgets;
    check("model", entry_->model, budgets.model_bytes);
    check("manifest", entry_->manifest, budgets.text_sidecar_bytes);
    check("module_plan", entry_->module_plan, budgets.text_sidecar_bytes);
    check("assembly_receipt", entry_->assembly_receipt, budgets.text_sidecar_bytes);
    if (entry_->adapter_family)
        check("adapter_family", *entry_->adapter_family, budgets.text_sidecar_bytes);
}

void Chain::Machine::judge_plan() {
    const std::string& path = entry_->module_plan.path;
    plan_ = read_document(path, read_module_plan);
    if (!plan_) return;
    agree(plan_->entry_id, entry_->id, path, "/entry_id", "the registry");
    judge_plan_budgets();
    for (const std::string& own : {options_.registry_path, path})
        folded_.emplace(folded_path(own), own);
    const std::string& registry = options_.registry_path;
    use(registry, entry_pointer("model"), entry_->model, ModuleRole::base_model);
    use(registry, entry_pointer("manifest"), entry_->manifest, ModuleRole::model_manifest);
    use(registry, entry_pointer("assembly_receipt"), entry_->assembly_receipt,
        ModuleRole::assembly_receipt);
    if (entry_->adapter_family) {
        use(registry, entry_pointer("adapter_family"), *entry_->adapter_family,
            ModuleRole::adapter_family_receipt);
    }
}

void Chain::Machine::judge_plan_budgets() {
    const auto check = [&](std::string_view key, std::uint64_t own, std::uint64_t registry) {
        if (own <= registry) return;
        add(FindingCode::budget_exceeded, entry_->module_plan.path, fmt::format("/budgets/{}", key),
            "the plan's budget is larger than the registry's; lower it, or raise the registry's "
            "on purpose",
            fmt::format("at most {}", registry), fmt::format("{}", own));
    };
    const Budgets& own = plan_->budgets.parts;
    const Budgets& registry = registry_->budgets;
    check("model_bytes", own.model_bytes, registry.model_bytes);
    check("text_sidecar_bytes", own.text_sidecar_bytes, registry.text_sidecar_bytes);
    check("adapter_stack_bytes", own.adapter_stack_bytes, registry.adapter_stack_bytes);
    check("fetch_count", own.fetch_count, registry.fetch_count);
}

void Chain::Machine::judge_model_manifest() {
    const std::string& path = entry_->manifest.path;
    manifest_ = read_document(path, read_model_manifest);
    Result<Model> model =
        read_model(files_.at(entry_->model.path).bytes(),
                   {.checksum = options_.checksum, .progress = options_.progress});
    model_ = taken(std::move(model), entry_->model.path);
    if (model_) append(model_->warnings(), entry_->model.path);
    if (!manifest_) return;
    if (use(path, "/model", manifest_->model, ModuleRole::base_model)) {
        agree(resolve_path(path, manifest_->model.path), entry_->model.path, path, "/model/path",
              "the registry");
    }
    const auto name = [](const auto& choice, auto value) {
        return std::string(choice.names[static_cast<std::size_t>(value)]);
    };
    // Where the manifest is wrong about its model, that is the one thing to tell.
    if (model_ && storage_dtype(*model_) == manifest_->dtype) {
        agree(name(document::storage_dtypes, manifest_->dtype),
              name(document::storage_dtypes, entry_->dtype), path, "/dtype", "the registry");
    }
    agree(name(document::admissions, manifest_->admission_status),
          name(document::admissions, entry_->admission), path, "/admission_status", "the registry");
    if (model_) append(compare_with_model(*manifest_, *model_), path);
}

void Chain::Machine::judge_assembly() {
    const std::string& path = entry_->assembly_receipt.path;
    assembly_ = read_document(path, read_assembly);
    if (!assembly_) return;
    const Bindings& bindings = assembly_->bindings;
    agree(assembly_->entry_id, entry_->id, path, "/entry_id", "the registry");
    agree(assembly_->base_model, entry_->model.digest, path, "/base_model", "the registry");
    if (use(path, "/bindings/model_manifest", bindings.model_manifest,
            ModuleRole::model_manifest)) {
        agree(resolve_path(path, bindings.model_manifest.path), entry_->manifest.path, path,
              "/bindings/model_manifest/path", "the registry");
    }
    use(path, "/bindings/ledger", bindings.ledger, ModuleRole::evidence_ledger);
    for (const BoundEvidence& bound : bound_evidence(bindings)) {
        use(path, fmt::format("/bindings/{}", to_string(bound.kind)), *bound.file, bound.role);
    }
    if (bindings.adapter_family.has_value() != entry_->adapter_family.has_value()) {
        add(FindingCode::link_mismatch, path, "/bindings/adapter_family",
            "the registry and this receipt disagree whether there is an adapter family",
            entry_->adapter_family ? "a file" : "null",
            bindings.adapter_family ? "a file" : "null");
    } else if (bindings.adapter_family &&
               use(path, "/bindings/adapter_family", *bindings.adapter_family,
                   ModuleRole::adapter_family_receipt)) {
        agree(resolve_path(path, bindings.adapter_family->path), family_path(), path,
              "/bindings/adapter_family/path", "the registry");
    }
    if (!entry_->adapter_family) check_unused_modules();
}

void Chain::Machine::judge_evidence() {
    const std::string& document = entry_->assembly_receipt.path;
    const Bindings& bindings = assembly_->bindings;
    (void)read_document(resolve_path(document, bindings.ledger.path), read_ledger);
    for (const BoundEvidence& bound : bound_evidence(bindings)) {
        const std::string path = resolve_path(document, bound.file->path);
        const auto evidence =
            read_document(path, [&](std::string_view text, const DocumentOptions& options) {
                return read_evidence(bound.kind, text, options);
            });
        if (!evidence) continue;
        agree(evidence->subject, entry_->model.digest, path, "/subject", "the registry");
        if (bound.kind != EvidenceKind::eval) continue;
        agree(evidence->eval_cases, bindings.eval_cases.digest, path, "/eval_cases",
              "the assembly receipt");
    }
}

void Chain::Machine::judge_family() {
    const std::string path = family_path();
    family_ = read_document(path, read_family);
    if (!family_) return;
    agree(family_->base_model, entry_->model.digest, path, "/base_model", "the registry");
    for (std::size_t i = 0; i < family_->members.size(); ++i) {
        const FamilyMember& member = family_->members[i];
        const std::string pointer = fmt::format("/members/{}", i);
        use(path, pointer + "/manifest", member.manifest, ModuleRole::adapter_manifest);
        use(path, pointer + "/package", member.package, ModuleRole::adapter_package);
    }
}

void Chain::Machine::judge_adapter_manifests() {
    adapter_manifests_.resize(family_->members.size());
    for (std::size_t i = 0; i < family_->members.size(); ++i)
        judge_manifest(i);
    judge_slots();
    // What a manifest would have named is not known where one cannot be read, but the family names
    // the same files.
    if (passed(Gate::assembly_receipt)) check_unused_modules();
}

void Chain::Machine::judge_manifest(std::size_t index) {
    const FamilyMember& member = family_->members[index];
    const std::string path = family_file(member.manifest.path);
    auto& manifest = adapter_manifests_[index];
    manifest = read_document(path, read_adapter_manifest);
    if (!manifest) return;
    if (use(path, "/package", manifest->package, ModuleRole::adapter_package)) {
        agree(resolve_path(path, manifest->package.path), family_file(member.package.path), path,
              "/package/path", "the adapter family");
    }
    judge_identity(*manifest, path);
    const auto& bases = manifest->base_models;
    if (std::find(bases.begin(), bases.end(), entry_->model.digest) == bases.end()) {
        add(FindingCode::base_not_listed, path, "/base_models",
            "this model is not among those that the adapter was made for; use a listed model, or "
            "have it listed",
            to_string(entry_->model.digest));
    }
    for (std::size_t s = 0; s < family_->stacks.size(); ++s) {
        const auto& order = family_->stacks[s].order;
        for (std::size_t k = 0; k < order.size(); ++k) {
            const double strength = static_cast<double>(order[k].strength);
            const StrengthRange& range = manifest->strength_range;
            // Both ends as f32, as strengths are.
            const bool inside = strength >= static_cast<double>(static_cast<float>(range.min)) &&
                                strength <= static_cast<double>(static_cast<float>(range.max));
            if (order[k].member != member.id || inside) continue;
            add(FindingCode::strength_out_of_range, family_path(),
                fmt::format("/stacks/{}/order/{}/strength", s, k),
                fmt::format("the manifest of \"{}\" allows other strengths; choose one of them, or "
                            "test the adapter and widen its range",
                            member.id),
                fmt::format("{} to {}", range.min, range.max),
                fmt::format("{}", order[k].strength));
        }
    }
}

void Chain::Machine::judge_identity(const AdapterManifest& manifest, const std::string& path) {
    if (!passed(Gate::model_manifest)) return;  // what it says of the model is not known to be so
    const Identity& own = manifest.identity;
    constexpr std::string_view whose = "the model's manifest";
    agree(own.model_flags, manifest_->flags, path, "/identity/model_flags", whose);
    agree(own.tensor_count, manifest_->tensor_count, path, "/identity/tensor_count", whose);
    agree(own.parameter_count, manifest_->parameter_count, path, "/identity/parameter_count",
          whose);
    agree(format_checksum(own.tensor_layout_checksum),
          format_checksum(manifest_->tensor_layout_checksum), path,
          "/identity/tensor_layout_checksum", whose);
    agree(format_checksum(own.tokenizer_checksum), format_checksum(manifest_->tokenizer.checksum),
          path, "/identity/tokenizer_checksum", whose);
}

/// The slots of the plan are the preferred stack's packages, in its order.
void Chain::Machine::judge_slots() {
    std::map<std::string, std::string> expected;  // path -> slot
    const auto& order = family_->preferred_stack()->order;
    for (std::size_t i = 0; i < order.size(); ++i) {
        expected.emplace(family_file(family_->find(order[i].member)->package.path),
                         fmt::format("stack/{}", i));
    }
    for (std::size_t i = 0; i < plan_->modules.size(); ++i) {
        const Module& module = plan_->modules[i];
        if (module.role != ModuleRole::adapter_package) continue;
        const auto slot = expected.find(module.file.path);
        const std::string right = slot == expected.end() ? "null" : slot->second;
        const std::string stated = module.slot.value_or("null");
        if (stated == right) continue;
        add(FindingCode::slot_conflict, entry_->module_plan.path,
            fmt::format("/modules/{}/slot", i),
            "this is not the adapter's place in the preferred stack of the family; number the "
            "slots again",
            right, stated);
    }
}

void Chain::Machine::judge_artifacts() {
    const std::size_t count = family_->members.size();
    packages_.resize(count);
    std::vector<std::optional<Result<Package>>> read(count);
    const bool ran = run_all(count, [&](std::size_t i) {
        const auto file = files_.find(family_file(family_->members[i].package.path));
        if (file != files_.end()) read[i] = read_package(file->second.bytes());
    });
    for (std::size_t i = 0; ran && i < count; ++i) {
        const FamilyMember& member = family_->members[i];
        if (!read[i]) continue;  // why is noted already
        packages_[i] = taken(std::move(*read[i]), family_file(member.package.path));
        if (!packages_[i]) continue;
        append(compare_with_package(*adapter_manifests_[i], *packages_[i]),
               family_file(member.manifest.path));
    }
}

void Chain::Machine::judge_fit() {
    for (std::size_t i = 0; i < packages_.size(); ++i) {
        const StackMember alone{.package = &*packages_[i],
                                .file = family_file(family_->members[i].package.path)};
        current_.append(check_compatibility(*model_, {&alone, 1}));
    }
    if (current_.has_errors()) return;
    Stack stack;
    for (const OrderedMember& ordered : family_->preferred_stack()->order) {
        const auto index =
            static_cast<std::size_t>(family_->find(ordered.member) - family_->members.data());
        stack.push_back({.package = &*packages_[index],
                         .strength = ordered.strength,
                         .file = family_file(family_->members[index].package.path)});
    }
    apply_plan_ = taken(plan_apply(*model_, stack), entry_->model.path);
    if (!apply_plan_) return;
    Status fused = check_fused(*apply_plan_, apply_options());
    if (!fused) append(std::move(fused.error()), entry_->model.path);
}

void Chain::Machine::judge_application() {
    const auto& expected = family_->preferred_stack()->expected_output;
    const ApplyOptions options = apply_options();
    if (!expected) {
        applied_ = taken(apply_to_sink(
                             *apply_plan_, [](Bytes) { return true; }, options),
                         entry_->model.path);
    } else if (is_weak(expected->digest)) {
        std::vector<std::byte> output;
        applied_ = taken(apply_to_memory(*apply_plan_, output, options), entry_->model.path);
        output_digest_ = WeakDigest{xxh3_128(output)};
    } else {
        auto predicted = taken(predict(*apply_plan_, options), entry_->model.path);
        if (!predicted) return;
        applied_ = std::move(predicted->report);
        output_digest_ = predicted->digest;
    }
}

void Chain::Machine::judge_diagnostics() {
    if (!entry_->adapter_family) {
        report_.state = initial_state(model_->identity());
        return;
    }
    report_.state = applied_->state;
    const FamilyStack& stack = *family_->preferred_stack();
    const std::string pointer = fmt::format("/stacks/{}", preferred_index());
    const auto drifted = [&](std::string_view key, std::string expected, std::string actual) {
        if (expected == actual) return;
        add(FindingCode::value_drift, family_path(), fmt::format("{}/{}", pointer, key),
            "applying the preferred stack gives another value; have the family written anew, and "
            "look at what changed",
            std::move(actual), std::move(expected));
    };
    drifted("expected_state", format_checksum(stack.expected_state),
            format_checksum(applied_->state));
    if (!stack.expected_output) return;
    drifted("expected_output/bytes", fmt::format("{}", stack.expected_output->bytes),
            fmt::format("{}", applied_->bytes));
    drifted("expected_output/digest", to_string(stack.expected_output->digest),
            to_string(*output_digest_));
}

// ------------------------------------------------------------------------------------------- chain

namespace {

/// Where there is no memory for any other.
ChainReport report_without_memory() noexcept {
    ChainReport report;
    report.gates.fill(GateStatus::failed);
    report.findings = std::move(out_of_memory().value());
    return report;
}

}  // namespace

/// Runs one step; where memory ends, so does the chain.
template <class Step>
auto Chain::step(const Step& step) {
    using Outcome = decltype(step());
    Outcome outcome{};
    if (machine_ != nullptr && !memory_suffices([&] { outcome = step(); })) {
        machine_->give_up_without_memory();
    }
    return outcome;
}

Chain::Chain(const ChainOptions& options) noexcept {
    (void)memory_suffices([&] { machine_ = std::make_unique<Machine>(options); });
}

Chain::Chain(Chain&&) noexcept = default;
Chain& Chain::operator=(Chain&&) noexcept = default;
Chain::~Chain() = default;

const WantedFile* Chain::wanted() const noexcept {
    return machine_ == nullptr ? nullptr : machine_->wanted();
}

bool Chain::open(std::uint64_t bytes) {
    return step([&] { return wanted() != nullptr && machine_->open(bytes); });
}

MutableBytes Chain::room() const noexcept {
    return machine_ == nullptr ? MutableBytes{} : machine_->room();
}

bool Chain::feed(Bytes piece) {
    return step([&] { return machine_->feed(piece); });
}

void Chain::close() {
    (void)step([&] { return machine_->close(), true; });
}

void Chain::refuse(Findings why) {
    (void)step([&] { return machine_->refuse(std::move(why)), true; });
}

const ChainReport& Chain::report() const noexcept {
    static const ChainReport without_memory = report_without_memory();
    return machine_ == nullptr ? without_memory : machine_->report();
}

std::optional<Digest> Chain::closed_digest() const noexcept {
    return machine_ == nullptr ? std::nullopt : machine_->closed_digest();
}

std::optional<VerifiedAssembly> Chain::verified() const noexcept {
    return machine_ == nullptr ? std::nullopt : machine_->verified();
}

std::optional<Bytes> Chain::file(const std::string& path) const {
    return machine_ == nullptr ? std::nullopt : machine_->file(path);
}

const Registry* Chain::registry() const noexcept {
    return machine_ == nullptr ? nullptr : machine_->registry();
}

bool Chain::can_judge_list() const noexcept {
    return machine_ != nullptr && machine_->can_judge_list();
}

void Chain::list(const std::vector<std::string>& files) {
    (void)step([&] { return machine_->list(files), true; });
}

// ------------------------------------------------------------------------------------------ verify

namespace {

/// Feeds the wanted file to the chain.
void feed_wanted(Source& source, Chain& chain, const Progress& progress) {
    constexpr std::size_t piece_bytes = std::size_t{4} << 20;  // between two looks at the progress
    std::array<std::byte, 1> beyond{};                         // the end, or a file that has grown
    Result<SourceFile> file = source.open(chain.wanted()->path);
    if (!file) return chain.refuse(std::move(file.error()));
    const std::string path = chain.wanted()->path;
    if (!chain.open(file->bytes())) return;
    std::uint64_t done = 0;
    while (true) {
        const MutableBytes room = chain.room();
        const MutableBytes piece =
            room.empty() ? MutableBytes(beyond) : room.first(std::min(room.size(), piece_bytes));
        const Result<std::size_t> got = file->read(piece);
        if (!got) return chain.refuse(got.error());
        if (*got == 0) return chain.close();
        if (!chain.feed(piece.first(*got))) return;
        done += *got;
        if (!goes_on(progress, done, file->bytes())) {
            Findings cancelled;
            cancelled.add({.code = FindingCode::output_failed,
                           .message = "cancelled before the bundle was verified",
                           .file = path});
            return chain.refuse(std::move(cancelled));
        }
    }
}

}  // namespace

ChainReport verify(Source& source, const ChainOptions& options) {
    ChainReport report;
    const bool enough = memory_suffices([&] {
        Chain chain(options);
        while (chain.wanted() != nullptr)
            feed_wanted(source, chain, options.progress);
        Findings unlistable;
        if (source.can_list() && chain.can_judge_list()) {
            Result<std::vector<std::string>> files = source.list();
            if (files)
                chain.list(*files);
            else
                unlistable = std::move(files.error());
            while (chain.wanted() != nullptr)
                feed_wanted(source, chain, {});
        }
        report = chain.report();
        report.findings.append(std::move(unlistable));
        report.opened = source.opened();
    });
    if (!enough) report = report_without_memory();
    return report;
}

}  // namespace trlm::adapt
