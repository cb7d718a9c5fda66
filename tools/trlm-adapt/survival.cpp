#include "survival.hpp"

#include <optional>

#include <fmt/format.h>

namespace trlm::adapt::cli {
namespace {

Paint paint_of_kept(double kept) {
    if (kept >= 0.9) return Paint::green;
    return kept >= 0.5 ? Paint::none : Paint::yellow;
}

}  // namespace

std::string percent(double share) {
    return fmt::format("{:.1f} %", share * 100);
}

std::string survival_table(std::span<const TensorSurvival> tensors, const Style& style) {
    Table table({{"tensor", Align::left, true},
                 {"touched", Align::right},
                 {"changed", Align::right},
                 {"kept", Align::right},
                 {"cosine", Align::right},
                 {"SNR dB", Align::right},
                 {"rms", Align::right}});
    for (const TensorSurvival& tensor : tensors) {
        const std::optional<double> decibels = tensor.snr_db();
        table.add({printable(tensor.name), grouped(tensor.touched), grouped(tensor.changed),
                   Cell(percent(tensor.kept()), paint_of_kept(tensor.kept())),
                   fmt::format("{:.4f}", tensor.cosine()),
                   decibels ? fmt::format("{:.1f}", *decibels) : std::string("-"),
                   fmt::format("{:.2g}", tensor.rms_delta())});
    }
    const double kept = kept_of_stack(tensors);
    table.add({Cell("whole stack", Paint::bold), std::string(), std::string(),
               Cell(percent(kept), paint_of_kept(kept)), std::string(), std::string(),
               std::string()});
    return table.print(style, 2);
}

}  // namespace trlm::adapt::cli
