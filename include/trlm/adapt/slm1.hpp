#pragma once
// SLM1, the model container: reader and writer.  docs/formats.md, section 1

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trlm/adapt/identity.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/tensor.hpp"
#include "trlm/adapt/tokenizer.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The numbers of an SLM1 header that describe the network.
struct ModelShape {
    std::uint32_t vocab_size = 0;           ///< ids of the tokenizer, special ones included
    std::uint32_t special_token_count = 4;  ///< ids that stand for no text
    std::uint32_t hidden_size = 0;          ///< length of a token's vector
    std::uint32_t layer_count = 0;          ///< transformer layers
    std::uint32_t head_count = 0;           ///< query heads
    std::uint32_t kv_head_count = 0;        ///< key and value heads, a divisor of `head_count`
    std::uint32_t head_dim = 0;             ///< length of a head's vector, even
    std::uint32_t ffn_size = 0;             ///< length of the feed-forward's inner vector
    std::uint32_t max_context = 0;          ///< positions
    float rope_theta = 0;                   ///< base of the rotary embedding's angles
    float rms_norm_epsilon = 0;             ///< added to the mean square
    friend bool operator==(const ModelShape&, const ModelShape&) = default;
};

/// Header flag: the output projection is the transposed embedding; there is no output.weight.
inline constexpr std::uint32_t model_flag_tied_output = 1;

/// A tensor that model_type 1 demands.
struct ExpectedTensor {
    std::string name;  ///< "layers.0.wq.weight", say
    Shape shape;       ///< its dimensions
};

/// The tensors of a model in the order in which they are written; none when they would be more
/// than `limits::tensors`. A dimension that would pass 2^32-1 is 2^32-1, which no reader takes.
/// O(layers).
[[nodiscard]] std::vector<ExpectedTensor> expected_tensors(const ModelShape& shape,
                                                           std::uint32_t flags);

/// One directory entry. Offsets are bytes from the start of the file.
struct ModelTensor {
    std::string name;                  ///< empty when the model's contract does not know the hash
    std::uint64_t name_hash = 0;       ///< `tensor_name_hash` of the name
    Dtype dtype = Dtype::f32;          ///< how values are stored
    Shape shape;                       ///< row-major dimensions
    std::uint32_t block_size = 0;      ///< values per scale in a row; 0 for f32
    std::uint64_t payload_offset = 0;  ///< bytes
    std::uint64_t payload_length = 0;  ///< bytes
    std::uint64_t scale_offset = 0;    ///< bytes; 0 for f32
    std::uint64_t scale_length = 0;    ///< bytes; 0 for f32
    /// No value is larger in magnitude; known after `ReadDepth::everything`.
    float max_abs = std::numeric_limits<float>::infinity();
};

/// What to do with a checksum whose algorithm is not public.
enum class ChecksumPolicy : std::uint8_t {
    verify,          ///< `checksum_unverifiable` is an error
    accept_foreign,  ///< ... is a warning
};

/// How much of a file is read.
enum class ReadDepth : std::uint8_t {
    everything,  ///< each byte once: checksums, padding, values
    headers,     ///< header, tokenizer, directory, metadata: nothing that grows with the weights
};

/// How a model is read.
struct ModelReadOptions {
    /// What to do with a checksum that cannot be verified.
    ChecksumPolicy checksum = ChecksumPolicy::verify;
    ReadDepth depth = ReadDepth::everything;  ///< how much of the file is read
    Progress progress = {};  ///< of `ReadDepth::everything`; false cancels with `output_failed`
};

