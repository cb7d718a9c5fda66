#include "trlm/adapt/produce/tokenizer_import.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <set>

#include <fmt/format.h>

#include "guard.hpp"
#include "json.hpp"
#include "produce/document.hpp"
#include "produce/json_fields.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

constexpr std::size_t byte_count = 256;
constexpr std::uint32_t btok_vocab_size = 260;
constexpr SpecialTokens btok_special{256, 257, 258, 259};

/// Byte-level BPE writes each byte as a character that can be seen: those that can stand for
/// themselves, the rest for the characters from 256 on, in order.
constexpr bool stands_for_itself(std::uint32_t byte) noexcept {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/// The byte of each such character.
constexpr auto bytes_of_characters = [] {
    constexpr std::size_t others = 68;
    std::array<int, byte_count + others> bytes{};
    bytes.fill(-1);
    std::size_t next = byte_count;
    for (std::uint32_t byte = 0; byte < byte_count; ++byte) {
        if (stands_for_itself(byte)) {
            bytes[byte] = static_cast<int>(byte);
        } else {
            bytes[next++] = static_cast<int>(byte);
        }
    }
    return bytes;
}();

/// The next character of valid UTF-8, which `text` then begins behind.
std::uint32_t next_character(std::string_view& text) noexcept {
    const auto lead = static_cast<unsigned char>(text.front());
    const auto ones = static_cast<std::size_t>(std::countl_one(lead));
    const std::size_t length = std::clamp<std::size_t>(ones, 1, text.size());
    std::uint32_t character = ones == 0 ? lead : lead & (0x7fU >> ones);
    for (std::size_t i = 1; i < length; ++i)
        character = character << 6 | (static_cast<unsigned char>(text[i]) & 0x3fU);
    text.remove_prefix(length);
    return character;
}

/// The bytes that a token of a byte-level vocabulary stands for; nothing for another alphabet.
std::optional<std::string> bytes_of_token(std::string_view token) {
    std::string bytes;
    while (!token.empty()) {
        const std::uint32_t character = next_character(token);
        if (character >= bytes_of_characters.size() || bytes_of_characters[character] < 0) {
            return std::nullopt;
        }
        bytes += static_cast<char>(bytes_of_characters[character]);
    }
    return bytes;
}

/// A token beside the model's vocabulary.
struct AddedToken {
    std::uint32_t id = 0;
    std::string content;
    bool special = false;
};

bool type_is(const Json* part, std::string_view type) {
    if (part == nullptr || !part->is_object()) return false;
    const Json* const found = part->find("type");
    return found != nullptr && found->is_text() && found->text() == type;
}

/// Turns a tokenizer.json into a section.
class TokenizerImport {
public:
    TokenizerImport(const Json& document, std::uint32_t vocab_size, const NamedSpecialTokens& named)
        : fields_(document, findings_), vocab_size_(vocab_size), named_(named) {}

    [[nodiscard]] Result<ImportedTokenizer> run() {
        const Json* const model = fields_.find("model");
        if (model == nullptr || !model->is_object()) {
            fields_.add(FindingCode::missing_key, "model", "the tokenizer has no model");
            return failure(std::move(findings_));
        }
        judge_model(*model);
        judge_steps();
        read_added_tokens();
        read_vocabulary(*model);
        if (findings_.has_errors()) return failure(std::move(findings_));
        read_merges(*model);
        assign_special_tokens(*model);
        judge_low_ids();
        if (findings_.has_errors()) return failure(std::move(findings_));
        return write();
    }

private:
    void refuse(std::string_view key, std::string message, const std::string& pointer = {}) {
        findings_.add({.code = FindingCode::unsupported_source,
                       .message = std::move(message),
                       .pointer = pointer.empty() ? json_pointer({}, key) : pointer});
    }

    void judge_model(const Json& model) {
        const JsonFields fields(model, findings_, "/model");
        if (const auto type = fields.text("type"); type && *type != "BPE") {
            refuse("model",
                   fmt::format("the tokenizer's model is {}; only byte-level BPE can be "
                               "converted",
                               *type),
                   "/model/type");
        }
        if (fields.flag("byte_fallback", false)) {
            refuse("model",
                   "the tokenizer falls back to bytes where its characters end (byte_fallback, as "
                   "SentencePiece does); only byte-level BPE can be converted",
                   "/model/byte_fallback");
        }
        for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
            if (fields.text(affix).value_or("").empty()) continue;
            refuse("model",
                   fmt::format("the tokenizer marks words with a {}; BPE1 has none", affix),
                   fmt::format("/model/{}", affix));
        }
        if (fields.flag("ignore_merges", false)) {
            notes_.emplace_back(
                "the tokenizer looks up whole words before it merges (ignore_merges); BPE1 merges "
                "always, so that a few words may be cut otherwise");
        }
    }

    /// What happens to a text before the merges.
    void judge_steps() {
        if (const Json* const normalizer = fields_.find("normalizer")) {
            refuse("normalizer",
                   fmt::format("the tokenizer changes the text first (normalizer {}); BPE1 takes "
                               "bytes as they are",
                               shown(*normalizer)));
        }
        const Json* const pre = fields_.find("pre_tokenizer");
        std::vector<const Json*> steps;
        if (type_is(pre, "Sequence")) {
            const Json* const list = pre->find("pretokenizers");
            if (list != nullptr && list->is_array()) {
                for (const Json& step : list->elements())
                    steps.push_back(&step);
            }
        } else if (pre != nullptr) {
            steps.push_back(pre);
        }
        const auto byte_level = [](const Json* step) { return type_is(step, "ByteLevel"); };
        if (std::ranges::none_of(steps, byte_level) && !byte_level(fields_.find("decoder"))) {
            refuse("pre_tokenizer",
                   "the tokenizer is not byte-level (neither pre_tokenizer nor decoder is "
                   "ByteLevel); only byte-level BPE can be converted");
            return;
        }
        judge_cutting(steps);
    }

    void judge_cutting(const std::vector<const Json*>& steps) {
        bool cuts = false;
        bool prefix = false;
        for (const Json* const step : steps) {
            if (!step->is_object()) continue;
            const bool byte_level = type_is(step, "ByteLevel");
            const JsonFields fields(*step, findings_, "/pre_tokenizer");
            cuts = cuts || !byte_level || fields.flag("use_regex", true);
            prefix = prefix || (byte_level && fields.flag("add_prefix_space", false));
        }
        if (cuts) {
            notes_.emplace_back(
                "the tokenizer cuts a text into words before it merges; BPE1 does not, so that a "
                "few texts may be cut otherwise");
        }
        if (prefix) {
            notes_.emplace_back(
                "the tokenizer puts a space before a text (add_prefix_space); BPE1 does not");
        }
    }

    void read_added_tokens() {
        const Json* const list = fields_.find("added_tokens");
        if (list == nullptr) return;
        if (!list->is_array()) {
            fields_.wrong("added_tokens", "a list");
            return;
        }
        for (std::size_t i = 0; i < list->elements().size(); ++i) {
            const Json& entry = list->elements()[i];
            const std::string pointer = fmt::format("/added_tokens/{}", i);
            if (!entry.is_object()) {
                findings_.add({.code = FindingCode::bad_value,
                               .message = "an added token must be an object",
                               .pointer = pointer});
                continue;
            }
            const JsonFields fields(entry, findings_, pointer);
            const auto id = fields.id("id");
            const auto content = fields.text("content");
            const bool special = fields.flag("special", false);
            if (!id || !content || content->empty()) {
                findings_.add({.code = FindingCode::bad_value,
                               .message = "an added token needs an id and a content",
                               .pointer = pointer});
                continue;
            }
            added_.emplace(*id, AddedToken{*id, *content, special});
            ids_.emplace(*content, *id);
            add_token(*id, *content, pointer);
        }
    }

    void read_vocabulary(const Json& model) {
        const Json* const vocabulary = model.find("vocab");
        if (vocabulary == nullptr || !vocabulary->is_object()) {
            findings_.add({.code = FindingCode::missing_key,
                           .message = "the model has no vocab object",
                           .pointer = "/model/vocab"});
            return;
        }
        for (const auto& [token, id] : vocabulary->members()) {
            const auto pointer = [&name = token] { return json_pointer("/model/vocab", name); };
            if (!id.is_unsigned() || id.unsigned_number() >= vocab_size_) {
                findings_.add({.code = FindingCode::bad_value,
                               .message = fmt::format("the token's id is {}, but the model has ids "
                                                      "below {}",
                                                      shown(id), vocab_size_),
                               .pointer = pointer(),
                               .expected = fmt::format("below {}", vocab_size_),
                               .actual = shown(id)});
                continue;
            }
            const auto number = static_cast<std::uint32_t>(id.unsigned_number());
            ids_.emplace(token, number);
            if (added_.contains(number)) continue;  // said already, as the text that it is
            const auto bytes = bytes_of_token(token);
            if (!bytes || bytes->empty()) {
                refuse("model",
                       "the token has characters that stand for no byte; only byte-level BPE can "
                       "be converted",
                       pointer());
                continue;
            }
            add_token(number, *bytes, pointer());
        }
    }

    void add_token(std::uint32_t id, const std::string& bytes, const std::string& pointer) {
        if (id >= vocab_size_) {
            findings_.add({.code = FindingCode::bad_value,
                           .message = fmt::format("the token's id is {}, but the model has ids "
                                                  "below {}",
                                                  id, vocab_size_),
                           .pointer = pointer});
        } else if (!tokens_.emplace(id, bytes).second) {
            findings_.add({.code = FindingCode::duplicate_id,
                           .message = fmt::format("two tokens have the id {}", id),
                           .pointer = pointer});
        }
    }

    /// The two tokens of a merge: "a b", or a list of both.
    static std::optional<std::pair<std::string, std::string>> sides(const Json& merge) {
        if (merge.is_text()) {
            const auto& text = merge.text();
            const std::size_t space = text.find(' ');
            if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
                return std::nullopt;
            }
            return std::pair(text.substr(0, space), text.substr(space + 1));
        }
        const bool pair = merge.is_array() && merge.elements().size() == 2 &&
                          std::ranges::all_of(merge.elements(), &Json::is_text);
        if (!pair) return std::nullopt;
        return std::pair(merge.elements()[0].text(), merge.elements()[1].text());
    }

    void read_merges(const Json& model) {
        const Json* const list = model.find("merges");
        if (list == nullptr || !list->is_array()) {
            findings_.add({.code = FindingCode::missing_key,
                           .message = "the model has no list of merges",
                           .pointer = "/model/merges"});
            return;
        }
        for (std::size_t rank = 0; rank < list->elements().size() && !findings_.full(); ++rank) {
            const auto pair = sides(list->elements()[rank]);
            const auto id = [&](const std::string& token) { return ids_.find(token); };
            const auto left = pair ? id(pair->first) : ids_.end();
            const auto right = pair ? id(pair->second) : ids_.end();
            const auto output = pair ? id(pair->first + pair->second) : ids_.end();
            if (left == ids_.end() || right == ids_.end() || output == ids_.end()) {
                findings_.add({.code = FindingCode::bad_value,
                               .message = fmt::format("merge {} does not join two tokens of the "
                                                      "vocabulary to a third one",
                                                      shown(list->elements()[rank])),
                               .pointer = fmt::format("/model/merges/{}", rank)});
                continue;
            }
            merges_.push_back(
                // cppcheck-suppress derefInvalidIterator ; without a pair, `left` is the end
                {left->second, right->second, output->second, static_cast<std::uint32_t>(rank)});
        }
    }

    /// Each of the four roles has an id of its own.
    void assign_special_tokens(const Json& model) {
        const JsonFields fields(model, findings_, "/model");
        NamedSpecialTokens named = named_;
        if (const auto unk = fields.text("unk_token"); unk && !named.unk) {
            const auto found = ids_.find(*unk);
            if (found != ids_.end()) named.unk = found->second;
        }
        struct Role {
            std::string_view name;
            std::optional<std::uint32_t> wanted;
            std::uint32_t* id;
        };
        const std::array roles{
            Role{"BOS", named.bos, &special_.bos}, Role{"EOS", named.eos, &special_.eos},
            Role{"PAD", named.pad, &special_.pad}, Role{"UNK", named.unk, &special_.unk}};
        std::vector<const Role*> open;
        for (const Role& role : roles) {
            if (role.wanted && *role.wanted < vocab_size_ && roles_.insert(*role.wanted).second) {
                *role.id = *role.wanted;
            } else {
                open.push_back(&role);
            }
        }
        for (const Role* const role : open) {
            const auto free = std::ranges::find_if(added_, [&](const auto& entry) {
                return entry.second.special && !roles_.contains(entry.first);
            });
            if (free == added_.end()) {
                refuse("added_tokens",
                       fmt::format("no token is left to be {}: SLM1 needs four special tokens "
                                   "(BOS, EOS, PAD, UNK) with ids of their own; add tokens to the "
                                   "vocabulary, name them in config.json, and resize the "
                                   "embeddings",
                                   role->name));
                continue;
            }
            roles_.insert(free->first);
            *role->id = free->first;
            notes_.push_back(
                fmt::format("{} is id {} ({}): the checkpoint names no token of its "
                            "own for it",
                            role->name, free->first, free->second.content));
        }
    }

    /// In BPE1 an id below 256 without a record is that byte.
    void judge_low_ids() {
        for (std::uint32_t id = 0; id < byte_count; ++id) {
            if (tokens_.contains(id) || roles_.contains(id)) continue;
            refuse("model",
                   fmt::format("id {} has no token, but in BPE1 ids below 256 without one "
                               "are bytes",
                               id),
                   "/model/vocab");
            return;
        }
    }

    /// True when the sections's ids are those of BTOK.
    [[nodiscard]] bool is_plain_bytes() const {
        if (vocab_size_ != btok_vocab_size || !merges_.empty()) return false;
        const bool special = special_.bos == btok_special.bos && special_.eos == btok_special.eos &&
                             special_.pad == btok_special.pad && special_.unk == btok_special.unk;
        if (!special) return false;
        for (std::uint32_t id = 0; id < byte_count; ++id) {
            const auto token = tokens_.find(id);
            if (token == tokens_.end() || token->second != std::string(1, static_cast<char>(id))) {
                return false;
            }
        }
        return true;
    }

    [[nodiscard]] Result<ImportedTokenizer> write() {
        if (is_plain_bytes()) return ImportedTokenizer{write_btok(), std::move(notes_)};
        std::vector<BpeToken> tokens;
        tokens.reserve(tokens_.size());
        for (const auto& [id, bytes] : tokens_)
            tokens.push_back({id, bytes});
        auto section = write_bpe1(vocab_size_, special_, tokens, merges_);
        if (!section) return failure(std::move(section.error()));
        return ImportedTokenizer{std::move(*section), std::move(notes_)};
    }

    Findings findings_;
    JsonFields fields_;
    std::uint32_t vocab_size_;
    const NamedSpecialTokens& named_;
    std::map<std::uint32_t, AddedToken> added_;
    std::map<std::uint32_t, std::string> tokens_;  // bytes by id
    // By the text in the file; ordered, so that no choice of texts makes it slow.
    std::map<std::string, std::uint32_t> ids_;
    std::vector<BpeMerge> merges_;
    SpecialTokens special_;
    std::set<std::uint32_t> roles_;  // ids that have one
    std::vector<std::string> notes_;
};

}  // namespace

