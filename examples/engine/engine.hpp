#pragma once
// A model that runs: its weights, the network over them, a text in progress, a place for adapters.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <trlm/adapt/executor.hpp>
#include <trlm/adapt/result.hpp>

#include "adapters.hpp"
#include "conversation.hpp"
#include "sampler.hpp"
#include "transformer.hpp"
#include "weights.hpp"

namespace engine {

/// What to run, as it is given on the command line.
struct EngineOptions {
    std::string model;
    std::vector<std::string> stack;       ///< PACKAGE[:STRENGTH] each
    std::string rounding = "adaptive:0";  ///< of quantized weights that adapters change
    std::size_t threads = 0;              ///< 0: one per processor
};

/// Takes text as it is produced.
using Output = std::function<void(std::string_view)>;

class Engine {
public:
    /// A model with its adapters. Findings: those of all parts, and of reading the options.
    [[nodiscard]] static adapt::Result<std::unique_ptr<Engine>> load(const EngineOptions& options);

    // Its parts refer to each other.
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    [[nodiscard]] const Weights& weights() const noexcept { return weights_; }
    [[nodiscard]] const Transformer& transformer() const noexcept { return transformer_; }
    [[nodiscard]] const adapt::Executor& executor() const noexcept { return options_.executor; }
    [[nodiscard]] AdapterSlot& adapters() noexcept { return adapters_; }

    /// Continues `prompt` by up to `tokens` tokens, fewer when the model ends the text. Findings:
    /// those of `Transformer::logits`.
    [[nodiscard]] adapt::Status write(std::string_view prompt, std::size_t tokens,
                                      const SamplingOptions& sampling, const Output& output);

private:
    Engine(Weights weights, adapt::ApplyOptions options);

    Weights weights_;
    adapt::ApplyOptions options_;
    Transformer transformer_;
    Conversation conversation_;
    AdapterSlot adapters_;
};

}  // namespace engine
