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

std::string hash_text(std::uint64_t name_hash) {
    return tensor_label({}, name_hash);
}

Json dims_json(const Shape& shape) {
    Json dims = Json::array();
    for (std::uint32_t i = 0; i < shape.rank && i < shape.dims.size(); ++i) {
        dims.push_back(shape.dims[i]);
    }
    return dims;
}

Json statistics_json(const Statistics& statistics) {
    return {{"count", statistics.count}, {"zeros", statistics.zeros}, {"min", statistics.min},
            {"max", statistics.max},     {"mean", statistics.mean},   {"rms", statistics.rms}};
}

Json identity_json(const Identity& identity) {
    return {{"model_flags", identity.model_flags},
            {"tensor_count", identity.tensor_count},
            {"parameter_count", identity.parameter_count},
            {"tensor_layout_checksum", format_checksum(identity.tensor_layout_checksum)},
            {"tokenizer_checksum", format_checksum(identity.tokenizer_checksum)}};
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

std::uint64_t stored_bytes(const ModelTensor& tensor) {
    return tensor.payload_length + tensor.scale_length;
}

Json shape_json(const ModelShape& shape) {
    return {{"vocab_size", shape.vocab_size},
            {"special_token_count", shape.special_token_count},
            {"hidden_size", shape.hidden_size},
            {"layer_count", shape.layer_count},
            {"head_count", shape.head_count},
            {"kv_head_count", shape.kv_head_count},
            {"head_dim", shape.head_dim},
            {"ffn_size", shape.ffn_size},
            {"max_context", shape.max_context},
            {"rope_theta", json_number(shape.rope_theta)},
            {"rms_norm_epsilon", json_number(shape.rms_norm_epsilon)}};
}

Json tensor_json(const ModelTensor& tensor) {
    return {{"name", json_text_or_null(tensor.name)},
            {"name_hash", hash_text(tensor.name_hash)},
            {"dtype", to_string(tensor.dtype)},
            {"dims", dims_json(tensor.shape)},
            {"bytes", stored_bytes(tensor)}};
}

Json model_json(const ModelInput& input, std::span<const Statistics> statistics) {
    const Model& model = input.model;
    Json tensors = Json::array();
    for (std::size_t i = 0; i < model.tensors().size(); ++i) {
        tensors.push_back(tensor_json(model.tensors()[i]));
        if (!statistics.empty()) tensors.back()["statistics"] = statistics_json(statistics[i]);
    }
    return {{"file", input.path},
            {"format", to_string(FileFormat::slm1)},
            {"bytes", input.file.bytes().size()},
            {"internal_checksum", format_checksum(model.checksum())},
            {"identity", identity_json(model.identity())},
            {"state", format_checksum(initial_state(model.identity()))},
            {"shape", shape_json(model.shape())},
            {"tokenizer",
             {{"kind", to_string(model.tokenizer().kind())},
              {"vocab_size", model.tokenizer().vocab_size()}}},
            {"tensors", std::move(tensors)}};
}

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

std::string_view encoding_text(SparseEncoding encoding) noexcept {
    return encoding == SparseEncoding::bitmask ? "bitmask" : "index-list";
}

Json entry_json(const PackageEntry& entry, PackageKind kind) {
    Json json = {{"name", json_text_or_null(entry.name)},
                 {"name_hash", hash_text(entry.name_hash)},
                 {"dims", dims_json(entry.shape)}};
    if (kind == PackageKind::sparse) {
        json["encoding"] = encoding_text(entry.encoding);
        json["count"] = entry.count;
    }
    if (kind == PackageKind::low_rank) {
        json["rank"] = entry.rank;
        json["scale"] = json_number(entry.scale);
    }
    return json;
}

/// Builds JSON in which no key stands twice. The JSON library's own builder searches all keys of
/// an object before it adds one, which takes seconds for a mebibyte of short keys.
class DistinctKeysBuilder final : public nlohmann::json_sax<Json> {
public:
    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t value, const string_t&) override { return add(value); }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t&) override { return false; }
    bool key(string_t& name) override {
        key_ = std::move(name);
        return true;
    }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
        return false;
    }

    [[nodiscard]] Json take() noexcept { return std::move(root_); }

