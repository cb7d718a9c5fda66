#pragma once
// A small model in each storage, for packages to be applied to.

#include <array>
#include <vector>

#include "support.hpp"
#include "support/sample.hpp"

namespace trlm::adapt::fuzz {

inline const std::array<Model, 3>& sample_models() {
    static const std::array<std::vector<std::byte>, 3> files{
        sample::model(Dtype::f32), sample::model(Dtype::q8_0), sample::model(Dtype::q4_0)};
    static const std::array<Model, 3> models{*read_model(files[0]), *read_model(files[1]),
                                             *read_model(files[2])};
    return models;
}

}  // namespace trlm::adapt::fuzz
