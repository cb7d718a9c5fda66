#include "trlm/adapt/produce/lora.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "json.hpp"
#include "produce/document.hpp"
#include "produce/json_fields.hpp"
#include "produce/names.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/safetensors.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view configuration_name = "adapter_config.json";
constexpr std::string_view weights_name = "adapter_model.safetensors";
constexpr std::string_view name_prefix = "base_model.model.";

/// `module` is `name`, or ends with it behind a dot: how PEFT matches names.
bool names_module(std::string_view name, std::string_view module) {
    if (name == module) return true;
    return module.size() > name.size() && module.ends_with(name) &&
           module[module.size() - name.size() - 1] == '.';
}

bool names_any(const std::vector<std::string>& names, std::string_view module) {
    return std::ranges::any_of(names,
                               [&](const std::string& name) { return names_module(name, module); });
}

/// Values for the modules that a name matches, the first match first.
template <class T>
using Pattern = std::vector<std::pair<std::string, T>>;

template <class T>
T value_for(const Pattern<T>& pattern, std::string_view module, T otherwise) {
    const auto found = std::ranges::find_if(
        pattern, [&](const auto& entry) { return names_module(entry.first, module); });
    return found == pattern.end() ? otherwise : found->second;
}

/// What an adapter_config.json says.
struct Configuration {
    std::uint32_t rank = 0;
    double alpha = 0;
    bool rank_stabilized = false;
    bool fan_in_fan_out = false;
    Pattern<std::uint32_t> ranks;
    Pattern<double> alphas;
    std::optional<std::vector<std::string>> targets;  // module names, where they are a list
    std::vector<std::string> excluded;                // exclude_modules
    std::set<std::uint64_t> layers;                   // layers_to_transform; none means all

    [[nodiscard]] std::uint32_t rank_of(std::string_view module) const {
        return value_for(ranks, module, rank);
    }

    /// alpha / r or alpha / sqrt(r), rounded once.
    [[nodiscard]] float scale_of(std::string_view module) const {
        const double r = rank_of(module);
        return static_cast<float>(value_for(alphas, module, alpha) /
                                  (rank_stabilized ? std::sqrt(r) : r));
    }

    /// Whether `targets`, which must be there, and the other two choose the module.
    [[nodiscard]] bool chooses(std::string_view module) const {
        return names_any(*targets, module) && !names_any(excluded, module) &&
               (layers.empty() || std::ranges::any_of(layers, [&](std::uint64_t layer) {
                    return module.starts_with(fmt::format("model.layers.{}.", layer));
                }));
    }
};

/// Settings that say nothing about the delta, or are judged one by one.
constexpr std::array known_settings{"peft_type",
                                    "task_type",
                                    "base_model_name_or_path",
                                    "revision",
                                    "peft_version",
                                    "auto_mapping",
                                    "inference_mode",
                                    "r",
                                    "lora_alpha",
                                    "lora_dropout",
                                    "target_modules",
                                    "exclude_modules",
                                    "fan_in_fan_out",
                                    "bias",
                                    "use_rslora",
                                    "modules_to_save",
                                    "init_lora_weights",
                                    "layers_pattern",
                                    "layers_to_transform",
                                    "rank_pattern",
                                    "alpha_pattern",
                                    "megatron_config",
                                    "megatron_core",
                                    "loftq_config",
                                    "eva_config",
                                    "corda_config",
                                    "lora_ga_config",
                                    "use_dora",
                                    "layer_replication",
                                    "runtime_config",
                                    "lora_bias",
                                    "qalora_group_size",
                                    "use_qalora",
                                    "target_parameters",
                                    "trainable_token_indices",
                                    "arrow_config",
                                    "ensure_weight_tying",
                                    "alora_invocation_tokens"};

/// False for null, false, "" and what is empty: a setting that is not in use.
bool in_use(const Json& value) {
    if (value.is_null()) return false;
    if (value.is_boolean()) return value.boolean();
    if (value.is_text()) return !value.text().empty();
    if (value.is_array()) return !value.elements().empty();
    return value.is_number() || !value.members().empty();
}

