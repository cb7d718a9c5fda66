// The command line: arguments in, one command run, its outcome printed; see command_line.hpp

#include "command_line.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <sstream>
#include <string_view>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "commands.hpp"
#include "inputs.hpp"
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
    RevertOptions revert;
    ConvertCommandOptions convert;
    VerifyOptions verify;
    BundleCreateOptions bundle_create;
    ReplayCommandOptions replay;
    DiffOptions diff;
    MergeCommandOptions merge;
    ComposeCheckOptions compose_check;
    DigestOptions digest;
    ExplainOptions explain;
};

constexpr const char* output_group = "Output";
constexpr const char* reading_group = "Reading";
constexpr const char* files_group = "Commands on files";
constexpr const char* bundle_group = "Commands on bundles and receipts";
constexpr const char* making_group = "Commands that make packages";
constexpr const char* reference_group = "Reference";
constexpr std::size_t help_column = 28;  // where descriptions start

void add_output_options(CLI::App& app, Arguments& arguments) {
    app.set_help_flag("-h,--help", "Print this help")->group(output_group);
    app.add_flag("--json", arguments.json, "Print one JSON object and nothing else")
        ->group(output_group);
    app.add_flag("--quiet", arguments.quiet, "Print nothing but errors")->group(output_group);
    app.add_option("--color", arguments.color, "Colours: auto (the default), always or never")
        ->check(CLI::IsMember({"auto", "always", "never"}).description(""))
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

CLI::App& add_command(CLI::App& app, const std::string& group, const std::string& name,
                      const std::string& description, const std::string& more) {
    CLI::App& command = *app.add_subcommand(name, description);
    command.group(group);
    command.footer(more);
    return command;
}

void add_validate(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, files_group, "validate", "Check every byte of models, adapter packages and undo files",
        "With --model, each FILE is a stack of its own: one package, or a folder of packages that "
        "are applied together. It is checked whether the stack fits the model.\n\n"
        "Example:\n"
        "  trlm-adapt validate whale.alr1 whale.asp1 --model base.q8_0.slm");
    command
        .add_option("FILE", arguments.validate.files,
                    "Models, packages, undo files, or folders of packages; told apart by content")
        ->required()
        ->type_name("");
    command.add_option("--model", arguments.validate.model, "The model that the packages must fit")
        ->type_name("MODEL");
    add_threads_option(command, arguments);
    add_reading_options(command, arguments);
    add_output_options(command, arguments);
}

void add_inspect(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, files_group, "inspect", "Show what is in a model, an adapter package or an undo file",
        "Without --stats only headers are read, however large the file is.\n\n"
        "Example:\n"
        "  trlm-adapt inspect base.q8_0.slm --stats");
    command.add_option("FILE", arguments.inspect.file, "A model, a package or an undo file")
        ->required()
        ->type_name("");
    command.add_flag("--stats", arguments.inspect.statistics,
                     "Read every byte and show statistics of each tensor's values");
    add_reading_options(command, arguments);
    add_output_options(command, arguments);
}

void add_apply(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, files_group, "apply", "Apply adapters to a model and write a new model",
        "The stack is applied in one transaction: everything is checked first, and on any failure "
        "nothing is written.\n\n"
        "Example:\n"
        "  trlm-adapt apply base.slm whale.alr1 --strength whale.alr1=0.8 -o whale.slm");
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
    command.add_flag("--force", options.force,
                     "Replace OUT, the receipt and the undo file where they exist");
    command.add_flag("--dry-run", options.dry_run,
                     "Write nothing; tell what would be written, digest included");
    command
        .add_option("--strength", options.strengths,
                    "Strength X, instead of 1, for the package file called NAME; repeatable")
        ->type_name("NAME=X")
        ->allow_extra_args(false);
    command
        .add_option("--rounding", options.rounding,
                    "How quantized weights are rounded: adaptive:SEED (by default adaptive:0), "
                    "stochastic:SEED or nearest")
        ->type_name("HOW");
    command
        .add_option("--output-dtype", options.output_dtype,
                    "Store the tensors that the stack touches as q8_0 or f32 where the base's are "
                    "coarser; keep, the default, stores them as the base does")
        ->type_name("TYPE");
    command
        .add_option("--min-survival", options.min_survival,
                    "Refuse when less than this share of the change is left after rounding")
        ->type_name("X");
    command.add_flag("--allow-no-effect", options.allow_no_effect,
                     "Write the model even when no stored byte of it changes");
    command
        .add_option("--receipt", options.receipt,
                    "Also write a receipt that binds inputs and output by their digests")
        ->type_name("FILE");
    command
        .add_option("--undo", options.undo,
                    "Also write what turns the new model back into MODEL; see revert")
        ->type_name("FILE");
    add_threads_option(command, arguments);
    add_reading_options(command, arguments);
    add_output_options(command, arguments);
}

