#pragma once
// A text in progress: its tokens, and the cache of what was computed for them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <trlm/adapt/result.hpp>

#include "transformer.hpp"

namespace engine {

/// The tokens are the text; the cache only spares work. Dropping it at any moment changes no
/// result.
class Conversation {
public:
    /// `transformer` outlives the conversation.
    explicit Conversation(const Transformer& transformer);

    /// Begins again with BOS and the tokens of `text`. What the cache has of their beginning stays.
    void restart(std::string_view text);

    void add(std::uint32_t token) { tokens_.push_back(token); }

    /// The score of each token as the next one. Evaluates the tokens that the cache lacks. When
    /// there are more than the model's context, goes on with BOS and the last half of a context.
    /// Findings: those of `Transformer::logits`.
    [[nodiscard]] adapt::Result<std::vector<float>> next_scores();

    /// Must be called when the weights have changed: what was computed with the old ones is void.
    void drop_cache() { cache_.truncate(0); }

private:
    void shorten();

    const Transformer& transformer_;
    std::vector<std::uint32_t> tokens_;  // BOS first
    KvCache cache_;                      // of the first of them
};

}  // namespace engine
