// Safetensors headers: every tensor of an accepted file lies in it, and no two overlap.

#include "trlm/adapt/produce/safetensors.hpp"

#include "support.hpp"

using namespace trlm::adapt;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes file = fuzz::bytes_of(data, size);
    const auto read = read_safetensors(file);
    if (!read) {
        require(read.error().has_errors(), "a refusal has a reason");
        return 0;
    }
    std::uint64_t bytes = 0;
    for (const SafetensorsTensor& tensor : read->tensors()) {
        require(tensor.data.empty() ||
                    (tensor.data.data() >= file.data() &&
                     tensor.data.data() + tensor.data.size() <= file.data() + file.size()),
                "data lie in the file");
        bytes += tensor.data.size();
        require(read->find(tensor.name) == &tensor, "a tensor is found by its name");
        std::vector<float> first(std::min<std::size_t>(8, tensor.data.size()));
        read_values(tensor, 0, first);
    }
    require(bytes + 8 + load<std::uint64_t>(file, 0) == file.size(), "the data fill the file");
    return 0;
}
