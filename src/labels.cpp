#include <fmt/format.h>

#include "trlm/adapt/tensor.hpp"

namespace trlm::adapt {

std::string tensor_label(std::string_view name, std::uint64_t name_hash) {
    return name.empty() ? fmt::format("0x{:016x}", name_hash) : std::string(name);
}

std::string to_string(const Shape& shape) {
    std::string text = "[";
    for (std::uint32_t i = 0; i < shape.rank; ++i) {
        text += fmt::format("{}{}", i == 0 ? "" : ", ", shape.dims[i]);
    }
    return text + "]";
}

}  // namespace trlm::adapt
