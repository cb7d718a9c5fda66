#include "engine.hpp"

#include <span>
#include <utility>

namespace engine {

adapt::Result<std::unique_ptr<Engine>> Engine::load(const EngineOptions& options) {
    const auto rounding = adapt::parse_rounding(options.rounding);
    if (!rounding) return adapt::failure(rounding.error());
    auto weights = Weights::load(options.model);
    if (!weights) return adapt::failure(std::move(weights.error()));
    if (auto supported = Transformer::check(weights->shape()); !supported) {
        supported.error().set_file(options.model);
        return adapt::failure(std::move(supported.error()));
    }
    auto adapters = read_adapters(options.stack);
    if (!adapters) return adapt::failure(std::move(adapters.error()));

    adapt::ApplyOptions applying;
    applying.rounding = *rounding;
    applying.executor = adapt::make_executor(options.threads);
    std::unique_ptr<Engine> engine(new Engine(std::move(*weights), std::move(applying)));
    if (adapters->empty()) return engine;
    if (auto put = engine->adapters().put(std::move(*adapters)); !put) {
        return adapt::failure(std::move(put.error()));
    }
    return engine;
}

Engine::Engine(Weights weights, adapt::ApplyOptions options)
    : weights_(std::move(weights)),
      options_(std::move(options)),
      transformer_(weights_),
      conversation_(transformer_),
      adapters_(weights_, options_, [this] { conversation_.drop_cache(); }) {}

adapt::Status Engine::write(std::string_view prompt, std::size_t tokens,
                            const SamplingOptions& sampling, const Output& output) {
    const adapt::Tokenizer& tokenizer = transformer_.tokenizer();
    Sampler sampler(sampling);
    conversation_.restart(prompt);
    for (std::size_t i = 0; i < tokens; ++i) {
        const auto scores = conversation_.next_scores();
        if (!scores) return adapt::failure(scores.error());
        const std::uint32_t token = sampler.next(*scores);
        if (token == tokenizer.special().eos) break;
        conversation_.add(token);
        output(tokenizer.decode(std::span(&token, 1)));
    }
    return {};
}

}  // namespace engine
