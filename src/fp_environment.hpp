#pragma once
// The arithmetic's floating-point environment, whatever the host has set.

#include <cfenv>
#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace trlm::adapt {

/// While it lives, this thread rounds to nearest even, keeps subnormals and traps nothing; then
/// the host's settings (rounding mode, FTZ, DAZ, traps, sticky flags) are back as they were.
class FpEnvironment {
public:
#if defined(__SSE2__)
    FpEnvironment() noexcept : saved_(_mm_getcsr()) {
        _mm_setcsr(default_mxcsr);
    }
    ~FpEnvironment() {
        _mm_setcsr(saved_);
    }
#else
    FpEnvironment() noexcept {
        std::fegetenv(&saved_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~FpEnvironment() {
        std::fesetenv(&saved_);
    }
#endif
    FpEnvironment(const FpEnvironment&) = delete;
    FpEnvironment& operator=(const FpEnvironment&) = delete;

private:
#if defined(__SSE2__)
    static constexpr unsigned default_mxcsr = 0x1f80;  // nearest, no FTZ, no DAZ, all masked
    unsigned saved_;
#else
    std::fenv_t saved_;
#endif
};

}  // namespace trlm::adapt
