// A mutation that knows no format, where no libFuzzer brings its own.

#include <algorithm>

#include "support.hpp"

/// Cuts, repeats, sets and turns bits.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most) {
    static trlm::adapt::fuzz::Random random(1);
    if (size == 0) return 0;
    const std::size_t at = random.below(size);
    switch (random.below(5)) {
        case 0:
            return at;
        case 1: {
            const std::size_t length = std::min(size - at, most - size);
            std::copy_backward(data + at, data + size, data + size + length);
            return size + length;
        }
        case 2: {
            const std::size_t end = at + random.below(size - at);
            std::copy(data + end, data + size, data + at);
            return size - (end - at);
        }
        case 3:
            data[at] = static_cast<std::uint8_t>(random.next());
            return size;
        default:
            data[at] = static_cast<std::uint8_t>(data[at] ^ (1U << random.below(8)));
            return size;
    }
}