private:
    Json& place(Json value) {
        if (open_.empty()) return root_ = std::move(value);
        if (open_.back()->is_array()) return open_.back()->emplace_back(std::move(value));
        auto& members = open_.back()->get_ref<Json::object_t&>();
        members.emplace_back(std::move(key_), std::move(value));
        return members.back().second;
    }
    bool add(Json value) {
        place(std::move(value));
        return true;
    }
    bool open(Json container) {
        open_.push_back(&place(std::move(container)));
        return true;
    }
    bool close() {
        open_.pop_back();
        return true;
    }

    Json root_;
    std::vector<Json*> open_;
    std::string key_;
};

/// The metadata as JSON; null when there is none. Its reader has checked it.
Json metadata_json(const Package& package) {
    DistinctKeysBuilder builder;
    const bool parsed = Json::sax_parse(package.metadata(), &builder);
    return parsed ? builder.take() : Json(nullptr);
}

Json package_json(const PackageInput& input, std::span<const Statistics> statistics) {
    const Package& package = input.package;
    Json entries = Json::array();
    for (std::size_t i = 0; i < package.entries().size(); ++i) {
        entries.push_back(entry_json(package.entries()[i], package.kind()));
        if (!statistics.empty()) entries.back()["statistics"] = statistics_json(statistics[i]);
    }
    Json json = {{"file", input.path},
                 {"format", to_string(package.kind())},
                 {"bytes", input.file.bytes().size()},
                 {"internal_checksum", format_checksum(package.checksum())},
                 {"identity", identity_json(package.identity())},
                 {"entries", std::move(entries)}};
    if (package.kind() == PackageKind::sparse) {
        json["retention"] = json_number(package.retention());
        json["mask_method"] = to_string(package.mask_method());
        json["mask_seed"] = package.mask_seed();
        json["mask_checksum"] = format_checksum(package.mask_checksum());
    }
    if (package.kind() == PackageKind::low_rank) {
        json["source_kind"] = to_string(package.source_kind());
        if (package.source_kind() != SourceKind::none) {
            json["source_hash"] = "xxh3-128:" + to_hex(package.source_hash());
        }
    }
    json["metadata"] = metadata_json(package);
    return json;
}

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
    for (const auto& [key, value] : metadata.items()) {
        if (key == "tensor_names") continue;
        const std::string shown = value.is_string()
                                      ? value.get<std::string>()
                                      : value.dump(-1, ' ', false, Json::error_handler_t::replace);
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

Json undo_json(const UndoInput& input) {
    const Undo& undo = input.undo;
    return {
        {"file", input.path},
        {"format", to_string(FileFormat::und1)},
        {"bytes", input.file.bytes().size()},
        {"internal_checksum", format_checksum(undo.checksum())},
        {"base", {{"bytes", undo.base_length()}, {"digest", to_string(undo.base_digest())}}},
        {"output", {{"bytes", undo.output_length()}, {"digest", to_string(undo.output_digest())}}},
        {"runs", undo.run_count()},
        {"restored_bytes", undo.restored_bytes()}};
}

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
    Json result = model_json(*input, statistics);
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
    Json result = package_json(*input, statistics);
    return {.result = std::move(result),
            .text = [input, statistics, everything = options.statistics](const Style& style) {
                return package_text(*input, statistics, everything, style);
            }};
}

Outcome inspect_undo(const InspectOptions& options, MappedFile file) {
    Result<UndoInput> read = read_undo_input(options.file, std::move(file), options.work.progress);
    if (!read) return Outcome::failed(std::move(read).error());
    const auto input = std::make_shared<const UndoInput>(std::move(*read));
    return {.result = undo_json(*input),
            .text = [input](const Style& style) { return undo_text(*input, style); }};
}

}  // namespace

Outcome run_inspect(const InspectOptions& options) {
    Result<MappedFile> file = MappedFile::open(options.file);
    if (!file) return Outcome::failed(std::move(file).error());
    const std::optional<FileFormat> format = detect_format(file->bytes());
    const ReadDepth depth = options.statistics ? ReadDepth::everything : ReadDepth::headers;
    if (!format) return Outcome::failed(unknown_format(options.file, file->bytes()));
    if (*format == FileFormat::und1) return inspect_undo(options, std::move(*file));
    return *format == FileFormat::slm1 ? inspect_model(options, depth, std::move(*file))
                                       : inspect_package(options, depth, std::move(*file));
}

}  // namespace trlm::adapt::cli
