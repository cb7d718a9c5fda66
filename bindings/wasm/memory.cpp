// What happens where memory ends. There are no exceptions: a failed `new` leaves through the host,
// which throws one of its own and uses the instance no more; a failed `new (std::nothrow)` is null.

#include <cstdlib>
#include <new>

#include "host.hpp"

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return std::malloc(bytes);
}

void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    const auto unit = static_cast<std::size_t>(alignment);
    void* memory = nullptr;
    return ::posix_memalign(&memory, unit, bytes) == 0 ? memory : nullptr;
}

extern "C" [[gnu::constructor]] void trlm_leave_when_memory_ends() {
    std::set_new_handler([] { host_out_of_memory(); });
}