/// Reads an adapter_config.json; what a low-rank delta cannot say is refused by name.
class ConfigurationReader {
public:
    ConfigurationReader(const Json& document, Findings& findings)
        : document_(document), findings_(findings), fields_(document, findings) {}

    [[nodiscard]] Configuration read() {
        judge_method();
        judge_settings();
        judge_initialization();
        Configuration configuration;
        configuration.rank = fields_.required_count("r");
        if (fields_.find("lora_alpha") == nullptr) {
            fields_.add(FindingCode::missing_key, "lora_alpha", "lora_alpha is missing; add it");
        }
        configuration.alpha = fields_.number("lora_alpha").value_or(1);
        if (configuration.alpha == 0) fields_.wrong("lora_alpha", "other than 0");
        configuration.rank_stabilized = fields_.flag("use_rslora", false);
        configuration.fan_in_fan_out = fields_.flag("fan_in_fan_out", false);
        read_patterns(configuration);
        read_targets(configuration);
        return configuration;
    }

private:
    void refuse(std::string_view key, std::string message) {
        fields_.add(FindingCode::unsupported_source, key, std::move(message), {},
                    shown(document_[key]));
    }

    void judge_method() {
        const auto method = fields_.text("peft_type");
        if (method && *method == "LORA") return;
        if (method) {
            refuse("peft_type",
                   fmt::format("the adapter's method is {}; only LORA can be converted", *method));
        } else if (fields_.find("peft_type") == nullptr) {
            fields_.add(FindingCode::missing_key, "peft_type",
                        "peft_type is missing; add it (\"LORA\")");
        }
    }

    void judge_settings() {
        struct Unsupported {
            std::string_view key;
            std::string_view what;
        };
        static constexpr std::array unsupported{
            Unsupported{"use_dora",
                        "DoRA also scales each row of the merged weight, which no low-rank delta "
                        "does; merge the adapter with PEFT (merge_and_unload), convert the merged "
                        "checkpoint and make the package with diff"},
            Unsupported{"modules_to_save",
                        "modules_to_save are whole matrices that were trained beside the LoRA; "
                        "merge the adapter with PEFT (merge_and_unload), convert the merged "
                        "checkpoint and make the package with diff"},
            Unsupported{"lora_bias",
                        "a LoRA with biases has no place in SLM1, which has none; "
                        "train without lora_bias"},
            Unsupported{"use_qalora",
                        "QALoRA pools its inputs, which no low-rank delta does; merge "
                        "it first and make the package with diff"},
            Unsupported{"layer_replication",
                        "layer_replication makes a model of more layers; convert that model, not "
                        "the adapter"},
            Unsupported{"target_parameters",
                        "target_parameters adapts tensors that are no linear "
                        "layers; merge it first and make the package with "
                        "diff"},
            Unsupported{"trainable_token_indices",
                        "trainable_token_indices changes rows of the embeddings beside the LoRA; "
                        "merge it first and make the package with diff"},
            Unsupported{"alora_invocation_tokens",
                        "an activated LoRA is switched on by tokens, which no merged weight can "
                        "be"},
            Unsupported{"arrow_config",
                        "Arrow chooses among adapters at run time, which no merged "
                        "weight can"},
        };
        for (const Unsupported& setting : unsupported) {
            const Json* const value = fields_.find(setting.key);
            if (value != nullptr && in_use(*value)) refuse(setting.key, std::string(setting.what));
        }
        const auto bias = fields_.text("bias").value_or("none");
        if (bias != "none") {
            refuse("bias", fmt::format("bias is {}: biases were trained beside the LoRA, and SLM1 "
                                       "has none; train with bias none",
                                       bias));
        }
        for (const auto& [key, value] : document_.members()) {
            if (std::ranges::find(known_settings, key) != known_settings.end() || !in_use(value)) {
                continue;
            }
            refuse(key, fmt::format("{} is a setting that is not known here and may change what "
                                    "the adapter does; remove it if it does not",
                                    key));
        }
    }

