#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include <trlm/adapt/checksum.hpp>

#include "commands.hpp"

namespace engine {
namespace {

/// What the engine is at one moment.
struct Answer {
    std::uint64_t weights = 0;  // their checksum
    std::string text;
};

/// Continues the prompt with what is in the weights now, and prints both.
adapt::Result<Answer> ask(Engine& engine, const std::string& name, const TextOptions& options) {
    Answer answer{engine.weights().checksum(), options.prompt};
    std::printf("[%s]  weights %s  state %s\n", name.c_str(),
                adapt::format_checksum(answer.weights).c_str(),
                adapt::format_checksum(engine.adapters().state()).c_str());
    const auto append = [&](std::string_view piece) { answer.text += piece; };
    if (auto done = engine.write(options.prompt, options.tokens, options.sampling, append); !done) {
        return adapt::failure(std::move(done.error()));
    }
    answer.text += "\n\n";
    std::fwrite(answer.text.data(), 1, answer.text.size(), stdout);  // it may hold any bytes
    return answer;
}

}  // namespace

adapt::Status chat_demo(const EngineOptions& options, const TextOptions& text) {
    if (auto checked = check(text.sampling); !checked) return checked;
    EngineOptions without_adapters = options;
    without_adapters.stack.clear();
    const auto loaded = Engine::load(without_adapters);
    if (!loaded) return adapt::failure(loaded.error());
    Engine& engine = **loaded;

    const auto before = ask(engine, "base", text);
    if (!before) return adapt::failure(before.error());
    for (const std::string& argument : options.stack) {
        auto adapters = read_adapters({&argument, 1});
        if (!adapters) return adapt::failure(std::move(adapters.error()));
        if (auto put = engine.adapters().put(std::move(*adapters)); !put) return put;
        const auto answer = ask(engine, std::filesystem::path(argument).filename().string(), text);
        if (!answer) return adapt::failure(answer.error());
    }
    if (auto out = engine.adapters().take_out(); !out) return out;
    const auto after = ask(engine, "base again", text);
    if (!after) return adapt::failure(after.error());

    if (after->weights != before->weights || after->text != before->text) {
        return adapt::failure({.code = adapt::FindingCode::value_drift,
                               .message = "the weights are not those of the base any more"});
    }
    std::printf("The base is restored: the same weights, byte for byte, and the same text.\n");
    return {};
}

}  // namespace engine
