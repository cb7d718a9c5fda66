#include <cstdio>
#include <string>
#include <string_view>

#include "commands.hpp"

namespace engine {

adapt::Status generate(const EngineOptions& engine, const std::string& prompt,
                       const TextOptions& text) {
    if (auto checked = check(text.sampling); !checked) return checked;
    const auto loaded = Engine::load(engine);
    if (!loaded) return adapt::failure(loaded.error());

    const auto print = [](std::string_view piece) {
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);  // the reader sees each token as it comes
    };
    print(prompt);
    auto written = (*loaded)->write(prompt, text.tokens, text.sampling, print);
    print("\n");
    return written;
}

}  // namespace engine
