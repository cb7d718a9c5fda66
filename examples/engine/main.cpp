// A small inference engine for SLM1 models, built on trlm::adapt as any other program would be.

#include <charconv>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

#include "commands.hpp"

namespace {

using namespace engine;

constexpr int failed = 1;      // a file is not as it should be, or does not fit
constexpr int wrong_call = 2;  // the command line is not

struct Arguments {
    EngineOptions engine;
    std::string prompt;
    std::vector<std::string> prompts{"In the "};
    TextOptions text;
    EvaluateOptions evaluate;
};

/// An option with a whole number. CLI11 itself would take -1, and numbers past the largest.
template <class T>
CLI::Option* add_number(CLI::App& command, const std::string& name, T& value,
                        const char* description, T largest = std::numeric_limits<T>::max()) {
    const auto read = [&value, name, largest](const std::string& text) {
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (stop != end || error != std::errc{} || value > largest) {
            throw CLI::ValidationError(
                name, "\"" + text + "\" is not a whole number up to " + std::to_string(largest));
        }
    };
    return command.add_option_function<std::string>(name, read, description)->type_name("N");
}

CLI::App& add_command(CLI::App& app, EngineOptions& engine, const char* name,
                      const char* description, const char* examples) {
    CLI::App& command = *app.add_subcommand(name, description);
    command.footer(examples);
    command.set_help_flag("-h,--help", "Print this help");
    command.add_option("MODEL", engine.model, "An SLM1 file")->required()->type_name("");
    return command;
}

void add_stack(CLI::App& command, EngineOptions& options) {
    command
        .add_option("--stack", options.stack, "Put these adapters into the model, in this order")
        ->type_name("PACKAGE[:STRENGTH]");
}

void add_engine_options(CLI::App& command, EngineOptions& options) {
    command
        .add_option("--rounding", options.rounding,
                    "How an adapted quantized weight is rounded:\n"
                    "nearest, stochastic:SEED or adaptive:SEED\n"
                    "(default adaptive:0)")
        ->type_name("MODE");
    add_number(command, "--threads", options.threads, "Default 0: one per processor",
               std::size_t{1024});
}

void add_text_options(CLI::App& command, TextOptions& options) {
    SamplingOptions& sampling = options.sampling;
    add_number(command, "--tokens", options.tokens, "Continue by so many tokens (default 100)");
    CLI::Option* const greedy =
        command.add_flag("--greedy", sampling.greedy, "Take the likeliest token; draw none");
    const std::vector<CLI::Option*> drawing{
        command
            .add_option("--temperature", sampling.temperature,
                        "Above 0; the lower, the rarer are unlikely\ntokens (default 0.5)")
            ->type_name("T"),
        add_number(command, "--top-k", sampling.top_k,
                   "Draw among the N likeliest tokens\n(default 0: all)"),
        command
            .add_option("--top-p", sampling.top_p,
                        "Draw among the likeliest tokens that together\n"
                        "have probability P (default 1)")
            ->type_name("P"),
        add_number(command, "--seed", sampling.seed,
                   "The same seed draws the same text (default 0)")};
    // Not CLI11's own excludes, which fills the help with lists.
    command.parse_complete_callback([greedy, drawing] {
        for (const CLI::Option* option : drawing) {
            if (*greedy && *option) {
                throw CLI::ExcludesError(greedy->get_name(), option->get_name());
            }
        }
    });
}

void add_commands(CLI::App& app, Arguments& arguments) {
    EngineOptions& engine = arguments.engine;
    CLI::App& generate = add_command(
        app, engine, "generate", "Continue a prompt",
        "Examples:\n"
        "  engine generate union.q8_0.slm \"The people \" --tokens 80 --seed 7\n"
        "  engine generate union.q8_0.slm \"The people \" --greedy --stack whale-lora.alr1:0.5");
    generate.add_option("PROMPT", arguments.prompt, "The beginning of a text")
        ->required()
        ->type_name("");
    add_stack(generate, engine);
    add_text_options(generate, arguments.text);
    add_engine_options(generate, engine);

    CLI::App& evaluate = add_command(
        app, engine, "evaluate", "Measure bits per byte of a text",
        "The text is cut into windows; a shorter last one is dropped. Each is predicted from BOS\n"
        "and its own beginning.\n\n"
        "Example:\n"
        "  engine evaluate union.q8_0.slm whale.txt --stack whale-lora.alr1 whale-top5.asp1:0.5");
    evaluate.add_option("TEXT", arguments.evaluate.text, "A file")->required()->type_name("");
    add_stack(evaluate, engine);
    add_number(evaluate, "--window", arguments.evaluate.window,
               "Of so many bytes (default 0: as many as the\nmodel's context has tokens)");
    add_engine_options(evaluate, engine);

    CLI::App& chat_demo = add_command(
        app, engine, "chat-demo", "Exchange adapters between prompts, then restore the base",
        "Example:\n"
        "  engine chat-demo union.q8_0.slm whale-lora.alr1 whale-top5.asp1 --prompt \"It was \"");
    chat_demo.add_option("PACKAGE[:STRENGTH]", engine.stack, "Adapters; each is shown by itself")
        ->required()
        ->type_name("");
    chat_demo
        .add_option("--prompt", arguments.prompts,
                    "The beginning of a text; may be given several times\n"
                    "(default \"In the \")")
        ->type_name("TEXT")
        ->allow_extra_args(false);
    add_text_options(chat_demo, arguments.text);
    add_engine_options(chat_demo, engine);
}

/// One line: the first finding, and how many more there are.
void print(const adapt::Findings& findings) {
    const adapt::Finding& first = findings[0];
    std::string line = first.file.empty() ? "" : first.file + ": ";
    line += first.message + " [" + std::string(adapt::finding_info(first.code).name) + "]";
    if (findings.size() > 1) line += "; and " + std::to_string(findings.size() - 1) + " more";
    std::fprintf(stderr, "error: %s\n", line.c_str());
}

int finish(const adapt::Status& status) {
    if (!status) {
        print(status.error());
        return status.error().exit_code() == adapt::ExitCode::usage ? wrong_call : failed;
    }
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
    std::fprintf(stderr, "error: the output could not be written\n");
    return failed;
}

adapt::Status run(const CLI::App& app, const Arguments& arguments) {
    const std::string command = app.get_subcommands().front()->get_name();
    if (command == "generate") return generate(arguments.engine, arguments.prompt, arguments.text);
    if (command == "evaluate") return evaluate(arguments.engine, arguments.evaluate);
    return chat_demo(arguments.engine, arguments.prompts, arguments.text);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        Arguments arguments;
        CLI::App app("A small inference engine for SLM1 models, with adapters", "engine");
        app.set_help_flag("-h,--help", "Print this help");
        app.require_subcommand(1);
        app.footer("engine COMMAND --help tells more.");
        const auto& formatter = app.get_formatter();
        formatter->column_width(28);
        formatter->label("REQUIRED", "");
        formatter->label("Positionals", "Arguments");
        formatter->label("Subcommands", "Commands");
        formatter->label("SUBCOMMAND", "COMMAND");
        add_commands(app, arguments);
        try {
            app.parse(argc, argv);
        } catch (const CLI::CallForHelp& help) {
            return app.exit(help);
        } catch (const CLI::ParseError& error) {
            std::fprintf(stderr, "error: %s; see engine --help\n", error.what());
            return wrong_call;
        }
        return finish(run(app, arguments));
    } catch (const std::exception& exception) {
        std::fprintf(stderr, "error: %s\n", exception.what());
        return failed;
    }
}
