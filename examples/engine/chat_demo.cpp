#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <trlm/adapt/checksum.hpp>

#include "commands.hpp"

namespace engine {
namespace {

/// What the engine is at one moment.
struct Moment {
    std::uint64_t weights = 0;  // their checksum
    std::string answers;
};

/// Puts the prompts to what is in the weights now, and prints what comes of them.
class Asking {
public:
    Asking(Engine& engine, const std::vector<std::string>& prompts, const TextOptions& options)
        : engine_(engine), prompts_(prompts), options_(options) {}

    [[nodiscard]] adapt::Result<Moment> ask(const std::string& name) const {
        Moment moment{engine_.weights().checksum(), ""};
        std::printf("[%s]  weights %s  state %s\n", name.c_str(),
                    adapt::format_checksum(moment.weights).c_str(),
                    adapt::format_checksum(engine_.adapters().state()).c_str());
        const auto append = [&](std::string_view piece) { moment.answers += piece; };
        for (const std::string& prompt : prompts_) {
            append(prompt);
            auto done = engine_.write(prompt, options_.tokens, options_.sampling, append);
            if (!done) return adapt::failure(std::move(done.error()));
            append("\n");
        }
        append("\n");
        std::fwrite(moment.answers.data(), 1, moment.answers.size(), stdout);  // any bytes
        return moment;
    }

private:
    Engine& engine_;
    const std::vector<std::string>& prompts_;
    const TextOptions& options_;
};

}  // namespace

adapt::Status chat_demo(const EngineOptions& options, const std::vector<std::string>& prompts,
                        const TextOptions& text) {
    if (auto checked = check(text.sampling); !checked) return checked;
    EngineOptions without_adapters = options;
    without_adapters.stack.clear();
    const auto loaded = Engine::load(without_adapters);
    if (!loaded) return adapt::failure(loaded.error());
    Engine& engine = **loaded;
    const Asking asking(engine, prompts, text);

    const auto before = asking.ask("base");
    if (!before) return adapt::failure(before.error());
    for (const std::string& argument : options.stack) {
        auto adapters = read_adapters({&argument, 1});
        if (!adapters) return adapt::failure(std::move(adapters.error()));
        if (auto put = engine.adapters().put(std::move(*adapters)); !put) return put;
        const auto moment = asking.ask(std::filesystem::path(argument).filename().string());
        if (!moment) return adapt::failure(moment.error());
    }
    if (auto out = engine.adapters().take_out(); !out) return out;
    const auto after = asking.ask("base again");
    if (!after) return adapt::failure(after.error());

    if (after->weights != before->weights || after->answers != before->answers) {
        return adapt::failure({.code = adapt::FindingCode::value_drift,
                               .message = "the weights are not those of the base any more"});
    }
    std::printf("The base is restored: the same weights, byte for byte, and the same text.\n");
    return {};
}

}  // namespace engine
