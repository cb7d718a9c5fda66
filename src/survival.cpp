#include "trlm/adapt/survival.hpp"

#include <cmath>

#include "fp_environment.hpp"

namespace trlm::adapt {
namespace {

std::optional<double> decibels(double intended_squared, double error_squared) noexcept {
    const FpEnvironment environment;
    if (intended_squared == 0.0 || error_squared == 0.0) return std::nullopt;
    return 10.0 * std::log10(intended_squared / error_squared);
}

}  // namespace

double TensorSurvival::rms_delta() const noexcept {
    const FpEnvironment environment;
    return elements == 0 ? 0.0 : std::sqrt(intended_squared / static_cast<double>(elements));
}

double TensorSurvival::kept() const noexcept {
    const FpEnvironment environment;
    return intended_squared == 0.0 ? 0.0 : intended_effective / intended_squared;
}

double TensorSurvival::cosine() const noexcept {
    const FpEnvironment environment;
    if (intended_squared == 0.0 || effective_squared == 0.0) return 0.0;
    return intended_effective / (std::sqrt(intended_squared) * std::sqrt(effective_squared));
}

std::optional<double> TensorSurvival::snr_db() const noexcept {
    return decibels(intended_squared, error_squared);
}

double kept_of_stack(std::span<const TensorSurvival> tensors) noexcept {
    const FpEnvironment environment;
    double intended_effective = 0;
    double intended_squared = 0;
    for (const TensorSurvival& tensor : tensors) {
        intended_effective += tensor.intended_effective;
        intended_squared += tensor.intended_squared;
    }
    return intended_squared == 0.0 ? 0.0 : intended_effective / intended_squared;
}

std::optional<double> snr_db_of_stack(std::span<const TensorSurvival> tensors) noexcept {
    const FpEnvironment environment;
    double intended_squared = 0;
    double error_squared = 0;
    for (const TensorSurvival& tensor : tensors) {
        intended_squared += tensor.intended_squared;
        error_squared += tensor.error_squared;
    }
    return decibels(intended_squared, error_squared);
}

bool is_mostly_lost(std::span<const TensorSurvival> tensors) noexcept {
    const FpEnvironment environment;
    double intended_squared = 0;
    for (const TensorSurvival& tensor : tensors)
        intended_squared += tensor.intended_squared;
    if (intended_squared == 0.0) return false;
    return kept_of_stack(tensors) < little_kept || snr_db_of_stack(tensors).value_or(1) < 0;
}

}  // namespace trlm::adapt
