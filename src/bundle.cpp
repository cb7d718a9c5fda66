#include "trlm/adapt/bundle.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle_recipe.hpp"
#include "descriptor.hpp"
#include "guard.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/receipt/assembly.hpp"
#include "trlm/adapt/receipt/evidence.hpp"
#include "trlm/adapt/receipt/ledger.hpp"
#include "unfinished.hpp"

namespace trlm::adapt {

namespace {

namespace fs = std::filesystem;

/// Ids become parts of file names: `<id>.manifest.json`.
void check_file_name(const std::string& id, const document::Place& place) {
    constexpr std::size_t longest_id = 80;
    if (id.size() <= longest_id && id.find('/') == std::string::npos && is_document_path(id))
        return;
    place.add(FindingCode::bad_value,
              "this id becomes part of file names, and so takes 1 to 80 of A-Z a-z 0-9 . _ -; "
              "choose another",
              "1 to 80 of A-Z a-z 0-9 . _ -", id);
}

void check_member(const BundleRecipe& recipe, const std::string& id, const document::Place& place) {
    const auto known = [&](const RecipeAdapter& adapter) { return adapter.id == id; };
    if (std::any_of(recipe.adapters.begin(), recipe.adapters.end(), known)) return;
    place.member("member").add(
        FindingCode::dependency_unknown,
        fmt::format("the recipe has no adapter \"{}\"; correct the id, or add the adapter", id));
}

void check_recipe(const BundleRecipe& recipe, const document::Place& root) {
    document::Names ids;
    check_file_name(recipe.id, root.member("id"));
    for (std::size_t i = 0; i < recipe.adapters.size(); ++i) {
        const document::Place place = root.member("adapters").element(i).member("id");
        ids.add_id(recipe.adapters[i].id, place);
        check_file_name(recipe.adapters[i].id, place);
    }
    for (std::size_t s = 0; s < recipe.stacks.size(); ++s) {
        for (std::size_t k = 0; k < recipe.stacks[s].order.size(); ++k) {
            check_member(recipe, recipe.stacks[s].order[k].member,
                         root.member("stacks").element(s).member("order").element(k));
        }
    }
    if (recipe.adapters.empty() != recipe.stacks.empty()) {
        root.member("stacks").add(
            FindingCode::bad_value,
            "adapters and stacks come together: a stack needs adapters, and without a stack they "
            "would not be applied; add what is missing");
    }
}

// ----------------------------------------------------------------------------------------- folder

Finding output_failed(const std::string& path, std::string message) {
    return {.code = FindingCode::output_failed, .message = std::move(message), .file = path};
}

Finding taken_folder(const std::string& path, bool is_folder) {
    return {.code = FindingCode::usage_error,
            .message =
                is_folder ? "the folder exists and is not empty; choose another, or remove it first"
                          : "this exists and is no folder; choose another name",
            .file = path};
}

/// A folder that appears whole under its name, or not at all. Until then it is called
/// `.NAME.trlm-XXXXXXXX.tmp`.
class OutputFolder {
public:
    static Result<OutputFolder> create(const std::string& path) {
        fs::path target = fs::path(path).lexically_normal();
        if (!target.has_filename()) target = target.parent_path();
        OutputFolder folder(path, target.has_parent_path() ? target.parent_path() : fs::path("."),
                            target.filename().string());
        if (Status made = folder.make(); !made) return failure(std::move(made.error()));
        return folder;
    }

    OutputFolder(OutputFolder&& other) noexcept
        : path_(std::move(other.path_)),
          parent_path_(std::move(other.parent_path_)),
          name_(std::move(other.name_)),
          temporary_(std::exchange(other.temporary_, {})),
          parent_(std::move(other.parent_)),
          lock_(std::move(other.lock_)),
          folders_(std::move(other.folders_)) {}
    OutputFolder& operator=(OutputFolder&&) = delete;
    ~OutputFolder() {
        if (!temporary_.empty()) remove_tree(parent_.number(), temporary_);
    }

