#include "trlm/adapt/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <queue>
#include <utility>

#include <fmt/format.h>

#include "guard.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view btok_magic = "BTOK";
constexpr std::string_view bpe1_magic = "BPE1";
constexpr std::uint32_t section_version = 1;
constexpr std::uint32_t byte_count = 256;
constexpr std::uint64_t bpe1_header_bytes = 36;
constexpr std::uint64_t token_head_bytes = 8;
constexpr std::uint64_t merge_bytes = 16;

/// A u32 of a section's header.
struct SectionField {
    std::string_view name;
    std::uint64_t offset = 0;
};

/// A u32 with one legal value.
struct FixedField {
    SectionField field;
    std::uint32_t value = 0;
};

constexpr std::array btok_fields{
    FixedField{{"version", 4}, section_version},
    FixedField{{"vocab_size", 8}, 260},
    FixedField{{"BOS", 12}, 256},
    FixedField{{"EOS", 16}, 257},
    FixedField{{"PAD", 20}, 258},
    FixedField{{"UNK", 24}, 259},
};
constexpr std::uint64_t btok_bytes = 28;

constexpr std::uint64_t version_offset = 4;
constexpr std::uint64_t vocab_size_offset = 8;
constexpr std::array special_fields{SectionField{"BOS", 12}, SectionField{"EOS", 16},
                                    SectionField{"PAD", 20}, SectionField{"UNK", 24}};
constexpr std::uint64_t token_count_offset = 28;
constexpr std::uint64_t merge_count_offset = 32;

constexpr std::array<char, byte_count> make_every_byte() {
    std::array<char, byte_count> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(i);
    return bytes;
}
constexpr std::array<char, byte_count> every_byte = make_every_byte();

/// A token record.
struct TokenRecord {
    std::uint32_t id = 0;
    std::uint32_t length = 0;
    std::uint64_t offset = 0;  ///< of its bytes in `Vocabulary::records`
};

/// Everything that a tokenizer knows.
struct Vocabulary {
    TokenizerKind kind = TokenizerKind::btok;
    std::uint32_t vocab_size = 0;
    SpecialTokens special;
    std::size_t merge_count = 0;
    std::string records;              ///< the token records as they are in the section
    std::vector<TokenRecord> tokens;  ///< by ascending id
    std::vector<BpeMerge> merges;     ///< by ascending (left, right), none with a special id
    std::array<std::uint32_t, byte_count> byte_ids{};

    [[nodiscard]] std::string_view bytes_of(const TokenRecord& token) const noexcept {
        return {records.data() + token.offset, token.length};
    }

    [[nodiscard]] std::optional<std::size_t> find(std::uint32_t id) const noexcept {
        const auto found = std::lower_bound(
            tokens.begin(), tokens.end(), id,
            [](const TokenRecord& token, std::uint32_t wanted) { return token.id < wanted; });
        if (found == tokens.end() || found->id != id) return std::nullopt;
        return static_cast<std::size_t>(found - tokens.begin());
    }

    /// What `id` stands for; empty when for nothing.
    [[nodiscard]] std::string_view bytes_of(std::uint32_t id) const noexcept {
        if (const auto index = find(id)) return bytes_of(tokens[*index]);
        return id < byte_count ? std::string_view(&every_byte[id], 1) : std::string_view{};
    }

    [[nodiscard]] bool is_special(std::uint32_t id) const noexcept {
        return id == special.bos || id == special.eos || id == special.pad || id == special.unk;
    }

    [[nodiscard]] const BpeMerge* find_merge(std::uint32_t left,
                                             std::uint32_t right) const noexcept {
        const auto found = std::lower_bound(
            merges.begin(), merges.end(), std::pair(left, right),
            [](const BpeMerge& merge, const std::pair<std::uint32_t, std::uint32_t>& wanted) {
                return std::pair(merge.left, merge.right) < wanted;
            });
        if (found == merges.end() || found->left != left || found->right != right) return nullptr;
        return &*found;
    }
};

