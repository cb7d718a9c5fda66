// A target's mutator as AFL++ loads it: a module of its own, without instrumentation.

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "support.hpp"

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed);

namespace {

struct Mutator {
    trlm::adapt::fuzz::Random random;
    std::vector<std::uint8_t> mutated;
};

}  // namespace

extern "C" void* afl_custom_init(void* /*afl*/, unsigned seed) {
    return new (std::nothrow) Mutator{trlm::adapt::fuzz::Random(seed), {}};
}

/// Points `*out` to a mutation of `data`, valid until the next call, and returns its length.
extern "C" std::size_t afl_custom_fuzz(void* state, std::uint8_t* data, std::size_t size,
                                       std::uint8_t** out, std::uint8_t* /*other*/,
                                       std::size_t /*other_size*/, std::size_t most) {
    auto& [random, mutated] = *static_cast<Mutator*>(state);
    mutated.resize(most);
    size = std::min(size, most);
    std::copy_n(data, size, mutated.begin());
    *out = mutated.data();
    return LLVMFuzzerCustomMutator(mutated.data(), size, most,
                                   static_cast<unsigned>(random.next()));
}

extern "C" void afl_custom_deinit(void* state) {
    delete static_cast<Mutator*>(state);
}
