#include "trlm/adapt/tokenizer.hpp"

#include <numeric>
#include <string>

#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {

using Ids = std::vector<std::uint32_t>;

constexpr SpecialTokens usual_special{256, 257, 258, 259};

/// A BPE1 section, byte by byte as docs/formats.md has it, without any check.
class RawSection {
public:
    RawSection& text(std::string_view bytes) {
        const Bytes more = as_bytes(bytes);
        bytes_.insert(bytes_.end(), more.begin(), more.end());
        return *this;
    }
    RawSection& u32(std::initializer_list<std::uint32_t> numbers) {
        for (const std::uint32_t number : numbers) {
            for (int shift = 0; shift < 32; shift += 8) {
                bytes_.push_back(static_cast<std::byte>(number >> shift));
            }
        }
        return *this;
    }
    RawSection& header(std::uint32_t tokens, std::uint32_t merges, std::uint32_t vocab_size = 300) {
        return text("BPE1").u32({1, vocab_size, 256, 257, 258, 259, tokens, merges});
    }
    RawSection& token(std::uint32_t id, std::string_view bytes) {
        return u32({id, static_cast<std::uint32_t>(bytes.size())}).text(bytes);
    }
    [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

private:
    std::vector<std::byte> bytes_;
};

Tokenizer parsed(Bytes section) {
    auto tokenizer = Tokenizer::parse(section);
    REQUIRE(tokenizer);
    return *tokenizer;
}

Tokenizer bpe(const std::vector<BpeToken>& tokens, const std::vector<BpeMerge>& merges,
              std::uint32_t vocab_size = 300, const SpecialTokens& special = usual_special) {
    const auto section = write_bpe1(vocab_size, special, tokens, merges);
    REQUIRE(section);
    return parsed(*section);
}

/// The offsets of the defects of `section`, all of which are `tokenizer_malformed`.
std::vector<std::uint64_t> defects(Bytes section, std::uint64_t section_offset = 0) {
    const auto tokenizer = Tokenizer::parse(section, section_offset);
    REQUIRE_FALSE(tokenizer);
    std::vector<std::uint64_t> offsets;
    for (const Finding& finding : tokenizer.error()) {
        CHECK(finding.code == FindingCode::tokenizer_malformed);
        CHECK_FALSE(finding.message.empty());
        REQUIRE(finding.offset);
        offsets.push_back(*finding.offset);
    }
    return offsets;
}

using Offsets = std::vector<std::uint64_t>;

std::vector<std::byte> changed(std::vector<std::byte> section, std::uint64_t offset,
                               std::uint32_t value) {
    store(MutableBytes(section), offset, value);
    return section;
}

/// "the" from t, h, e, in two merges.
std::vector<std::byte> the_section() {
    return RawSection()
        .header(2, 2)
        .token(260, "th")
        .token(261, "the")
        .u32({'t', 'h', 260, 0})
        .u32({260, 'e', 261, 1})
        .bytes();
}
constexpr std::uint64_t the_tokens = 36;
constexpr std::uint64_t the_merges = 36 + 10 + 11;

/// The rule as it is written: the lowest rank of all neighbours first, the leftmost of its kind.
Ids merged_naively(Ids ids, const std::vector<BpeMerge>& merges) {
    for (;;) {
        const BpeMerge* best = nullptr;
        std::size_t place = 0;
        for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
            for (const BpeMerge& merge : merges) {
                if (merge.left != ids[i] || merge.right != ids[i + 1]) continue;
                if (best != nullptr && best->rank <= merge.rank) continue;
                best = &merge;
                place = i;
            }
        }
        if (best == nullptr) return ids;
        ids[place] = best->output;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
}

std::string every_byte() {
    std::string text(256, '\0');
    std::iota(text.begin(), text.end(), static_cast<char>(0));
    return text;
}

}  // namespace