enum class End : std::uint8_t { front, back };

/// Answers in constant time whether one token begins (or ends) with another. In the order of their
/// bytes, read from that end, the tokens that begin with a token follow it without a gap.
/// Comparing bytes for each merge instead would be quadratic for a hostile section.
template <End end>
class AffixOrder {
public:
    explicit AffixOrder(const Vocabulary& vocabulary)
        : place_(vocabulary.tokens.size()), stop_(vocabulary.tokens.size()) {
        std::vector<std::uint32_t> order(vocabulary.tokens.size());
        std::iota(order.begin(), order.end(), 0U);
        const auto text = [&](std::uint32_t token) {
            return vocabulary.bytes_of(vocabulary.tokens[token]);
        };
        std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
            return std::lexicographical_compare(first(text(a)), last(text(a)), first(text(b)),
                                                last(text(b)));
        });
        std::vector<std::uint32_t> open;  // tokens that the current one begins with
        std::string_view previous;
        for (std::uint32_t place = 0; place < order.size(); ++place) {
            const std::string_view current = text(order[place]);
            const std::size_t shared = shared_length(previous, current);
            while (!open.empty() && text(open.back()).size() > shared) {
                stop_[open.back()] = place;
                open.pop_back();
            }
            place_[order[place]] = place;
            open.push_back(order[place]);
            previous = current;
        }
        for (const std::uint32_t token : open) {
            stop_[token] = static_cast<std::uint32_t>(order.size());
        }
    }

    /// Does token `whole` begin (or end) with the shorter token `part`? Indexes into `tokens`.
    [[nodiscard]] bool has(std::size_t whole, std::size_t part) const noexcept {
        return place_[part] <= place_[whole] && place_[whole] < stop_[part];
    }

private:
    static auto first(std::string_view text) noexcept {
        if constexpr (end == End::front) {
            return text.begin();
        } else {
            return text.rbegin();
        }
    }
    static auto last(std::string_view text) noexcept {
        if constexpr (end == End::front) {
            return text.end();
        } else {
            return text.rend();
        }
    }
    static std::size_t shared_length(std::string_view a, std::string_view b) noexcept {
        const auto parted = std::mismatch(first(a), last(a), first(b), last(b)).first;
        return static_cast<std::size_t>(parted - first(a));
    }

    std::vector<std::uint32_t> place_;  // by token: its place in the order
    std::vector<std::uint32_t> stop_;   // by token: the first place after those it begins
};

/// Reads one section and collects its defects.
class SectionParser {
public:
    SectionParser(Bytes section, std::uint64_t section_offset) noexcept
        : section_(section), section_offset_(section_offset) {}

    [[nodiscard]] Result<Vocabulary> parse() {
        const std::string_view magic =
            as_text(section_.first(std::min<std::size_t>(section_.size(), btok_magic.size())));
        if (magic == btok_magic) {
            parse_btok();
        } else if (magic == bpe1_magic) {
            parse_bpe1();
        } else {
            wrong(0, "the tokenizer section begins with neither BTOK nor BPE1", "BTOK or BPE1",
                  magic.empty() ? "0 bytes" : "0x" + to_hex(as_bytes(magic)));
        }
        if (!findings_.empty()) return failure(std::move(findings_));
        map_bytes();
        keep_usable_merges();
        return std::move(vocabulary_);
    }

private:
    [[nodiscard]] std::uint32_t number(std::uint64_t offset) const noexcept {
        return load<std::uint32_t>(section_, offset);
    }

    void wrong(std::uint64_t offset, std::string message, std::string expected,
               std::string actual) {
        findings_.add({.code = FindingCode::tokenizer_malformed,
                       .message = std::move(message),
                       .offset = section_offset_ + offset,
                       .expected = std::move(expected),
                       .actual = std::move(actual)});
    }

