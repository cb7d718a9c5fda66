#include "trlm/adapt/produce/checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "guard.hpp"
#include "json.hpp"
#include "produce/document.hpp"
#include "produce/json_fields.hpp"
#include "produce/names.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/produce/safetensors.hpp"
#include "trlm/adapt/produce/tokenizer_import.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view configuration_name = "config.json";
constexpr std::string_view whole_name = "model.safetensors";
constexpr std::string_view index_name = "model.safetensors.index.json";
constexpr std::string_view tokenizer_name = "tokenizer.json";

/// One safetensors file of a checkpoint.
struct Shard {
    std::string path;
    MappedFile file;
    Safetensors tensors;
};

/// Where an SLM1 tensor comes from.
struct TensorOrigin {
    const SafetensorsTensor* tensor = nullptr;
    std::uint64_t cols = 0;
    bool rotated = false;
};

/// A whole name, without anything that leads out of a folder.
bool is_plain_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

/// Buffers that early versions saved beside the weights; they follow from the configuration.
bool is_derived(std::string_view name) {
    return name.ends_with(".rotary_emb.inv_freq");
}

/// What is absent from a config.json has the value that Hugging Face's own configuration gives it.
struct UsualValues {
    std::uint32_t context = 2048;
    std::optional<std::uint32_t> kv_head_count = {};  // as many as heads
    std::optional<double> window = {};                // the whole context
};