Result<ImportedTokenizer> import_bytes(std::uint32_t vocab_size, const NamedSpecialTokens& named) {
    return guarded([&]() -> Result<ImportedTokenizer> {
        Findings findings;
        if (vocab_size != btok_vocab_size) {
            findings.add({.code = FindingCode::unsupported_source,
                          .message = fmt::format("the vocabulary has {} ids and there is no "
                                                 "tokenizer.json; put the byte-level BPE's "
                                                 "tokenizer.json beside config.json (without one, "
                                                 "only 256 bytes and 4 special tokens are known)",
                                                 vocab_size),
                          .pointer = "/vocab_size",
                          .expected = "260, or a tokenizer.json",
                          .actual = fmt::format("{}", vocab_size)});
            return failure(std::move(findings));
        }
        struct Role {
            std::string_view key;
            std::optional<std::uint32_t> named;
            std::uint32_t id;
        };
        for (const Role& role : {Role{"bos_token_id", named.bos, btok_special.bos},
                                 Role{"eos_token_id", named.eos, btok_special.eos},
                                 Role{"pad_token_id", named.pad, btok_special.pad},
                                 Role{"unk_token_id", named.unk, btok_special.unk}}) {
            if (!role.named || *role.named == role.id) continue;
            findings.add({.code = FindingCode::unsupported_source,
                          .message = fmt::format("{} is {}, but in a vocabulary of bytes (BTOK) it "
                                                 "is {}; put a tokenizer.json beside config.json",
                                                 role.key, *role.named, role.id),
                          .pointer = json_pointer({}, role.key),
                          .expected = fmt::format("{}", role.id),
                          .actual = fmt::format("{}", *role.named)});
        }
        if (findings.has_errors()) return failure(std::move(findings));
        return ImportedTokenizer{write_btok(), {}};
    });
}

Result<ImportedTokenizer> import_tokenizer_json(std::string_view text, std::uint32_t vocab_size,
                                                const NamedSpecialTokens& named) {
    return guarded([&]() -> Result<ImportedTokenizer> {
        const auto document =
            parse_json(text, {.max_bytes = tokenizer_bytes, .max_depth = limits::json_depth});
        if (!document) return failure(document.error());
        return TokenizerImport(*document, vocab_size, named).run();
    });
}

}  // namespace trlm::adapt