TEST_CASE("a BTOK section is these 28 bytes") {
    const auto expected = RawSection().text("BTOK").u32({1, 260, 256, 257, 258, 259}).bytes();
    CHECK(write_btok() == expected);
    const Tokenizer tokenizer = parsed(expected);
    CHECK(tokenizer.kind() == TokenizerKind::btok);
    CHECK(to_string(tokenizer.kind()) == "BTOK");
    CHECK(tokenizer.vocab_size() == 260);
    CHECK(tokenizer.special().bos == 256);
    CHECK(tokenizer.special().eos == 257);
    CHECK(tokenizer.special().pad == 258);
    CHECK(tokenizer.special().unk == 259);
    CHECK(tokenizer.token_count() == 0);
    CHECK(tokenizer.merge_count() == 0);
}

TEST_CASE("BTOK has one id for each byte") {
    const Tokenizer tokenizer = parsed(write_btok());
    Ids ids(256);
    std::iota(ids.begin(), ids.end(), 0U);
    CHECK(tokenizer.encode(every_byte()) == ids);
    CHECK(tokenizer.decode(ids) == every_byte());
    CHECK(tokenizer.encode("").empty());
    CHECK(tokenizer.decode({}).empty());
}

TEST_CASE("ids without bytes decode to nothing") {
    const Ids ids{256, 'a', 257, 258, 259, 'b', 260, 4'000'000'000U};
    CHECK(parsed(write_btok()).decode(ids) == "ab");
}

TEST_CASE("every field of BTOK has one value") {
    for (std::uint64_t offset = 4; offset < 28; offset += 4) {
        CAPTURE(offset);
        const auto right = load<std::uint32_t>(write_btok(), offset);
        CHECK(defects(changed(write_btok(), offset, right + 1)) == Offsets{offset});
        CHECK(defects(changed(write_btok(), offset, right + 1), 128) == Offsets{128 + offset});
    }
}

TEST_CASE("a BTOK section has 28 bytes, no fewer and no more") {
    auto section = write_btok();
    section.pop_back();
    CHECK(defects(section) == Offsets{27});
    section = write_btok();
    section.push_back(std::byte{0});
    CHECK(defects(section) == Offsets{28});
}

TEST_CASE("a section is BTOK or BPE1") {
    CHECK(defects({}) == Offsets{0});
    CHECK(defects(as_bytes("BTO")) == Offsets{0});
    CHECK(defects(as_bytes("BTOX00000000000000000000000000000000000")) == Offsets{0});
}

TEST_CASE("a BPE1 section is read") {
    const Tokenizer tokenizer = parsed(the_section());
    CHECK(tokenizer.kind() == TokenizerKind::bpe1);
    CHECK(to_string(tokenizer.kind()) == "BPE1");
    CHECK(tokenizer.vocab_size() == 300);
    CHECK(tokenizer.special().unk == 259);
    CHECK(tokenizer.token_count() == 2);
    CHECK(tokenizer.merge_count() == 2);
    CHECK(tokenizer.encode("the thorn") == Ids{261, ' ', 260, 'o', 'r', 'n'});
    CHECK(tokenizer.decode(Ids{256, 261, ' ', 260, 'o', 'r', 'n', 257}) == "the thorn");
}

TEST_CASE("write_bpe1 writes the section that the format describes") {
    const std::vector<BpeToken> tokens{{260, "th"}, {261, "the"}};
    const std::vector<BpeMerge> merges{{'t', 'h', 260, 0}, {260, 'e', 261, 1}};
    const auto section = write_bpe1(300, usual_special, tokens, merges);
    REQUIRE(section);
    CHECK(*section == the_section());
}

TEST_CASE("write_bpe1 refuses what no reader would take") {
    const std::vector<BpeToken> empty_token{{260, ""}};
    const auto section = write_bpe1(300, usual_special, empty_token, {});
    REQUIRE_FALSE(section);
    CHECK(section.error().contains(FindingCode::tokenizer_malformed));
}

TEST_CASE("the lowest rank goes first, wherever it stands") {
    const std::vector<BpeToken> tokens{{260, "ab"}, {261, "bc"}, {262, "abc"}};
    const std::vector<BpeMerge> merges{{'a', 'b', 260, 5}, {'b', 'c', 261, 2}, {260, 'c', 262, 1}};
    CHECK(bpe(tokens, merges).encode("abc") == Ids{'a', 261});
    CHECK(bpe(tokens, merges).encode("abab") == Ids{260, 260});
}

TEST_CASE("of equal merges the leftmost goes first") {
    CHECK(bpe({{260, "aa"}}, {{'a', 'a', 260, 0}}).encode("aaa") == Ids{260, 'a'});
    CHECK(bpe({{260, "aa"}}, {{'a', 'a', 260, 0}}).encode("aaaaa") == Ids{260, 260, 'a'});
}

TEST_CASE("a merge may make possible one of lower rank") {
    const std::vector<BpeToken> tokens{{260, "aa"}, {261, "aaaa"}, {262, "aab"}};
    const std::vector<BpeMerge> merges{{'a', 'a', 260, 9}, {260, 260, 261, 3}, {260, 'b', 262, 1}};
    CHECK(bpe(tokens, merges).encode("aaaab") == Ids{260, 262});
    CHECK(bpe(tokens, merges).encode("aaaaa") == Ids{261, 'a'});
}

TEST_CASE("encoding equals the rule followed step by step") {
    const std::vector<BpeToken> tokens{{260, "ab"},  {261, "ba"},   {262, "aba"},
                                       {263, "bab"}, {264, "abab"}, {265, "bb"},
                                       {266, "abb"}, {267, "aa"},   {268, "aaab"}};
    const std::vector<BpeMerge> merges{{'a', 'b', 260, 7}, {'b', 'a', 261, 3}, {260, 'a', 262, 5},
                                       {'b', 260, 263, 1}, {260, 260, 264, 2}, {'b', 'b', 265, 8},
                                       {'a', 265, 266, 0}, {'a', 'a', 267, 6}, {267, 260, 268, 4},
                                       {'a', 261, 262, 9}, {261, 'b', 263, 10}};
    const Tokenizer tokenizer = bpe(tokens, merges);
    std::uint32_t random = 12345;
    for (int trial = 0; trial < 500; ++trial) {
        std::string text;
        for (int i = 0; i < trial % 40; ++i) {
            random = random * 1664525 + 1013904223;
            text += (random >> 16) % 5 < 2 ? 'b' : 'a';
        }
        CAPTURE(text);
        const Ids ids = tokenizer.encode(text);
        CHECK(ids == merged_naively(Ids(text.begin(), text.end()), merges));
        CHECK(tokenizer.decode(ids) == text);
    }
}

TEST_CASE("a byte whose id means something else is the token of that byte, or UNK") {
    // 'a' became "xyz" and has another token; 'b' became "q" and has none.
    const Tokenizer tokenizer = bpe({{'a', "xyz"}, {'b', "q"}, {280, "a"}, {270, "a"}}, {});
    CHECK(tokenizer.encode("abc") == Ids{270, 259, 'c'});
    CHECK(tokenizer.decode(Ids{'a', 'b', 280}) == "xyzqa");
    CHECK(tokenizer.encode("q") == Ids{'q'});
}

TEST_CASE("a byte whose id was given its own meaning keeps it") {
    CHECK(bpe({{'a', "a"}, {270, "a"}}, {}).encode("a") == Ids{'a'});
}

TEST_CASE("special ids stand for no text even where they could") {
    const SpecialTokens special{'a', 257, 258, 259};
    const Tokenizer tokenizer =
        bpe({{257, "bc"}, {260, "bcd"}}, {{'b', 'c', 257, 0}, {257, 'd', 260, 1}}, 300, special);
    CHECK(tokenizer.encode("abcd") == Ids{259, 'b', 'c', 'd'});
    CHECK(tokenizer.decode(Ids{'a', 257, 260}) == "bcd");
    CHECK(tokenizer.merge_count() == 2);
}

TEST_CASE("ids and special ids are below vocab_size") {
    CHECK(bpe({{299, "ab"}}, {}).token_count() == 1);
    CHECK(defects(RawSection().header(1, 0).token(300, "ab").bytes()) == Offsets{36});
    CHECK(defects(changed(the_section(), 24, 300)) == Offsets{24});
    CHECK(parsed(changed(the_section(), 24, 299)).special().unk == 299);
}

TEST_CASE("vocab_size leaves room for the bytes") {
    CHECK(defects(RawSection().text("BPE1").u32({1, 255, 1, 2, 3, 4, 0, 0}).bytes()) == Offsets{8});
    CHECK(parsed(RawSection().text("BPE1").u32({1, 256, 1, 2, 3, 4, 0, 0}).bytes()).vocab_size() ==
          256);
}

TEST_CASE("special ids are distinct") {
    for (std::uint64_t offset = 16; offset <= 24; offset += 4) {
        CHECK(defects(changed(the_section(), offset, 256)) == Offsets{offset});
    }
}

TEST_CASE("only version 1 of BPE1 is known, and then nothing else is said") {
    auto section = changed(the_section(), 4, 2);
    store(MutableBytes(section), 12, std::uint32_t{100'000});
    CHECK(defects(section) == Offsets{4});
}

TEST_CASE("a BPE1 section holds its header") {
    auto section = RawSection().header(0, 0).bytes();
    CHECK(parsed(section).token_count() == 0);
    section.pop_back();
    CHECK(defects(section) == Offsets{35});
}

TEST_CASE("a section that ends anywhere too early is refused") {
    const auto section = the_section();
    for (std::size_t length = 0; length < section.size(); ++length) {
        CAPTURE(length);
        CHECK_FALSE(defects(Bytes(section).first(length)).empty());
    }
}

TEST_CASE("counts are bounded by the bytes that remain") {
    CHECK(defects(changed(the_section(), 28, 0xffffffff)) == Offsets{28});
    CHECK(defects(changed(the_section(), 28, 1U << 30)) == Offsets{28});
    CHECK(defects(changed(the_section(), 32, 0xffffffff)) == Offsets{32});
    CHECK(defects(changed(the_section(), 32, 3)) == Offsets{32});
}

TEST_CASE("nothing follows the last merge") {
    auto section = the_section();
    const std::uint64_t end = section.size();
    section.push_back(std::byte{0});
    CHECK(defects(section) == Offsets{end});
    CHECK(defects(changed(the_section(), 32, 1)) == Offsets{the_merges + 16});
}

TEST_CASE("a token has at least one byte, all inside the section") {
    CHECK(defects(RawSection().header(2, 0).token(260, "").token(261, "ab").bytes()) ==
          Offsets{40});
    CHECK(defects(changed(the_section(), the_tokens + 4, 0xffffffff)) == Offsets{the_tokens + 4});
    CHECK(defects(RawSection().header(1, 0).u32({260, 3}).text("ab").bytes()) == Offsets{40});
}

TEST_CASE("a token id has one record") {
    CHECK(
        defects(
            RawSection().header(3, 0).token(270, "ab").token(260, "x").token(270, "cd").bytes()) ==
        Offsets{36 + 10 + 9});
}

TEST_CASE("a pair has one merge and a rank is used once") {
    const auto section = [](std::uint32_t right, std::uint32_t rank) {
        return RawSection()
            .header(2, 2)
            .token(260, "ab")
            .token(261, "ac")
            .u32({'a', 'b', 260, 0})
            .u32({'a', right, right == 'b' ? 260U : 261U, rank})
            .bytes();
    };
    CHECK(parsed(section('c', 1)).merge_count() == 2);
    CHECK(defects(section('b', 1)) == Offsets{56 + 16});
    CHECK(defects(section('c', 0)) == Offsets{56 + 16 + 12});
    CHECK(defects(section('b', 0)) == Offsets{56 + 16, 56 + 16 + 12});
}

TEST_CASE("a merge joins ids that have bytes into one that has a record") {
    CHECK(defects(changed(the_section(), the_merges, 262)) == Offsets{the_merges});
    CHECK(defects(changed(the_section(), the_merges + 4, 299)) == Offsets{the_merges + 4});
    CHECK(defects(changed(the_section(), the_merges + 8, 262)) == Offsets{the_merges + 8});
    // A byte has bytes, but as an output it needs a record.
    CHECK(defects(changed(the_section(), the_merges + 8, 't')) == Offsets{the_merges + 8});
    CHECK(defects(changed(the_section(), the_merges, 0xffffffff)) == Offsets{the_merges});
}

TEST_CASE("a merge's output has the bytes of both, in their order") {
    const auto merge = [](std::string_view left, std::string_view right, std::string_view output) {
        return RawSection()
            .header(4, 1)
            .token(260, left)
            .token(261, right)
            .token(262, output)
            .token(263, "zzz")
            .u32({260, 261, 262, 0})
            .bytes();
    };
    const auto output_field = [&](const std::vector<std::byte>& section) {
        return Offsets{section.size() - 16 + 8};
    };
    CHECK(parsed(merge("ab", "cde", "abcde")).merge_count() == 1);
    CHECK(parsed(merge("a", "a", "aa")).merge_count() == 1);
    CHECK(parsed(merge("ab", "ab", "abab")).merge_count() == 1);
    CHECK(parsed(merge("\xff", "\x7f", "\xff\x7f")).merge_count() == 1);
    for (const auto& section :
         {merge("ab", "cde", "abcd"), merge("ab", "cde", "abcdef"), merge("ab", "cde", "cdeab"),
          merge("ab", "cde", "abcdf"), merge("ab", "cde", "xbcde"), merge("ab", "cde", "abxde"),
          merge("a", "b", "ba"), merge("ab", "cd", "ab")}) {
        CHECK(defects(section) == output_field(section));
    }
}

TEST_CASE("a merge of a redefined byte takes its new bytes") {
    const auto section = [](std::string_view output) {
        return RawSection()
            .header(2, 1)
            .token('a', "xyz")
            .token(260, output)
            .u32({'a', 'b', 260, 0})
            .bytes();
    };
    CHECK(parsed(section("xyzb")).merge_count() == 1);
    CHECK_FALSE(defects(section("ab")).empty());
}

TEST_CASE("every defect of a section is reported") {
    auto section = changed(the_section(), 12, 999);                   // BOS
    store(MutableBytes(section), the_tokens, std::uint32_t{300});     // first token's id
    store(MutableBytes(section), the_merges + 28, std::uint32_t{0});  // second merge's rank
    section.push_back(std::byte{1});
    CHECK(defects(section) == Offsets{12, the_tokens, section.size() - 1, the_merges + 28});
}

TEST_CASE("a section with any bit changed is read or refused, never worse") {
    const auto section = the_section();
    for (std::size_t bit = 0; bit < section.size() * 8; ++bit) {
        auto damaged = section;
        damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const auto tokenizer = Tokenizer::parse(damaged);
        if (tokenizer) CHECK(tokenizer->decode(tokenizer->encode("q")).size() <= 4);
    }
}

TEST_CASE("encoding a long text of one byte takes no quadratic time") {
    // 2^18 bytes: in quadratic time this would take minutes.
    std::vector<BpeToken> tokens;
    std::vector<BpeMerge> merges;
    for (std::uint32_t level = 1; level <= 12; ++level) {
        tokens.push_back({259 + level, std::string(std::size_t{1} << level, 'a')});
        const std::uint32_t half = level == 1 ? 'a' : 258 + level;
        merges.push_back({half, half, 259 + level, level});
    }
    const Tokenizer tokenizer = bpe(tokens, merges);
    const std::string text((std::size_t{1} << 18) + 3, 'a');
    const Ids ids = tokenizer.encode(text);
    CHECK(ids.size() == 64 + 2);  // 2^18 = 64 * 4096, then 2 and 1
    CHECK(tokenizer.decode(ids) == text);
}

TEST_CASE("judging merges that share long tokens takes no quadratic time") {
    // 40,000 pairs, each of a short token and the same long one: comparing each pair's bytes with
    // the output's would look at 4 * 10^10 of them.
    constexpr std::uint32_t pairs = 40'000;
    constexpr std::size_t length = 1'000'000;
    std::vector<BpeToken> tokens{{260, std::string(length, 'a')},
                                 {261, std::string(length + 1, 'a')}};
    std::vector<BpeMerge> merges;
    for (std::uint32_t i = 0; i < pairs; ++i) {
        tokens.push_back({262 + i, "a"});
        merges.push_back({262 + i, 260, 261, i});
    }
    CHECK(bpe(tokens, merges, 262 + pairs).merge_count() == pairs);
}