constexpr UsualValues usual_of_llama{};
constexpr UsualValues usual_of_mistral{131'072, 8, 4096};
constexpr double usual_theta = 10'000;
constexpr double usual_epsilon = 1e-6;

/// The network that a config.json describes, and what it names beside.
struct Configuration {
    ModelShape shape;
    bool tied = false;
    NamedSpecialTokens special;
};

/// Reads a config.json; every setting that SLM1 has no place for is refused by name.
class ConfigurationReader {
public:
    ConfigurationReader(const Json& document, Findings& findings)
        : document_(document), findings_(findings), fields_(document, findings) {}

    [[nodiscard]] Configuration read() {
        judge_architecture();
        judge_settings();
        judge_rotation();
        Configuration configuration;
        read_shape(configuration.shape);
        judge_window(configuration.shape.max_context);
        configuration.tied = fields_.flag("tie_word_embeddings", false);
        configuration.special = {token_id("bos_token_id"), token_id("eos_token_id"),
                                 token_id("pad_token_id"), token_id("unk_token_id")};
        return configuration;
    }

private:
    void refuse(std::string_view key, std::string message) {
        const Json* const value = document_.find(key);
        fields_.add(FindingCode::unsupported_source, key, std::move(message), {},
                    value == nullptr ? std::string() : shown(*value));
    }

    void judge_architecture() {
        const auto type = fields_.text("model_type");
        if (!type) {
            if (fields_.find("model_type") == nullptr) {
                fields_.add(FindingCode::missing_key, "model_type",
                            "model_type is missing; add it (\"llama\")");
            }
            return;
        }
        if (*type == "mistral") {
            usual_ = usual_of_mistral;
        } else if (*type != "llama") {
            refuse("model_type",
                   fmt::format("the architecture is {}; only models of the LLaMA shape (model_type "
                               "llama or mistral) can be converted",
                               *type));
        }
        const Json* const names = fields_.find("architectures");
        if (names == nullptr) return;
        if (!names->is_array()) return fields_.wrong("architectures", "a list");
        const bool known = std::ranges::any_of(names->elements(), [](const Json& name) {
            return name == "LlamaForCausalLM" || name == "MistralForCausalLM";
        });
        if (!known) {
            refuse("architectures", fmt::format("the architecture is {}; only LlamaForCausalLM and "
                                                "MistralForCausalLM can be converted",
                                                shown(*names)));
        }
    }

    void judge_settings() {
        const auto activation = fields_.text("hidden_act").value_or("silu");
        if (activation != "silu" && activation != "swish") {
            refuse("hidden_act",
                   fmt::format("the activation is {}, but SLM1's is silu (SwiGLU)", activation));
        }
        for (const std::string_view bias : {"attention_bias", "mlp_bias"}) {
            if (fields_.flag(bias, false)) {
                refuse(bias, fmt::format("{} is true, but SLM1 has no biases", bias));
            }
        }
        if (const Json* const quantization = fields_.find("quantization_config")) {
            refuse("quantization_config",
                   fmt::format("the checkpoint is quantized already ({}); convert the original in "
                               "F32, F16 or BF16",
                               shown(*quantization)));
        }
    }

    void judge_window(std::uint32_t context) {
        constexpr std::string_view key = "sliding_window";
        // Unlike null, a key that is absent leaves the usual window.
        const auto window = document_.find(key) != nullptr ? fields_.number(key) : usual_.window;
        if (window && *window < context) {
            refuse(key, fmt::format("attention looks back over {} tokens only (sliding_window), "
                                    "but SLM1's over the whole context; a model that needs no "
                                    "window says null",
                                    *window));
        }
    }

    /// "default", or what the scaling is called.
    static std::string rope_type(const Json& scaling) {
        for (const std::string_view key : {"rope_type", "type"}) {
            const Json* const type = scaling.find(key);
            if (type == nullptr || type->is_null()) continue;
            return type->is_text() ? type->text() : shown(*type);
        }
        return "default";
    }

    void judge_rotation() {
        for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
            const Json* const scaling = fields_.find(key);
            if (scaling == nullptr) continue;
            if (!scaling->is_object()) {
                fields_.wrong(key, "an object or null");
                continue;
            }
            judge_rotated_part(JsonFields(*scaling, findings_, json_pointer({}, key)));
            const std::string type = rope_type(*scaling);
            if (type == "default") continue;
            refuse(key, fmt::format("RoPE is scaled ({} {}), but SLM1 has plain RoPE; a model that "
                                    "needs it cannot be converted",
                                    key, type));
        }
        judge_rotated_part(fields_);
    }

    static void judge_rotated_part(const JsonFields& fields) {
        constexpr std::string_view key = "partial_rotary_factor";
        const auto part = fields.number(key);
        if (!part || *part == 1) return;
        fields.add(
            FindingCode::unsupported_source, key,
            fmt::format("RoPE turns {} of each head only, but SLM1's turns all of it", *part), "1",
            fmt::format("{}", *part));
    }

    /// A positive number that an f32 can hold.
    [[nodiscard]] static float positive(const JsonFields& fields, std::string_view key,
                                        double otherwise) {
        const auto value = fields.number(key);
        if (!value) return static_cast<float>(otherwise);
        const auto rounded = static_cast<float>(*value);
        if (std::isfinite(rounded) && rounded > 0) return rounded;
        fields.wrong(key, "above 0 and finite as an f32");
        return static_cast<float>(otherwise);
    }

    /// Newer configurations have it in rope_parameters; where both say it, they say the same.
    [[nodiscard]] float rope_theta() {
        constexpr std::string_view key = "rope_theta";
        const float theta = positive(fields_, key, usual_theta);
        const Json* const parameters = fields_.find("rope_parameters");
        if (parameters == nullptr || !parameters->is_object()) return theta;
        const JsonFields inner(*parameters, findings_, "/rope_parameters");
        if (inner.find(key) == nullptr) return theta;
        const float inner_theta = positive(inner, key, usual_theta);
        if (fields_.find(key) != nullptr && inner_theta != theta) {
            inner.wrong(key, fmt::format("{}, as the other {} is", theta, key));
        }
        return inner_theta;
    }

    void read_shape(ModelShape& shape) {
        shape.vocab_size = fields_.required_count("vocab_size");
        shape.hidden_size = fields_.required_count("hidden_size");
        shape.ffn_size = fields_.required_count("intermediate_size");
        shape.layer_count = fields_.required_count("num_hidden_layers");
        shape.head_count = fields_.required_count("num_attention_heads");
        shape.kv_head_count = kv_head_count(shape.head_count);
        shape.max_context = fields_.count("max_position_embeddings").value_or(usual_.context);
        shape.rope_theta = rope_theta();
        shape.rms_norm_epsilon = positive(fields_, "rms_norm_eps", usual_epsilon);
        const auto head_dim = fields_.count("head_dim");
        if (shape.head_count == 0) return;
        shape.head_dim = head_dim.value_or(shape.hidden_size / shape.head_count);
        judge_shape(shape, head_dim.has_value());
    }

    [[nodiscard]] std::uint32_t kv_head_count(std::uint32_t head_count) const {
        constexpr std::string_view key = "num_key_value_heads";
        if (document_.find(key) == nullptr) return usual_.kv_head_count.value_or(head_count);
        return fields_.count(key).value_or(head_count);
    }

    void judge_shape(const ModelShape& shape, bool head_dim_given) {
        if (!head_dim_given && shape.hidden_size % shape.head_count != 0) {
            fields_.wrong("num_attention_heads",
                          fmt::format("a divisor of hidden_size {}", shape.hidden_size));
        } else if (shape.head_dim % 2 != 0) {
            fields_.add(
                FindingCode::bad_value, "head_dim",
                fmt::format("a head has {} values, but RoPE turns pairs of them", shape.head_dim),
                "even", fmt::format("{}", shape.head_dim));
        }
        if (shape.head_count % shape.kv_head_count != 0) {
            fields_.wrong("num_key_value_heads",
                          fmt::format("a divisor of num_attention_heads {}", shape.head_count));
        }
        if (!findings_.has_errors() && expected_tensors(shape, 0).empty()) {
            fields_.add(FindingCode::limit_exceeded, "num_hidden_layers",
                        fmt::format("{} layers have more than {} tensors", shape.layer_count,
                                    limits::tensors));
        }
    }

    /// A special id; some configurations list several, or have -1 for none.
    [[nodiscard]] std::optional<std::uint32_t> token_id(std::string_view key) const {
        const Json* const value = fields_.find(key);
        if (value == nullptr) return std::nullopt;
        if (value->is_negative_integer()) return std::nullopt;
        if (value->is_array() && !value->elements().empty()) {
            const Json first = {{std::string(key), value->elements().front()}};
            return JsonFields(first, findings_).id(key);
        }
        return fields_.id(key);
    }

    const Json& document_;
    Findings& findings_;
    JsonFields fields_;
    UsualValues usual_ = usual_of_llama;
};

}  // namespace