    /// Some initializations take from the base what they put into the adapter.
    void judge_initialization() {
        const Json* const start = fields_.find("init_lora_weights");
        if (start == nullptr || start->is_boolean()) return;
        constexpr std::array harmless{"gaussian", "eva", "orthogonal"};
        if (start->is_text() && std::ranges::find(harmless, start->text()) != harmless.end()) {
            return;
        }
        refuse("init_lora_weights",
               fmt::format("the initialization {} changed the base model too; let PEFT convert the "
                           "adapter to a LoRA of the original base "
                           "(path_initial_model_for_weight_conversion)",
                           shown(*start)));
    }

    /// Calls `read(fields, key)` for each key of a pattern, which must be a plain name.
    template <class Read>
    void read_pattern(std::string_view key, const Read& read) {
        const Json* const pattern = fields_.find(key);
        if (pattern == nullptr) return;
        if (!pattern->is_object()) {
            fields_.wrong(key, "an object");
            return;
        }
        const JsonFields entries(*pattern, findings_, json_pointer({}, key));
        for (const auto& [written, value] : pattern->members()) {
            const auto name = plain_name(written);
            if (!name) {
                entries.add(FindingCode::unsupported_source, written,
                            fmt::format("{} is a regular expression; write out the names of the "
                                        "modules",
                                        written));
                continue;
            }
            read(entries, written, *name);
        }
    }

    /// The module name of a pattern's key: letters, digits, _, -, and dots, escaped or not.
    static std::optional<std::string> plain_name(std::string_view key) {
        if (key.starts_with('^')) key.remove_prefix(1);
        if (key.ends_with('$')) key.remove_suffix(1);
        std::string name;
        for (std::size_t i = 0; i < key.size(); ++i) {
            if (key[i] == '\\' && i + 1 < key.size() && key[i + 1] == '.') ++i;
            const char c = key[i];
            const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
            if (!plain) return std::nullopt;
            name += c;
        }
        return name.empty() ? std::nullopt : std::optional(name);
    }

    void read_patterns(Configuration& configuration) {
        read_pattern("rank_pattern",
                     [&](const JsonFields& fields, std::string_view key, const std::string& name) {
                         if (const auto rank = fields.count(key))
                             configuration.ranks.emplace_back(name, *rank);
                     });
        read_pattern("alpha_pattern",
                     [&](const JsonFields& fields, std::string_view key, const std::string& name) {
                         const auto alpha = fields.number(key);
                         if (alpha && *alpha == 0) fields.wrong(key, "other than 0");
                         if (alpha) configuration.alphas.emplace_back(name, *alpha);
                     });
    }

    void read_targets(Configuration& configuration) {
        configuration.targets = module_names("target_modules");
        configuration.excluded =
            module_names("exclude_modules").value_or(std::vector<std::string>());
        const Json* const excluded = fields_.find("exclude_modules");
        // What a regular expression excludes is not judged.
        if (excluded != nullptr && excluded->is_text()) configuration.targets.reset();
        const Json* const layers = fields_.find("layers_to_transform");
        if (layers == nullptr) return;
        const std::span<const Json> list =
            layers->is_array() ? std::span(layers->elements()) : std::span(layers, 1);
        for (const Json& layer : list) {
            if (!layer.is_unsigned()) {
                fields_.wrong("layers_to_transform", "a whole number or a list of them");
                return;
            }
            configuration.layers.insert(layer.unsigned_number());
        }
    }

    /// Nothing where the names are one text, which is a regular expression or a word for all.
    [[nodiscard]] std::optional<std::vector<std::string>> module_names(std::string_view key) const {
        const Json* const value = fields_.find(key);
        if (value == nullptr || value->is_text()) return std::nullopt;
        const bool names =
            value->is_array() && std::ranges::all_of(value->elements(), &Json::is_text);
        if (names) {
            std::vector<std::string> list;
            for (const Json& name : value->elements())
                list.push_back(name.text());
            return list;
        }
        fields_.wrong(key, "a list of names, or one text");
        return std::nullopt;
    }

    const Json& document_;
    Findings& findings_;
    JsonFields fields_;
};

