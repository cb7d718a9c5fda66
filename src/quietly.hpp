#pragma once
// Calling what is not ours: it may throw, we may not.

#include <utility>

namespace trlm::adapt {

/// Calls `function`; false when it threw.
template <class Function>
[[nodiscard]] bool quietly(Function&& function) noexcept {
#if defined(__cpp_exceptions)
    try {
        std::forward<Function>(function)();
        return true;
    } catch (...) {
        return false;
    }
#else
    std::forward<Function>(function)();
    return true;
#endif
}

}  // namespace trlm::adapt