    [[nodiscard]] std::string temporary() const { return (parent_path_ / temporary_).string(); }

    [[nodiscard]] Status write(const std::string& path, Bytes bytes) {
        const fs::path file = parent_path_ / temporary_ / path;
        if (Status made = make_folders(file.parent_path()); !made) return made;
        Result<OutputFile> output = OutputFile::create(file.string(), bytes.size());
        Status written = output ? output->write(bytes) : Status(failure(std::move(output.error())));
        if (written) written = output->commit(/*replace=*/false);
        if (written) return {};
        // The temporary name means nothing to whoever reads this.
        Findings findings;
        for (Finding finding : written.error()) {
            finding.file = (fs::path(path_) / path).string();
            findings.add(std::move(finding));
        }
        return failure(std::move(findings));
    }

    [[nodiscard]] Status commit() {
        for (const fs::path& folder : folders_) {
            const Descriptor opened = open_folder(folder.string());
            if (const int error = opened.valid() ? synchronize(opened.number()) : errno) {
                return fail("its files cannot be brought to the disk", error);
            }
        }
        if (const int error = synchronize(lock_.number()); error != 0) {
            return fail("its files cannot be brought to the disk", error);
        }
        // Replaces an empty folder, and refuses one that was filled meanwhile.
        const int parent = parent_.number();
        const bool was_there = exists_in(parent, name_);
        if (::renameat(parent, temporary_.c_str(), parent, name_.c_str()) != 0) {
            if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
                return failure(taken_folder(path_, errno != ENOTDIR));
            return fail("cannot be renamed", errno);
        }
        if (const int error = synchronize(parent); error != 0) {
            take_back(was_there);
            return fail("its name cannot be brought to the disk", error);
        }
        temporary_.clear();
        return {};
    }

private:
    OutputFolder(std::string path, fs::path parent_path, std::string name)
        : path_(std::move(path)), parent_path_(std::move(parent_path)), name_(std::move(name)) {}

    [[nodiscard]] tl::unexpected<Findings> fail(std::string_view what, int error) const {
        return failure(output_failed(
            path_, fmt::format("{}: {}", what, std::generic_category().message(error))));
    }

    [[nodiscard]] static bool exists_in(int parent, const std::string& name) noexcept {
        struct stat status {};
        return ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    }

    [[nodiscard]] Status make() {
        parent_ = open_folder(parent_path_.string());
        if (!parent_.valid()) {
            return fail(fmt::format("the folder {} cannot be opened", parent_path_.string()),
                        errno);
        }
        tidy_folder(parent_.number());
        if (Status is_free = check_free(); !is_free) return is_free;
        constexpr int attempts = 100;
        bool can_be_locked = true;
        for (int attempt = 0; attempt < attempts; ++attempt) {
            const std::string key = random_key(can_be_locked);
            if (key.empty()) return fail("there are no random numbers", errno);
            std::string made =
                unfinished_name(name_, key, new_ending, longest_name(parent_.number()));
            if (::mkdirat(parent_.number(), made.c_str(), 0777) != 0) {
                if (errno == EEXIST) continue;
                return fail(fmt::format("no folder can be made in {}", parent_path_.string()),
                            errno);
            }
            temporary_ = std::move(made);
            lock_ = open_folder(temporary());
            if (!lock_.valid()) return fail("its folder cannot be opened", errno);
            if (!can_be_locked) return {};
            const Locking claimed = claim(lock_.number());
            if (claimed == Locking::locked) return {};
            remove_tree(parent_.number(), temporary_);
            can_be_locked = claimed != Locking::impossible;
        }
        return fail("no free temporary name was found", EEXIST);
    }

