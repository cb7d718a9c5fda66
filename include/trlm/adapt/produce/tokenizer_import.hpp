#pragma once
// Tokenizers of Hugging Face checkpoints as SLM1 sections.  docs/making-adapters.md

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/result.hpp"
#include "trlm/adapt/tokenizer.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The special ids that a checkpoint's configuration names, where it does.
struct NamedSpecialTokens {
    std::optional<std::uint32_t> bos;  ///< begins a text
    std::optional<std::uint32_t> eos;  ///< ends a text
    std::optional<std::uint32_t> pad;  ///< fills up a batch
    std::optional<std::uint32_t> unk;  ///< stands for what has no token
};

/// A tokenizer section, and what its maker should know.
struct ImportedTokenizer {
    std::vector<std::byte> section;  ///< bytes of a BTOK or BPE1 section
    std::vector<std::string> notes;  ///< one sentence each
};

/// BTOK, for a checkpoint without a tokenizer file: 256 bytes, then BOS, EOS, PAD and UNK.
/// `unsupported_source` when `vocab_size` is not 260 or a named id is another.
[[nodiscard]] Result<ImportedTokenizer> import_bytes(std::uint32_t vocab_size,
                                                     const NamedSpecialTokens& named);

/// BPE1 from the text of a `tokenizer.json` that holds a byte-level BPE. A special id that `named`
/// leaves open, or that has another role already, becomes the lowest free added token that is
/// special; a note says so. Findings: `unsupported_source`, by name, for another model, a
/// normalizer, affixes, byte fallback, or a vocabulary without four special tokens; `bad_value`,
/// `missing_key` and those of strict JSON for a damaged file. O(n log n).
[[nodiscard]] Result<ImportedTokenizer> import_tokenizer_json(std::string_view text,
                                                              std::uint32_t vocab_size,
                                                              const NamedSpecialTokens& named);

}  // namespace trlm::adapt
#pragma GCC visibility pop
