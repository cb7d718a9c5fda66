#pragma once
// A small model in each storage, for packages to be applied to: those that the seeds were made for.

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "support.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::fuzz {

inline const std::vector<Model>& sample_models() {
    static const std::vector<std::string> files = [] {
        std::vector<std::string> read;
        for (const char* name : {"base_f32.slm", "base_q8_0.slm", "base_q4_0.slm"}) {
            std::ifstream file(std::string(FUZZ_VECTORS) + "/models/" + name, std::ios::binary);
            read.emplace_back(std::istreambuf_iterator<char>(file),
                              std::istreambuf_iterator<char>());
        }
        return read;
    }();
    static const std::vector<Model> models = [] {
        std::vector<Model> made;
        for (const std::string& file : files) {
            auto model = read_model(as_bytes(file));
            require(model.has_value(), "the models are there");
            made.push_back(std::move(*model));
        }
        return made;
    }();
    return models;
}

}  // namespace trlm::adapt::fuzz
