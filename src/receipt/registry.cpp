#include "trlm/adapt/receipt/registry.hpp"

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

void check_entries(const Registry& registry, const Place& root) {
    document::Names ids;
    document::Names paths;
    bool default_exists = false;
    const Place entries = root.member("entries");
    for (std::size_t i = 0; i < registry.entries.size(); ++i) {
        const RegistryEntry& entry = registry.entries[i];
        const Place place = entries.element(i);
        ids.add_id(entry.id, place.member("id"));
        default_exists = default_exists || entry.id == registry.default_entry;
        const auto add = [&](std::string_view key, const FileRef& file) {
            paths.add_path(file.path, place.member(key).member("path"));
        };
        add("model", entry.model);
        add("manifest", entry.manifest);
        add("module_plan", entry.module_plan);
        add("assembly_receipt", entry.assembly_receipt);
        if (entry.adapter_family) add("adapter_family", *entry.adapter_family);
    }
    if (default_exists) return;
    root.member("default_entry")
        .add(FindingCode::bad_value,
             fmt::format("there is no entry \"{}\"; name one that the registry has",
                         registry.default_entry),
             "the id of an entry", registry.default_entry);
}

}  // namespace

Result<Registry> read_registry(std::string_view text, const DocumentOptions& options) {
    return document::read<Registry>(text, schemas::registry, options, check_entries);
}

std::string write_registry(const Registry& registry) {
    return document::write(registry, schemas::registry);
}

}  // namespace trlm::adapt
