#include "weights.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include <trlm/adapt/checked.hpp>
#include <trlm/adapt/checksum.hpp>
#include <trlm/adapt/file.hpp>

namespace engine {
namespace {

/// Bytes of all payloads and scales when each begins on a line of its own.
adapt::CheckedSize memory_size(const adapt::Model& model) {
    adapt::CheckedSize size = 0;
    for (const adapt::ModelTensor& tensor : model.tensors()) {
        size = size + adapt::align64(tensor.payload_length) + adapt::align64(tensor.scale_length);
    }
    return size;
}

/// Takes pieces from the front of `memory`, each beginning on a line.
class Pieces {
public:
    explicit Pieces(adapt::MutableBytes memory) noexcept : rest_(memory) {}

    adapt::MutableBytes copy(adapt::Bytes source) noexcept {
        const adapt::MutableBytes piece = rest_.first(source.size());
        std::copy(source.begin(), source.end(), piece.begin());
        rest_ = rest_.subspan(static_cast<std::size_t>(adapt::align64(source.size()).value()));
        return piece;
    }

private:
    adapt::MutableBytes rest_;
};

}  // namespace

adapt::Result<Weights> Weights::read(adapt::Bytes file) {
    auto model = adapt::read_model(file);
    if (!model) return adapt::failure(std::move(model.error()));
    const std::uint64_t size = memory_size(*model).value();  // no more than the file has
    Weights weights(*model, static_cast<std::size_t>(size / sizeof(Line)));
    weights.copy(*model);
    return weights;
}

adapt::Result<Weights> Weights::load(const std::string& path) {
    const auto file = adapt::MappedFile::open(path);
    if (!file) return adapt::failure(file.error());
    auto weights = read(file->bytes());
    if (!weights) weights.error().set_file(path);
    return weights;
}

Weights::Weights(const adapt::Model& model, std::size_t lines)
    : shape_(model.shape()),
      identity_(model.identity()),
      tokenizer_(model.tokenizer()),
      memory_(lines) {}

void Weights::copy(const adapt::Model& model) {
    const std::span<const adapt::ModelTensor> tensors = model.tensors();
    names_.reserve(tensors.size());
    tensors_.reserve(tensors.size());
    Pieces pieces(bytes());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const adapt::TensorView view = model.view(i);
        names_.push_back(tensors[i].name);
        by_hash_.emplace(view.name_hash, i);
        tensors_.push_back({.name_hash = view.name_hash,
                            .name = names_.back(),
                            .dtype = view.dtype,
                            .shape = view.shape,
                            .block_size = view.block_size,
                            .payload = pieces.copy(view.payload),
                            .scales = pieces.copy(view.scales),
                            .max_abs = tensors[i].max_abs});
    }
}

adapt::MutableBytes Weights::bytes() noexcept {
    return std::as_writable_bytes(std::span(memory_));
}

const adapt::MemoryTensor& Weights::tensor(std::string_view name) const {
    return tensors_[by_hash_.at(adapt::tensor_name_hash(name))];
}

adapt::MemoryModel Weights::describe() noexcept {
    return {.identity = identity_, .tensors = tensors_};
}

std::uint64_t Weights::checksum() const noexcept {
    return adapt::xxh3_64(std::as_bytes(std::span(memory_)));
}

}  // namespace engine
