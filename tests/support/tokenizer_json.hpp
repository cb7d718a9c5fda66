#pragma once
// A tokenizer.json of byte-level BPE with 262 ids, to be read, or to be changed before.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

namespace trlm::adapt::sample {

using Json = nlohmann::ordered_json;

/// A byte in the alphabet of byte-level BPE, for bytes that stand for themselves and the space.
inline std::string written(char byte) {
    return byte == ' ' ? "\xc4\xa0" : std::string(1, byte);
}

/// Bytes as byte-level BPE writes them, in the order of their values, as ids `first` on.
inline Json byte_vocabulary(std::uint32_t first) {
    Json vocabulary = Json::object();
    std::uint32_t other = 256;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        const bool itself =
            (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        const std::uint32_t character = itself ? byte : other++;
        std::string text;
        if (character < 128) {
            text += static_cast<char>(character);
        } else {
            text += static_cast<char>(0xc0 | character >> 6);
            text += static_cast<char>(0x80 | (character & 0x3f));
        }
        vocabulary[text] = first + byte;
    }
    return vocabulary;
}

/// A tokenizer.json with four special tokens first, all bytes, and "th", " th".
inline Json tokenizer_json() {
    Json vocabulary = byte_vocabulary(4);
    vocabulary["th"] = 260;
    vocabulary[written(' ') + "th"] = 261;
    Json added = Json::array();
    const std::array names{"<s>", "</s>", "<pad>", "<unk>"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        added.push_back({{"id", i}, {"content", names[i]}, {"special", true}});
    }
    return {{"added_tokens", added},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"use_regex", false}}},
            {"model",
             {{"type", "BPE"},
              {"vocab", vocabulary},
              {"merges", {"t h", Json::array({written(' '), "th"})}}}}};
}

}  // namespace trlm::adapt::sample
