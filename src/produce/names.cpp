#include "produce/names.hpp"

#include <algorithm>
#include <array>

namespace trlm::adapt {
namespace {

struct NamePair {
    std::string_view slm1;
    std::string_view hugging_face;
};

constexpr std::array whole_names{
    NamePair{"tok_embeddings.weight", "model.embed_tokens"},
    NamePair{"norm.weight", "model.norm"},
    NamePair{"output.weight", "lm_head"},
};

// Behind "layers.N." and "model.layers.N.".
constexpr std::array layer_names{
    NamePair{"attn_norm.weight", "input_layernorm"},
    NamePair{"wq.weight", "self_attn.q_proj"},
    NamePair{"wk.weight", "self_attn.k_proj"},
    NamePair{"wv.weight", "self_attn.v_proj"},
    NamePair{"wo.weight", "self_attn.o_proj"},
    NamePair{"ffn_norm.weight", "post_attention_layernorm"},
    NamePair{"w1.weight", "mlp.gate_proj"},
    NamePair{"w2.weight", "mlp.down_proj"},
    NamePair{"w3.weight", "mlp.up_proj"},
};

}  // namespace

std::string hugging_face_module(std::string_view name) {
    const auto whole = std::ranges::find(whole_names, name, &NamePair::slm1);
    if (whole != whole_names.end()) return std::string(whole->hugging_face);
    constexpr std::string_view layers = "layers.";
    const std::size_t dot = name.find('.', layers.size());
    if (dot == std::string_view::npos) return std::string(name);
    const auto part = std::ranges::find(layer_names, name.substr(dot + 1), &NamePair::slm1);
    if (part == layer_names.end()) return std::string(name);
    std::string module = "model.";
    module += name.substr(0, dot + 1);
    module += part->hugging_face;
    return module;
}

bool is_rotated(std::string_view name) noexcept {
    return name.ends_with(".wq.weight") || name.ends_with(".wk.weight");
}

}  // namespace trlm::adapt
