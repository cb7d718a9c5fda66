// The command line: arguments in, one command run, its outcome printed.

#include <exception>
#include <new>
#include <sstream>
#include <string_view>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "commands.hpp"
#include "progress.hpp"
#include "trlm/adapt/version.hpp"

namespace trlm::adapt::cli {
namespace {

/// All options of all commands; a command line fills those of one.
struct Arguments {
    bool json = false;
    bool quiet = false;
    bool version = false;
    std::string color = "auto";
    WorkOptions work;
    ValidateOptions validate;
    InspectOptions inspect;
    ApplyCommandOptions apply;
    DigestOptions digest;
    ExplainOptions explain;
};

constexpr const char* output_group = "Output";
constexpr const char* reading_group = "Reading";

void add_output_options(CLI::App& app, Arguments& arguments) {
    app.set_help_flag("-h,--help", "Print this help")->group(output_group);
    app.add_flag("--json", arguments.json, "Print one JSON object and nothing else")
        ->group(output_group);
    app.add_flag("--quiet", arguments.quiet, "Print nothing but errors")->group(output_group);
    app.add_option("--color", arguments.color, "auto, always or never")
        ->check(CLI::IsMember({"auto", "always", "never"}))
        ->type_name("WHEN")
        ->group(output_group);
}

void add_reading_options(CLI::App& command, Arguments& arguments) {
    command
        .add_flag("--accept-foreign-checksum", arguments.work.accept_foreign_checksum,
                  "Accept a model whose checksum nobody but its writer can verify")
        ->group(reading_group);
    command
        .add_flag("--strict", arguments.work.strict,
                  "Treat already_applied and unlisted_file as errors")
        ->group(reading_group);
}

void add_threads_option(CLI::App& command, Arguments& arguments) {
    command
        .add_option("--threads", arguments.work.threads,
                    "Threads to use; 0, the default, is one per processor")
        ->type_name("N");
}

CLI::App& add_command(CLI::App& app, Arguments& arguments, const std::string& group,
                      const std::string& name, const std::string& description,
                      const std::string& example) {
    CLI::App& command = *app.add_subcommand(name, description);
    command.group(group);
    command.footer("Example:\n" + example);
    add_output_options(command, arguments);
    return command;
}

void add_validate(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, arguments, "Commands on files", "validate",
        "Check every byte of models and adapter packages.\n"
        "With --model, check also that each package (or folder of packages) fits the model.",
        "  trlm-adapt validate whale.alr1 whale.asp1 --model base.q8_0.slm");
    command
        .add_option("FILE", arguments.validate.files,
                    "Models, packages, or folders of packages; told apart by content")
        ->required()
        ->type_name("");
    command.add_option("--model", arguments.validate.model, "The model that they must fit")
        ->type_name("MODEL");
    add_threads_option(command, arguments);
    add_reading_options(command, arguments);
}

void add_inspect(CLI::App& app, Arguments& arguments) {
    CLI::App& command =
        add_command(app, arguments, "Commands on files", "inspect",
                    "Show what is in a model or an adapter package: sizes, shape, tensors.",
                    "  trlm-adapt inspect base.q8_0.slm --stats");
    command.add_option("FILE", arguments.inspect.file, "A model or a package")
        ->required()
        ->type_name("");
    command.add_flag("--stats", arguments.inspect.statistics,
                     "Read every byte and show statistics of each tensor's values");
    add_reading_options(command, arguments);
}

void add_apply(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, arguments, "Commands on files", "apply",
        "Apply a stack of adapters to a model in one transaction and write a new model.\n"
        "Everything is checked first; on any failure nothing is written.",
        "  trlm-adapt apply base.q8_0.slm whale.alr1 --strength whale.alr1=0.8 -o whale.slm");
    ApplyCommandOptions& options = arguments.apply;
    command.add_option("MODEL", options.model, "The model to start from; it is not changed")
        ->required()
        ->type_name("");
    command
        .add_option("STACK", options.stack,
                    "Package files in the order in which they are applied, or ONE folder of them")
        ->required()
        ->type_name("");
    command
        .add_option("-o,--output", options.output,
                    "The new model; by default MODEL's name with .adapted before its extension")
        ->type_name("OUT");
    command
        .add_option("--strength", options.strengths,
                    "Strength X, instead of 1, for the package file called NAME; repeatable")
        ->type_name("NAME=X")
        ->allow_extra_args(false);
    command
        .add_option("--rounding", options.rounding,
                    "How quantized weights are rounded: adaptive:SEED (default adaptive:0), "
                    "stochastic:SEED or nearest")
        ->type_name("HOW");
    command
        .add_option("--min-survival", options.min_survival,
                    "Refuse when less than this share of the change is left after rounding")
        ->type_name("X");
    command.add_flag("--allow-no-effect", options.allow_no_effect,
                     "Write the model even when no stored byte of it changes");
    command.add_option("--receipt", options.receipt, "Also write a receipt that binds all digests")
        ->type_name("FILE");
    command.add_flag("--dry-run", options.dry_run,
                     "Write nothing; tell what would be written, digest included");
    command.add_flag("--force", options.force, "Replace OUT and the receipt if they exist");
    add_threads_option(command, arguments);
    add_reading_options(command, arguments);
}

void add_small_commands(CLI::App& app, Arguments& arguments) {
    CLI::App& digest =
        add_command(app, arguments, "Commands on files", "digest", "Print the SHA-256 of files.",
                    "  trlm-adapt digest base.q8_0.slm whale.alr1");
    digest.add_option("FILE", arguments.digest.files, "Any files")->required()->type_name("");

    CLI::App& explain =
        add_command(app, arguments, "Reference", "explain",
                    "Tell what a finding means, what usually causes it and what to do.\n"
                    "Without CODE, list all findings by class.",
                    "  trlm-adapt explain checksum_mismatch");
    explain.add_option("CODE", arguments.explain.code, "A finding's code")->type_name("");

    add_command(app, arguments, "Reference", "limits", "List every limit.", "  trlm-adapt limits");
    add_command(app, arguments, "Reference", "version",
                "Print versions, and the instruction set in use.", "  trlm-adapt version");
}

