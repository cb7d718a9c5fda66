#include "trlm/adapt/produce/convert.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "commands.hpp"
#include "forecasting.hpp"
#include "inputs.hpp"
#include "outputs.hpp"
#include "packages_written.hpp"
#include "progress.hpp"
#include "survival.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/identity.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/lora.hpp"
#include "trlm/adapt/produce/safetensors.hpp"

namespace trlm::adapt::cli {
namespace {

// ---------------------------------------------------------------------- before any work is done

/// What is converted, told by what is in it.
enum class SourceForm : std::uint8_t { checkpoint, lora, model };

std::string_view to_string(SourceForm form) {
    switch (form) {
        case SourceForm::checkpoint:
            return "checkpoint";
        case SourceForm::lora:
            return "lora";
        case SourceForm::model:
            break;
    }
    return "model";
}

/// The command line, understood and checked as far as that goes without reading weights.
struct Request {
    std::string input;
    std::string output;
    SourceForm form = SourceForm::model;
    std::optional<Dtype> dtype = {};
    std::optional<std::string> base = {};
    ForecastRequest forecast = {};
    ModelReadOptions reading = {};
    bool replace = false;
    bool progress = true;
};

std::string in_folder(const std::string& folder, std::string_view name) {
    return fmt::format("{}{}{}", folder, folder.ends_with('/') ? "" : "/", name);
}

Result<SourceForm> form_of_folder(const std::string& path) {
    if (name_is_taken(in_folder(path, "adapter_config.json"))) return SourceForm::lora;
    if (name_is_taken(in_folder(path, "config.json"))) return SourceForm::checkpoint;
    if (name_is_taken(in_folder(path, "adapter_model.safetensors"))) return SourceForm::lora;
    return failure({.code = FindingCode::file_missing,
                    .message = "the folder has neither config.json (a checkpoint) nor "
                               "adapter_config.json (a LoRA)",
                    .file = path});
}

/// True when any tensor's name is that of a LoRA.
bool holds_lora(Bytes file) {
    const Result<Safetensors> weights = read_safetensors(file);
    return weights && std::ranges::any_of(weights->tensors(), [](const SafetensorsTensor& tensor) {
               return tensor.name.find(".lora_") != std::string::npos;
           });
}

Result<SourceForm> form_of_file(const std::string& path) {
    const Result<MappedFile> file = open_input(path);
    if (!file) return failure(file.error());
    const std::optional<FileFormat> format = detect_format(file->bytes());
    if (format == FileFormat::slm1) return SourceForm::model;
    if (format) {
        return failure({.code = FindingCode::bad_magic,
                        .message = fmt::format("this is an adapter package ({}) already; convert "
                                               "takes checkpoints, LoRA folders and models",
                                               to_string(*format)),
                        .file = path,
                        .offset = 0,
                        .expected = "SLM1 or safetensors",
                        .actual = std::string(to_string(*format))});
    }
    // A safetensors file begins with the length of its header, which begins with a brace.
    constexpr std::uint64_t header_offset = 8;
    const bool safetensors =
        as_text(slice(file->bytes(), header_offset, 1)) == "{" || path.ends_with(".safetensors");
    if (!safetensors) {
        return failure({.code = FindingCode::bad_magic,
                        .message = "the file is neither a model (SLM1) nor safetensors; name a "
                                   "checkpoint, the folder of a LoRA, or a model",
                        .file = path,
                        .offset = 0,
                        .expected = "SLM1 or safetensors"});
    }
    return holds_lora(file->bytes()) ? SourceForm::lora : SourceForm::checkpoint;
}

Result<Dtype> parse_dtype(const std::string& text) {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        if (text == to_string(dtype)) return dtype;
    }
    return failure(usage_error(fmt::format("--dtype {}: expected f32, q8_0 or q4_0", text)));
}

/// Options that mean nothing for what is converted.
Findings check_options(const ConvertCommandOptions& options, SourceForm form) {
    Findings findings;
    const bool lora = form == SourceForm::lora;
    const auto refuse = [&](std::string_view option, bool given, std::string_view why) {
        if (given) {
            findings.add(usage_error(fmt::format("{}: {}", option, why), options.input));
        }
    };
    refuse("--dtype", lora && options.dtype.has_value(), "an adapter's values stay f32");
    refuse("--base", !lora && options.base.has_value(), "only a LoRA needs one, and this is none");
    refuse("--target", !lora && options.target.has_value(),
           "only what is left of a LoRA can be told, and this is none");
    if (lora && !options.base) {
        findings.add(usage_error(
            "a LoRA is tied to the model that it was trained on; name it with --base MODEL",
            options.input));
    }
    return findings;
}

Findings check_places(const Request& request) {
    std::vector<std::string> inputs = {request.input};
    if (request.base) inputs.push_back(*request.base);
    if (request.forecast.target) inputs.push_back(*request.forecast.target);
    Findings findings = check_not_read("the output", request.output, "a file", inputs);
    if (!findings.has_errors()) {
        findings = check_target("the output", request.output, request.replace);
    }
    return findings;
}

Result<Request> understand(const ConvertCommandOptions& options) {
    Findings findings;
    Request request{.input = options.input,
                    .output = options.output,
                    .base = options.base,
                    .reading = options.work.read_options(),
                    .replace = options.force,
                    .progress = options.work.progress};
    if (options.dtype) {
        const Result<Dtype> dtype = parse_dtype(*options.dtype);
        if (succeeded(dtype, findings)) request.dtype = *dtype;
    }
    Result<ForecastRequest> forecast =
        understand_forecast(options.target, options.rounding, options.work.threads);
    if (succeeded(forecast, findings)) request.forecast = std::move(*forecast);
    const Result<SourceForm> form =
        is_folder(options.input) ? form_of_folder(options.input) : form_of_file(options.input);
    if (succeeded(form, findings)) {
        request.form = *form;
        findings.append(check_options(options, *form));
        findings.append(check_places(request));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return request;
}

// --------------------------------------------------------------------------------------- result

/// What was written, and what its maker should know.
struct Conversion {
    Findings warnings = {};
    Json result = Json::object();
    std::vector<std::string> notes = {};
    std::vector<std::string> lines = {};  // of the text, without what every conversion has
    std::uint64_t bytes = 0;
    Digest digest = {};
    std::uint64_t internal_checksum = 0;
    std::optional<Forecast> forecast = {};
};

tl::unexpected<Findings> failure_in(const std::string& path, Findings findings) {
    findings.set_file(path);
    return failure(std::move(findings));
}

/// "38 q4_0, 1 f32".
std::string storage_text(const std::vector<ModelTensor>& tensors) {
    std::string text;
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const auto count = std::ranges::count(tensors, dtype, &ModelTensor::dtype);
        if (count == 0) continue;
        if (!text.empty()) text += ", ";
        text += fmt::format("{} {}", count, to_string(dtype));
    }
    return text;
}

Json tensors_json(const std::vector<ModelTensor>& tensors) {
    Json list = Json::array();
    for (const ModelTensor& tensor : tensors) {
        const std::vector<std::uint32_t> dims(tensor.shape.dims.begin(),
                                              tensor.shape.dims.begin() + tensor.shape.rank);
        list.push_back({{"name", tensor.name},
                        {"dtype", to_string(tensor.dtype)},
                        {"dims", dims},
                        {"bytes", tensor.payload_length + tensor.scale_length}});
    }
    return list;
}

/// Watches what the library opens by itself: of the folder of `path`, or of the folder that it is,
/// all that a checkpoint or a LoRA can consist of.
void watch_folder_of(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code error;  // what cannot be listed cannot be read either, which is told later
    fs::directory_iterator entry(is_folder(path) ? path : folder_of(path), error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const std::string file = entry->path().string();
        if (file.ends_with(".json") || file.ends_with(".safetensors")) watch_input(file);
    }
}

// ------------------------------------------------------------------------------- to a model

/// Writes a model; `release` gives back the memory of what was read.
Result<Conversion> write_model(const Request& request, const ModelSource& source,
                               const std::function<void()>& release) {
    const StopRequests stop_requests;
    ProgressBar bar("converting", request.progress);
    constexpr std::uint64_t bytes_between_releases = std::uint64_t{64} << 20;
    std::uint64_t released_at = 0;
    ConvertOptions options{.dtype = request.dtype, .progress = {}};
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
        if (done >= released_at + bytes_between_releases) {
            release();
            released_at = done;
        }
        return bar.update(done, total);
    };
    Result<ConvertedModel> done = convert_model(source, request.output, request.replace, options);
    if (!done) {
        Findings findings = std::move(done).error();
        findings.set_file(findings.contains(FindingCode::output_failed) ? request.output
                                                                        : request.input);
        return failure(std::move(findings));
    }
    forget_inputs();
    Conversion conversion{
        .bytes = done->bytes, .digest = done->digest, .internal_checksum = done->internal_checksum};
    conversion.lines.push_back(fmt::format("{} tensors, {} parameters; stored as {}",
                                           done->tensors.size(), grouped(done->parameter_count),
                                           storage_text(done->tensors)));
    conversion.result["parameter_count"] = done->parameter_count;
    conversion.result["tensors"] = tensors_json(done->tensors);
    return conversion;
}