/// The two factors of one module, and where they go.
struct Factors {
    std::string module;
    const SafetensorsTensor* a = nullptr;
    const SafetensorsTensor* b = nullptr;
    std::size_t tensor = 0;   // into the expected tensors
    bool direct = false;      // A [r, cols], B [rows, r]
    bool transposed = false;  // A [r, rows], B [cols, r]
    bool sound = false;       // their own shapes and dtypes are right
};

/// Values of one entry, in SLM1's order.
struct EntryValues {
    std::vector<float> a;
    std::vector<float> b;
};

/// Converts one folder; findings gather here.
class LoraImport {
public:
    LoraImport(const std::string& path, const Model& base)
        : base_(base), expected_(expected_tensors(base.shape(), base.flags())) {
        const auto [folder, file] = source_path(path);
        weights_path_ = file.empty() ? path_in(folder, std::string(weights_name)) : file;
        configuration_path_ = path_in(folder, std::string(configuration_name));
        for (std::size_t i = 0; i < expected_.size(); ++i)
            modules_.emplace(hugging_face_module(expected_[i].name), i);
    }

    [[nodiscard]] Result<ImportedLora> run(const std::string& output, const Progress& progress) {
        read_configuration();
        if (!open_weights()) return failure(std::move(findings_));
        gather_factors();
        for (auto& [index, factors] : factors_)
            judge_shapes(factors);
        judge_orientation();
        if (configured_) {
            judge_ranks();
            judge_targets();
        }
        if (findings_.has_errors()) return failure(std::move(findings_));
        return write(output, progress);
    }

private:
    void read_configuration() {
        const auto document = read_document(configuration_path_, configuration_bytes);
        if (!document) return findings_.append(document.error());
        Findings findings;
        configuration_ = ConfigurationReader(*document, findings).read();
        configured_ = !findings.has_errors();
        findings.set_file(configuration_path_);
        findings_.append(std::move(findings));
    }

    bool open_weights() {
        auto file = MappedFile::open(weights_path_, FileReading::copied);
        if (!file) {
            Findings findings = std::move(file.error());
            if (findings.contains(FindingCode::file_missing)) {
                findings = {};
                findings.add({.code = FindingCode::file_missing,
                              .message = fmt::format("there is no {} in the adapter's folder; save "
                                                     "it with safe_serialization=True",
                                                     weights_name),
                              .file = weights_path_});
            }
            findings_.append(std::move(findings));
            return false;
        }
        auto weights = read_safetensors(file->bytes());
        if (!weights) {
            Findings findings = std::move(weights.error());
            findings.set_file(weights_path_);
            findings_.append(std::move(findings));
            return false;
        }
        file_ = std::move(*file);
        weights_ = std::move(*weights);
        return true;
    }

    void add(FindingCode code, std::string_view tensor, std::string message,
             std::string expected = {}, std::string actual = {}) {
        findings_.add({.code = code,
                       .message = std::move(message),
                       .file = weights_path_,
                       .tensor = std::string(tensor),
                       .expected = std::move(expected),
                       .actual = std::move(actual)});
    }

    // ------------------------------------------------------------------------------- names

    void gather_factors() {
        for (const SafetensorsTensor& tensor : weights_.tensors()) {
            std::string_view module = tensor.name;
            if (module.starts_with(name_prefix)) module.remove_prefix(name_prefix.size());
            const bool a = module.ends_with(a_suffix);
            if (!a && !module.ends_with(b_suffix)) {
                refuse_tensor(tensor.name);
                continue;
            }
            module.remove_suffix(a ? a_suffix.size() : b_suffix.size());
            const auto known = modules_.find(module);
            if (known == modules_.end()) {
                add(FindingCode::tensor_unknown, tensor.name,
                    fmt::format("the base has no module {}{}", module,
                                module == "lm_head"
                                    ? ": its output is tied to the embeddings"
                                    : "; use the base that the LoRA was trained on"));
                continue;
            }
            Factors& factors = factors_[known->second];
            factors.module = std::string(module);
            factors.tensor = known->second;
            (a ? factors.a : factors.b) = &tensor;
        }
        if (factors_.empty() && !findings_.has_errors()) {
            findings_.add({.code = FindingCode::missing_tensor,
                           .message = "the file holds no LoRA tensors",
                           .file = weights_path_});
        }
    }