struct Checkpoint::Parts {
    ModelShape shape;
    std::uint32_t flags = 0;
    std::vector<std::byte> tokenizer_section;
    std::vector<Shard> shards;
    std::vector<TensorOrigin> origins;  // as expected_tensors
    std::vector<std::string> notes;
};

/// Opens a checkpoint; findings gather here.
class CheckpointReader {
public:
    CheckpointReader(const std::string& path, FileReading reading) : reading_(reading) {
        auto [folder, file] = source_path(path);
        folder_ = std::move(folder);
        file_ = std::move(file);
    }

    [[nodiscard]] Result<Checkpoint> read() {
        read_configuration();
        open_shards();
        if (!findings_.has_errors()) read_tokenizer();
        if (configured_ && opened_) find_tensors();
        if (findings_.has_errors()) return failure(std::move(findings_));
        return Checkpoint(std::move(parts_));
    }

private:
    using Parts = Checkpoint::Parts;

    /// Runs `work`, and names `path` in the findings that it adds to its argument.
    template <class Work>
    void within(const std::string& path, const Work& work) {
        Findings findings;
        work(findings);
        findings.set_file(path);
        findings_.append(std::move(findings));
    }

    void read_configuration() {
        configuration_path_ = path_in(folder_, std::string(configuration_name));
        const auto document = read_document(configuration_path_, configuration_bytes);
        if (!document) return findings_.append(document.error());
        within(configuration_path_, [&](Findings& findings) {
            configuration_ = ConfigurationReader(*document, findings).read();
            configured_ = !findings.has_errors();
        });
        parts_->shape = configuration_.shape;
        parts_->flags = configuration_.tied ? model_flag_tied_output : 0;
    }

    void read_tokenizer() {
        const std::string path = path_in(folder_, std::string(tokenizer_name));
        const bool bytes = !file_exists(path);
        const auto imported = bytes ? import_bytes(parts_->shape.vocab_size, configuration_.special)
                                    : import_file(path);
        if (imported) {
            parts_->tokenizer_section = imported->section;
            parts_->notes = imported->notes;
            return;
        }
        within(bytes ? configuration_path_ : path,
               [&](Findings& findings) { findings.append(imported.error()); });
    }

    [[nodiscard]] Result<ImportedTokenizer> import_file(const std::string& path) const {
        const auto file = MappedFile::open(path, FileReading::copied);
        if (!file) return failure(file.error());
        return import_tokenizer_json(as_text(file->bytes()), parts_->shape.vocab_size,
                                     configuration_.special);
    }

    void open_shards() {
        if (!file_.empty()) return open_whole(file_);
        const std::string whole = path_in(folder_, std::string(whole_name));
        if (file_exists(whole)) return open_whole(whole);
        const std::string index = path_in(folder_, std::string(index_name));
        if (file_exists(index)) return open_index(index);
        findings_.add({.code = FindingCode::file_missing,
                       .message = fmt::format("there is neither {} nor {}; save the checkpoint "
                                              "with safe_serialization=True",
                                              whole_name, index_name),
                       .file = folder_});
    }

