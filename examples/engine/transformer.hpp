#pragma once
// The network of model_type 1: what follows from tokens and weights.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <trlm/adapt/memory.hpp>
#include <trlm/adapt/result.hpp>

#include "weights.hpp"

namespace engine {

/// Keys and values of the tokens that were evaluated, so that those after them need not do so
/// again. They follow from the weights: whoever changes these has to clear the cache.
class KvCache {
public:
    explicit KvCache(const adapt::ModelShape& shape);

    /// How many tokens it holds.
    [[nodiscard]] std::size_t length() const noexcept { return length_; }

    /// Forgets all but the first `length` tokens.
    void truncate(std::size_t length);

private:
    friend class Transformer;
    struct Layer {
        std::vector<float> keys;    // [length, kv_heads * head_dim]
        std::vector<float> values;  // the same
    };
    std::vector<Layer> layers_;
    std::size_t width_ = 0;  // kv_heads * head_dim
    std::size_t length_ = 0;
};

/// A network over weights that outlive it. Several threads may use one, each with its own cache,
/// while nobody changes the weights.
class Transformer {
public:
    /// Can this network be computed? `bad_dim` when head_dim is odd: positions turn pairs.
    [[nodiscard]] static adapt::Status check(const adapt::ModelShape& shape);

    /// For weights whose shape `check` accepts.
    explicit Transformer(const Weights& weights);

    [[nodiscard]] const adapt::ModelShape& shape() const noexcept { return weights_->shape(); }
    [[nodiscard]] const adapt::Tokenizer& tokenizer() const noexcept {
        return weights_->tokenizer();
    }

    /// Evaluates `tokens`, which follow those in the cache, and adds them to it. Returns what the
    /// last layer makes of them, [tokens, hidden]. At most max_context tokens in all.
    [[nodiscard]] std::vector<float> forward(std::span<const std::uint32_t> tokens,
                                             KvCache& cache) const;

    /// The score of each token of the vocabulary as the next one, [states, vocab], for states that
    /// `forward` returned. `non_finite` when the weights are so large that a score is not a number.
    [[nodiscard]] adapt::Result<std::vector<float>> logits(std::span<const float> states) const;

private:
    struct Layer {
        const adapt::MemoryTensor& attn_norm;
        const adapt::MemoryTensor& wq;
        const adapt::MemoryTensor& wk;
        const adapt::MemoryTensor& wv;
        const adapt::MemoryTensor& wo;
        const adapt::MemoryTensor& ffn_norm;
        const adapt::MemoryTensor& w1;
        const adapt::MemoryTensor& w2;
        const adapt::MemoryTensor& w3;
    };
    class Rotation;

    [[nodiscard]] std::vector<float> normalized(std::span<const float> states,
                                                const adapt::MemoryTensor& norm) const;
    [[nodiscard]] std::vector<float> attention(const Layer& layer, std::span<const float> states,
                                               const Rotation& rotation,
                                               KvCache::Layer& cache) const;
    [[nodiscard]] static std::vector<float> feed_forward(const Layer& layer,
                                                         std::span<const float> states);

    const Weights* weights_;
    const adapt::MemoryTensor* embeddings_;
    const adapt::MemoryTensor* norm_;
    const adapt::MemoryTensor* output_;  // the embeddings again when the model is tied
    std::vector<Layer> layers_;
};

}  // namespace engine
