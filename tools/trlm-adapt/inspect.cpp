#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>

#include "inputs.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/statistics.hpp"

namespace trlm::adapt::cli {
namespace {

constexpr std::size_t label_width = 14;  // of the block above the table, indent included

std::string field(std::string_view label, std::string_view text, const Style& style) {
    return fmt::format("  {}{}\n",
                       style.paint(Paint::dim, fmt::format("{:<{}}", label, label_width - 2)),
                       wrapped(text, label_width, style.width));
}

std::string identity_text(std::string_view label, const Identity& identity, const Style& style) {
    const std::string_view output =
        (identity.model_flags & model_flag_tied_output) != 0 ? "tied" : "not tied";
    return field(label,
                 fmt::format("{}, {}, flags {} (output {})",
                             counted(identity.tensor_count, "tensor", "tensors"),
                             counted(identity.parameter_count, "parameter", "parameters"),
                             identity.model_flags, output),
                 style) +
           field("  layout", format_checksum(identity.tensor_layout_checksum), style) +
           field("  tokenizer", format_checksum(identity.tokenizer_checksum), style);
}

std::string number_text(double value) {
    return fmt::format("{:.3g}", value);
}

void add_statistics_columns(std::vector<Column>& columns) {
    for (const char* heading : {"min", "max", "mean", "rms"}) {
        columns.push_back({heading, Align::right});
    }
}

void add_statistics_cells(std::vector<Cell>& row, const Statistics& statistics) {
    for (const double value : {statistics.min, statistics.max, statistics.mean, statistics.rms}) {
        row.emplace_back(number_text(value));
    }
}

/// Says what was not looked at, so that nobody takes a glance for a check.
std::string depth_note(bool everything) {
    return everything ? "" : "\nOnly headers were read; trlm-adapt validate checks every byte.\n";
}

// ------------------------------------------------------------------------------------- models

/// "q8_0", or "f32 (9 tensors), q8_0 (30 tensors)".
std::string dtypes_text(std::span<const ModelTensor> tensors) {
    std::vector<std::string> parts;
    std::string_view only;
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const auto count = static_cast<std::uint64_t>(std::count_if(
            tensors.begin(), tensors.end(), [&](const auto& t) { return t.dtype == dtype; }));
        if (count == 0) continue;
        only = to_string(dtype);
        parts.push_back(fmt::format("{} ({})", only, counted(count, "tensor", "tensors")));
    }
    return parts.size() == 1 ? std::string(only) : fmt::format("{}", fmt::join(parts, ", "));
}

std::string shape_text(const ModelShape& shape) {
    return fmt::format(
        "{} of hidden size {}; {} and {} of {}; feed-forward {}; context {}; RoPE theta {}; "
        "RMS epsilon {}",
        counted(shape.layer_count, "layer", "layers"), shape.hidden_size,
        counted(shape.head_count, "head", "heads"),
        counted(shape.kv_head_count, "key-value head", "key-value heads"), shape.head_dim,
        shape.ffn_size, shape.max_context, shape.rope_theta, shape.rms_norm_epsilon);
}

std::string tokenizer_text(const Tokenizer& tokenizer) {
    std::string text =
        fmt::format("{}, {} ids", to_string(tokenizer.kind()), grouped(tokenizer.vocab_size()));
    if (tokenizer.kind() == TokenizerKind::bpe1) {
        text += fmt::format(", {}, {}", counted(tokenizer.token_count(), "token", "tokens"),
                            counted(tokenizer.merge_count(), "merge", "merges"));
    }
    const SpecialTokens& special = tokenizer.special();
    return text + fmt::format(" (BOS {}, EOS {}, PAD {}, UNK {})", special.bos, special.eos,
                              special.pad, special.unk);
}

std::string model_text(const ModelInput& input, std::span<const Statistics> statistics,
                       bool everything, const Style& style) {
    const Model& model = input.model;
    std::string text = style.paint(Paint::bold, printable(input.path)) + '\n';
    text += field("format", "SLM1, a model", style);
    text += field("size", byte_size(input.file.bytes().size()), style);
    text += field("stored as", dtypes_text(model.tensors()), style);
    text += field("shape", shape_text(model.shape()), style);
    text += field("vocabulary", tokenizer_text(model.tokenizer()), style);
    text += field("checksum",
                  format_checksum(model.checksum()) +
                      (model.checksum_verifiable() ? "" : " (foreign: nobody can verify it)"),
                  style);
    text += field("state", format_checksum(initial_state(model.identity())), style);
    text += identity_text("identity", model.identity(), style) + '\n';

    std::vector<Column> columns = {{"tensor", Align::left, true}, {"dtype"}, {"shape"}};
    if (statistics.empty()) {
        columns.push_back({"bytes", Align::right});
    } else {
        add_statistics_columns(columns);
    }
    Table table(std::move(columns));
    for (std::size_t i = 0; i < model.tensors().size(); ++i) {
        const ModelTensor& tensor = model.tensors()[i];
        std::vector<Cell> row = {printable(tensor_label(tensor.name, tensor.name_hash)),
                                 std::string(to_string(tensor.dtype)), to_string(tensor.shape)};
        if (statistics.empty()) {
            row.emplace_back(grouped(stored_bytes(tensor)));
        } else {
            add_statistics_cells(row, statistics[i]);
        }
        table.add(std::move(row));
    }
    return text + table.print(style, 2) + depth_note(everything);
}

// ----------------------------------------------------------------------------------- packages

std::string_view kind_text(PackageKind kind) noexcept {
    switch (kind) {
        case PackageKind::sparse:
            return "a sparse adapter";
        case PackageKind::low_rank:
            return "a low-rank adapter";
        case PackageKind::dense:
            break;
    }
    return "a dense adapter";
}

std::string kind_fields(const Package& package, const Style& style) {
    if (package.kind() == PackageKind::sparse) {
        const std::string seed = package.mask_method() == MaskMethod::random_drop
                                     ? fmt::format(", seed {}", package.mask_seed())
                                     : "";
        return field("retention",
                     fmt::format("{:.4g} % of the elements, chosen by: {}{}",
                                 static_cast<double>(package.retention()) * 100,
                                 to_string(package.mask_method()), seed),
                     style);
    }
    if (package.kind() == PackageKind::low_rank && package.source_kind() != SourceKind::none) {
        return field("made from",
                     fmt::format("{}, xxh3-128:{}", to_string(package.source_kind()),
                                 to_hex(package.source_hash())),
                     style);
    }
    return "";
}

/// The metadata's own fields that are text; tensor_names stand in the table.
std::string metadata_fields(const Package& package, const Style& style) {
    const Json metadata = metadata_json(package);
    std::string text;
    if (!metadata.is_object()) return text;
    for (const auto& [key, value] : metadata.members()) {
        if (key == "tensor_names") continue;
        const std::string shown = value.is_text() ? value.text() : value.dump();
        const std::string label = shortened(printable(key), label_width - 3);
        text += field(label, printable(shown), style);
    }
    return text;
}

/// The columns that only one kind of package has, statistics aside.
void add_kind_columns(std::vector<Column>& columns, PackageKind kind) {
    if (kind == PackageKind::sparse) {
        columns.push_back({"encoding"});
        columns.push_back({"count", Align::right});
    }
    if (kind == PackageKind::low_rank) {
        columns.push_back({"rank", Align::right});
        columns.push_back({"scale", Align::right});
    }
}

void add_kind_cells(std::vector<Cell>& row, const PackageEntry& entry, PackageKind kind) {
    if (kind == PackageKind::sparse) {
        row.emplace_back(std::string(encoding_text(entry.encoding)));
        row.emplace_back(grouped(entry.count));
    }
    if (kind == PackageKind::low_rank) {
        row.emplace_back(grouped(entry.rank));
        row.emplace_back(fmt::format("{}", entry.scale));
    }
}

std::string package_text(const PackageInput& input, std::span<const Statistics> statistics,
                         bool everything, const Style& style) {
    const Package& package = input.package;
    std::string text = style.paint(Paint::bold, printable(input.path)) + '\n';
    text +=
        field("format", fmt::format("{}, {}", to_string(package.kind()), kind_text(package.kind())),
              style);
    text += field("size", byte_size(input.file.bytes().size()), style);
    text += field("changes", counted(package.entries().size(), "tensor", "tensors"), style);
    text += kind_fields(package, style) + metadata_fields(package, style);
    text += field("checksum", format_checksum(package.checksum()), style);
    text += identity_text("made for", package.identity(), style) + '\n';

    std::vector<Column> columns = {{"tensor", Align::left, true}, {"shape"}};
    if (statistics.empty()) {
        add_kind_columns(columns, package.kind());
        columns.push_back({"bytes", Align::right});
    } else {
        add_statistics_columns(columns);
    }
    Table table(std::move(columns));
    for (std::size_t i = 0; i < package.entries().size(); ++i) {
        const PackageEntry& entry = package.entries()[i];
        std::vector<Cell> row = {printable(tensor_label(entry.name, entry.name_hash)),
                                 to_string(entry.shape)};
        if (statistics.empty()) {
            add_kind_cells(row, entry, package.kind());
            row.emplace_back(grouped(entry.payload_length));
        } else {
            add_statistics_cells(row, statistics[i]);
        }
        table.add(std::move(row));
    }
    return text + table.print(style, 2) + depth_note(everything);
}

// ---------------------------------------------------------------------------------- undo files

std::string undo_text(const UndoInput& input, const Style& style) {
    const Undo& undo = input.undo;
    std::string text = style.paint(Paint::bold, printable(input.path)) + '\n';
    text += field("format", "UND1, an undo file", style);
    text += field("size", byte_size(input.file.bytes().size()), style);
    text += field("restores",
                  fmt::format("{} in {}", counted(undo.restored_bytes(), "byte", "bytes"),
                              counted(undo.run_count(), "place", "places")),
                  style);
    text += field("checksum", format_checksum(undo.checksum()), style);
    const auto side = [&](std::string_view label, std::uint64_t bytes, const Digest& digest) {
        return field(label, byte_size(bytes), style) + fmt::format("    {}\n", to_string(digest));
    };
    text += side("turns", undo.output_length(), undo.output_digest());
    return text + side("into", undo.base_length(), undo.base_digest());
}

// ------------------------------------------------------------------------------------ command

Outcome inspect_model(const InspectOptions& options, ReadDepth depth, MappedFile file) {
    Result<ModelInput> read = read_model_input(
        options.file, std::move(file), options.work.read_options(depth), options.work.progress);
    if (!read) return Outcome::failed(std::move(read).error());
    const auto input = std::make_shared<const ModelInput>(std::move(*read));
    std::vector<Statistics> statistics;
    for (std::size_t i = 0; options.statistics && i < input->model.tensors().size(); ++i) {
        statistics.push_back(tensor_statistics(input->model, i));
        input->file.release();
    }
    Findings warnings = input->model.warnings();
    warnings.set_file(options.file);
    Json result = model_json(input->path, input->model, statistics);
    return {.findings = std::move(warnings),
            .result = std::move(result),
            .text = [input, statistics, everything = options.statistics](const Style& style) {
                return model_text(*input, statistics, everything, style);
            }};
}

Outcome inspect_package(const InspectOptions& options, ReadDepth depth, MappedFile file) {
    Result<PackageInput> read =
        read_package_input(options.file, std::move(file), depth, options.work.progress);
    if (!read) return Outcome::failed(std::move(read).error());
    const auto input = std::make_shared<const PackageInput>(std::move(*read));
    std::vector<Statistics> statistics;
    for (std::size_t i = 0; options.statistics && i < input->package.entries().size(); ++i) {
        statistics.push_back(entry_statistics(input->package, i));
        input->file.release();
    }
    Json result = package_json(input->path, input->package, statistics);
    return {.result = std::move(result),
            .text = [input, statistics, everything = options.statistics](const Style& style) {
                return package_text(*input, statistics, everything, style);
            }};
}

Outcome inspect_undo(const InspectOptions& options, MappedFile file) {
    Result<UndoInput> read = read_undo_input(options.file, std::move(file), options.work.progress);
    if (!read) return Outcome::failed(std::move(read).error());
    const auto input = std::make_shared<const UndoInput>(std::move(*read));
    return {.result = undo_json(input->path, input->undo),
            .text = [input](const Style& style) { return undo_text(*input, style); }};
}

}  // namespace

Outcome run_inspect(const InspectOptions& options) {
    Result<MappedFile> file = open_input(options.file);
    if (!file) return Outcome::failed(std::move(file).error());
    const std::optional<FileFormat> format = detect_format(file->bytes());
    const ReadDepth depth = options.statistics ? ReadDepth::everything : ReadDepth::headers;
    if (!format) return Outcome::failed(unknown_format(options.file, file->bytes()));
    if (*format == FileFormat::und1) return inspect_undo(options, std::move(*file));
    return *format == FileFormat::slm1 ? inspect_model(options, depth, std::move(*file))
                                       : inspect_package(options, depth, std::move(*file));
}

}  // namespace trlm::adapt::cli