    void read_special() noexcept {
        vocabulary_.vocab_size = number(vocab_size_offset);
        vocabulary_.special = {number(special_fields[0].offset), number(special_fields[1].offset),
                               number(special_fields[2].offset), number(special_fields[3].offset)};
    }

    void parse_btok() {
        vocabulary_.kind = TokenizerKind::btok;
        read_special();
        if (section_.size() != btok_bytes) {
            wrong(std::min<std::uint64_t>(section_.size(), btok_bytes),
                  fmt::format("the BTOK section is {} bytes long, but always has {}",
                              section_.size(), btok_bytes),
                  fmt::format("{} bytes", btok_bytes), fmt::format("{} bytes", section_.size()));
        }
        for (const auto& [field, value] : btok_fields) {
            const bool present = range_inside(field.offset, sizeof(value), section_.size());
            if (!present || number(field.offset) == value) continue;
            wrong(field.offset,
                  fmt::format("{} of the BTOK section is {}, but is always {}", field.name,
                              number(field.offset), value),
                  fmt::format("{}", value), fmt::format("{}", number(field.offset)));
        }
    }

    void parse_bpe1() {
        vocabulary_.kind = TokenizerKind::bpe1;
        if (section_.size() < bpe1_header_bytes) {
            wrong(section_.size(),
                  fmt::format("the BPE1 section is {} bytes long, but its header alone takes {}",
                              section_.size(), bpe1_header_bytes),
                  fmt::format("at least {} bytes", bpe1_header_bytes),
                  fmt::format("{} bytes", section_.size()));
            return;
        }
        if (number(version_offset) != section_version) {
            wrong(version_offset,
                  fmt::format("the BPE1 section has version {}, but only version {} is known",
                              number(version_offset), section_version),
                  fmt::format("{}", section_version), fmt::format("{}", number(version_offset)));
            return;
        }
        judge_header();
        const auto merges_offset = parse_tokens();
        if (merges_offset) parse_merges(*merges_offset);
    }

    void judge_header() {
        read_special();
        const std::uint32_t vocab_size = vocabulary_.vocab_size;
        if (vocab_size < byte_count) {
            wrong(vocab_size_offset,
                  fmt::format("vocab_size is {}, but the bytes alone take {} ids", vocab_size,
                              byte_count),
                  fmt::format("at least {}", byte_count), fmt::format("{}", vocab_size));
        }
        for (std::size_t i = 0; i < special_fields.size(); ++i) {
            const auto& [name, offset] = special_fields[i];
            const std::uint32_t id = number(offset);
            if (id >= vocab_size) {
                wrong(offset,
                      fmt::format("{} is id {}, but ids are below the vocab_size {}", name, id,
                                  vocab_size),
                      fmt::format("below {}", vocab_size), fmt::format("{}", id));
            }
            for (std::size_t earlier = 0; earlier < i; ++earlier) {
                if (number(special_fields[earlier].offset) != id) continue;
                wrong(offset,
                      fmt::format("{} and {} are both id {}, but special ids are distinct",
                                  special_fields[earlier].name, name, id),
                      "another id", fmt::format("{}", id));
                break;
            }
        }
    }

