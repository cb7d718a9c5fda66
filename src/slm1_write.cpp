#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "encode.hpp"
#include "fp_environment.hpp"
#include "guard.hpp"
#include "slm1_rules.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {
namespace {

using slm1::EntryPlace;
using slm1::Field;
using slm1::Header;
namespace entry = slm1::entry;

/// Lays out one model. Offsets grow from region to region, each at align64.
class LayoutBuilder {
public:
    explicit LayoutBuilder(const ModelSpec& spec) : spec_(spec) {}

    [[nodiscard]] Result<ModelLayout> build() {
        header_.set(Field::version, 1);
        header_.set(Field::header_length, slm1::header_bytes);
        header_.set(Field::model_type, 1);
        header_.set(Field::flags, spec_.flags);
        header_.set_shape(spec_.shape);
        header_.set(Field::checksum_kind, slm1::checksum_kind_xxh3_64);
        judge_tokenizer();
        expect_tensors();
        static_cast<void>(slm1::judge_fields(header_, findings_));
        if (findings_.has_errors()) return failure(std::move(findings_));
        place_tensors();
        if (findings_.has_errors()) return failure(std::move(findings_));
        write_head();
        return std::move(layout_);
    }

private:
    void judge_tokenizer() {
        auto tokenizer = Tokenizer::parse(spec_.tokenizer_section);
        if (!tokenizer) {
            findings_.append(std::move(tokenizer.error()));
        } else if (tokenizer->vocab_size() != spec_.shape.vocab_size) {
            findings_.add({.code = FindingCode::tokenizer_malformed,
                           .message = fmt::format("the tokenizer has {} ids, but the model's "
                                                  "vocab_size is {}",
                                                  tokenizer->vocab_size(), spec_.shape.vocab_size),
                           .expected = fmt::format("{}", tokenizer->vocab_size()),
                           .actual = fmt::format("{}", spec_.shape.vocab_size)});
        }
    }

    void expect_tensors() {
        expected_ = expected_tensors(spec_.shape, spec_.flags);
        if (expected_.empty()) {
            // Said as the reader would say it, of a directory with one tensor too many.
            header_.set(Field::tensor_count, std::uint64_t{limits::tensors} + 1);
            return;
        }
        header_.set(Field::tensor_count, expected_.size());
        if (spec_.storage.size() != expected_.size()) {
            findings_.add({.code = FindingCode::count_mismatch,
                           .message = fmt::format("storage is given for {} tensors, but a model of "
                                                  "this shape has {}",
                                                  spec_.storage.size(), expected_.size()),
                           .expected = fmt::format("{}", expected_.size()),
                           .actual = fmt::format("{}", spec_.storage.size())});
        }
    }

    void place_tensors() {
        header_.set(Field::tokenizer_offset, slm1::header_bytes);
        header_.set(Field::tokenizer_length, spec_.tokenizer_section.size());
        const CheckedSize directory =
            align64(CheckedSize(slm1::header_bytes) + spec_.tokenizer_section.size());
        header_.set(Field::tensor_directory_offset, directory.value());
        CheckedSize end = directory + CheckedSize(expected_.size()) * entry::bytes;
        header_.set(Field::tensor_data_offset, align64(end).value());
        for (std::size_t i = 0; i < expected_.size(); ++i)
            end = place_tensor(i, end);
        const CheckedSize file_length = align64(end);
        if (file_length.overflowed()) {
            findings_.add({.code = FindingCode::size_overflow,
                           .message = "the file would have 2^64 bytes or more"});
        }
        layout_.file_length = file_length.value();
    }

