#include "transformer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels.hpp"

namespace engine {
namespace {

/// Vector `index` of those that follow one another in `values`, `width` long each.
template <class T>
std::span<T> vector_at(std::span<T> values, std::size_t index, std::size_t width) {
    return values.subspan(index * width, width);
}

void add(std::span<float> sums, std::span<const float> values) {
    for (std::size_t i = 0; i < sums.size(); ++i)
        sums[i] += values[i];
}

/// Turns scores into shares of one.
void softmax(std::span<float> scores) {
    const float largest = *std::max_element(scores.begin(), scores.end());
    float sum = 0;
    for (float& score : scores) {
        score = std::exp(score - largest);
        sum += score;
    }
    for (float& score : scores)
        score /= sum;
}

/// The part of a cache that one head looks at: a vector per position, `stride` apart.
struct HeadView {
    std::span<const float> vectors;
    std::size_t stride = 0;
    std::size_t head_dim = 0;

    [[nodiscard]] std::span<const float> at(std::size_t position) const {
        return vectors.subspan(position * stride, head_dim);
    }
};

/// Adds to `mixed` the values of the first `scores.size()` positions, each by how well its key
/// answers the query. `scores` is room to work in.
void attend(std::span<const float> query, const HeadView& keys, const HeadView& values,
            std::span<float> scores, std::span<float> mixed) {
    const float scale = 1.0F / std::sqrt(static_cast<float>(query.size()));
    for (std::size_t position = 0; position < scores.size(); ++position) {
        scores[position] = dot(query, keys.at(position)) * scale;
    }
    softmax(scores);
    for (std::size_t position = 0; position < scores.size(); ++position) {
        const std::span<const float> value = values.at(position);
        for (std::size_t i = 0; i < mixed.size(); ++i)
            mixed[i] += scores[position] * value[i];
    }
}

}  // namespace

KvCache::KvCache(const adapt::ModelShape& shape)
    : layers_(shape.layer_count),
      width_(std::size_t{shape.kv_head_count} * std::size_t{shape.head_dim}) {}

void KvCache::truncate(std::size_t length) {
    if (length >= length_) return;
    for (Layer& layer : layers_) {
        layer.keys.resize(length * width_);
        layer.values.resize(length * width_);
    }
    length_ = length;
}

/// RoPE: turns neighbouring elements (2 i, 2 i + 1) of each head by position * theta^(-2 i / dim).
class Transformer::Rotation {
public:
    Rotation(const adapt::ModelShape& shape, std::size_t first, std::size_t count)
        : head_dim_(shape.head_dim), cosines_(count * head_dim_ / 2), sines_(cosines_.size()) {
        const std::size_t pairs = head_dim_ / 2;
        for (std::size_t i = 0; i < pairs; ++i) {
            const double frequency = std::pow(static_cast<double>(shape.rope_theta),
                                              -static_cast<double>(i) / static_cast<double>(pairs));
            for (std::size_t position = 0; position < count; ++position) {
                const double angle = static_cast<double>(first + position) * frequency;
                cosines_[position * pairs + i] = static_cast<float>(std::cos(angle));
                sines_[position * pairs + i] = static_cast<float>(std::sin(angle));
            }
        }
    }

    /// `heads` holds, position by position, the same number of heads.
    void turn(std::span<float> heads) const {
        const std::size_t pairs = head_dim_ / 2;
        const std::size_t positions = cosines_.size() / pairs;
        const std::size_t width = heads.size() / positions;
        for (std::size_t position = 0; position < positions; ++position) {
            const float* const cosines = cosines_.data() + position * pairs;
            const float* const sines = sines_.data() + position * pairs;
            for (std::size_t begin = 0; begin < width; begin += head_dim_) {
                float* const head = heads.data() + position * width + begin;
                for (std::size_t i = 0; i < pairs; ++i) {
                    const float a = head[2 * i];
                    const float b = head[2 * i + 1];
                    head[2 * i] = a * cosines[i] - b * sines[i];
                    head[2 * i + 1] = a * sines[i] + b * cosines[i];
                }
            }
        }
    }

private:
    std::size_t head_dim_;
    std::vector<float> cosines_;  // [positions, head_dim / 2]
    std::vector<float> sines_;
};

adapt::Status Transformer::check(const adapt::ModelShape& shape) {
    if (shape.head_dim % 2 == 0) return {};
    return adapt::failure({.code = adapt::FindingCode::bad_dim,
                           .message = "head_dim is " + std::to_string(shape.head_dim) +
                                      ", but positions turn pairs of elements; use a model whose "
                                      "head_dim is even"});
}

Transformer::Transformer(const Weights& weights)
    : weights_(&weights),
      embeddings_(&weights.tensor("tok_embeddings.weight")),
      norm_(&weights.tensor("norm.weight")),
      output_(weights.has_output() ? &weights.tensor("output.weight") : embeddings_) {
    layers_.reserve(shape().layer_count);
    for (std::uint32_t i = 0; i < shape().layer_count; ++i) {
        const auto tensor = [&](const char* part) -> const adapt::MemoryTensor& {
            return weights.tensor("layers." + std::to_string(i) + "." + part + ".weight");
        };
        layers_.push_back({.attn_norm = tensor("attn_norm"),
                           .wq = tensor("wq"),
                           .wk = tensor("wk"),
                           .wv = tensor("wv"),
                           .wo = tensor("wo"),
                           .ffn_norm = tensor("ffn_norm"),
                           .w1 = tensor("w1"),
                           .w2 = tensor("w2"),
                           .w3 = tensor("w3")});
    }
}

std::vector<float> Transformer::forward(std::span<const std::uint32_t> tokens,
                                        KvCache& cache) const {
    const std::size_t hidden = shape().hidden_size;
    std::vector<float> states(tokens.size() * hidden);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        decode_row(*embeddings_, tokens[i], vector_at(std::span(states), i, hidden));
    }
    const Rotation rotation(shape(), cache.length(), tokens.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        add(states,
            attention(layer, normalized(states, layer.attn_norm), rotation, cache.layers_[i]));
        add(states, feed_forward(layer, normalized(states, layer.ffn_norm)));
    }
    cache.length_ += tokens.size();
    return normalized(states, *norm_);
}