    /// The name is free, or that of an empty folder.
    [[nodiscard]] Status check_free() const {
        struct stat status {};
        if (::fstatat(parent_.number(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) return {};
            return fail("it cannot be told whether it exists", errno);
        }
        if (!S_ISDIR(status.st_mode)) return failure(taken_folder(path_, false));
        const std::optional<bool> empty = is_empty_folder(parent_.number(), name_);
        if (!empty) return fail("cannot be listed", errno);
        if (!*empty) return failure(taken_folder(path_, true));
        return {};
    }

    /// Makes the folders of a bundle that are still missing.
    [[nodiscard]] Status make_folders(const fs::path& folder) {
        const fs::path root = parent_path_ / temporary_;
        if (folder == root || std::find(folders_.begin(), folders_.end(), folder) != folders_.end())
            return {};
        if (Status above = make_folders(folder.parent_path()); !above) return above;
        if (::mkdirat(AT_FDCWD, folder.c_str(), 0777) != 0 && errno != EEXIST) {
            return fail(fmt::format("no folder {} can be made in it", folder.filename().string()),
                        errno);
        }
        folders_.push_back(folder);
        return {};
    }

    /// Takes the name away again; an empty folder that had it comes back.
    void take_back(bool was_there) noexcept {
        const int parent = parent_.number();
        if (::renameat(parent, name_.c_str(), parent, temporary_.c_str()) != 0) {
            temporary_.clear();  // it stays
        } else if (was_there) {
            (void)::mkdirat(parent, name_.c_str(), 0777);
        }
    }

    std::string path_;  // as the caller gave it, for findings
    fs::path parent_path_;
    std::string name_;
    std::string temporary_;  // in the parent; empty once it is gone
    Descriptor parent_;
    Descriptor lock_;                // of the temporary folder
    std::vector<fs::path> folders_;  // made in it
};

// ---------------------------------------------------------------------------------------- builder

struct SourcePackage {
    MappedFile file;
    Package package;
};

/// Gathers a bundle's files and documents.
class Builder {
public:
    Builder(const BundleRecipe& recipe, std::string recipe_folder, const BundleOptions& options)
        : recipe_(recipe), recipe_folder_(std::move(recipe_folder)), options_(options) {}

    [[nodiscard]] Status build();

    /// Every file of the bundle, by its path.
    [[nodiscard]] const std::map<std::string, Bytes>& files() const noexcept { return files_; }
    [[nodiscard]] Digest registry_digest() const { return sha256(files_.at(registry_path)); }

private:
    static constexpr const char* registry_path = "selector.registry.json";
    static constexpr const char* family_path = "adapters/family.receipt.json";
    static constexpr const char* assembly_path = "assembly.receipt.json";

    [[nodiscard]] std::string host_path(const std::string& path) const {
        return (fs::path(recipe_folder_) / path).string();
    }

    /// The path at which a file of the recipe lies in the bundle.
    std::string place(std::string_view folder, const std::string& host, Findings& findings) const {
        std::string path = fmt::format("{}/{}", folder, fs::path(host).filename().string());
        if (!is_document_path(path)) {
            findings.add({.code = FindingCode::usage_error,
                          .message = "a document cannot hold this file's name: it takes 1 to 100 "
                                     "of A-Z a-z 0-9 . _ -; rename the file",
                          .file = host});
        }
        return path;
    }

    void add_file(const std::string& path, Bytes bytes, Findings& findings) {
        if (!files_.emplace(path, bytes).second) {
            findings.add({.code = FindingCode::path_collision,
                          .message = "two files of the recipe would get this name in the bundle; "
                                     "rename one",
                          .file = path});
        }
    }

    std::string& add_text(const std::string& path, std::string text, Findings& findings) {
        std::string& held = texts_[path];
        held = std::move(text);
        add_file(path, as_bytes(held), findings);
        return held;
    }

    /// How `document` names the file at `path`; both are paths from the root.
    [[nodiscard]] FileRef ref(const std::string& path, std::string_view document = "") const {
        const Bytes bytes = files_.at(path);
        const auto slash = document.rfind('/');
        const std::size_t folder = slash == std::string_view::npos ? 0 : slash + 1;
        return {.path = path.substr(folder), .bytes = bytes.size(), .digest = digests_.at(path)};
    }

    /// Digests are computed once a file is complete.
    void seal(const std::string& path) { digests_[path] = sha256(files_.at(path)); }