    /// Where the merge records begin, unless that cannot be known.
    std::optional<std::uint64_t> parse_tokens() {
        const std::uint64_t count = number(token_count_offset);
        const std::uint64_t room = section_.size() - bpe1_header_bytes;
        const CheckedSize least = CheckedSize(count) * (token_head_bytes + 1);
        if (!least.fits(room)) {
            wrong(token_count_offset,
                  fmt::format("token_count is {}, but {} bytes hold at most {} token records",
                              count, room, room / (token_head_bytes + 1)),
                  fmt::format("at most {}", room / (token_head_bytes + 1)),
                  fmt::format("{}", count));
            return std::nullopt;
        }
        vocabulary_.tokens.reserve(static_cast<std::size_t>(count));
        std::uint64_t offset = bpe1_header_bytes;
        for (std::uint64_t i = 0; i < count && !findings_.full(); ++i) {
            if (!range_inside(offset, token_head_bytes, section_.size())) {
                wrong(offset,
                      fmt::format("the section ends inside token record {} of {}", i, count),
                      fmt::format("{} token records", count), fmt::format("{}", i));
                return std::nullopt;
            }
            const std::uint32_t id = number(offset);
            const std::uint32_t length = number(offset + 4);
            const Bytes bytes = slice(section_, offset + token_head_bytes, length);
            if (length == 0) {
                token_wrong(offset + 4, "token record {} (id {}) is empty, but has at least 1 byte",
                            i, id, "at least 1", "0");
            } else if (bytes.empty()) {
                wrong(offset + 4,
                      fmt::format("token record {} (id {}) is {} bytes long, but only {} bytes of "
                                  "the section remain",
                                  i, id, length, section_.size() - offset - token_head_bytes),
                      fmt::format("at most {}", section_.size() - offset - token_head_bytes),
                      fmt::format("{}", length));
                return std::nullopt;
            }
            if (id >= vocabulary_.vocab_size) {
                token_wrong(offset, "token record {} has id {}, but ids are below vocab_size", i,
                            id, fmt::format("below {}", vocabulary_.vocab_size),
                            fmt::format("{}", id));
            }
            offset += token_head_bytes + length;
            vocabulary_.tokens.push_back({id, length, offset - length - bpe1_header_bytes});
        }
        vocabulary_.records =
            as_text(slice(section_, bpe1_header_bytes, offset - bpe1_header_bytes));
        sort_tokens();
        if (findings_.full()) return std::nullopt;
        return offset;
    }

    void token_wrong(std::uint64_t offset, fmt::format_string<std::uint64_t&, std::uint32_t&> text,
                     std::uint64_t record, std::uint32_t id, std::string expected,
                     std::string actual) {
        tokens_sound_ = false;
        wrong(offset, fmt::format(text, record, id), std::move(expected), std::move(actual));
    }

    void sort_tokens() {
        auto& tokens = vocabulary_.tokens;
        std::stable_sort(tokens.begin(), tokens.end(),
                         [](const TokenRecord& a, const TokenRecord& b) { return a.id < b.id; });
        for (std::size_t i = 1; i < tokens.size() && !findings_.full(); ++i) {
            if (tokens[i].id != tokens[i - 1].id) continue;
            tokens_sound_ = false;
            wrong(bpe1_header_bytes + tokens[i].offset - token_head_bytes,
                  fmt::format("two token records have id {}, but ids are unique", tokens[i].id),
                  "one record for each id", fmt::format("{}", tokens[i].id));
        }
    }

    void parse_merges(std::uint64_t begin) {
        const std::uint64_t count = number(merge_count_offset);
        const std::uint64_t room = section_.size() - begin;
        const CheckedSize length = CheckedSize(count) * merge_bytes;
        if (!length.fits(room)) {
            wrong(merge_count_offset,
                  fmt::format("merge_count is {}, but {} bytes hold {} merge records", count, room,
                              room / merge_bytes),
                  fmt::format("at most {}", room / merge_bytes), fmt::format("{}", count));
            return;
        }
        if (length.value() != room) {
            wrong(begin + length.value(),
                  fmt::format("{} bytes follow the last merge record, but the section ends there",
                              room - length.value()),
                  fmt::format("{} bytes in all", begin + length.value()),
                  fmt::format("{} bytes", section_.size()));
        }
        vocabulary_.merge_count = static_cast<std::size_t>(count);
        vocabulary_.merges.reserve(vocabulary_.merge_count);
        for (std::uint64_t offset = begin; offset < begin + length.value(); offset += merge_bytes) {
            vocabulary_.merges.push_back(
                {number(offset), number(offset + 4), number(offset + 8), number(offset + 12)});
        }
        judge_unique(begin);
        if (tokens_sound_) judge_outputs(begin);
    }