void add_revert(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, files_group, "revert", "Turn an adapted model back into its base, bit for bit",
        "UNDO is the file that apply --undo wrote. FILE must be the model that was written with "
        "it, and the digest of what is restored must be the base's; on any failure nothing is "
        "written.\n\n"
        "Example:\n"
        "  trlm-adapt revert whale.slm --undo whale.undo -o base.slm");
    RevertOptions& options = arguments.revert;
    command.add_option("FILE", options.file, "The adapted model; it is not changed")
        ->required()
        ->type_name("");
    command.add_option("--undo", options.undo, "The undo file of its application")
        ->required()
        ->type_name("UNDO");
    command
        .add_option("-o,--output", options.output,
                    "The restored model; by default FILE's name with .reverted before its "
                    "extension")
        ->type_name("OUT");
    command.add_flag("--force", options.force, "Replace OUT where it exists");
    add_output_options(command, arguments);
}

void add_convert(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, files_group, "convert", "Make a model or an adapter of files in other forms",
        "IN is told by what is in it: a folder (or safetensors file) of a Hugging Face checkpoint "
        "of the LLaMA shape becomes a model, the folder of a PEFT LoRA becomes an ALR1 package, "
        "and a model becomes a model in another storage, sealed with a checksum that can be "
        "verified.\n\n"
        "Example:\n"
        "  trlm-adapt convert checkpoint -o base.q8_0.slm --dtype q8_0\n"
        "  trlm-adapt convert whale-lora -o whale.alr1 --base base.q8_0.slm");
    ConvertCommandOptions& options = arguments.convert;
    command.add_option("IN", options.input, "A checkpoint, a LoRA folder, or a model")
        ->required()
        ->type_name("");
    command.add_option("-o,--output", options.output, "The model or package to write")
        ->required()
        ->type_name("OUT");
    command.add_flag("--force", options.force, "Replace OUT where it exists");
    command
        .add_option("--dtype", options.dtype,
                    "Storage of a model: f32 (the default for a checkpoint), q8_0 or q4_0; a model "
                    "stays as it is stored without it")
        ->type_name("TYPE");
    command.add_option("--base", options.base, "The model that a LoRA was trained on")
        ->type_name("MODEL");
    command
        .add_option("--target", options.target,
                    "Also tell how much of a LoRA would be left on this model")
        ->type_name("MODEL");
    command
        .add_option("--rounding", options.rounding,
                    "The rounding that --target reckons with: adaptive:SEED (by default "
                    "adaptive:0), stochastic:SEED or nearest")
        ->type_name("HOW");
    add_threads_option(command, arguments);
    add_reading_options(command, arguments);
    add_output_options(command, arguments);
}