/// A model over bytes that the caller keeps alive (a mapping, a buffer). Nothing is copied.
class Model {
public:
    /// The whole file.
    [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
    /// The header's numbers.
    [[nodiscard]] const ModelShape& shape() const noexcept { return shape_; }
    /// The header's flags; `model_flag_tied_output`.
    [[nodiscard]] std::uint32_t flags() const noexcept { return identity_.model_flags; }
    /// What an adapter must match.
    [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
    /// As the tokenizer section states it.
    [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
    /// Its bytes, without padding.
    [[nodiscard]] Bytes tokenizer_section() const noexcept { return tokenizer_section_; }

    /// The checksum that the header states.
    [[nodiscard]] std::uint64_t checksum() const noexcept { return checksum_; }

    /// False for a file of the original writer, whose checksum nobody else can compute.
    [[nodiscard]] bool checksum_verifiable() const noexcept { return checksum_verifiable_; }

    /// Directory entries in file order.
    [[nodiscard]] std::span<const ModelTensor> tensors() const noexcept { return tensors_; }

    /// Index of the tensor with this hash. O(log n).
    [[nodiscard]] std::optional<std::size_t> find_tensor(std::uint64_t name_hash) const noexcept;

    /// Tensor `index` with its bytes.
    [[nodiscard]] TensorView view(std::size_t index) const noexcept;

    /// Findings that an option allowed.
    [[nodiscard]] const Findings& warnings() const noexcept { return warnings_; }

private:
    friend class ModelReader;
    Bytes bytes_;
    ModelShape shape_;
    Identity identity_;
    std::uint64_t checksum_ = 0;
    bool checksum_verifiable_ = false;
    std::optional<Tokenizer> tokenizer_;
    Bytes tokenizer_section_;
    std::vector<ModelTensor> tensors_;
    std::vector<std::pair<std::uint64_t, std::size_t>> by_hash_;  // sorted by hash
    Findings warnings_;
};

/// Reads and checks a whole SLM1 file. On failure every defect is reported: any code of class
/// invalid in docs/formats.md section 1, `checksum_mismatch`, `checksum_unverifiable`,
/// `unsupported_version`, `unsupported_dtype`; `output_failed` alone when cancelled. Each byte is
/// read once. O(bytes).
[[nodiscard]] Result<Model> read_model(Bytes file, const ModelReadOptions& options = {});

/// How one tensor is stored in a file to be written.
struct TensorStorage {
    Dtype dtype = Dtype::f32;      ///< how values are stored
    std::uint32_t block_size = 0;  ///< see `canonical_block_size`
};

/// Everything of a model but its tensors' values.
struct ModelSpec {
    ModelShape shape;                    ///< the header's numbers
    std::uint32_t flags = 0;             ///< the header's flags; `model_flag_tied_output`
    Bytes tokenizer_section;             ///< bytes of a BTOK or BPE1 section
    std::vector<TensorStorage> storage;  ///< one per `expected_tensors`, in that order
};

/// Where everything lies in a file that this project writes.
struct ModelLayout {
    std::vector<ModelTensor> tensors;  ///< in the order of `expected_tensors`
    std::vector<std::byte> head;       ///< header (checksum 0), tokenizer, directory, with padding,
                                       ///< up to the first payload
    std::uint64_t file_length = 0;     ///< a multiple of 64
};

/// Computes the canonical layout of `spec`. Findings: those of the reader for a spec that no
/// reader would accept, and `count_mismatch` when `storage` has another number of tensors.
/// O(tensors).
[[nodiscard]] Result<ModelLayout> layout_model(const ModelSpec& spec);

/// Values of tensor `index` (of `expected_tensors`), row-major, `elements` of them.
using TensorValues = std::function<std::span<const float>(std::size_t index)>;

/// A whole model in memory: values encoded with nearest rounding, checksum set. `non_finite` and
/// `bad_scale` when a value cannot be stored, `length_mismatch` when `values` gives another
/// number of elements. O(parameters).
[[nodiscard]] Result<std::vector<std::byte>> write_model(const ModelSpec& spec,
                                                         const TensorValues& values);

/// Byte range of the checksum inside an SLM1 header.
inline constexpr std::uint64_t slm1_checksum_offset = 100;

}  // namespace trlm::adapt
#pragma GCC visibility pop