    /// Returns the end of its regions.
    CheckedSize place_tensor(std::size_t index, CheckedSize end) {
        const auto& [name, shape] = expected_[index];
        const TensorStorage& storage = spec_.storage[index];
        const EntryPlace place{name, std::nullopt};
        if (!is_supported(storage.dtype)) {
            findings_.add(place.finding(
                FindingCode::unsupported_dtype, entry::dtype,
                fmt::format("the dtype is {}, but only 1 (f32), 2 (q8_0) and 3 (q4_0) are known",
                            static_cast<std::uint32_t>(storage.dtype)),
                "1, 2 or 3", fmt::format("{}", static_cast<std::uint32_t>(storage.dtype))));
            return end;
        }
        if (!slm1::judge_shape(place, shape.rank, shape.dims, findings_)) return end;
        if (!slm1::judge_block_size(place, storage.dtype, shape, storage.block_size, findings_)) {
            return end;
        }
        const CheckedSize payload = payload_bytes(storage.dtype, shape);
        const CheckedSize scales =
            scale_count(storage.dtype, shape, storage.block_size) * CheckedSize(sizeof(float));
        const CheckedSize payload_offset = align64(end);
        const CheckedSize payload_end = payload_offset + payload;
        const CheckedSize scale_offset = align64(payload_end);
        const bool scaled = storage.dtype != Dtype::f32;
        layout_.tensors.push_back({.name = name,
                                   .name_hash = tensor_name_hash(name),
                                   .dtype = storage.dtype,
                                   .shape = shape,
                                   .block_size = storage.block_size,
                                   .payload_offset = payload_offset.value(),
                                   .payload_length = payload.value(),
                                   .scale_offset = scaled ? scale_offset.value() : 0,
                                   .scale_length = scales.value()});
        return scaled ? scale_offset + scales : payload_end;
    }

    void write_head() {
        const std::uint64_t directory = header_[Field::tensor_directory_offset];
        layout_.head.resize(static_cast<std::size_t>(header_[Field::tensor_data_offset]));
        const MutableBytes head = layout_.head;
        header_.write(head);
        std::memcpy(head.data() + slm1::header_bytes, spec_.tokenizer_section.data(),
                    spec_.tokenizer_section.size());
        for (std::size_t i = 0; i < layout_.tensors.size(); ++i) {
            write_entry(head, directory + i * entry::bytes, layout_.tensors[i]);
        }
    }

    static void write_entry(MutableBytes head, std::uint64_t offset, const ModelTensor& tensor) {
        store(head, offset + entry::name_hash, tensor.name_hash);
        store(head, offset + entry::dtype, tensor.dtype);
        store(head, offset + entry::rank, tensor.shape.rank);
        store(head, offset + entry::dims, tensor.shape.dims);
        store(head, offset + entry::byte_offset, tensor.payload_offset);
        store(head, offset + entry::byte_length, tensor.payload_length);
        store(head, offset + entry::scale_offset, tensor.scale_offset);
        store(head, offset + entry::block_size, tensor.block_size);
    }

    const ModelSpec& spec_;
    Header header_;
    std::vector<ExpectedTensor> expected_;
    Findings findings_;
    ModelLayout layout_;
};

/// Encodes one tensor into its place in the file.
void write_tensor(const ModelTensor& tensor, std::span<const float> values, MutableBytes file,
                  Findings& findings) {
    const std::uint64_t elements = tensor.shape.elements().value();
    if (values.size() != elements) {
        findings.add({.code = FindingCode::length_mismatch,
                      .message = fmt::format("{} values are given, but the shape {} has {} "
                                             "elements",
                                             values.size(), to_string(tensor.shape), elements),
                      .tensor = tensor.name,
                      .expected = fmt::format("{}", elements),
                      .actual = fmt::format("{}", values.size())});
        return;
    }
    // What is wrong is in the findings.
    (void)TensorEncoder(tensor).encode(values, file.data() + tensor.payload_offset,
                                       file.data() + tensor.scale_offset, findings);
}

}  // namespace

Result<ModelLayout> layout_model(const ModelSpec& spec) {
    return guarded([&]() -> Result<ModelLayout> {
        const FpEnvironment environment;
        return LayoutBuilder(spec).build();
    });
}

Result<std::vector<std::byte>> write_model(const ModelSpec& spec, const TensorValues& values) {
    return guarded([&]() -> Result<std::vector<std::byte>> {
        const auto layout = layout_model(spec);
        if (!layout) return failure(layout.error());
        const FpEnvironment environment;
        std::vector<std::byte> file(static_cast<std::size_t>(layout->file_length));
        std::copy(layout->head.begin(), layout->head.end(), file.begin());
        Findings findings;
        for (std::size_t i = 0; i < layout->tensors.size(); ++i) {
            write_tensor(layout->tensors[i], values(i), file, findings);
        }
        if (findings.has_errors()) return failure(std::move(findings));
        store(MutableBytes(file), slm1_checksum_offset, checksum_of(file));
        return file;
    });
}

}  // namespace trlm::adapt