    void open_whole(const std::string& path) {
        opened_ = open_shard(path);
        if (!opened_) return;
        const std::size_t shard = parts_->shards.size() - 1;
        for (const SafetensorsTensor& tensor : parts_->shards.back().tensors.tensors())
            tensors_.emplace(tensor.name, Place{shard, &tensor});
    }

    bool open_shard(const std::string& path) {
        auto file = MappedFile::open(path, reading_);
        if (!file) {
            findings_.append(std::move(file.error()));
            return false;
        }
        auto tensors = read_safetensors(file->bytes());
        if (!tensors) {
            within(path, [&](Findings& findings) { findings.append(tensors.error()); });
            return false;
        }
        parts_->shards.push_back({path, std::move(*file), std::move(*tensors)});
        return true;
    }

    void open_index(const std::string& path) {
        const auto document = read_document(path, index_bytes);
        if (!document) return findings_.append(document.error());
        const Json* const map = document->find("weight_map");
        if (map == nullptr || !map->is_object()) {
            findings_.add({.code = FindingCode::missing_key,
                           .message = "the index has no weight_map object",
                           .file = path,
                           .pointer = "/weight_map"});
            return;
        }
        opened_ = true;
        std::map<std::string, std::optional<std::size_t>> shards;  // by file name
        for (const auto& [name, file] : map->members()) {
            const std::string pointer = json_pointer("/weight_map", name);
            if (!file.is_text() || !is_plain_name(file.text())) {
                opened_ = false;
                findings_.add({.code = FindingCode::path_escape,
                               .message = fmt::format("{} is not the name of a file in the "
                                                      "checkpoint's folder",
                                                      shown(file)),
                               .file = path,
                               .tensor = name,
                               .pointer = pointer});
                continue;
            }
            place_indexed(path, name, file.text(), pointer, shards);
        }
        if (opened_) judge_unlisted(path);
    }

    void place_indexed(const std::string& index, const std::string& name, const std::string& file,
                       const std::string& pointer,
                       std::map<std::string, std::optional<std::size_t>>& shards) {
        const auto [shard, first] = shards.try_emplace(file);
        if (first) {
            if (open_shard(path_in(folder_, file))) {
                shard->second = parts_->shards.size() - 1;
            } else {
                opened_ = false;
            }
        }
        if (!shard->second) return;
        const SafetensorsTensor* const tensor = parts_->shards[*shard->second].tensors.find(name);
        if (tensor != nullptr) {
            tensors_.emplace(name, Place{*shard->second, tensor});
            return;
        }
        opened_ = false;
        findings_.add(
            {.code = FindingCode::missing_tensor,
             .message = fmt::format("the index says that it is in {}, but it is not", file),
             .file = index,
             .tensor = name,
             .pointer = pointer});
    }

    /// Tensors of shards that the index does not lead to.
    void judge_unlisted(const std::string& index) {
        for (std::size_t i = 0; i < parts_->shards.size(); ++i) {
            const Shard& shard = parts_->shards[i];
            for (const SafetensorsTensor& tensor : shard.tensors.tensors()) {
                const auto place = tensors_.find(tensor.name);
                if (place != tensors_.end() && place->second.shard == i) continue;
                const bool twice = place != tensors_.end();
                findings_.add(
                    {.code = twice ? FindingCode::duplicate_tensor : FindingCode::unexpected_tensor,
                     .message = twice ? fmt::format("the tensor is in two shards; {} takes the "
                                                    "other",
                                                    index)
                                      : fmt::format("{} does not list the tensor", index),
                     .file = shard.path,
                     .tensor = tensor.name});
            }
        }
    }

    /// Where a tensor lies.
    struct Place {
        std::size_t shard = 0;
        const SafetensorsTensor* tensor = nullptr;
    };

    void find_tensors() {
        std::map<std::string, bool, std::less<>> expected;  // names in the checkpoint
        for (const ExpectedTensor& tensor : expected_tensors(parts_->shape, parts_->flags)) {
            const std::string name = hugging_face_module(tensor.name) + ".weight";
            expected.emplace(name, true);
            find_tensor(tensor, name);
        }
        for (const auto& [name, place] : tensors_) {
            if (expected.contains(name) || is_derived(name)) continue;
            if (name == "lm_head.weight" && repeats_embeddings(*place.tensor)) continue;
            findings_.add({.code = FindingCode::unexpected_tensor,
                           .message = unexpected_reason(name),
                           .file = parts_->shards[place.shard].path,
                           .tensor = name});
        }
    }