Result<Conversion> convert_checkpoint(const Request& request) {
    watch_folder_of(request.input);
    const Result<Checkpoint> checkpoint = Checkpoint::open(request.input);
    if (!checkpoint) return failure(checkpoint.error());
    Result<Conversion> conversion =
        write_model(request, checkpoint->source(), [&] { checkpoint->release(); });
    if (conversion) {
        conversion->notes.assign(checkpoint->notes().begin(), checkpoint->notes().end());
    }
    return conversion;
}

Result<Conversion> convert_slm1(const Request& request) {
    const Result<ModelInput> input = load_model(request.input, request.reading, request.progress);
    if (!input) return failure(input.error());
    Result<Conversion> conversion =
        write_model(request, source_of(input->model), [&] { input->file.release(); });
    if (conversion) {
        conversion->warnings = input->model.warnings();
        conversion->warnings.set_file(request.input);
    }
    return conversion;
}

// ----------------------------------------------------------------------------- to a package

Json entries_json(const std::vector<LoraEntry>& entries) {
    Json list = Json::array();
    for (const LoraEntry& entry : entries) {
        list.push_back({{"name", entry.tensor},
                        {"module", entry.module},
                        {"rank", entry.rank},
                        {"scale", json_number(entry.scale)}});
    }
    return list;
}

