#include "trlm/adapt/produce/convert.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "decode.hpp"
#include "encode.hpp"
#include "fp_environment.hpp"
#include "going_on.hpp"
#include "guard.hpp"
#include "kernels/kernels.hpp"
#include "publish.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"

namespace trlm::adapt {
namespace {

/// Values that are read and encoded at once: enough to hide the calls, little enough for the cache.
constexpr std::uint64_t values_at_once = 65'536;

/// Takes the next bytes of a new file; returns false when it cannot.
using Sink = std::function<bool(Bytes)>;

/// How tensor `index` is to be stored.
TensorStorage storage_of(const ModelSource& source, std::size_t index, const Shape& shape,
                         std::optional<Dtype> dtype) {
    const auto stored = source.stored ? source.stored(index) : std::nullopt;
    if (stored && (!dtype || stored->dtype == *dtype)) return {stored->dtype, stored->block_size};
    const Dtype wanted = dtype.value_or(Dtype::f32);
    const std::uint32_t block_size = canonical_block_size(wanted, shape);
    if (wanted == Dtype::q4_0 && block_size == 0) return {Dtype::f32, 0};
    return {wanted, block_size};
}

Result<ModelLayout> layout_of(const ModelSource& source, std::optional<Dtype> dtype) {
    ModelSpec spec;
    spec.shape = source.shape;
    spec.flags = source.flags;
    spec.tokenizer_section = source.tokenizer_section;
    for (const ExpectedTensor& tensor : expected_tensors(source.shape, source.flags)) {
        spec.storage.push_back(storage_of(source, spec.storage.size(), tensor.shape, dtype));
    }
    return layout_model(spec);
}

/// Emits one new model in file order, its checksum zero.
class ModelStream {
public:
    ModelStream(const ModelSource& source, const ModelLayout& layout, const Sink& sink,
                const Progress& progress)
        : source_(source), layout_(layout), sink_(sink), progress_(progress) {}

    /// Findings tell what cannot be stored, or why it stopped.
    void run() {
        emit(layout_.head);
        for (std::size_t i = 0; i < layout_.tensors.size() && !stopped_; ++i)
            write_tensor(i);
        pad_to(layout_.file_length);
    }

    [[nodiscard]] Findings& findings() noexcept { return findings_; }
    [[nodiscard]] std::uint64_t checksum() const noexcept { return hash_.checksum(); }

private:
    /// Once a tensor cannot be stored nothing more is emitted, but all tensors are still checked.
    void emit(Bytes bytes) {
        done_ += bytes.size();
        if (stopped_) return;
        if (!findings_.has_errors()) {
            hash_.update(bytes);
            if (!sink_(bytes)) {
                stopped_ = true;  // the sink knows why
                return;
            }
        }
        if (!goes_on(progress_, std::min(done_, layout_.file_length), layout_.file_length)) {
            findings_.add(cancelled_before_publishing());
            stopped_ = true;
        }
    }

    void pad_to(std::uint64_t offset) {
        static constexpr std::array<std::byte, region_alignment> zeros{};
        if (offset > done_ && !stopped_)
            emit(Bytes(zeros).first(static_cast<std::size_t>(offset - done_)));
    }

    void write_tensor(std::size_t index) {
        const ModelTensor& tensor = layout_.tensors[index];
        pad_to(tensor.payload_offset);
        const auto stored = source_.stored ? source_.stored(index) : std::nullopt;
        if (stored && stored->dtype == tensor.dtype) {
            emit_pieces(stored->payload);
            scales_.assign(stored->scales.begin(), stored->scales.end());
        } else {
            encode_tensor(index);
        }
        if (tensor.scale_length == 0) return;
        pad_to(tensor.scale_offset);
        emit(scales_);
    }

    void emit_pieces(Bytes bytes) {
        constexpr std::size_t piece = 1'048'576;
        for (std::size_t at = 0; at < bytes.size() && !stopped_; at += piece)
            emit(bytes.subspan(at, std::min(piece, bytes.size() - at)));
    }

