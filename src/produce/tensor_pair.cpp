#include "tensor_pair.hpp"

#include <algorithm>

namespace trlm::adapt {

std::vector<TensorPair> pair_tensors(const Model& base, const Model& tuned) {
    std::vector<TensorPair> pairs;
    for (std::size_t i = 0; i < base.tensors().size(); ++i) {
        const auto other = tuned.find_tensor(base.tensors()[i].name_hash);
        if (other) pairs.push_back({base.view(i), tuned.view(*other), i});
    }
    std::ranges::sort(pairs, {}, [](const TensorPair& pair) { return pair.base.name_hash; });
    return pairs;
}

}  // namespace trlm::adapt
