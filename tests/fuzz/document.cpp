// Every JSON document: what is read and written again is read as the same, and written as the same.

#include "support.hpp"
#include "trlm/adapt/receipt/adapter_manifest.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/receipt/assembly.hpp"
#include "trlm/adapt/receipt/evidence.hpp"
#include "trlm/adapt/receipt/family.hpp"
#include "trlm/adapt/receipt/ledger.hpp"
#include "trlm/adapt/receipt/model_manifest.hpp"
#include "trlm/adapt/receipt/module_plan.hpp"
#include "trlm/adapt/receipt/registry.hpp"

using namespace trlm::adapt;
using fuzz::require;

namespace {

/// Reads a text, writes what it says, and reads and writes that again.
template <class Read, class Write>
void go_around(std::string_view text, const Read& read, const Write& write) {
    const auto document = read(text);
    if (!document) {
        require(document.error().has_errors(), "a refusal has a reason");
        return;
    }
    const std::string first = write(*document);
    const auto again = read(first);
    require(again.has_value(), "what was written can be read");
    require(write(*again) == first, "and is written as the same");
}

/// The text of a document whose writing may fail.
std::string text_of(const Evidence& evidence) {
    const auto text = write_evidence(evidence);
    require(text.has_value(), "what was read can be written");
    return *text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // The first byte says which document the rest is.
    if (size == 0) return 0;
    const std::string_view text = as_text(fuzz::bytes_of(data + 1, size - 1));
    switch (data[0] % 14) {
        case 0:
            go_around(
                text, [](auto t) { return read_registry(t); }, write_registry);
            break;
        case 1:
            go_around(
                text, [](auto t) { return read_module_plan(t); }, write_module_plan);
            break;
        case 2:
            go_around(
                text, [](auto t) { return read_model_manifest(t); }, write_model_manifest);
            break;
        case 3:
            go_around(
                text, [](auto t) { return read_adapter_manifest(t); }, write_adapter_manifest);
            break;
        case 4:
            go_around(
                text, [](auto t) { return read_family(t); }, write_family);
            break;
        case 5:
            go_around(
                text, [](auto t) { return read_assembly(t); }, write_assembly);
            break;
        case 6:
            go_around(
                text, [](auto t) { return read_apply_receipt(t); }, write_apply_receipt);
            break;
        case 7: {
            const auto ledger = read_ledger(text);
            require(ledger || ledger.error().has_errors(), "a refusal has a reason");
            break;
        }
        default: {
            const auto kind = static_cast<EvidenceKind>(data[0] % 14 - 8);
            go_around(
                text, [&](auto t) { return read_evidence(kind, t); }, text_of);
        }
    }
    return 0;
}
