// SLM1 models: what the reader accepts lies in the file, has a working tokenizer, and takes an
// adapter in the same bytes from every instruction set.

#include "support.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/slm1.hpp"

using namespace trlm::adapt;
using fuzz::require;

namespace {

void look_at(const Model& model) {
    const Bytes file = model.bytes();
    for (std::size_t i = 0; i < model.tensors().size(); ++i) {
        const ModelTensor& tensor = model.tensors()[i];
        const TensorView view = model.view(i);
        require(range_inside(tensor.payload_offset, tensor.payload_length, file.size()) &&
                    range_inside(tensor.scale_offset, tensor.scale_length, file.size()),
                "tensors lie in the file");
        require(view.payload.size() == payload_bytes(tensor.dtype, tensor.shape).value(),
                "a payload has the size of its shape");
        require(model.find_tensor(tensor.name_hash) == i, "a tensor is found by its name");
    }
    require(model.identity().tensor_count == model.tensors().size(), "the identity counts tensors");
}

/// A model of f32 tensors is written again; what is written is read as the same model, and written
/// as the same bytes. (Quantized values are encoded anew by a writer, so they may differ.)
void go_around(const Model& model) {
    const std::vector<ExpectedTensor> expected = expected_tensors(model.shape(), model.flags());
    ModelSpec spec{model.shape(), model.flags(), model.tokenizer_section(), {}};
    std::vector<std::vector<float>> values;
    for (const ExpectedTensor& tensor : expected) {
        const auto index = model.find_tensor(tensor_name_hash(tensor.name));
        require(index.has_value(), "a model has the tensors of its shape");
        const TensorView view = model.view(*index);
        if (view.dtype != Dtype::f32) return;
        values.emplace_back(view.payload.size() / sizeof(float));
        std::memcpy(values.back().data(), view.payload.data(), view.payload.size());
        spec.storage.emplace_back();
    }
    const TensorValues given = [&](std::size_t index) {
        return std::span<const float>(values[index]);
    };
    const auto written = write_model(spec, given);
    require(written.has_value(), "what was read can be written");
    const auto again = read_model(*written);
    require(again.has_value(), "what was written can be read");
    require(again->identity() == model.identity(), "and is the same model");
    spec.tokenizer_section = again->tokenizer_section();
    require(*write_model(spec, given) == *written, "which is written as the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes file = fuzz::bytes_of(data, size);
    for (const bool accept_foreign : {false, true}) {
        ModelReadOptions options;
        options.checksum = accept_foreign ? ChecksumPolicy::accept_foreign : ChecksumPolicy::verify;
        const auto model = read_model(file, options);
        if (!model) {
            require(model.error().has_errors(), "a refusal has a reason");
            continue;
        }
        look_at(*model);
        go_around(*model);
    }
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
    return fuzz::mutate(data, size, most, seed,
                        [](MutableBytes file) { fuzz::seal_at(file, 100); });
}
