#pragma once
// What SLM1's tensors are called in Hugging Face's LLaMA.

#include <string>
#include <string_view>

namespace trlm::adapt {

/// The module of an SLM1 tensor: "layers.0.wq.weight" is "model.layers.0.self_attn.q_proj". Its
/// tensor has ".weight" behind it. `name` must be one of `expected_tensors`.
[[nodiscard]] std::string hugging_face_module(std::string_view name);

/// Whether RoPE turns the rows of this tensor: wq and wk.
[[nodiscard]] bool is_rotated(std::string_view name) noexcept;

}  // namespace trlm::adapt