void add_bundle_commands(CLI::App& app, Arguments& arguments) {
    CLI::App& verify = add_command(
        app, bundle_group, "verify", "Take a bundle through the twelve gates",
        "Nothing is opened before the gate in front of it has passed, and all defects of a run are "
        "reported.\n\n"
        "Example:\n"
        "  trlm-adapt verify whale-bundle --strict");
    verify.add_option("BUNDLE", arguments.verify.bundle, "The bundle's folder")
        ->required()
        ->type_name("");
    verify
        .add_option("--entry", arguments.verify.entry,
                    "The entry to verify, instead of the registry's default")
        ->type_name("ID");
    verify
        .add_option("--registry-digest", arguments.verify.registry_digest,
                    "The digest that the registry itself must have: sha256:...")
        ->type_name("D");
    verify.add_flag("--allow-weak-digests", arguments.verify.allow_weak_digests,
                    "Accept xxh3-128 digests, which detect accidents only");
    add_threads_option(verify, arguments);
    add_reading_options(verify, arguments);
    add_output_options(verify, arguments);

    CLI::App& bundle = add_command(app, bundle_group, "bundle", "Make a bundle from a recipe",
                                   "Example:\n"
                                   "  trlm-adapt bundle create whale.recipe.json -o whale-bundle");
    bundle.require_subcommand(1);
    add_output_options(bundle, arguments);
    CLI::App& create = *bundle.add_subcommand("create", "Make a bundle from a recipe");
    create.footer(
        "Every document, checksum and digest is computed; the same recipe and files give the same "
        "bytes. What would not verify is not written.\n\n"
        "Example:\n"
        "  trlm-adapt bundle create whale.recipe.json -o whale-bundle");
    create
        .add_option("RECIPE", arguments.bundle_create.recipe,
                    "The recipe, JSON; its paths are relative to its folder")
        ->required()
        ->type_name("");
    create
        .add_option("-o,--output", arguments.bundle_create.output,
                    "The bundle's folder; must not exist, or be empty")
        ->required()
        ->type_name("DIR");
    add_threads_option(create, arguments);
    add_reading_options(create, arguments);
    add_output_options(create, arguments);

    CLI::App& replay = add_command(
        app, bundle_group, "replay", "Apply again what a receipt records, and compare",
        "Nothing is written. Every digest, the assembly state and the survival report must come "
        "out as the receipt states them.\n\n"
        "Example:\n"
        "  trlm-adapt replay whale.apply-receipt.json --root models");
    replay.add_option("RECEIPT", arguments.replay.receipt, "An apply receipt")
        ->required()
        ->type_name("");
    replay
        .add_option("--root", arguments.replay.root,
                    "Where files are looked for that are not in the receipt's folder")
        ->type_name("DIR");
    replay.add_flag("--allow-weak-digests", arguments.replay.allow_weak_digests,
                    "Accept xxh3-128 digests, which detect accidents only");
    add_threads_option(replay, arguments);
    add_reading_options(replay, arguments);
    add_output_options(replay, arguments);
}

