#include "documents.hpp"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/version.hpp"

namespace trlm::adapt::cli {
namespace {

Json gates_json(const ChainReport& report) {
    Json gates = Json::array();
    for (std::size_t i = 0; i < gate_count; ++i) {
        gates.push_back(
            {{"gate", to_string(static_cast<Gate>(i))}, {"status", to_string(report.gates[i])}});
    }
    return gates;
}

Json survival_row(const TensorSurvival& tensor) {
    const std::optional<double> decibels = tensor.snr_db();
    return {{"name", tensor.name},
            {"elements", tensor.elements},
            {"touched", tensor.touched},
            {"changed", tensor.changed},
            {"kept", tensor.kept()},
            {"cosine", tensor.cosine()},
            {"snr_db", decibels ? Json(*decibels) : Json(nullptr)},
            {"max_abs_delta", tensor.max_abs_delta},
            {"rms_delta", tensor.rms_delta()}};
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

}  // namespace

Json finding_json(const Finding& finding) {
    const FindingInfo& info = finding_info(finding.code);
    Json json = {{"code", info.name},
                 {"class", to_string(info.finding_class)},
                 {"severity", to_string(finding.severity)},
                 {"message", finding.message},
                 {"file", json_text_or_null(finding.file)}};
    if (finding.offset) json["offset"] = *finding.offset;
    if (!finding.tensor.empty()) json["tensor"] = finding.tensor;
    if (finding.element) json["element"] = *finding.element;
    if (!finding.pointer.empty()) json["pointer"] = finding.pointer;
    if (!finding.expected.empty()) json["expected"] = finding.expected;
    if (!finding.actual.empty()) json["actual"] = finding.actual;
    return json;
}

std::string outcome_document(std::string_view command, const Findings& findings,
                             const Json& result) {
    const ExitCode exit_code = findings.exit_code();
    Json list = Json::array();
    for (const Finding& finding : findings)
        list.push_back(finding_json(finding));
    const Json document = {{"tool", "trlm-adapt"},
                           {"version", version},
                           {"command", json_text_or_null(command)},
                           {"ok", exit_code == ExitCode::ok},
                           {"exit_code", static_cast<int>(exit_code)},
                           {"findings", std::move(list)},
                           {"result", result}};
    return document.dump() + '\n';
}

Json json_number(float value) {
    const double read = std::strtod(fmt::format("{}", value).c_str(), nullptr);
    return static_cast<float>(read) == value ? read : static_cast<double>(value);
}

Json json_text_or_null(std::string_view value) {
    return value.empty() ? Json(nullptr) : Json(value);
}

Json verification_json(const ChainReport& report) {
    return {{"gates", gates_json(report)},
            {"opened", report.opened},
            {"state", report.state ? Json(format_checksum(*report.state)) : Json(nullptr)},
            {"entry", json_text_or_null(report.entry)}};
}

Json survival_json(std::span<const TensorSurvival> tensors) {
    Json list = Json::array();
    for (const TensorSurvival& tensor : tensors)
        list.push_back(survival_row(tensor));
    return list;
}

std::uint64_t stored_bytes(const ModelTensor& tensor) {
    return tensor.payload_length + tensor.scale_length;
}

Json model_json(const std::string& file, const Model& model,
                std::span<const Statistics> statistics) {
    Json tensors = Json::array();
    for (std::size_t i = 0; i < model.tensors().size(); ++i) {
        tensors.push_back(tensor_json(model.tensors()[i]));
        if (!statistics.empty())
            tensors.elements().back()["statistics"] = statistics_json(statistics[i]);
    }
    return {{"file", file},
            {"format", to_string(FileFormat::slm1)},
            {"bytes", model.bytes().size()},
            {"internal_checksum", format_checksum(model.checksum())},
            {"identity", identity_json(model.identity())},
            {"state", format_checksum(initial_state(model.identity()))},
            {"shape", shape_json(model.shape())},
            {"tokenizer",
             {{"kind", to_string(model.tokenizer().kind())},
              {"vocab_size", model.tokenizer().vocab_size()}}},
            {"tensors", std::move(tensors)}};
}

std::string_view encoding_text(SparseEncoding encoding) noexcept {
    return encoding == SparseEncoding::bitmask ? "bitmask" : "index-list";
}

Json metadata_json(const Package& package) {
    Result<Json> json = parse_json(package.metadata(), {.max_bytes = limits::metadata_bytes,
                                                        .max_depth = limits::metadata_depth});
    return json ? std::move(*json) : Json(nullptr);
}

Json package_json(const std::string& file, const Package& package,
                  std::span<const Statistics> statistics) {
    Json entries = Json::array();
    for (std::size_t i = 0; i < package.entries().size(); ++i) {
        entries.push_back(entry_json(package.entries()[i], package.kind()));
        if (!statistics.empty())
            entries.elements().back()["statistics"] = statistics_json(statistics[i]);
    }
    Json json = {{"file", file},
                 {"format", to_string(package.kind())},
                 {"bytes", package.bytes().size()},
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

Json undo_json(const std::string& file, const Undo& undo) {
    return {
        {"file", file},
        {"format", to_string(FileFormat::und1)},
        {"bytes", undo.bytes().size()},
        {"internal_checksum", format_checksum(undo.checksum())},
        {"base", {{"bytes", undo.base_length()}, {"digest", to_string(undo.base_digest())}}},
        {"output", {{"bytes", undo.output_length()}, {"digest", to_string(undo.output_digest())}}},
        {"runs", undo.run_count()},
        {"restored_bytes", undo.restored_bytes()}};
}

Json files_json(const std::vector<CheckedFile>& files) {
    Json list = Json::array();
    for (const CheckedFile& file : files) {
        list.push_back({{"file", file.path},
                        {"format", file.format ? Json(to_string(*file.format)) : Json(nullptr)},
                        {"ok", file.ok}});
    }
    return {{"files", std::move(list)}};
}

Findings unknown_format(const std::string& path, Bytes bytes) {
    constexpr std::size_t magic_bytes = 4;
    constexpr std::string_view known = "SLM1, ADP1, ASP1, ALR1 or UND1";
    Findings findings;
    if (bytes.size() < magic_bytes) {
        findings.add({.code = FindingCode::truncated,
                      .message = fmt::format("the file has {} of the 4 bytes that name its format",
                                             bytes.size()),
                      .file = path,
                      .offset = 0});
        return findings;
    }
    const std::string_view magic = as_text(bytes.first(magic_bytes));
    const bool readable =
        std::all_of(magic.begin(), magic.end(), [](char c) { return c >= ' ' && c <= '~'; });
    const std::string found =
        readable ? fmt::format("\"{}\"", magic) : "0x" + to_hex(bytes.first(magic_bytes));
    findings.add({.code = FindingCode::bad_magic,
                  .message = fmt::format("the first four bytes are {}, not {}", found, known),
                  .file = path,
                  .offset = 0,
                  .expected = std::string(known),
                  .actual = found});
    return findings;
}

Json application_json(const ApplyReport& report, const Rounding& rounding, std::string_view digest,
                      const std::optional<std::string>& path) {
    Json json = Json::object();
    json["output"] = nullptr;
    if (path) {
        json["output"] = {{"path", *path}, {"bytes", report.bytes}, {"digest", digest}};
    } else {
        json["predicted_digest"] = digest;
    }
    json["internal_checksum"] = format_checksum(report.internal_checksum);
    json["state"] = format_checksum(report.state);
    json["zero_effect"] = report.zero_effect;
    json["rounding"] = to_string(rounding);
    json["kept"] = report.kept ? Json(*report.kept) : Json(nullptr);
    json["tensors"] = survival_json(report.tensors);
    return json;
}

}  // namespace trlm::adapt::cli
