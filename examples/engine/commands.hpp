#pragma once
// What the program can do. Each command prints its result to stdout.

#include <cstddef>
#include <string>
#include <vector>

#include <trlm/adapt/result.hpp>

#include "engine.hpp"

namespace engine {

/// How a prompt is continued.
struct TextOptions {
    std::size_t tokens = 100;
    SamplingOptions sampling;
};

/// Prints the prompt and its continuation.
[[nodiscard]] adapt::Status generate(const EngineOptions& engine, const std::string& prompt,
                                     const TextOptions& text);

/// What to measure.
struct EvaluateOptions {
    std::string text;        ///< a file
    std::size_t window = 0;  ///< bytes; 0: as many as the model's context has tokens
};

/// Prints how many bits the model needs for each byte of a text. The text is cut into windows, a
/// shorter last one is dropped; each is predicted from BOS and its own beginning.
[[nodiscard]] adapt::Status evaluate(const EngineOptions& engine, const EvaluateOptions& options);

/// Continues the same prompts with the base, with each adapter of `engine.stack` by itself, and
/// with the base again, in one engine whose adapters are exchanged. Prints the checksum of the
/// weights each time, and fails (`value_drift`) when the last is not the first, to the bit.
[[nodiscard]] adapt::Status chat_demo(const EngineOptions& engine,
                                      const std::vector<std::string>& prompts,
                                      const TextOptions& text);

}  // namespace engine
