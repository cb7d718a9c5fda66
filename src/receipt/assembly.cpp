#include "trlm/adapt/receipt/assembly.hpp"

#include "descriptions.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

/// The fields of the bindings, each a FileRef or nothing.
struct PathCollector {
    document::Names& names;
    const Place& bindings;
    template <class Rule>
    void operator()(std::string_view key, const FileRef& file, const Rule&) const {
        names.add_path(file.path, bindings.member(key).member("path"));
    }
    template <class Rule>
    void operator()(std::string_view key, const std::optional<FileRef>& file, const Rule&) const {
        if (file) names.add_path(file->path, bindings.member(key).member("path"));
    }
};

void check_paths(const AssemblyReceipt& receipt, const Place& root) {
    document::Names names;
    const Place bindings = root.member("bindings");
    PathCollector collector{names, bindings};
    Bindings files = receipt.bindings;
    describe(collector, files);
}

}  // namespace

Result<AssemblyReceipt> read_assembly(std::string_view text, const DocumentOptions& options) {
    return document::read<AssemblyReceipt>(text, schemas::assembly, options, check_paths);
}

std::string write_assembly(const AssemblyReceipt& receipt) {
    return document::write(receipt, schemas::assembly);
}

}  // namespace trlm::adapt