void add_diff(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, making_group, "diff", "Make an adapter from two models",
        "An .adp1 holds every difference; an .asp1 those that --density, --threshold, --top-k or "
        "--drop leave; an .alr1 factors of each matrix.\n\n"
        "Example:\n"
        "  trlm-adapt diff base.slm tuned.slm -o whale.asp1 --density 0.05");
    DiffOptions& options = arguments.diff;
    command.add_option("BASE", options.base, "The model to start from")->required()->type_name("");
    command.add_option("TUNED", options.tuned, "The model to arrive at, in any storage")
        ->required()
        ->type_name("");
    command.add_option("-o,--output", options.output, "The package; its extension tells the kind")
        ->required()
        ->type_name("OUT");
    command.add_option("--kind", options.kind, "adp1, asp1 or alr1, whatever OUT is called")
        ->type_name("KIND");
    command.add_flag("--force", options.force, "Replace OUT and its companion where they exist");
    command
        .add_option("--target", options.target,
                    "Also tell how much would be left on this model; if it does not fit, nothing "
                    "is written")
        ->type_name("MODEL");
    command
        .add_option("--rounding", options.rounding,
                    "The rounding that --target reckons with: adaptive:SEED (by default "
                    "adaptive:0), stochastic:SEED or nearest")
        ->type_name("HOW");
    add_threads_option(command, arguments);
    constexpr const char* sparse_group = "Sparse packages (.asp1)";
    const auto add = [&](const char* name, std::optional<std::string>& value, const char* type,
                         const char* group, const char* description) {
        command.add_option(name, value, description)->type_name(type)->group(group);
    };
    add("--density", options.density, "D", sparse_group,
        "Keep this share of each tensor, the largest elements; above 0, at most 1");
    add("--top-k", options.top_k, "K", sparse_group, "Keep the K largest elements of each tensor");
    command
        .add_flag("--global", options.global,
                  "With --density or --top-k: of all tensors that differ together")
        ->group(sparse_group);
    add("--threshold", options.threshold, "T", sparse_group,
        "Keep the elements whose magnitude is at least T");
    add("--drop", options.drop, "P", sparse_group, "Drop each element with probability P");
    add("--seed", options.seed, "S", sparse_group, "The seed that --drop needs");
    command.add_flag("--rescale", options.rescale, "With --drop: divide what stays by 1 - P")
        ->group(sparse_group);
    constexpr const char* low_rank_group = "Low-rank packages (.alr1)";
    add("--rank", options.rank, "R", low_rank_group, "Factors of rank R, at most 4096");
    add("--energy", options.energy, "E", low_rank_group,
        "The smallest rank that keeps this share of each matrix's squares");
    add("--vectors", options.vectors, "HOW", low_rank_group,
        "Tensors that are no matrices: dense (the default) writes them to a companion .adp1, skip "
        "leaves them out, error refuses");
    add_reading_options(command, arguments);
    add_output_options(command, arguments);
}

void add_merge(CLI::App& app, Arguments& arguments) {
    CLI::App& command = add_command(
        app, making_group, "merge", "Make one package of several of one kind",
        "Dense and sparse deltas are added, factors are placed side by side; --method ties lets "
        "the signs of sparse packages vote.\n\n"
        "Example:\n"
        "  trlm-adapt merge one.asp1 two.asp1 -o both.asp1 --method ties --density 0.02");
    MergeCommandOptions& options = arguments.merge;
    command.add_option("PKG", options.packages, "Packages of one kind, or ONE folder of them")
        ->required()
        ->type_name("");
    command.add_option("-o,--output", options.output, "The package to write")
        ->required()
        ->type_name("OUT");
    command.add_flag("--force", options.force, "Replace OUT where it exists");
    command
        .add_option("--method", options.method,
                    "sum (the default), or ties: sign consensus, for sparse packages")
        ->type_name("HOW");
    command
        .add_option("--density", options.density,
                    "With ties: of each package's tensors only this share of the elements, the "
                    "largest; by default all")
        ->type_name("D");
    command
        .add_option("--strength", options.strengths,
                    "Strength X, instead of 1, for the package file called NAME; repeatable")
        ->type_name("NAME=X")
        ->allow_extra_args(false);
    add_output_options(command, arguments);
}

void add_compose_check(CLI::App& app, Arguments& arguments) {
    CLI::App& command =
        add_command(app, making_group, "compose-check", "Tell what the packages of a stack share",
                    "Only headers and indexes are read. Use validate to check the packages "
                    "themselves.\n\n"
                    "Example:\n"
                    "  trlm-adapt compose-check whale.alr1 whale.asp1");
    command
        .add_option("PKG", arguments.compose_check.packages,
                    "Packages in the order of the stack, or ONE folder of them")
        ->required()
        ->type_name("");
    add_output_options(command, arguments);
}

