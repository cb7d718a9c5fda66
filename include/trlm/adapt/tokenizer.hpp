#pragma once
// The tokenizer sections of a model: BTOK (bytes) and BPE1 (byte pairs).  docs/formats.md, section
// 1

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// btok: a token is a byte. bpe1: tokens are merged from bytes, in pairs.
enum class TokenizerKind : std::uint8_t { btok, bpe1 };

/// "BTOK" or "BPE1".
[[nodiscard]] std::string_view to_string(TokenizerKind kind) noexcept;

/// Ids that stand for no text.
struct SpecialTokens {
    std::uint32_t bos = 0;  ///< begins a text
    std::uint32_t eos = 0;  ///< ends a text
    std::uint32_t pad = 0;  ///< fills up a batch
    std::uint32_t unk = 0;  ///< stands for bytes that have no token
};

/// A BPE1 token record.
struct BpeToken {
    std::uint32_t id = 0;  ///< of the token
    std::string bytes;     ///< the text that it stands for
};

/// A BPE1 merge record: (left, right) becomes output; a lower rank goes first.
struct BpeMerge {
    std::uint32_t left = 0;    ///< id of the left token
    std::uint32_t right = 0;   ///< id of the right token
    std::uint32_t output = 0;  ///< id of the token that they become
    std::uint32_t rank = 0;    ///< order of merging
};

/// A tokenizer. Immutable; safe to share between threads.
class Tokenizer {
public:
    /// Parses a whole section. All defects are `tokenizer_malformed`; offsets are those of the
    /// section plus `section_offset`. O(bytes).
    [[nodiscard]] static Result<Tokenizer> parse(Bytes section, std::uint64_t section_offset = 0);

    /// BTOK or BPE1.
    [[nodiscard]] TokenizerKind kind() const noexcept;
    /// Number of ids, special ones included.
    [[nodiscard]] std::uint32_t vocab_size() const noexcept;
    /// The ids that stand for no text.
    [[nodiscard]] const SpecialTokens& special() const noexcept;
    [[nodiscard]] std::size_t token_count() const noexcept;  ///< BPE1 token records
    [[nodiscard]] std::size_t merge_count() const noexcept;  ///< BPE1 merge records

    /// Ids of `text`, without BOS or EOS. A byte that no token stands for becomes UNK. Any bytes
    /// are taken. O(n log n).
    [[nodiscard]] std::vector<std::uint32_t> encode(std::string_view text) const;

    /// The bytes of `ids`; special ids and ids without bytes give nothing.
    [[nodiscard]] std::string decode(std::span<const std::uint32_t> ids) const;

private:
    struct Tables;
    explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}
    std::shared_ptr<const Tables> tables_;
};

/// The 28 bytes of a BTOK section.
[[nodiscard]] std::vector<std::byte> write_btok();

/// The bytes of a BPE1 section. `tokenizer_malformed` when the content breaks a rule of `parse`.
[[nodiscard]] Result<std::vector<std::byte>> write_bpe1(std::uint32_t vocab_size,
                                                        const SpecialTokens& special,
                                                        std::span<const BpeToken> tokens,
                                                        std::span<const BpeMerge> merges);

}  // namespace trlm::adapt
#pragma GCC visibility pop
