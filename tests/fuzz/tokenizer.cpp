// Tokenizer sections, and text: whatever is accepted encodes any bytes, and decodes them to what
// they were where every byte has a token.

#include "trlm/adapt/tokenizer.hpp"

#include "support.hpp"

using namespace trlm::adapt;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // The last bytes, as many as the first one says, are a text.
    if (size == 0) return 0;
    const std::size_t text_size = std::min<std::size_t>(data[0], size - 1);
    const Bytes section = fuzz::bytes_of(data + 1, size - 1 - text_size);
    const std::string_view text = as_text(fuzz::bytes_of(data + size - text_size, text_size));
    const auto tokenizer = Tokenizer::parse(section);
    if (!tokenizer) {
        require(tokenizer.error().has_errors(), "a refusal has a reason");
        return 0;
    }
    const std::vector<std::uint32_t> ids = tokenizer->encode(text);
    require(ids.size() <= text.size(), "a token stands for a byte at least");
    for (const std::uint32_t id : ids)
        require(id < tokenizer->vocab_size(), "ids are below the vocabulary's size");
    const std::string back = tokenizer->decode(ids);
    if (tokenizer->kind() == TokenizerKind::btok) require(back == text, "bytes come back");
    require(tokenizer->encode(back).size() <= back.size(), "what was decoded can be encoded");
    return 0;
}