adapt::Result<std::vector<float>> Transformer::logits(std::span<const float> states) const {
    std::vector<float> scores = multiply(*output_, states);
    const auto is_finite = [](float score) { return std::isfinite(score); };
    if (!std::all_of(scores.begin(), scores.end(), is_finite)) {
        return adapt::failure({.code = adapt::FindingCode::non_finite,
                               .message = "the model's prediction is not a finite number: its "
                                          "weights are too large; use another model, or a smaller "
                                          "strength"});
    }
    return scores;
}

/// RMSNorm.
std::vector<float> Transformer::normalized(std::span<const float> states,
                                           const adapt::MemoryTensor& norm) const {
    const std::vector<float> weights = decode(norm);
    std::vector<float> results(states.size());
    for (std::size_t i = 0; i < states.size() / weights.size(); ++i) {
        const std::span<const float> state = vector_at(states, i, weights.size());
        const float mean_square = dot(state, state) / static_cast<float>(state.size());
        const float factor = 1.0F / std::sqrt(mean_square + shape().rms_norm_epsilon);
        const std::span<float> result = vector_at(std::span(results), i, weights.size());
        for (std::size_t j = 0; j < weights.size(); ++j)
            result[j] = state[j] * factor * weights[j];
    }
    return results;
}

/// Causal attention. Several query heads share a head of keys and values (GQA).
std::vector<float> Transformer::attention(const Layer& layer, std::span<const float> states,
                                          const Rotation& rotation, KvCache::Layer& cache) const {
    std::vector<float> queries = multiply(layer.wq, states);
    std::vector<float> keys = multiply(layer.wk, states);
    const std::vector<float> values = multiply(layer.wv, states);
    rotation.turn(queries);
    rotation.turn(keys);
    cache.keys.insert(cache.keys.end(), keys.begin(), keys.end());
    cache.values.insert(cache.values.end(), values.begin(), values.end());

    const std::size_t head_dim = shape().head_dim;
    const std::size_t heads = shape().head_count;
    const std::size_t kv_heads = shape().kv_head_count;
    const std::size_t stride = kv_heads * head_dim;
    const std::size_t count = queries.size() / (heads * head_dim);
    const std::size_t length = cache.keys.size() / stride;
    std::vector<float> mixed(queries.size());
    std::vector<float> scores(length);
    for (std::size_t head = 0; head < heads; ++head) {
        const std::size_t offset = head / (heads / kv_heads) * head_dim;
        const HeadView head_keys{std::span(cache.keys).subspan(offset), stride, head_dim};
        const HeadView head_values{std::span(cache.values).subspan(offset), stride, head_dim};
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t visible = length - count + i + 1;  // itself and all before it
            attend(vector_at(std::span<const float>(queries), i * heads + head, head_dim),
                   head_keys, head_values, std::span(scores).first(visible),
                   vector_at(std::span(mixed), i * heads + head, head_dim));
        }
    }
    return multiply(layer.wo, mixed);
}

/// SwiGLU: w2 (silu(w1 x) * w3 x).
std::vector<float> Transformer::feed_forward(const Layer& layer, std::span<const float> states) {
    std::vector<float> gates = multiply(layer.w1, states);
    const std::vector<float> values = multiply(layer.w3, states);
    for (std::size_t i = 0; i < gates.size(); ++i) {
        gates[i] = gates[i] / (1.0F + std::exp(-gates[i])) * values[i];
    }
    return multiply(layer.w2, gates);
}

}  // namespace engine