void add_small_commands(CLI::App& app, Arguments& arguments) {
    CLI::App& digest = add_command(app, files_group, "digest", "Print the SHA-256 of files",
                                   "Example:\n"
                                   "  trlm-adapt digest base.q8_0.slm whale.alr1");
    digest.add_option("FILE", arguments.digest.files, "Any files")->required()->type_name("");
    add_output_options(digest, arguments);

    CLI::App& explain =
        add_command(app, reference_group, "explain", "Tell what a finding means and what to do",
                    "Without CODE, all findings are listed by class.\n\n"
                    "Example:\n"
                    "  trlm-adapt explain checksum_mismatch");
    explain.add_option("CODE", arguments.explain.code, "A finding's code")->type_name("");
    add_output_options(explain, arguments);

    CLI::App& limits = add_command(app, reference_group, "limits", "List every limit",
                                   "Example:\n"
                                   "  trlm-adapt limits");
    add_output_options(limits, arguments);

    CLI::App& version = add_command(app, reference_group, "version",
                                    "Print versions and this machine's instruction sets",
                                    "Example:\n"
                                    "  trlm-adapt version --json");
    add_output_options(version, arguments);
}

void describe(CLI::App& app, Arguments& arguments) {
    app.footer(
        "Exit codes:\n"
        "  0 ok, 1 invalid, 2 usage, 3 drift, 4 incompatible, 5 cannot check, 6 policy\n\n"
        "Example:\n"
        "  trlm-adapt apply base.q8_0.slm whale.alr1\n\n"
        "trlm-adapt COMMAND --help tells more about a command.");
    app.require_subcommand(0, 1);
    add_validate(app, arguments);
    add_inspect(app, arguments);
    add_apply(app, arguments);
    add_revert(app, arguments);
    add_convert(app, arguments);
    add_bundle_commands(app, arguments);
    add_diff(app, arguments);
    add_merge(app, arguments);
    add_compose_check(app, arguments);
    add_small_commands(app, arguments);
    add_output_options(app, arguments);
    app.add_flag("--version", arguments.version, "The same as the command version")
        ->group(output_group);
}

/// One line of help, broken where it is too wide: a description under itself, prose at the margin.
std::string wrapped_help_line(std::string_view line) {
    constexpr std::size_t help_width = 80;
    if (line.size() <= help_width) return std::string(line);
    const std::size_t indent = line.starts_with(' ') ? help_column : 0;
    return std::string(line.substr(0, indent)) + wrapped(line.substr(indent), indent, help_width);
}

std::shared_ptr<CLI::Formatter> make_formatter() {
    auto formatter = std::make_shared<CLI::Formatter>();
    formatter->column_width(help_column);
    formatter->label("REQUIRED", "");
    formatter->label("SUBCOMMAND", "COMMAND");
    formatter->label("Positionals", "Arguments");
    return formatter;
}

/// The help of the command that was recognized, or of the tool: its commands before its options.
std::string help_of(const CLI::App& app, const CLI::Formatter& formatter) {
    if (!app.get_subcommands().empty()) return app.help();
    constexpr auto mode = CLI::AppFormatMode::Normal;
    return formatter.make_description(&app) + formatter.make_usage(&app, app.get_name()) +
           formatter.make_subcommands(&app, mode) + formatter.make_groups(&app, mode) + '\n' +
           formatter.make_footer(&app);
}

/// CLI11's help within 80 columns and without runs of empty lines.
std::string tidy_help(const std::string& help) {
    std::string text;
    std::istringstream lines(help);
    bool after_empty_line = true;
    for (std::string line; std::getline(lines, line);) {
        while (line.ends_with(' '))
            line.pop_back();
        if (!line.empty() || !after_empty_line) text += wrapped_help_line(line) + '\n';
        after_empty_line = line.empty();
    }
    return text;
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

std::vector<std::string> command_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands(nullptr)) {
        names.push_back(command->get_name());
    }
    return names;
}

/// The same for a command line that cannot be parsed: the first argument that is a command's name.
std::string command_named(const CLI::App& app, int count, const char* const* values) {
    const std::vector<std::string> names = command_names(app);
    for (int i = 1; i < count; ++i) {
        const auto name = std::find(names.begin(), names.end(), values[i]);
        if (name != names.end()) return *name;
    }
    return "";
}