    void judge_unique(std::uint64_t begin) {
        const auto& merges = vocabulary_.merges;
        const auto pair = [](const BpeMerge& merge) { return std::pair(merge.left, merge.right); };
        const auto rank = [](const BpeMerge& merge) { return merge.rank; };
        for_each_repeated(pair, [&](std::uint32_t first, std::uint32_t again) {
            wrong(begin + again * merge_bytes,
                  fmt::format("merge records {} and {} both join ids {} and {}, but a pair has one "
                              "merge",
                              first, again, merges[again].left, merges[again].right),
                  "another pair", fmt::format("{} {}", merges[again].left, merges[again].right));
        });
        for_each_repeated(rank, [&](std::uint32_t first, std::uint32_t again) {
            wrong(begin + again * merge_bytes + 12,
                  fmt::format("merge records {} and {} both have rank {}, but ranks are unique",
                              first, again, merges[again].rank),
                  "another rank", fmt::format("{}", merges[again].rank));
        });
    }

    /// Calls `report(earlier, later)` for merges that share their `key`.
    template <class Key, class Report>
    void for_each_repeated(Key key, Report report) const {
        const auto& merges = vocabulary_.merges;
        std::vector<std::uint32_t> order(merges.size());
        std::iota(order.begin(), order.end(), 0U);
        std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
            return std::pair(key(merges[a]), a) < std::pair(key(merges[b]), b);
        });
        for (std::size_t i = 1; i < order.size() && !findings_.full(); ++i) {
            if (key(merges[order[i - 1]]) == key(merges[order[i]])) report(order[i - 1], order[i]);
        }
    }

    /// A merge's output has a record: the bytes of left, then those of right.
    void judge_outputs(std::uint64_t begin) {
        if (vocabulary_.merges.empty()) return;
        const AffixOrder<End::front> beginnings(vocabulary_);
        const AffixOrder<End::back> endings(vocabulary_);
        std::uint64_t offset = begin;
        for (const BpeMerge& merge : vocabulary_.merges) {
            if (findings_.full()) return;
            judge_output(offset, merge, beginnings, endings);
            offset += merge_bytes;
        }
    }

    void judge_output(std::uint64_t offset, const BpeMerge& merge,
                      const AffixOrder<End::front>& beginnings,
                      const AffixOrder<End::back>& endings) {
        const std::string_view left = vocabulary_.bytes_of(merge.left);
        const std::string_view right = vocabulary_.bytes_of(merge.right);
        const auto output = vocabulary_.find(merge.output);
        if (left.empty()) return no_bytes(offset, "left", merge.left);
        if (right.empty()) return no_bytes(offset + 4, "right", merge.right);
        if (!output) return no_bytes(offset + 8, "output", merge.output);

        const std::string_view whole = vocabulary_.bytes_of(vocabulary_.tokens[*output]);
        const auto left_record = vocabulary_.find(merge.left);
        const auto right_record = vocabulary_.find(merge.right);
        const bool joined =
            whole.size() == left.size() + right.size() &&
            (left_record ? beginnings.has(*output, *left_record) : whole.front() == left.front()) &&
            (right_record ? endings.has(*output, *right_record) : whole.back() == right.back());
        if (joined) return;
        wrong(offset + 8,
              fmt::format("the merge of ids {} and {} gives id {}, whose bytes are not theirs "
                          "joined",
                          merge.left, merge.right, merge.output),
              fmt::format("{} bytes: those of {}, then those of {}", left.size() + right.size(),
                          merge.left, merge.right),
              fmt::format("{} bytes", whole.size()));
    }

    void no_bytes(std::uint64_t offset, std::string_view field, std::uint32_t id) {
        wrong(offset, fmt::format("a merge's {} is id {}, which has no token record", field, id),
              "the id of a token record", fmt::format("{}", id));
    }

    /// A byte's id is its own value, unless that was given another meaning.
    void map_bytes() noexcept {
        std::array<std::optional<std::uint32_t>, byte_count> records;
        for (const TokenRecord& token : vocabulary_.tokens) {
            if (token.length != 1 || vocabulary_.is_special(token.id)) continue;
            const char byte = vocabulary_.bytes_of(token).front();
            auto& record = records[static_cast<unsigned char>(byte)];
            if (!record) record = token.id;
        }
        for (std::uint32_t byte = 0; byte < byte_count; ++byte) {
            const bool own = !vocabulary_.is_special(byte) &&
                             vocabulary_.bytes_of(byte) == std::string_view(&every_byte[byte], 1);
            vocabulary_.byte_ids[byte] =
                own ? byte : records[byte].value_or(vocabulary_.special.unk);
        }
    }

    /// Special ids stand for no text, so no text becomes one.
    void keep_usable_merges() {
        auto& merges = vocabulary_.merges;
        std::erase_if(merges, [&](const BpeMerge& merge) {
            return vocabulary_.is_special(merge.left) || vocabulary_.is_special(merge.right) ||
                   vocabulary_.is_special(merge.output);
        });
        std::sort(merges.begin(), merges.end(), [](const BpeMerge& a, const BpeMerge& b) {
            return std::pair(a.left, a.right) < std::pair(b.left, b.right);
        });
    }

    Bytes section_;
    std::uint64_t section_offset_;
    Vocabulary vocabulary_;
    Findings findings_;
    bool tokens_sound_ = true;
};

