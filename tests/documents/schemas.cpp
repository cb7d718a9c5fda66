// Prints the JSON Schemas of all documents, made from the same descriptions that read and write
// them, as one object: file name -> schema.

#include <cstdio>
#include <string>

#include "bundle_recipe.hpp"

using namespace trlm::adapt;

namespace {

template <EvidenceKind kind>
void add_evidence(Json& schemas) {
    const std::string name(to_string(kind));
    schemas["evidence-" + name] = document::schema_of<EvidenceOf<kind>>(
        "trlm/evidence-" + name + "@1", "Evidence of kind " + name);
}

}  // namespace

int main() {
    namespace names = schemas;
    Json all = Json::object();
    all["selector-registry"] = document::schema_of<Registry>(names::registry, "Selector registry");
    all["module-plan"] = document::schema_of<ModulePlan>(names::module_plan, "Module plan");
    all["model-manifest"] =
        document::schema_of<ModelManifest>(names::model_manifest, "Model manifest");
    all["adapter-manifest"] =
        document::schema_of<AdapterManifest>(names::adapter_manifest, "Adapter manifest");
    all["adapter-family"] =
        document::schema_of<AdapterFamily>(names::family, "Adapter family receipt");
    all["assembly"] = document::schema_of<AssemblyReceipt>(names::assembly, "Assembly receipt");
    all["ledger"] = document::schema_of<LedgerLine>(names::ledger, "One line of a ledger");
    add_evidence<EvidenceKind::review>(all);
    add_evidence<EvidenceKind::recipe>(all);
    add_evidence<EvidenceKind::operator_file>(all);
    add_evidence<EvidenceKind::candidate>(all);
    add_evidence<EvidenceKind::promotion>(all);
    add_evidence<EvidenceKind::runtime>(all);
    add_evidence<EvidenceKind::eval>(all);
    add_evidence<EvidenceKind::admission>(all);
    add_evidence<EvidenceKind::eval_cases>(all);
    all["apply-receipt"] = document::schema_of<ApplyReceipt>(names::apply_receipt, "Apply receipt");
    all["bundle-recipe"] =
        document::schema_of<BundleRecipe>(names::bundle_recipe, "Recipe of a bundle");
    const std::string text = document::print(all);
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