void describe(CLI::App& app, Arguments& arguments) {
    app.footer(
        "Example:\n"
        "  trlm-adapt apply base.q8_0.slm whale.alr1\n\n"
        "trlm-adapt COMMAND --help tells more about a command.\n"
        "Exit codes: 0 ok, 1 invalid, 2 usage, 3 drift, 4 incompatible, 5 cannot check, 6 policy.");
    app.require_subcommand(0, 1);
    add_output_options(app, arguments);
    app.add_flag("--version", arguments.version, "The same as the command version")
        ->group(output_group);
    add_validate(app, arguments);
    add_inspect(app, arguments);
    add_apply(app, arguments);
    add_small_commands(app, arguments);
}

/// True when `--json` stands before any `--`: for command lines that cannot be parsed.
bool asks_for_json(int count, const char* const* values) {
    for (int i = 1; i < count && std::string_view(values[i]) != "--"; ++i) {
        if (std::string_view(values[i]) == "--json") return true;
    }
    return false;
}

/// The name of the command that was recognized, or nothing.
std::string command_name(const CLI::App& app) {
    const auto commands = app.get_subcommands();
    return commands.empty() ? "" : commands.front()->get_name();
}

Outcome run_command(const std::string& command, Arguments& arguments) {
    arguments.work.progress = !arguments.quiet;
    arguments.digest.progress = !arguments.quiet;
    arguments.validate.work = arguments.work;
    arguments.inspect.work = arguments.work;
    arguments.apply.work = arguments.work;
    if (command == "validate") return run_validate(arguments.validate);
    if (command == "inspect") return run_inspect(arguments.inspect);
    if (command == "apply") return run_apply(arguments.apply);
    if (command == "digest") return run_digest(arguments.digest);
    if (command == "explain") return run_explain(arguments.explain);
    if (command == "limits") return run_limits();
    return run_version();
}

Outcome failed_with(FindingCode code, std::string message) {
    Findings findings;
    findings.add({.code = code, .message = std::move(message)});
    return Outcome::failed(std::move(findings));
}

/// Runs a command; an exception that should not have come becomes a finding.
Outcome run_safely(const std::string& command, Arguments& arguments) {
    try {
        return run_command(command, arguments);
    } catch (const std::bad_alloc&) {
        return failed_with(FindingCode::out_of_memory, "there is not enough memory for this");
    } catch (const std::exception& exception) {
        return failed_with(FindingCode::executor_failed,
                           fmt::format("unexpected failure: {}", exception.what()));
    }
}

/// Prints the outcome of a command that no signal stopped; one that was stopped ends the process.
int finish(const std::string& command, Outcome outcome, const Presentation& presentation) {
    if (input_was_lost()) {
        outcome.findings.add({.code = FindingCode::file_unreadable,
                              .message = "an input shrank, or its disk failed, while it was read"});
    }
    const int signal = stop_signal();
    if (signal != 0 && outcome.findings.contains(FindingCode::output_failed)) {
        (void)write_all(STDERR_FILENO, "trlm-adapt: stopped; nothing was written\n");
        end_by_signal(signal);
    }
    const int exit_code = print_outcome(command, outcome, presentation);
    if (signal != 0) end_by_signal(signal);
    return exit_code;
}

int print_help(const std::string& text, int exit_code) {
    return write_all(exit_code == 0 ? STDOUT_FILENO : STDERR_FILENO, text)
               ? exit_code
               : static_cast<int>(ExitCode::cannot_check);
}

int run(int count, const char* const* values) {
    Arguments arguments;
    CLI::App app("Validates adapter packages and applies them to TinyRustLM models.", "trlm-adapt");
    app.get_formatter()->column_width(28);
    describe(app, arguments);
    const auto present = [&](bool json) {
        return make_presentation(json, arguments.quiet, arguments.color);
    };
    try {
        app.parse(count, values);
    } catch (const CLI::CallForHelp&) {
        return print_help(app.help(), 0);
    } catch (const CLI::ParseError& error) {
        Findings findings;
        findings.add(usage_error(error.what()));
        return print_outcome(command_name(app), Outcome::failed(std::move(findings)),
                             present(asks_for_json(count, values)));
    }
    std::string command = command_name(app);
    if (command.empty() && arguments.version) command = "version";
    if (!command.empty()) {
        return finish(command, run_safely(command, arguments), present(arguments.json));
    }
    if (!arguments.json) return print_help(app.help(), static_cast<int>(ExitCode::usage));
    return print_outcome("", failed_with(FindingCode::usage_error, "a command is needed"),
                         present(true));
}

/// Standard streams that were closed are opened on nothing: a file that is opened later must not
/// get their numbers, and with them what is printed. Printing to a closed stdout stays an error.
void occupy_standard_streams() noexcept {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(stream, F_GETFD) >= 0) continue;
        (void)::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    }
}

}  // namespace
}  // namespace trlm::adapt::cli

int main(int argc, char** argv) {
    namespace cli = trlm::adapt::cli;
    cli::occupy_standard_streams();
    cli::install_signal_handlers();
    try {
        return cli::run(argc, argv);
    } catch (...) {
        // Even the words for it could not be found.
        (void)cli::write_all(STDERR_FILENO, "error: trlm-adapt ran out of memory\n");
        return static_cast<int>(trlm::adapt::ExitCode::cannot_check);
    }
}