/// "rank 8, scale 2", or the ranges of both.
std::string ranks_text(const std::vector<LoraEntry>& entries) {
    const auto range = [&](auto member) {
        const auto [least, most] = std::ranges::minmax(entries, {}, member);
        const auto low = least.*member;
        const auto high = most.*member;
        return low == high ? fmt::format("{}", low) : fmt::format("{} to {}", low, high);
    };
    return fmt::format("rank {}, scale {}", range(&LoraEntry::rank), range(&LoraEntry::scale));
}

Result<Conversion> convert_lora(const Request& request) {
    watch_folder_of(request.input);
    Findings findings;
    const Result<ModelInput> base = load_model(*request.base, request.reading, request.progress);
    const bool base_is_good = succeeded(base, findings);
    std::optional<ModelInput> target;
    if (request.forecast.target) {
        Result<ModelInput> model =
            load_model(*request.forecast.target, request.reading, request.progress);
        if (succeeded(model, findings)) target = std::move(*model);
    }
    if (!base_is_good) return failure(std::move(findings));
    const StopRequests stop_requests;
    ProgressBar bar("converting", request.progress);
    Result<ImportedLora> lora = import_lora(
        request.input, base->model, request.output,
        [&](std::uint64_t done, std::uint64_t total) { return bar.update(done, total); });
    if (!succeeded(lora, findings) || findings.has_errors()) {
        return failure_in(request.input, std::move(findings));
    }

    Conversion conversion{.warnings = base->model.warnings(), .bytes = lora->written.bytes};
    conversion.warnings.set_file(*request.base);
    if (target) {
        const Result<MappedFile> file = lora->file.map();
        if (!file) return failure(file.error());
        const Result<Package> package = read_package(file->bytes());
        if (!package) return failure_in(request.input, package.error());
        const StackMember member{.package = &*package, .file = request.input};
        Result<Forecast> forecast =
            forecast_on(*target, {&member, 1}, request.forecast, request.progress);
        if (!forecast) return failure(std::move(forecast).error());
        conversion.warnings.append(forecast->warnings);
        conversion.forecast = std::move(*forecast);
    }
    Status named = publish({&lora->file, request.output}, std::nullopt, request.replace);
    if (!named) return failure(std::move(named).error());
    conversion.digest = lora->written.digest;
    conversion.internal_checksum = lora->written.checksum;
    conversion.lines.push_back(
        fmt::format("{} adapted matrices; {}", lora->entries.size(), ranks_text(lora->entries)));
    conversion.result["entries"] = entries_json(lora->entries);
    return conversion;
}

