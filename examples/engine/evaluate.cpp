#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <new>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <trlm/adapt/file.hpp>

#include "commands.hpp"

namespace engine {
namespace {

/// So many tokens are evaluated at once, which bounds the memory that their scores take.
constexpr std::size_t batch = 128;

/// -log2 of the probability that `scores` give to `token`.
double bits_of(std::span<const float> scores, std::uint32_t token) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (const float score : scores)
        sum += std::exp(static_cast<double>(score) - largest);
    return (std::log(sum) + largest - static_cast<double>(scores[token])) / std::log(2.0);
}

/// The bits that a window takes when each token is predicted from BOS and those before it.
adapt::Result<double> bits_of_window(const Transformer& transformer, std::string_view window) {
    const adapt::Tokenizer& tokenizer = transformer.tokenizer();
    const std::vector<std::uint32_t> targets = tokenizer.encode(window);
    std::vector<std::uint32_t> inputs = targets;
    inputs.insert(inputs.begin(), tokenizer.special().bos);
    inputs.pop_back();

    KvCache cache(transformer.shape());
    double bits = 0;
    for (std::size_t done = 0; done < inputs.size();) {
        const std::size_t count = std::min(batch, inputs.size() - done);
        const auto scores =
            transformer.logits(transformer.forward(std::span(inputs).subspan(done, count), cache));
        if (!scores) return adapt::failure(scores.error());
        const std::size_t vocab = scores->size() / count;
        for (std::size_t i = 0; i < count; ++i) {
            bits += bits_of(std::span(*scores).subspan(i * vocab, vocab), targets[done + i]);
        }
        done += count;
    }
    return bits;
}

/// The same for a task of an executor, which must not throw.
adapt::Result<double> safe_bits_of_window(const Transformer& transformer, std::string_view window) {
    try {
        return bits_of_window(transformer, window);
    } catch (const std::bad_alloc&) {
        return adapt::failure({.code = adapt::FindingCode::out_of_memory,
                               .message = "there is not enough memory for a window; give a shorter "
                                          "--window or fewer --threads"});
    }
}

/// Windows are independent of each other, and so are evaluated in parallel; the sum has one order.
adapt::Result<double> total_bits(const Engine& engine, std::string_view text, std::size_t window) {
    std::vector<adapt::Result<double>> bits(text.size() / window, 0.0);
    const auto task = [&](std::size_t i) {
        bits[i] = safe_bits_of_window(engine.transformer(), text.substr(i * window, window));
    };
    if (engine.executor().parallel_for) {
        engine.executor().parallel_for(bits.size(), task);
    } else {
        for (std::size_t i = 0; i < bits.size(); ++i)
            task(i);
    }

    double total = 0;
    for (auto& part : bits) {
        if (!part) return adapt::failure(std::move(part.error()));
        total += *part;
    }
    return total;
}

adapt::Result<std::size_t> window_size(const Engine& engine, const EvaluateOptions& options) {
    const std::size_t context = engine.transformer().shape().max_context;
    if (options.window <= context) return options.window == 0 ? context : options.window;
    return adapt::failure({.code = adapt::FindingCode::usage_error,
                           .message = "a window of " + std::to_string(options.window) +
                                      " bytes does not fit the model's context of " +
                                      std::to_string(context) + " tokens"});
}

}  // namespace

adapt::Status evaluate(const EngineOptions& engine, const EvaluateOptions& options) {
    const auto file = adapt::MappedFile::open(options.text);
    if (!file) return adapt::failure(file.error());
    const auto loaded = Engine::load(engine);
    if (!loaded) return adapt::failure(loaded.error());
    const auto window = window_size(**loaded, options);
    if (!window) return adapt::failure(window.error());

    const std::string_view text = adapt::as_text(file->bytes());
    const std::size_t windows = text.size() / *window;
    if (windows == 0) {
        return adapt::failure({.code = adapt::FindingCode::truncated,
                               .message = "the text has " + std::to_string(text.size()) +
                                          " bytes, fewer than one window of " +
                                          std::to_string(*window) + "; give a shorter --window",
                               .file = options.text});
    }
    const auto bits = total_bits(**loaded, text, *window);
    if (!bits) return adapt::failure(bits.error());
    std::printf("%.4f bits per byte; %zu bytes in %zu windows of %zu\n",
                *bits / static_cast<double>(windows * *window), windows * *window, windows,
                *window);
    return {};
}

}  // namespace engine
