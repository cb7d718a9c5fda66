#pragma once
// Where larger buffers come from, so that an engine can lend its own memory.

#include <cstddef>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// A source of memory. Without functions it is the program's own heap.
struct Allocator {
    /// At least `bytes` bytes aligned to `alignment`, a power of two; null when there are none
    /// left. Never throws. Called from the thread that calls the library.
    void* (*allocate)(void* context, std::size_t bytes, std::size_t alignment) = nullptr;

    /// Takes back what `allocate` gave for the same size and alignment; required with `allocate`.
    void (*release)(void* context, void* memory, std::size_t bytes,
                    std::size_t alignment) = nullptr;

    void* context = nullptr;  ///< handed to both
};

}  // namespace trlm::adapt
#pragma GCC visibility pop