    void find_tensor(const ExpectedTensor& expected, const std::string& name) {
        const auto found = tensors_.find(name);
        if (found == tensors_.end()) {
            findings_.add({.code = FindingCode::missing_tensor,
                           .message = fmt::format("config.json asks for this tensor ({} in SLM1), "
                                                  "but the checkpoint has none of this name",
                                                  expected.name),
                           .file = file_.empty() ? folder_ : file_,
                           .tensor = name});
            return;
        }
        const SafetensorsTensor& tensor = *found->second.tensor;
        const std::vector<std::uint64_t> dims(expected.shape.dims.begin(),
                                              expected.shape.dims.begin() + expected.shape.rank);
        const std::string& file = parts_->shards[found->second.shard].path;
        if (tensor.dims != dims) {
            findings_.add({.code = FindingCode::shape_mismatch,
                           .message = fmt::format("the shape is {}, but by config.json it is {}",
                                                  dims_text(tensor.dims), dims_text(dims)),
                           .file = file,
                           .tensor = name,
                           .expected = dims_text(dims),
                           .actual = dims_text(tensor.dims)});
        }
        if (!is_convertible(tensor.dtype)) {
            findings_.add({.code = FindingCode::unsupported_dtype,
                           .message = fmt::format("the values are {}; convert a checkpoint in F32, "
                                                  "F16 or BF16",
                                                  to_string(tensor.dtype)),
                           .file = file,
                           .tensor = name,
                           .expected = "F32, F16 or BF16",
                           .actual = std::string(to_string(tensor.dtype))});
        }
        parts_->origins.push_back({&tensor, expected.shape.cols(), is_rotated(expected.name)});
    }

    /// With a tied output the same values may have been saved under both names.
    [[nodiscard]] bool repeats_embeddings(const SafetensorsTensor& head) const {
        const auto embeddings = tensors_.find("model.embed_tokens.weight");
        if (embeddings == tensors_.end()) return false;
        const SafetensorsTensor& other = *embeddings->second.tensor;
        return head.dtype == other.dtype && head.dims == other.dims &&
               std::ranges::equal(head.data, other.data);
    }

    [[nodiscard]] std::string unexpected_reason(std::string_view name) const {
        if (name == "lm_head.weight") {
            return "tie_word_embeddings is true, but this is not the embeddings again; correct "
                   "config.json";
        }
        if (name.ends_with(".bias")) return "SLM1 has no biases";
        return "the LLaMA shape that config.json describes has no such tensor";
    }

    FileReading reading_;
    std::string folder_;
    std::string file_;  // the one that was named, where it was
    std::string configuration_path_;
    Configuration configuration_;
    bool configured_ = false;
    bool opened_ = false;
    std::map<std::string, Place> tensors_;  // all of the checkpoint, by name
    Findings findings_;
    std::unique_ptr<Parts> parts_ = std::make_unique<Parts>();
};

Checkpoint::Checkpoint(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Checkpoint::Checkpoint(Checkpoint&& other) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&& other) noexcept = default;
Checkpoint::~Checkpoint() = default;

Result<Checkpoint> Checkpoint::open(const std::string& path, FileReading reading) {
    return guarded([&]() -> Result<Checkpoint> { return CheckpointReader(path, reading).read(); });
}

ModelSource Checkpoint::source() const {
    const Parts* const parts = parts_.get();
    return {.shape = parts->shape,
            .flags = parts->flags,
            .tokenizer_section = parts->tokenizer_section,
            .read_rows = [parts](std::size_t index, std::uint64_t first_row, std::span<float> out) {
                const TensorOrigin& origin = parts->origins[index];
                if (!origin.rotated) {
                    return read_values(*origin.tensor, first_row * origin.cols, out);
                }
                for (std::uint64_t row = 0; row < out.size() / origin.cols; ++row) {
                    const std::uint64_t from =
                        half_split_row(first_row + row, parts->shape.head_dim);
                    read_values(*origin.tensor, from * origin.cols,
                                out.subspan(static_cast<std::size_t>(row * origin.cols),
                                            static_cast<std::size_t>(origin.cols)));
                }
            }};
}

std::span<const std::string> Checkpoint::notes() const noexcept {
    return parts_->notes;
}

void Checkpoint::release() const noexcept {
    for (const Shard& shard : parts_->shards)
        shard.file.release();
}

}  // namespace trlm::adapt