/// A text on its way to being tokens: a list of ids in which neighbours are joined, lowest rank
/// first, leftmost first among equals.
class MergeList {
public:
    MergeList(const Vocabulary& vocabulary, std::string_view text) : vocabulary_(vocabulary) {
        nodes_.reserve(text.size());
        for (const char byte : text) {
            const std::size_t place = nodes_.size();
            nodes_.push_back({.id = vocabulary.byte_ids[static_cast<unsigned char>(byte)],
                              .previous = place == 0 ? none : place - 1,
                              .next = place + 1});
        }
        for (std::size_t place = 0; place < nodes_.size(); ++place)
            propose(place);
    }

    void merge_all() {
        while (!candidates_.empty()) {
            const Candidate candidate = candidates_.top();
            candidates_.pop();
            if (still_there(candidate)) join(candidate);
        }
    }

    [[nodiscard]] std::vector<std::uint32_t> ids() const {
        std::vector<std::uint32_t> result;
        for (std::size_t place = 0; place < nodes_.size(); place = nodes_[place].next) {
            result.push_back(nodes_[place].id);
        }
        return result;
    }

private:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    struct Node {
        std::uint32_t id = 0;
        bool joined = false;  // into the one before
        std::size_t previous = 0;
        std::size_t next = 0;
    };

    struct Candidate {
        std::size_t place = 0;  // of the left token
        const BpeMerge* merge = nullptr;

        friend bool operator>(const Candidate& a, const Candidate& b) noexcept {
            return std::pair(a.merge->rank, a.place) > std::pair(b.merge->rank, b.place);
        }
    };

    void propose(std::size_t place) {
        if (place >= nodes_.size() || nodes_[place].next >= nodes_.size()) return;
        const BpeMerge* merge =
            vocabulary_.find_merge(nodes_[place].id, nodes_[nodes_[place].next].id);
        if (merge != nullptr) candidates_.push({place, merge});
    }

    [[nodiscard]] bool still_there(const Candidate& candidate) const noexcept {
        const Node& left = nodes_[candidate.place];
        return !left.joined && left.id == candidate.merge->left && left.next < nodes_.size() &&
               nodes_[left.next].id == candidate.merge->right;
    }

    void join(const Candidate& candidate) {
        Node& left = nodes_[candidate.place];
        Node& right = nodes_[left.next];
        left.id = candidate.merge->output;
        left.next = right.next;
        right.joined = true;
        if (left.next < nodes_.size()) nodes_[left.next].previous = candidate.place;
        propose(left.previous);
        propose(candidate.place);
    }