    void refuse_tensor(std::string_view name) {
        struct Known {
            std::string_view part;
            std::string_view what;
        };
        static constexpr std::array known{
            Known{".lora_magnitude_vector", "this is a magnitude of DoRA"},
            Known{".lora_embedding_", "this adapts the embeddings"},
            Known{".modules_to_save.", "this is a whole matrix of modules_to_save"},
            Known{".bias", "this is a bias"},
        };
        const auto reason = std::ranges::find_if(
            known, [&](const Known& row) { return name.find(row.part) != std::string_view::npos; });
        if (reason == known.end()) {
            add(FindingCode::unexpected_tensor, name,
                "the name is not that of a factor of a LoRA (...lora_A.weight or "
                "...lora_B.weight)");
            return;
        }
        add(FindingCode::unsupported_source, name,
            fmt::format("{}, which a low-rank package cannot hold; merge the adapter with PEFT "
                        "(merge_and_unload), convert the merged checkpoint and make the package "
                        "with diff",
                        reason->what));
    }

    // ------------------------------------------------------------------------------- shapes

    void judge_shapes(Factors& factors) {
        if (factors.a == nullptr || factors.b == nullptr) {
            const bool a_missing = factors.a == nullptr;
            add(FindingCode::missing_tensor,
                fmt::format("{}{}{}", name_prefix, factors.module, a_missing ? a_suffix : b_suffix),
                fmt::format("the file has lora_{} of this module but no lora_{}",
                            a_missing ? 'B' : 'A', a_missing ? 'A' : 'B'));
            return;
        }
        factors.sound = is_matrix(*factors.a) && is_matrix(*factors.b);
        const Shape& shape = expected_[factors.tensor].shape;
        if (shape.rank != 2) {
            factors.sound = false;
            add(FindingCode::bad_low_rank, factors.a->name,
                fmt::format("{} is no matrix and cannot be adapted", factors.module));
        }
        if (!factors.sound) return;
        const std::uint64_t rank = factors.a->dims[0];
        const auto& a = factors.a->dims;
        const auto& b = factors.b->dims;
        factors.direct = b[1] == rank && a[1] == shape.cols() && b[0] == shape.rows();
        factors.transposed = configuration_.fan_in_fan_out && b[1] == rank &&
                             a[1] == shape.rows() && b[0] == shape.cols();
        if (factors.direct || factors.transposed) return;
        factors.sound = false;
        add(FindingCode::tensor_shape_differs, factors.module,
            fmt::format("lora_A is {} and lora_B {}, but the base's {} is {}; use the base that "
                        "the LoRA was trained on",
                        dims_text(a), dims_text(b), expected_[factors.tensor].name,
                        to_string(shape)),
            fmt::format("[r, {}] and [{}, r]", shape.cols(), shape.rows()),
            fmt::format("{} and {}", dims_text(a), dims_text(b)));
    }

    /// A file's factors are all those of the matrices, or all those of the transposed ones.
    void judge_orientation() {
        if (!transposed()) return;
        for (auto& [index, factors] : factors_) {
            if (!factors.sound || factors.transposed) continue;
            factors.sound = false;
            const Shape& shape = expected_[index].shape;
            add(FindingCode::tensor_shape_differs, factors.module,
                fmt::format(
                    "lora_A is {} and lora_B {}, but other factors of the file are those of "
                    "transposed matrices (fan_in_fan_out); save the adapter anew",
                    dims_text(factors.a->dims), dims_text(factors.b->dims)),
                fmt::format("[r, {}] and [{}, r]", shape.rows(), shape.cols()),
                fmt::format("{} and {}", dims_text(factors.a->dims), dims_text(factors.b->dims)));
        }
    }

    bool is_matrix(const SafetensorsTensor& tensor) {
        if (!is_convertible(tensor.dtype)) {
            add(FindingCode::unsupported_dtype, tensor.name,
                fmt::format("the values are {}; save the adapter in F32, F16 or BF16",
                            to_string(tensor.dtype)),
                "F32, F16 or BF16", std::string(to_string(tensor.dtype)));
            return false;
        }
        if (tensor.dims.size() == 2) return true;
        add(FindingCode::bad_low_rank, tensor.name,
            fmt::format("the shape is {}, but a factor is a matrix", dims_text(tensor.dims)));
        return false;
    }

