#include "trlm/adapt/simd.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "guard.hpp"
#include "kernels/kernels.hpp"

namespace trlm::adapt {

std::vector<std::string> simd_targets() {
    std::vector<std::string> names;
    for (const kernels::Table* table : kernels::available())
        names.emplace_back(table->name);
    return names;
}

Status check_simd_target(std::string_view target) {
    return guarded([&]() -> Status {
        if (kernels::find(target) != nullptr) return {};
        Finding finding;
        finding.code = FindingCode::usage_error;
        finding.expected = fmt::format("{}", fmt::join(simd_targets(), ", "));
        finding.actual = std::string(target);
        finding.message = fmt::format("this CPU has no instruction set named '{}'; it has {}",
                                      target, finding.expected);
        return failure(std::move(finding));
    });
}

}  // namespace trlm::adapt
