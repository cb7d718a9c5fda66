// The example engine as a page calls it: numbers and places in memory, one model, one text at a
// time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <trlm/adapt/result.hpp>

#include "conversation.hpp"
#include "sampler.hpp"
#include "transformer.hpp"
#include "weights.hpp"

namespace {

using namespace engine;

/// A model and the text that it is writing; its parts refer to each other.
struct Session {
    explicit Session(Weights taken)
        : weights(std::move(taken)), transformer(weights), conversation(transformer) {}

    Weights weights;
    Transformer transformer;
    Conversation conversation;
    Sampler sampler{SamplingOptions{}};
};

/// What the page put there: a model's file, then a prompt.
std::vector<std::byte> incoming;
std::unique_ptr<Session> session;
/// The last piece of text, or what went wrong.
std::string outgoing;

bool fail(const adapt::Findings& findings) {
    outgoing = findings.empty() ? "unknown" : findings.begin()->message;
    return false;
}

std::string_view incoming_text() {
    return {reinterpret_cast<const char*>(incoming.data()), incoming.size()};
}

}  // namespace

extern "C" {

/// Room for so many bytes, for the next call to take.
std::byte* engine_room(std::size_t bytes) {
    incoming.assign(bytes, std::byte{});
    return incoming.data();
}

/// Begins anew with the model that is in the room. False with the reason as the text.
bool engine_load() {
    session.reset();
    auto weights = Weights::read(incoming);
    incoming = {};  // the weights were copied
    if (!weights) return fail(weights.error());
    if (const auto supported = Transformer::check(weights->shape()); !supported) {
        return fail(supported.error());
    }
    session = std::make_unique<Session>(std::move(*weights));
    return true;
}

/// Begins a text with the prompt that is in the room. False with the reason as the text.
bool engine_begin(double temperature, double seed) {
    const SamplingOptions sampling{.temperature = temperature,
                                   .seed = static_cast<std::uint64_t>(seed)};
    if (const auto checked = check(sampling); !checked) return fail(checked.error());
    session->sampler = Sampler(sampling);
    session->conversation.restart(incoming_text());
    outgoing.clear();
    return true;
}

/// The next token, as the text; nothing when the model has ended it. False with the reason.
bool engine_next() {
    const adapt::Tokenizer& tokenizer = session->transformer.tokenizer();
    outgoing.clear();
    const auto scores = session->conversation.next_scores();
    if (!scores) return fail(scores.error());
    const std::uint32_t token = session->sampler.next(*scores);
    if (token == tokenizer.special().eos) return true;
    session->conversation.add(token);
    outgoing = tokenizer.decode(std::span(&token, 1));
    return true;
}

const char* engine_text() {
    return outgoing.data();
}
std::size_t engine_text_length() {
    return outgoing.size();
}

}  // extern "C"