    const Vocabulary& vocabulary_;
    std::vector<Node> nodes_;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

void append(std::vector<std::byte>& bytes, Bytes more) {
    // Not insert: gcc 12 wrongly warns of it.
    for (const std::byte byte : more) {
        bytes.push_back(byte);
    }
}

void append(std::vector<std::byte>& bytes, std::uint32_t number) {
    append(bytes, std::as_bytes(std::span(&number, 1)));
}

}  // namespace

struct Tokenizer::Tables {
    Vocabulary vocabulary;
};

std::string_view to_string(TokenizerKind kind) noexcept {
    return kind == TokenizerKind::btok ? btok_magic : bpe1_magic;
}

Result<Tokenizer> Tokenizer::parse(Bytes section, std::uint64_t section_offset) {
    return guarded([&]() -> Result<Tokenizer> {
        auto vocabulary = SectionParser(section, section_offset).parse();
        if (!vocabulary) return failure(std::move(vocabulary.error()));
        return Tokenizer(std::make_shared<const Tables>(Tables{std::move(*vocabulary)}));
    });
}

TokenizerKind Tokenizer::kind() const noexcept {
    return tables_->vocabulary.kind;
}

std::uint32_t Tokenizer::vocab_size() const noexcept {
    return tables_->vocabulary.vocab_size;
}

const SpecialTokens& Tokenizer::special() const noexcept {
    return tables_->vocabulary.special;
}

std::size_t Tokenizer::token_count() const noexcept {
    return tables_->vocabulary.tokens.size();
}

std::size_t Tokenizer::merge_count() const noexcept {
    return tables_->vocabulary.merge_count;
}

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text) const {
    MergeList list(tables_->vocabulary, text);
    list.merge_all();
    return list.ids();
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids) const {
    const Vocabulary& vocabulary = tables_->vocabulary;
    std::string text;
    for (const std::uint32_t id : ids) {
        if (!vocabulary.is_special(id)) text += vocabulary.bytes_of(id);
    }
    return text;
}

std::vector<std::byte> write_btok() {
    std::vector<std::byte> section;
    append(section, as_bytes(btok_magic));
    for (const FixedField& field : btok_fields)
        append(section, field.value);
    return section;
}

Result<std::vector<std::byte>> write_bpe1(std::uint32_t vocab_size, const SpecialTokens& special,
                                          std::span<const BpeToken> tokens,
                                          std::span<const BpeMerge> merges) {
    return guarded([&]() -> Result<std::vector<std::byte>> {
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        const auto too_long = [](const BpeToken& token) { return token.bytes.size() > most; };
        if (tokens.size() > most || merges.size() > most ||
            std::any_of(tokens.begin(), tokens.end(), too_long)) {
            return failure({.code = FindingCode::tokenizer_malformed,
                            .message = "a count or a token's length does not fit into 32 bits"});
        }
        std::vector<std::byte> section;
        append(section, as_bytes(bpe1_magic));
        for (const std::uint32_t number :
             {section_version, vocab_size, special.bos, special.eos, special.pad, special.unk,
              static_cast<std::uint32_t>(tokens.size()),
              static_cast<std::uint32_t>(merges.size())}) {
            append(section, number);
        }
        for (const BpeToken& token : tokens) {
            append(section, token.id);
            append(section, static_cast<std::uint32_t>(token.bytes.size()));
            append(section, as_bytes(token.bytes));
        }
        for (const BpeMerge& merge : merges) {
            for (const std::uint32_t number : {merge.left, merge.right, merge.output, merge.rank}) {
                append(section, number);
            }
        }
        if (auto parsed = Tokenizer::parse(section); !parsed) {
            return failure(std::move(parsed.error()));
        }
        return section;
    });
}

}  // namespace trlm::adapt