    Status read_inputs();
    Status build_family();
    [[nodiscard]] Result<FamilyStack> predict_stack(const RecipeStack& stack) const;
    Status build_evidence();
    void build_plan();
    void add_module(ModulePlan& plan, const std::string& id, const std::string& path,
                    ModuleRole role, std::optional<std::string> slot,
                    std::vector<std::string> depends_on) const;

    const BundleRecipe& recipe_;
    std::string recipe_folder_;
    const BundleOptions& options_;

    std::optional<MappedFile> model_file_;
    std::optional<Model> model_;
    std::string model_path_;
    std::string manifest_path_;
    std::vector<SourcePackage> packages_;         // as the recipe's adapters
    std::vector<std::string> package_paths_;      // ...
    std::vector<std::string> adapter_manifests_;  // paths, ...
    std::map<std::string, std::string> texts_;
    std::map<std::string, Bytes> files_;
    std::map<std::string, ContentDigest> digests_;
    std::vector<std::pair<ModuleRole, std::string>> evidence_;  // role, path
};

Status Builder::read_inputs() {
    Findings findings;
    const std::string host = host_path(recipe_.model);
    model_path_ = place("models", host, findings);
    const auto note = [&](Findings why, const std::string& file) {
        why.set_file(file);
        findings.append(std::move(why));
    };
    if (auto file = MappedFile::open(host, FileReading::copied)) {
        model_file_.emplace(std::move(*file));
        auto model = read_model(model_file_->bytes(),
                                {.checksum = options_.checksum, .progress = options_.progress});
        if (model) {
            model_.emplace(std::move(*model));
        } else {
            note(std::move(model.error()), host);
        }
        add_file(model_path_, model_file_->bytes(), findings);
    } else {
        note(std::move(file.error()), host);
    }
    for (const RecipeAdapter& adapter : recipe_.adapters) {
        const std::string package_host = host_path(adapter.package);
        auto file = MappedFile::open(package_host, FileReading::copied);
        if (!file) {
            note(std::move(file.error()), package_host);
            continue;
        }
        auto package = read_package(file->bytes(), ReadDepth::everything, options_.progress);
        if (!package) {
            note(std::move(package.error()), package_host);
            continue;
        }
        package_paths_.push_back(place("adapters", package_host, findings));
        add_file(package_paths_.back(), file->bytes(), findings);
        packages_.push_back({std::move(*file), std::move(*package)});
    }
    if (findings.has_errors()) return failure(std::move(findings));
    seal(model_path_);
    for (const std::string& path : package_paths_)
        seal(path);

    ModelManifest manifest = describe_model(*model_);
    manifest_path_ = fmt::format("models/{}.manifest.json", recipe_.id);
    if (!is_document_path(manifest_path_)) {
        return failure({.code = FindingCode::usage_error,
                        .message = fmt::format("the id \"{}\" cannot be part of a file name; it "
                                               "takes A-Z a-z 0-9 . _ -",
                                               recipe_.id),
                        .pointer = "/id"});
    }
    manifest.model = ref(model_path_, manifest_path_);
    manifest.source_kind = recipe_.source_kind;
    manifest.quality_claim = recipe_.quality_claim;
    manifest.trained_quality_claim = recipe_.trained_quality_claim;
    manifest.admission_status = Admission::admitted;
    manifest.license = recipe_.license;
    add_text(manifest_path_, write_model_manifest(manifest), findings);
    if (findings.has_errors()) return failure(std::move(findings));
    seal(manifest_path_);
    return {};
}

/// A stack with what applying it gives.
Result<FamilyStack> Builder::predict_stack(const RecipeStack& wanted) const {
    Stack stack;
    for (const OrderedMember& ordered : wanted.order) {
        const auto adapter =
            std::find_if(recipe_.adapters.begin(), recipe_.adapters.end(),
                         [&](const RecipeAdapter& a) { return a.id == ordered.member; });
        if (adapter == recipe_.adapters.end()) {
            return failure({.code = FindingCode::dependency_unknown,
                            .message = fmt::format("the stack \"{}\" names the adapter \"{}\", "
                                                   "which the recipe does not have; correct the "
                                                   "id, or add the adapter",
                                                   wanted.id, ordered.member)});
        }
        const auto index = static_cast<std::size_t>(adapter - recipe_.adapters.begin());
        stack.push_back({.package = &packages_[index].package,
                         .strength = ordered.strength,
                         .file = package_paths_[index]});
    }
    auto plan = plan_apply(*model_, stack);
    if (!plan) return failure(std::move(plan.error()));
    ApplyOptions options;
    options.rounding = wanted.rounding;
    options.executor = options_.executor;
    options.progress = options_.progress;
    options.simd_target = options_.simd_target;
    auto predicted = predict(*plan, options);
    if (!predicted) {
        Findings findings = std::move(predicted.error());
        findings.set_file(recipe_.model);
        return failure(std::move(findings));
    }
    return FamilyStack{.id = wanted.id,
                       .preferred = wanted.preferred,
                       .rounding = wanted.rounding,
                       .order = wanted.order,
                       .expected_state = predicted->report.state,
                       .expected_output = ExpectedOutput{.bytes = predicted->report.bytes,
                                                         .digest = predicted->digest}};
}

Status Builder::build_family() {
    if (recipe_.adapters.empty()) return {};
    Findings findings;
    AdapterFamily family{.family_id = recipe_.id + "-family",
                         .base_model = digests_.at(model_path_),
                         .budgets = {.stack_bytes = recipe_.budgets.parts.adapter_stack_bytes,
                                     .stack_count = recipe_.adapters.size()}};
    for (std::size_t i = 0; i < recipe_.adapters.size(); ++i) {
        const RecipeAdapter& adapter = recipe_.adapters[i];
        const std::string path = fmt::format("adapters/{}.manifest.json", adapter.id);
        if (!is_document_path(path)) {
            findings.add({.code = FindingCode::usage_error,
                          .message = fmt::format("the id \"{}\" cannot be part of a file name; it "
                                                 "takes A-Z a-z 0-9 . _ -",
                                                 adapter.id),
                          .pointer = fmt::format("/adapters/{}/id", i)});
            continue;
        }
        AdapterManifest manifest = describe_package(packages_[i].package);
        manifest.package = ref(package_paths_[i], path);
        manifest.base_models = {digests_.at(model_path_)};
        manifest.strength_range = adapter.strength_range;
        manifest.license = adapter.license;
        manifest.source = adapter.source;
        add_text(path, write_adapter_manifest(manifest), findings);
        seal(path);
        adapter_manifests_.push_back(path);
        family.members.push_back({.id = adapter.id,
                                  .manifest = ref(path, family_path),
                                  .package = ref(package_paths_[i], family_path)});
    }
    for (const RecipeStack& wanted : recipe_.stacks) {
        if (findings.has_errors()) break;
        Result<FamilyStack> stack = predict_stack(wanted);
        if (stack) {
            family.stacks.push_back(std::move(*stack));
        } else {
            findings.append(std::move(stack.error()));
        }
    }
    add_text(family_path, write_family(family), findings);
    if (findings.has_errors()) return failure(std::move(findings));
    seal(family_path);
    return {};
}

Status Builder::build_evidence() {
    Findings findings;
    const ContentDigest subject = digests_.at(model_path_);
    const auto add = [&](ModuleRole role, std::string_view name, Result<std::string> text) {
        const std::string path = fmt::format("evidence/{}", name);
        if (!text) {
            findings.append(std::move(text.error()));
            return;
        }
        add_text(path, std::move(*text), findings);
        seal(path);
        evidence_.emplace_back(role, path);
    };
    std::vector<LedgerEvent> events;
    for (const RecipeEvent& event : recipe_.ledger)
        events.push_back({.event = event.event, .subject = event.subject.value_or(subject)});
    add(ModuleRole::evidence_ledger, "ledger.jsonl", write_ledger(events));

    const RecipeEvidence& inputs = recipe_.evidence;
    const auto add_kind = [&](EvidenceKind kind, ModuleRole role, const std::string& body,
                              Evidence evidence = {}) {
        evidence.kind = kind;
        evidence.subject = subject;
        evidence.body = body;
        add(role, fmt::format("{}.json", to_string(kind)), write_evidence(evidence));
    };
    using enum EvidenceKind;
    add_kind(review, ModuleRole::evidence_review, inputs.review);
    add_kind(recipe, ModuleRole::evidence_recipe, inputs.recipe);
    add_kind(operator_file, ModuleRole::evidence_operator, inputs.operator_file);
    add_kind(candidate, ModuleRole::evidence_candidate, inputs.candidate);
    add_kind(promotion, ModuleRole::evidence_promotion, inputs.promotion);
    add_kind(runtime, ModuleRole::evidence_runtime, inputs.runtime);
    add_kind(eval_cases, ModuleRole::evidence_eval_cases, inputs.eval_cases);
    if (findings.has_errors()) return failure(std::move(findings));
    add_kind(eval, ModuleRole::evidence_eval, inputs.eval.body,
             {.cases = inputs.eval.cases,
              .failures = inputs.eval.failures,
              .eval_cases = digests_.at("evidence/eval_cases.json")});
    add_kind(admission, ModuleRole::evidence_admission, inputs.admission.body,
             {.status = inputs.admission.status});
    if (findings.has_errors()) return failure(std::move(findings));

    const auto file = [&](std::string_view name) { return ref(fmt::format("evidence/{}", name)); };
    AssemblyReceipt receipt{.assembly_id = recipe_.id + "-assembly",
                            .entry_id = recipe_.id,
                            .base_model = subject,
                            .bindings = {.model_manifest = ref(manifest_path_),
                                         .ledger = file("ledger.jsonl"),
                                         .review = file("review.json"),
                                         .recipe = file("recipe.json"),
                                         .operator_file = file("operator.json"),
                                         .candidate = file("candidate.json"),
                                         .promotion = file("promotion.json"),
                                         .runtime = file("runtime.json"),
                                         .eval = file("eval.json"),
                                         .admission = file("admission.json"),
                                         .eval_cases = file("eval_cases.json"),
                                         .adapter_family = {}}};
    if (!recipe_.adapters.empty()) receipt.bindings.adapter_family = ref(family_path);
    add_text(assembly_path, write_assembly(receipt), findings);
    if (findings.has_errors()) return failure(std::move(findings));
    seal(assembly_path);
    return {};
}

void Builder::add_module(ModulePlan& plan, const std::string& id, const std::string& path,
                         ModuleRole role, std::optional<std::string> slot,
                         std::vector<std::string> depends_on) const {
    plan.modules.push_back({.id = id,
                            .file = ref(path),
                            .module_class = class_of(role),
                            .role = role,
                            .phase = phase_of(role),
                            .slot = std::move(slot),
                            .depends_on = std::move(depends_on)});
}

void Builder::build_plan() {
    using Role = ModuleRole;
    ModulePlan plan{.plan_id = recipe_.id + "-plan",
                    .entry_id = recipe_.id,
                    .profile = recipe_.profile,
                    .execution_profile = recipe_.execution_profile,
                    .fetch_policy = recipe_.fetch_policy,
                    .budgets = {.parts = recipe_.budgets.parts}};
    add_module(plan, "model-manifest", manifest_path_, Role::model_manifest, {}, {});
    add_module(plan, "assembly-receipt", assembly_path, Role::assembly_receipt, {},
               {"model-manifest"});
    const bool has_family = !recipe_.adapters.empty();
    if (has_family) {
        add_module(plan, "adapter-family", family_path, Role::adapter_family_receipt, {},
                   {"assembly-receipt"});
        for (std::size_t i = 0; i < adapter_manifests_.size(); ++i) {
            add_module(plan, "manifest." + recipe_.adapters[i].id, adapter_manifests_[i],
                       Role::adapter_manifest, {}, {"adapter-family"});
        }
    }
    add_module(plan, "base-model", model_path_, Role::base_model, "base", {"model-manifest"});
    for (const auto& [role, path] : evidence_) {
        const auto index = static_cast<std::size_t>(role);
        add_module(plan, std::string(document::module_roles.names[index]), path, role, {},
                   {"assembly-receipt", "base-model"});
    }
    std::map<std::string, std::string> slots;  // adapter id -> slot
    for (const RecipeStack& stack : recipe_.stacks) {
        for (std::size_t i = 0; stack.preferred && i < stack.order.size(); ++i)
            slots.emplace(stack.order[i].member, fmt::format("stack/{}", i));
    }
    for (std::size_t i = 0; i < package_paths_.size(); ++i) {
        const std::string& id = recipe_.adapters[i].id;
        const auto slot = slots.find(id);
        add_module(plan, "adapter." + id, package_paths_[i], Role::adapter_package,
                   slot == slots.end() ? std::nullopt : std::optional(slot->second),
                   {"manifest." + id, "base-model"});
    }
    std::uint64_t total = 0;  // of files that are all in memory or mapped
    for (const Module& module : plan.modules)
        total += module.file.bytes;
    plan.budgets.total_bytes = recipe_.budgets.total_bytes.value_or(total);

    Findings none;  // the paths below cannot collide: no recipe names them
    const std::string plan_path = recipe_.id + ".module-plan.json";
    add_text(plan_path, write_module_plan(plan), none);
    seal(plan_path);
    RegistryEntry entry{.id = recipe_.id,
                        .dtype = storage_dtype(*model_),
                        .admission = Admission::admitted,
                        .strategy = recipe_.strategy,
                        .model = ref(model_path_),
                        .manifest = ref(manifest_path_),
                        .module_plan = ref(plan_path),
                        .assembly_receipt = ref(assembly_path),
                        .adapter_family = {}};
    if (has_family) entry.adapter_family = ref(family_path);
    const Registry registry{.registry_id = recipe_.id + "-registry",
                            .budgets = recipe_.budgets.parts,
                            .default_entry = recipe_.id,
                            .entries = {std::move(entry)}};
    add_text(registry_path, write_registry(registry), none);
}

Status Builder::build() {
    if (Status read = read_inputs(); !read) return read;
    if (Status family = build_family(); !family) return family;
    if (Status evidence = build_evidence(); !evidence) return evidence;
    build_plan();
    return {};
}

}  // namespace

Result<BundleRecipe> read_recipe(std::string_view text, const DocumentOptions& options) {
    return document::read<BundleRecipe>(text, schemas::bundle_recipe, options, check_recipe);
}

Result<BundleReport> create_bundle(const BundleRecipe& recipe, const std::string& recipe_folder,
                                   const std::string& folder, const BundleOptions& options) {
    return guarded([&]() -> Result<BundleReport> {
        Result<OutputFolder> output = OutputFolder::create(folder);
        if (!output) return failure(std::move(output.error()));
        BundleReport report;
        {  // The copies of the recipe's files go before what was written is read back.
            Builder builder(recipe, recipe_folder, options);
            if (Status built = builder.build(); !built) return failure(std::move(built.error()));
            for (const auto& [path, bytes] : builder.files()) {
                if (Status written = output->write(path, bytes); !written)
                    return failure(std::move(written.error()));
                report.files.push_back(path);
                report.bytes += bytes.size();
            }
            report.registry_digest = builder.registry_digest();
        }
        // What is verified is what lies on the disk.
        Result<Source> source = Source::folder(output->temporary());
        if (!source) return failure(std::move(source.error()));
        report.verification = verify(*source, {.strict = true,
                                               .checksum = options.checksum,
                                               .executor = options.executor,
                                               .progress = options.progress,
                                               .simd_target = options.simd_target});
        if (report.verification.findings.has_errors()) return failure(report.verification.findings);
        if (Status published = output->commit(); !published)
            return failure(std::move(published.error()));
        return report;
    });
}

}  // namespace trlm::adapt
