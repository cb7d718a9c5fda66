#pragma once
// The nine documents, field by field. Reading, writing, errors and docs/schemas all follow from
// these lists.  docs/receipts.md

#include "document.hpp"
#include "trlm/adapt/receipt/adapter_manifest.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/receipt/assembly.hpp"
#include "trlm/adapt/receipt/evidence.hpp"
#include "trlm/adapt/receipt/family.hpp"
#include "trlm/adapt/receipt/ledger.hpp"
#include "trlm/adapt/receipt/model_manifest.hpp"
#include "trlm/adapt/receipt/module_plan.hpp"
#include "trlm/adapt/receipt/registry.hpp"

namespace trlm::adapt {

namespace schemas {
inline constexpr std::string_view registry = "trlm/selector-registry@1";
inline constexpr std::string_view module_plan = "trlm/module-plan@1";
inline constexpr std::string_view model_manifest = "trlm/model-manifest@1";
inline constexpr std::string_view adapter_manifest = "trlm/adapter-manifest@1";
inline constexpr std::string_view family = "trlm/adapter-family@1";
inline constexpr std::string_view assembly = "trlm/assembly@1";
inline constexpr std::string_view ledger = "trlm/ledger@1";
inline constexpr std::string_view apply_receipt = "trlm/apply-receipt@1";
inline constexpr std::string_view bundle_recipe = "trlm/bundle-recipe@1";
}  // namespace schemas

namespace document {

// ------------------------------------------------------------------------------ names of values

inline constexpr auto admissions = choice<Admission>("admitted", "pending", "rejected");
inline constexpr auto strategies = choice<Strategy>("none", "manual", "auto-apply");
inline constexpr auto storage_dtypes = choice<StorageDtype>("f32", "q8_0", "q4_0", "mixed");
inline constexpr auto profiles = choice<Profile>("browser", "native");
inline constexpr auto execution_profiles =
    choice<ExecutionProfile>("scalar", "native-simd", "wasm-simd128");
inline constexpr auto fetch_policies = choice<FetchPolicy>("same-origin", "local-files");
inline constexpr auto module_classes =
    choice<ModuleClass>("model", "manifest", "receipt", "evidence", "adapter");
inline constexpr auto module_roles = choice<ModuleRole>(
    "base-model", "model-manifest", "adapter-manifest", "assembly-receipt",
    "adapter-family-receipt", "evidence-ledger", "evidence-review", "evidence-recipe",
    "evidence-operator", "evidence-candidate", "evidence-promotion", "evidence-runtime",
    "evidence-eval", "evidence-admission", "evidence-eval_cases", "adapter-package");
inline constexpr auto phases = choice<Phase>("sidecars", "model", "evidence", "stack");
inline constexpr auto package_kinds = choice<PackageKind>("ADP1", "ASP1", "ALR1");
inline constexpr auto tokenizer_kinds = choice<TokenizerKind>("BTOK", "BPE1");
inline constexpr auto evidence_kinds =
    choice<EvidenceKind>("review", "recipe", "operator", "candidate", "promotion", "runtime",
                         "eval", "admission", "eval_cases");
inline constexpr auto output_dtypes = std::array<std::string_view, 3>{"keep", "q8_0", "f32"};

/// "nearest", "stochastic:SEED", "adaptive:SEED".
struct RoundingRule {
    void read(const Json& json, Rounding& value, const Place& place) const;
    [[nodiscard]] static Json write(const Rounding& value) { return to_string(value); }
    [[nodiscard]] static Json schema();
};

/// One of a few texts.
template <std::size_t count>
struct OneOf {
    std::array<std::string_view, count> texts;
    void read(const Json& json, std::string& value, const Place& place) const {
        if (json.is_text()) value = json.text();
        for (const std::string_view text : texts) {
            if (json.is_text() && value == text) return;
        }
        place.refuse(json, fmt::format("one of {}", fmt::join(texts, ", ")));
    }
    [[nodiscard]] static Json write(const std::string& value) { return value; }
    [[nodiscard]] Json schema() const {
        Json all = Json::array();
        for (const std::string_view text : texts)
            all.elements().emplace_back(std::string(text));
        return {{"enum", std::move(all)}};
    }
};
template <std::size_t count>
OneOf(std::array<std::string_view, count>) -> OneOf<count>;

/// A text, true, false or null.
struct ClaimRule {
    void read(const Json& json, Claim& value, const Place& place) const;
    [[nodiscard]] static Json write(const Claim& value);
    [[nodiscard]] static Json schema();
};

/// [min, max], finite and in this order.
struct RangeRule {
    void read(const Json& json, StrengthRange& value, const Place& place) const;
    [[nodiscard]] static Json write(const StrengthRange& value);
    [[nodiscard]] static Json schema();
};

inline constexpr ContentDigestRule content_digest{};
inline constexpr std::uint64_t u32_max = std::numeric_limits<std::uint32_t>::max();

}  // namespace document

// ------------------------------------------------------------------------------ shared parts

template <class Fields>
void describe(Fields& fields, FileRef& file) {
    fields("path", file.path, document::Path{});
    fields("bytes", file.bytes, document::Integer{});
    fields("digest", file.digest, document::content_digest);
}

namespace document {
inline constexpr Object<FileRef> file_ref{};
}

// ------------------------------------------------------------------------------ registry

template <class Fields>
void describe(Fields& fields, Budgets& budgets) {
    fields("model_bytes", budgets.model_bytes, document::Integer{});
    fields("text_sidecar_bytes", budgets.text_sidecar_bytes, document::Integer{});
    fields("adapter_stack_bytes", budgets.adapter_stack_bytes, document::Integer{});
    fields("fetch_count", budgets.fetch_count, document::Integer{});
}

template <class Fields>
void describe(Fields& fields, RegistryEntry& entry) {
    using namespace document;
    fields("id", entry.id, Text{});
    fields("dtype", entry.dtype, storage_dtypes);
    fields("admission", entry.admission, admissions);
    fields("strategy", entry.strategy, strategies);
    fields("model", entry.model, file_ref);
    fields("manifest", entry.manifest, file_ref);
    fields("module_plan", entry.module_plan, file_ref);
    fields("assembly_receipt", entry.assembly_receipt, file_ref);
    fields("adapter_family", entry.adapter_family, OrNull{file_ref});
}

template <class Fields>
void describe(Fields& fields, Registry& registry) {
    using namespace document;
    fields("registry_id", registry.registry_id, Text{});
    fields("budgets", registry.budgets, Object<Budgets>{});
    fields("default_entry", registry.default_entry, Text{});
    fields("entries", registry.entries, Each<Object<RegistryEntry>>{{}, 1});
}

// ------------------------------------------------------------------------------ module plan

template <class Fields>
void describe(Fields& fields, PlanBudgets& budgets) {
    describe(fields, budgets.parts);
    fields("total_bytes", budgets.total_bytes, document::Integer{});
}

template <class Fields>
void describe(Fields& fields, Module& module) {
    using namespace document;
    fields("id", module.id, Text{});
    describe(fields, module.file);
    fields("class", module.module_class, module_classes);
    fields("role", module.role, module_roles);
    fields("phase", module.phase, phases);
    fields("slot", module.slot, OrNull{Text{}});
    fields("depends_on", module.depends_on, Each<Text>{});
}

template <class Fields>
void describe(Fields& fields, ModulePlan& plan) {
    using namespace document;
    fields("plan_id", plan.plan_id, Text{});
    fields("entry_id", plan.entry_id, Text{});
    fields("profile", plan.profile, profiles);
    fields("execution_profile", plan.execution_profile, execution_profiles);
    fields("fetch_policy", plan.fetch_policy, fetch_policies);
    fields("budgets", plan.budgets, Object<PlanBudgets>{});
    fields("modules", plan.modules, Each<Object<Module>>{{}, 1});
}

// ------------------------------------------------------------------------------ manifests

template <class Fields>
void describe(Fields& fields, ManifestShape& shape) {
    constexpr document::Integer number{0, document::u32_max};
    fields("vocab_size", shape.vocab_size, number);
    fields("hidden_size", shape.hidden_size, number);
    fields("layer_count", shape.layer_count, number);
    fields("head_count", shape.head_count, number);
    fields("kv_head_count", shape.kv_head_count, number);
    fields("head_dim", shape.head_dim, number);
    fields("ffn_size", shape.ffn_size, number);
    fields("max_context", shape.max_context, number);
}

template <class Fields>
void describe(Fields& fields, ManifestTokenizer& tokenizer) {
    fields("kind", tokenizer.kind, document::tokenizer_kinds);
    fields("checksum", tokenizer.checksum, document::Checksum{});
}

template <class Fields>
void describe(Fields& fields, ModelManifest& manifest) {
    using namespace document;
    std::string format;
    fields("model", manifest.model, file_ref);
    fields("format", format, Constant{"SLM1"});
    fields("internal_checksum", manifest.internal_checksum, Checksum{});
    fields("shape", manifest.shape, Object<ManifestShape>{});
    fields("flags", manifest.flags, Integer{0, u32_max});
    fields("dtype", manifest.dtype, storage_dtypes);
    fields("tensor_count", manifest.tensor_count, Integer{0, u32_max});
    fields("parameter_count", manifest.parameter_count, Integer{});
    fields("tensor_layout_checksum", manifest.tensor_layout_checksum, Checksum{});
    fields("tokenizer", manifest.tokenizer, Object<ManifestTokenizer>{});
    fields("source_kind", manifest.source_kind, Text{});
    fields("quality_claim", manifest.quality_claim, ClaimRule{});
    fields("trained_quality_claim", manifest.trained_quality_claim, ClaimRule{});
    fields("admission_status", manifest.admission_status, admissions);
    fields("license", manifest.license, OrNull{Text{}});
}

template <class Fields>
void describe(Fields& fields, Identity& identity) {
    using namespace document;
    fields("model_flags", identity.model_flags, Integer{0, u32_max});
    fields("tensor_count", identity.tensor_count, Integer{0, u32_max});
    fields("parameter_count", identity.parameter_count, Integer{});
    fields("tensor_layout_checksum", identity.tensor_layout_checksum, Checksum{});
    fields("tokenizer_checksum", identity.tokenizer_checksum, Checksum{});
}

template <class Fields>
void describe(Fields& fields, AdapterManifest& manifest) {
    using namespace document;
    fields("package", manifest.package, file_ref);
    fields("format", manifest.format, package_kinds);
    fields("internal_checksum", manifest.internal_checksum, Checksum{});
    fields("identity", manifest.identity, Object<Identity>{});
    fields("entry_count", manifest.entry_count, Integer{0, u32_max});
    fields("base_models", manifest.base_models, Each<ContentDigestRule>{{}, 1});
    fields("strength_range", manifest.strength_range, RangeRule{});
    fields("license", manifest.license, OrNull{Text{}});
    fields("source", manifest.source, OrNull{Text{}});
}

// ------------------------------------------------------------------------------ adapter family

template <class Fields>
void describe(Fields& fields, FamilyBudgets& budgets) {
    fields("stack_bytes", budgets.stack_bytes, document::Integer{});
    fields("stack_count", budgets.stack_count, document::Integer{});
}

template <class Fields>
void describe(Fields& fields, FamilyMember& member) {
    fields("id", member.id, document::Text{});
    fields("manifest", member.manifest, document::file_ref);
    fields("package", member.package, document::file_ref);
}

template <class Fields>
void describe(Fields& fields, OrderedMember& member) {
    fields("member", member.member, document::Text{});
    fields("strength", member.strength, document::Strength{});
}

template <class Fields>
void describe(Fields& fields, ExpectedOutput& output) {
    fields("bytes", output.bytes, document::Integer{});
    fields("digest", output.digest, document::content_digest);
}

template <class Fields>
void describe(Fields& fields, FamilyStack& stack) {
    using namespace document;
    fields("id", stack.id, Text{});
    fields("preferred", stack.preferred, Boolean{});
    fields("rounding", stack.rounding, RoundingRule{});
    fields("order", stack.order, Each<Object<OrderedMember>>{{}, 1, limits::stack_members});
    fields("expected_state", stack.expected_state, Checksum{});
    fields("expected_output", stack.expected_output, OrNull{Object<ExpectedOutput>{}});
}

template <class Fields>
void describe(Fields& fields, AdapterFamily& family) {
    using namespace document;
    fields("family_id", family.family_id, Text{});
    fields("base_model", family.base_model, content_digest);
    fields("budgets", family.budgets, Object<FamilyBudgets>{});
    fields("members", family.members, Each<Object<FamilyMember>>{{}, 1});
    fields("stacks", family.stacks, Each<Object<FamilyStack>>{{}, 1});
}

// ------------------------------------------------------------------------------ assembly, evidence

template <class Fields>
void describe(Fields& fields, Bindings& bindings) {
    using namespace document;
    fields("model_manifest", bindings.model_manifest, file_ref);
    fields("ledger", bindings.ledger, file_ref);
    fields("review", bindings.review, file_ref);
    fields("recipe", bindings.recipe, file_ref);
    fields("operator", bindings.operator_file, file_ref);
    fields("candidate", bindings.candidate, file_ref);
    fields("promotion", bindings.promotion, file_ref);
    fields("runtime", bindings.runtime, file_ref);
    fields("eval", bindings.eval, file_ref);
    fields("admission", bindings.admission, file_ref);
    fields("eval_cases", bindings.eval_cases, file_ref);
    fields("adapter_family", bindings.adapter_family, OrNull{file_ref});
}

template <class Fields>
void describe(Fields& fields, AssemblyReceipt& receipt) {
    using namespace document;
    fields("assembly_id", receipt.assembly_id, Text{});
    fields("entry_id", receipt.entry_id, Text{});
    fields("base_model", receipt.base_model, content_digest);
    fields("bindings", receipt.bindings, Object<Bindings>{});
}

/// Evidence of one kind: the kinds differ in a few fields.
template <EvidenceKind evidence_kind>
struct EvidenceOf {
    Evidence evidence{.kind = evidence_kind};
};

template <class Fields, EvidenceKind evidence_kind>
void describe(Fields& fields, EvidenceOf<evidence_kind>& document) {
    using namespace document;
    Evidence& evidence = document.evidence;
    std::string kind;
    fields("kind", kind, Constant{evidence_kinds.names[static_cast<std::size_t>(evidence_kind)]});
    fields("subject", evidence.subject, content_digest);
    if constexpr (evidence_kind == EvidenceKind::eval) {
        fields("cases", evidence.cases, Integer{});
        fields("failures", evidence.failures, Integer{});
        fields("eval_cases", evidence.eval_cases, content_digest);
    }
    if constexpr (evidence_kind == EvidenceKind::admission) {
        fields("status", evidence.status, Text{});
    }
    fields("body", evidence.body, Anything{});
}

template <class Fields>
void describe(Fields& fields, LedgerLine& line) {
    using namespace document;
    fields("seq", line.seq, Integer{});
    fields("prev", line.prev, HexDigest{});
    fields("event", line.event, Text{});
    fields("subject", line.subject, content_digest);
}

// ------------------------------------------------------------------------------ apply receipt

template <class Fields>
void describe(Fields& fields, AppliedPackage& applied) {
    using namespace document;
    fields("package", applied.package, file_ref);
    fields("format", applied.kind, package_kinds);
    fields("internal_checksum", applied.internal_checksum, Checksum{});
    fields("strength", applied.strength, Strength{});
}

template <class Fields>
void describe(Fields& fields, RecordedSurvival& tensor) {
    using namespace document;
    fields("name", tensor.name, Text{});
    fields("elements", tensor.elements, Integer{});
    fields("touched", tensor.touched, Integer{});
    fields("changed", tensor.changed, Integer{});
    fields("kept", tensor.kept, Number{});
    fields("cosine", tensor.cosine, Number{});
    fields("snr_db", tensor.snr_db, OrNull{Number{}});
    fields("max_abs_delta", tensor.max_abs_delta, Number{});
    fields("rms_delta", tensor.rms_delta, Number{});
}

template <class Fields>
void describe(Fields& fields, ApplyReceipt& receipt) {
    using namespace document;
    fields("tool", receipt.tool, Text{});
    fields("arithmetic", receipt.arithmetic, Text{});
    fields("rounding", receipt.rounding, RoundingRule{});
    fields("output_dtype", receipt.output_dtype, OneOf{output_dtypes});
    fields("base", receipt.base, file_ref);
    fields("stack", receipt.stack, Each<Object<AppliedPackage>>{{}, 1, limits::stack_members});
    fields("state", receipt.state, Checksum{});
    fields("output", receipt.output, file_ref);
    fields("tensors", receipt.tensors, Each<Object<RecordedSurvival>>{});
}

}  // namespace trlm::adapt
