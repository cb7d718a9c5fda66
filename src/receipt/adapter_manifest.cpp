#include "trlm/adapt/receipt/adapter_manifest.hpp"

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

void describe_into(const Package& package, AdapterManifest& manifest) {
    manifest.format = package.kind();
    manifest.internal_checksum = package.checksum();
    manifest.identity = package.identity();
    manifest.entry_count = static_cast<std::uint32_t>(package.entries().size());
}

}  // namespace

AdapterManifest describe_package(const Package& package) {
    AdapterManifest manifest;
    describe_into(package, manifest);
    return manifest;
}

Findings compare_with_package(const AdapterManifest& manifest, const Package& package) {
    constexpr document::Object<AdapterManifest> rule{};
    AdapterManifest computed = manifest;
    describe_into(package, computed);
    return document::compare(rule.write(manifest), rule.write(computed));
}

Result<AdapterManifest> read_adapter_manifest(std::string_view text,
                                              const DocumentOptions& options) {
    return document::read<AdapterManifest>(text, schemas::adapter_manifest, options);
}

std::string write_adapter_manifest(const AdapterManifest& manifest) {
    return document::write(manifest, schemas::adapter_manifest);
}

}  // namespace trlm::adapt