/// CLI11 takes the next argument for a value that is left empty, as in `--output= FILE`.
void refuse_empty_values(int count, const char* const* values) {
    for (int i = 1; i < count && std::string_view(values[i]) != "--"; ++i) {
        const std::string_view value(values[i]);
        if (value.starts_with("--") && value.find('=') == value.size() - 1) {
            throw CLI::ArgumentMismatch(fmt::format("{} has an empty value", value));
        }
    }
}

/// What is wrong with a command line that cannot be parsed.
std::string parse_error_message(const CLI::App& app, const CLI::ParseError& error, int count,
                                const char* const* values) {
    const bool starts_with_a_name = count > 1 && std::string_view(values[1]).find('-') != 0;
    if (!starts_with_a_name || !command_named(app, count, values).empty()) return error.what();
    const std::vector<std::string> commands = command_names(app);
    const std::vector<std::string_view> names(commands.begin(), commands.end());
    return fmt::format("there is no command \"{}\"; did you mean {}?", values[1],
                       nearest_name(values[1], names));
}

Outcome run_command(const std::string& command, Arguments& arguments) {
    arguments.work.progress = !arguments.quiet;
    arguments.digest.progress = !arguments.quiet;
    arguments.revert.progress = !arguments.quiet;
    arguments.validate.work = arguments.work;
    arguments.inspect.work = arguments.work;
    arguments.apply.work = arguments.work;
    arguments.convert.work = arguments.work;
    arguments.verify.work = arguments.work;
    arguments.bundle_create.work = arguments.work;
    arguments.replay.work = arguments.work;
    arguments.diff.work = arguments.work;
    arguments.merge.work = arguments.work;
    if (command == "validate") return run_validate(arguments.validate);
    if (command == "inspect") return run_inspect(arguments.inspect);
    if (command == "apply") return run_apply(arguments.apply);
    if (command == "revert") return run_revert(arguments.revert);
    if (command == "convert") return run_convert(arguments.convert);
    if (command == "verify") return run_verify(arguments.verify);
    if (command == "bundle") return run_bundle_create(arguments.bundle_create);
    if (command == "replay") return run_replay(arguments.replay);
    if (command == "diff") return run_diff(arguments.diff);
    if (command == "merge") return run_merge(arguments.merge);
    if (command == "compose-check") return run_compose_check(arguments.compose_check);
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
    if (input_was_changed()) {
        outcome.findings.add({.code = FindingCode::file_unreadable,
                              .message = "an input was written to while it was read; try again "
                                         "when nobody writes to it"});
    }
    forget_inputs();
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

}  // namespace

int run_command_line(int count, const char* const* values) {
    Arguments arguments;
    CLI::App app("Validates adapter packages and applies them to TinyRustLM models", "trlm-adapt");
    const std::shared_ptr<CLI::Formatter> formatter = make_formatter();
    app.formatter(formatter);
    describe(app, arguments);
    const auto present = [&](bool json) {
        return make_presentation(json, arguments.quiet, arguments.color);
    };
    try {
        refuse_empty_values(count, values);
        app.parse(count, values);
    } catch (const CLI::CallForHelp&) {
        return print_help(tidy_help(help_of(app, *formatter)), 0);
    } catch (const CLI::ParseError& error) {
        Findings findings;
        findings.add(usage_error(parse_error_message(app, error, count, values)));
        return print_outcome(command_named(app, count, values),
                             Outcome::failed(std::move(findings)),
                             present(asks_for_json(count, values)));
    }
    std::string command = command_name(app);
    if (command.empty() && arguments.version) command = "version";
    if (!command.empty()) {
        return finish(command, run_safely(command, arguments), present(arguments.json));
    }
    if (!arguments.json)
        return print_help(tidy_help(help_of(app, *formatter)), static_cast<int>(ExitCode::usage));
    return print_outcome("", failed_with(FindingCode::usage_error, "a command is needed"),
                         present(true));
}

}  // namespace trlm::adapt::cli