    void judge_ranks() {
        for (const auto& [index, factors] : factors_) {
            if (!factors.sound) continue;
            const std::uint32_t rank = configuration_.rank_of(factors.module);
            const Shape& shape = expected_[index].shape;
            const std::uint64_t most =
                std::min({shape.rows(), shape.cols(), std::uint64_t{limits::low_rank}});
            if (factors.a->dims[0] != rank) {
                add(FindingCode::bad_low_rank, factors.a->name,
                    fmt::format("the rank is {}, but {} says {} for this module",
                                factors.a->dims[0], configuration_name, rank),
                    fmt::format("{}", rank), fmt::format("{}", factors.a->dims[0]));
            } else if (rank > most) {
                add(FindingCode::bad_low_rank, factors.a->name,
                    fmt::format("the rank is {}, but ALR1 holds at most {} for a matrix of {}; "
                                "merge the adapter with PEFT (merge_and_unload), convert the "
                                "merged checkpoint and make the package with diff",
                                rank, most, to_string(shape)),
                    fmt::format("at most {}", most), fmt::format("{}", rank));
            }
            const float scale = configuration_.scale_of(factors.module);
            if (std::isfinite(scale) && scale != 0) continue;
            findings_.add({.code = FindingCode::bad_low_rank,
                           .message = fmt::format("the scale of {} is {}, but must be finite and "
                                                  "not 0: correct alpha",
                                                  factors.module, scale),
                           .file = configuration_path_,
                           .tensor = factors.module});
        }
    }

    /// What the configuration targets is there, and nothing else is.
    void judge_targets() {
        if (!configuration_.targets) return;
        for (const auto& [module, index] : modules_) {
            const bool found = factors_.contains(index);
            const bool wanted = expected_[index].shape.rank == 2 && configuration_.chooses(module);
            if (found == wanted) continue;
            if (found) {
                add(FindingCode::unexpected_tensor, module,
                    fmt::format("by {} this module is not adapted (target_modules, "
                                "exclude_modules, layers_to_transform)",
                                configuration_name));
            } else {
                add(FindingCode::missing_tensor, module,
                    fmt::format("target_modules of {} names this module, but the file has no LoRA "
                                "of it; use the base that the LoRA was trained on",
                                configuration_name));
            }
        }
    }

    // ------------------------------------------------------------------------------- values

    /// With fan_in_fan_out the factors may be those of the transposed matrices. Where both readings
    /// fit, as they do for square ones, it is PEFT's: B * A is the delta of the linear layer.
    [[nodiscard]] bool transposed() const {
        return std::ranges::any_of(
            factors_, [](const auto& f) { return f.second.sound && !f.second.direct; });
    }

    [[nodiscard]] std::vector<float> values_of(const SafetensorsTensor& tensor) {
        const std::uint64_t count = tensor.data.size() / value_bytes(tensor.dtype);
        std::vector<float> values(static_cast<std::size_t>(count));
        read_values(tensor, 0, values);
        const auto bad = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
        if (bad != values.end()) {
            const auto element = static_cast<std::uint64_t>(bad - values.begin());
            findings_.add(
                {.code = FindingCode::non_finite,
                 .message = fmt::format("element {} is {}, but must be finite", element, *bad),
                 .file = weights_path_,
                 .tensor = tensor.name,
                 .element = element,
                 .expected = "finite",
                 .actual = fmt::format("{}", *bad)});
        }
        return values;
    }