Result<Conversion> convert(const Request& request) {
    switch (request.form) {
        case SourceForm::checkpoint:
            return convert_checkpoint(request);
        case SourceForm::lora:
            return convert_lora(request);
        case SourceForm::model:
            break;
    }
    return convert_slm1(request);
}

// ----------------------------------------------------------------------------------------- text

std::string_view describe(SourceForm form) {
    switch (form) {
        case SourceForm::checkpoint:
            return "a Hugging Face checkpoint, to SLM1";
        case SourceForm::lora:
            return "a PEFT LoRA, to ALR1";
        case SourceForm::model:
            break;
    }
    return "an SLM1 model, to SLM1";
}

std::string convert_text(const Request& request, const Conversion& conversion, const Style& style) {
    std::string text =
        fmt::format("Converted {}, {}\n", style.paint(Paint::bold, printable(request.input)),
                    describe(request.form));
    for (const std::string& line : conversion.lines)
        text += fmt::format("  {}\n", line);
    for (const std::string& note : conversion.notes)
        text += fmt::format("  note: {}\n", wrapped(printable(note), 8, style.width));
    if (conversion.forecast) {
        text += forecast_text(request.forecast, *conversion.forecast, style);
    }
    text +=
        fmt::format("\nWrote {}\n  {}\n  {}\n", style.paint(Paint::bold, printable(request.output)),
                    byte_size(conversion.bytes), to_string(conversion.digest));
    text += fmt::format("  {}{}\n", style.paint(Paint::dim, "internal checksum  "),
                        format_checksum(conversion.internal_checksum));
    return text;
}

Json convert_json(const Request& request, const Conversion& conversion) {
    Json json = {{"source", to_string(request.form)},
                 {"format", request.form == SourceForm::lora ? "ALR1" : "SLM1"},
                 {"output",
                  {{"path", request.output},
                   {"bytes", conversion.bytes},
                   {"digest", to_string(conversion.digest)}}},
                 {"internal_checksum", format_checksum(conversion.internal_checksum)},
                 {"notes", conversion.notes}};
    for (const auto& [key, value] : conversion.result.members())
        json[key] = value;
    if (request.form == SourceForm::lora) {
        json["forecast"] = conversion.forecast
                               ? forecast_json(request.forecast, *conversion.forecast)
                               : Json(nullptr);
    }
    return json;
}

}  // namespace

Outcome run_convert(const ConvertCommandOptions& options) {
    const Result<Request> request = understand(options);
    if (!request) return Outcome::failed(request.error());
    Result<Conversion> conversion = convert(*request);
    if (!conversion) return Outcome::failed(std::move(conversion).error());
    return {.findings = conversion->warnings,
            .result = convert_json(*request, *conversion),
            .text = [request = *request, conversion = *conversion](const Style& style) {
                return convert_text(request, conversion, style);
            }};
}

}  // namespace trlm::adapt::cli
