#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

constexpr Limit table[] = {
    {"tensors", limits::tensors, "tensors", "of a model or a package (limit_exceeded)"},
    {"tensor-rank", limits::tensor_rank, "dimensions", "of a tensor (bad_rank)"},
    {"dim", limits::dim, "elements", "of one dimension of a tensor (bad_dim)"},
    {"elements", limits::elements, "elements", "of a tensor (limit_exceeded)"},
    {"sparse-elements", limits::sparse_elements, "elements",
     "of a tensor that an ASP1 names (limit_exceeded)"},
    {"low-rank", limits::low_rank, "columns", "of an ALR1's factor B (limit_exceeded)"},
    {"metadata-bytes", limits::metadata_bytes, "bytes", "of a package's metadata (bad_metadata)"},
    {"metadata-depth", limits::metadata_depth, "levels",
     "of nesting in a package's metadata (bad_metadata)"},
    {"json-bytes", limits::json_bytes, "bytes",
     "of a JSON document, unless a plan sets less (limit_exceeded)"},
    {"json-depth", limits::json_depth, "levels", "of nesting in a JSON document (limit_exceeded)"},
    {"stack-members", limits::stack_members, "adapters", "in one stack (limit_exceeded)"},
    {"findings", limits::findings, "findings", "reported by one run; the rest are counted"},
    {"budget-model-bytes", limits::budget_model_bytes, "bytes",
     "default registry budget of the model (budget_exceeded)"},
    {"budget-adapter-stack-bytes", limits::budget_adapter_stack_bytes, "bytes",
     "default registry budget of the adapters (budget_exceeded)"},
    {"budget-text-sidecar-bytes", limits::budget_text_sidecar_bytes, "bytes",
     "default registry budget of a text sidecar (budget_exceeded)"},
};

}  // namespace

std::span<const Limit> all_limits() noexcept {
    return table;
}

}  // namespace trlm::adapt