    static std::vector<float> transpose(const std::vector<float>& values, std::size_t rows,
                                        std::size_t cols) {
        std::vector<float> result(values.size());
        for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t j = 0; j < cols; ++j)
                result[j * rows + i] = values[i * cols + j];
        }
        return result;
    }

    [[nodiscard]] EntryValues read_entry(const Factors& factors, bool swap) {
        EntryValues entry{values_of(*factors.a), values_of(*factors.b)};
        const ExpectedTensor& expected = expected_[factors.tensor];
        const auto rank = static_cast<std::size_t>(factors.a->dims[0]);
        if (swap) {
            // (B A)^T = A^T B^T.
            const std::vector<float> a = std::move(entry.a);
            entry.a = transpose(entry.b, static_cast<std::size_t>(factors.b->dims[0]), rank);
            entry.b = transpose(a, rank, static_cast<std::size_t>(factors.a->dims[1]));
        }
        if (is_rotated(expected.name)) {
            const std::vector<float> rows = entry.b;
            for (std::uint64_t row = 0; row < expected.shape.rows(); ++row) {
                const auto from = half_split_row(row, base_.shape().head_dim) * rank;
                std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(from), rank,
                            entry.b.begin() + static_cast<std::ptrdiff_t>(row * rank));
            }
        }
        return entry;
    }

    /// The names in the order of a package's directory.
    [[nodiscard]] std::string metadata() const {
        std::map<std::uint64_t, std::string> names;  // by hash
        for (const auto& [index, factors] : factors_)
            names.emplace(tensor_name_hash(expected_[index].name), expected_[index].name);
        Json list = Json::array();
        for (const auto& [hash, name] : names)
            list.elements().emplace_back(name);
        return Json{{"tensor_names", std::move(list)}}.dump();
    }

    /// What is said of each adapted matrix, in the order of the model's tensors.
    [[nodiscard]] std::vector<LoraEntry> entries() const {
        std::vector<LoraEntry> entries;
        for (const auto& [index, factors] : factors_) {
            entries.push_back({expected_[index].name, factors.module,
                               configuration_.rank_of(factors.module),
                               configuration_.scale_of(factors.module)});
        }
        return entries;
    }

    [[nodiscard]] Result<ImportedLora> write(const std::string& output, const Progress& progress) {
        const bool swap = transposed();
        Result<PackageFile> file =
            PackageFile::create(output, {.kind = PackageKind::low_rank,
                                         .identity = base_.identity(),
                                         .entry_count = factors_.size(),
                                         .metadata = metadata(),
                                         .source_kind = SourceKind::lora,
                                         .source_hash = xxh3_128(file_->bytes())});
        if (!file) return failure(std::move(file.error()));
        std::map<std::uint64_t, std::size_t> by_hash;  // the order of a package's directory
        for (const auto& [index, factors] : factors_)
            by_hash.emplace(tensor_name_hash(expected_[index].name), index);
        for (const auto& [hash, index] : by_hash) {
            const Factors& factors = factors_.at(index);
            const EntryValues values = read_entry(factors, swap);
            if (findings_.has_errors()) continue;  // what is wrong with the others is told, too
            const LowRankContent content{configuration_.rank_of(factors.module),
                                         configuration_.scale_of(factors.module), values.a,
                                         values.b};
            if (Status added = file->add({hash, expected_[index].shape, content}); !added)
                return failure(std::move(added.error()));
        }
        if (findings_.has_errors()) return failure(std::move(findings_));
        Result<WrittenPackage> written = file->finish(progress);
        if (!written) return failure(std::move(written.error()));
        return ImportedLora{std::move(*file), *written, entries()};
    }

    static constexpr std::string_view a_suffix = ".lora_A.weight";
    static constexpr std::string_view b_suffix = ".lora_B.weight";

    const Model& base_;
    std::vector<ExpectedTensor> expected_;
    std::map<std::string, std::size_t, std::less<>> modules_;  // tensors by module
    std::string configuration_path_;
    std::string weights_path_;
    Configuration configuration_;
    bool configured_ = false;
    std::optional<MappedFile> file_;
    Safetensors weights_;
    std::map<std::size_t, Factors> factors_;  // by tensor
    Findings findings_;
};

}  // namespace

Result<ImportedLora> import_lora(const std::string& path, const Model& base,
                                 const std::string& output, const Progress& progress) {
    return guarded([&]() -> Result<ImportedLora> {
        const FpEnvironment environment;
        return LoraImport(path, base).run(output, progress);
    });
}

}  // namespace trlm::adapt
