#pragma once
// The weights of a model, in memory that belongs to the engine.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <trlm/adapt/memory.hpp>
#include <trlm/adapt/result.hpp>
#include <trlm/adapt/slm1.hpp>

namespace engine {

namespace adapt = trlm::adapt;

/// All tensors of a model as they are stored (f32, q8_0 or q4_0), with what else of the file a run
/// needs. The file itself is not needed any more. References to tensors survive a move.
class Weights {
public:
    /// Checks every byte of a model's file, and copies the tensors. Findings: those of
    /// `read_model`.
    [[nodiscard]] static adapt::Result<Weights> read(adapt::Bytes file);

    /// The same for the file at `path`. Also the findings of `MappedFile::open`; all with its name.
    [[nodiscard]] static adapt::Result<Weights> load(const std::string& path);

    [[nodiscard]] const adapt::ModelShape& shape() const noexcept { return shape_; }
    [[nodiscard]] const adapt::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
    [[nodiscard]] bool has_output() const noexcept {
        return (identity_.model_flags & adapt::model_flag_tied_output) == 0;
    }

    /// A tensor by its name; the model has exactly those that docs/formats.md lists.
    [[nodiscard]] const adapt::MemoryTensor& tensor(std::string_view name) const;

    /// What the library has to know in order to change the weights in place.
    [[nodiscard]] adapt::MemoryModel describe() noexcept;

    /// XXH3-64 of all payloads and scales: equal only where every byte of every weight is.
    /// O(bytes).
    [[nodiscard]] std::uint64_t checksum() const noexcept;

private:
    /// Each payload begins on a line of its own, aligned for any load of a kernel.
    struct alignas(adapt::region_alignment) Line {
        std::array<std::byte, adapt::region_alignment> bytes;
    };

    Weights(const adapt::Model& model, std::size_t lines);
    void copy(const adapt::Model& model);
    [[nodiscard]] adapt::MutableBytes bytes() noexcept;

    adapt::ModelShape shape_;
    adapt::Identity identity_;
    adapt::Tokenizer tokenizer_;
    std::vector<Line> memory_;
    std::vector<std::string> names_;
    std::vector<adapt::MemoryTensor> tensors_;
    std::unordered_map<std::uint64_t, std::size_t> by_hash_;
};

}  // namespace engine