    void encode_tensor(std::size_t index) {
        const ModelTensor& tensor = layout_.tensors[index];
        const std::uint64_t rows = tensor.shape.rows();
        const std::uint64_t cols = tensor.shape.cols();
        const std::uint64_t at_once = std::max<std::uint64_t>(1, values_at_once / cols);
        TensorEncoder encoder(tensor);
        scales_.resize(encoder.scale_bytes(rows));
        bool storable = true;
        for (std::uint64_t row = 0; row < rows && !stopped_; row += at_once) {
            const std::uint64_t count = std::min(at_once, rows - row);
            payload_.resize(encoder.payload_bytes(count));
            if (storable) {
                values_.resize(static_cast<std::size_t>(count * cols));
                source_.read_rows(index, row, values_);
                storable = encoder.encode(values_, payload_.data(),
                                          scales_.data() + encoder.scale_bytes(row), findings_);
            }
            emit(payload_);
        }
    }

    const ModelSource& source_;
    const ModelLayout& layout_;
    const Sink& sink_;
    const Progress& progress_;
    std::vector<float> values_;
    std::vector<std::byte> payload_;
    std::vector<std::byte> scales_;
    Xxh3 hash_;
    std::uint64_t done_ = 0;
    bool stopped_ = false;
    Findings findings_;
};

/// Everything of a stream but what became of its bytes.
Result<ConvertedModel> stream_model(const ModelSource& source, const ModelLayout& layout,
                                    const Sink& sink, const Progress& progress) {
    ModelStream stream(source, layout, sink, progress);
    stream.run();
    if (stream.findings().has_errors()) return failure(std::move(stream.findings()));
    ConvertedModel converted;
    converted.bytes = layout.file_length;
    converted.internal_checksum = stream.checksum();
    converted.tensors = layout.tensors;
    for (const ModelTensor& tensor : layout.tensors)
        converted.parameter_count += tensor.shape.elements().value();
    return converted;
}

}  // namespace

ModelSource source_of(const Model& model) {
    // Where each tensor of the new directory lies in the old one.
    auto places = std::make_shared<std::vector<std::size_t>>();
    for (const ExpectedTensor& tensor : expected_tensors(model.shape(), model.flags())) {
        places->push_back(model.find_tensor(tensor_name_hash(tensor.name)).value_or(0));
    }
    const auto view = [&model, places](std::size_t index) { return model.view((*places)[index]); };
    return {
        .shape = model.shape(),
        .flags = model.flags(),
        .tokenizer_section = model.tokenizer_section(),
        .read_rows =
            [view](std::size_t index, std::uint64_t first_row, std::span<float> out) {
                const TensorView tensor = view(index);
                decode_values(tensor, first_row * tensor.shape.cols(), out);
            },
        .stored = [view](std::size_t index) -> std::optional<TensorView> { return view(index); }};
}

Result<ConvertedModel> convert_model(const ModelSource& source, const std::string& path,
                                     bool replace, const ConvertOptions& options) {
    return guarded([&]() -> Result<ConvertedModel> {
        const auto layout = layout_of(source, options.dtype);
        if (!layout) return failure(layout.error());
        auto file = OutputFile::create(path, layout->file_length);
        if (!file) return failure(std::move(file.error()));
        Findings write_error;
        const auto write = [&](Bytes bytes) {
            Status written = file->write(bytes);
            if (!written) write_error = std::move(written.error());
            return !write_error.has_errors();
        };
        auto converted = stream_model(source, *layout, write, options.progress);
        if (write_error.has_errors()) return failure(std::move(write_error));
        if (!converted) return converted;
        const auto digest = publish_model(*file, converted->bytes, converted->internal_checksum,
                                          replace, options.progress);
        if (!digest) return failure(digest.error());
        converted->digest = *digest;
        return converted;
    });
}

Result<ConvertedModel> convert_to_memory(const ModelSource& source, std::vector<std::byte>& output,
                                         const ConvertOptions& options) {
    return guarded([&]() -> Result<ConvertedModel> {
        output.clear();
        const auto layout = layout_of(source, options.dtype);
        if (!layout) return failure(layout.error());
        const auto append = [&](Bytes bytes) {
            output.insert(output.end(), bytes.begin(), bytes.end());
            return true;
        };
        auto converted = stream_model(source, *layout, append, options.progress);
        if (!converted) {
            output.clear();
            return converted;
        }
        store(MutableBytes(output), slm1_checksum_offset, converted->internal_checksum);
        converted->digest = sha256(output);
        return converted;
    });
}

}  // namespace trlm::adapt
