#include "conversation.hpp"

#include <algorithm>
#include <utility>

namespace engine {
namespace {

/// So many tokens are evaluated at once, which bounds the memory that it takes.
constexpr std::size_t batch = 128;

}  // namespace

Conversation::Conversation(const Transformer& transformer)
    : transformer_(transformer), cache_(transformer.shape()) {
    restart("");
}

void Conversation::restart(std::string_view text) {
    std::vector<std::uint32_t> tokens = transformer_.tokenizer().encode(text);
    tokens.insert(tokens.begin(), transformer_.tokenizer().special().bos);
    const auto parted =
        std::mismatch(tokens.begin(), tokens.end(), tokens_.begin(), tokens_.end()).first;
    cache_.truncate(static_cast<std::size_t>(parted - tokens.begin()));
    tokens_ = std::move(tokens);
}

adapt::Result<std::vector<float>> Conversation::next_scores() {
    shorten();
    // The last token's state is needed, so that one is evaluated in any case.
    cache_.truncate(tokens_.size() - 1);
    std::vector<float> states;
    while (cache_.length() < tokens_.size()) {
        const std::span<const std::uint32_t> rest = std::span(tokens_).subspan(cache_.length());
        states = transformer_.forward(rest.first(std::min(batch, rest.size())), cache_);
    }
    return transformer_.logits(std::span(states).last(transformer_.shape().hidden_size));
}

void Conversation::shorten() {
    const std::size_t context = transformer_.shape().max_context;
    if (tokens_.size() <= context) return;
    const auto kept = static_cast<std::ptrdiff_t>(context / 2);
    tokens_.erase(tokens_.begin() + 1, tokens_.end() - kept);
    cache_.truncate(0);
}

}  // namespace engine
