#pragma once
// How much of an adapter arrived after quantization.  docs/formats.md, section 4

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// Survival of one tensor that the stack names. intended = w_new before encoding - w_old,
/// effective = decoded result - w_old, in double.
struct TensorSurvival {
    std::string name;               ///< of the tensor
    std::uint64_t elements = 0;     ///< of the tensor
    std::uint64_t touched = 0;      ///< elements with at least one nonzero delta
    std::uint64_t changed = 0;      ///< elements whose decoded value differs in any bit
    double max_abs_delta = 0;       ///< max |intended|
    double intended_effective = 0;  ///< <intended, effective>
    double intended_squared = 0;    ///< |intended|^2
    double effective_squared = 0;   ///< |effective|^2
    double error_squared = 0;       ///< |effective - intended|^2

    /// sqrt(|intended|^2 / elements)
    [[nodiscard]] double rms_delta() const noexcept;
    /// <i,e> / |i|^2: how much of the intended change arrived; 0 when nothing was intended.
    [[nodiscard]] double kept() const noexcept;
    /// <i,e> / (|i| |e|); 0 when either is 0.
    [[nodiscard]] double cosine() const noexcept;
    /// 10 log10(|i|^2 / |e-i|^2); nothing when either is 0.
    [[nodiscard]] std::optional<double> snr_db() const noexcept;
};

/// `kept` of a whole stack: the sum of <i,e> over the tensors divided by the sum of |i|^2;
/// 0 when nothing was intended.
[[nodiscard]] double kept_of_stack(std::span<const TensorSurvival> tensors) noexcept;

/// `snr_db` of a whole stack; nothing when the sum of |i|^2 or of |e-i|^2 is 0.
[[nodiscard]] std::optional<double> snr_db_of_stack(
    std::span<const TensorSurvival> tensors) noexcept;

/// Below this `kept` of a whole stack most of it is lost.
inline constexpr double little_kept = 0.5;

/// True when less than half of the intended change arrived, or its noise is larger than it
/// (`snr_db` below 0). False when nothing was intended.
[[nodiscard]] bool is_mostly_lost(std::span<const TensorSurvival> tensors) noexcept;

}  // namespace trlm::adapt
#pragma GCC visibility pop
