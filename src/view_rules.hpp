#pragma once
// Whether an engine describes its tensors truthfully, as far as a description can be checked.

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "buffer.hpp"
#include "layout_record.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/memory.hpp"

namespace trlm::adapt {

/// What can be wrong with a description. The first four are of the model as a whole.
enum class ViewDefect : std::uint8_t {
    half_an_access,
    half_an_allocator,
    half_a_quiescence,
    identity_differs,
    dtype_unknown,
    name_differs,
    shape_bad,
    block_size_bad,
    bound_bad,
    payload_size,
    scales_size,
    payload_null,
    scales_null,
    payload_misaligned,
    scales_misaligned,
    overlaps,
    named_twice,
};

/// A defect and the tensors that it is about.
struct ViewFault {
    static constexpr std::size_t no_tensor = std::numeric_limits<std::size_t>::max();

    ViewDefect defect = ViewDefect::identity_differs;
    std::size_t tensor = no_tensor;
    std::size_t other = no_tensor;  ///< the one that it overlaps
};

/// Finds every defect and hands it to `Sink(const ViewFault&)`. Takes its memory from the model's
/// allocator.
template <class Sink>
class ViewChecker {
public:
    ViewChecker(const MemoryModel& model, Sink sink) : model_(model), sink_(sink) {}

    /// False when there is no memory for it.
    [[nodiscard]] bool run() {
        check_lent();
        if (faults_ > 0) return true;  // the allocator may be half a one
        if (!spans_.allocate(model_.allocator, 2 * model_.tensors.size())) return false;
        for (std::size_t i = 0; i < model_.tensors.size(); ++i)
            check(i);
        check_overlaps();
        return faults_ > 0 || check_identity();
    }

private:
    struct Span {
        std::uintptr_t begin = 0;
        std::size_t size = 0;
        std::size_t tensor = 0;
    };

    void found(const ViewFault& fault) {
        ++faults_;
        sink_(fault);
    }

    void check_lent() {
        const auto both = [&](bool first, bool second, ViewDefect defect) {
            if (first != second) found({defect});
        };
        both(model_.access.read != nullptr, model_.access.write != nullptr,
             ViewDefect::half_an_access);
        both(model_.allocator.allocate != nullptr, model_.allocator.release != nullptr,
             ViewDefect::half_an_allocator);
        both(model_.quiescence.begin != nullptr, model_.quiescence.end != nullptr,
             ViewDefect::half_a_quiescence);
    }

    void check(std::size_t i) {
        const MemoryTensor& tensor = model_.tensors[i];
        if (!is_supported(tensor.dtype)) return found({ViewDefect::dtype_unknown, i});
        if (!tensor.name.empty() && tensor_name_hash(tensor.name) != tensor.hash()) {
            found({ViewDefect::name_differs, i});
        }
        if (!has_good_shape(tensor)) return found({ViewDefect::shape_bad, i});
        if (!has_good_block_size(tensor)) found({ViewDefect::block_size_bad, i});
        if (tensor.max_abs && !(*tensor.max_abs >= 0.0F)) found({ViewDefect::bound_bad, i});
        const bool accessed = tensor.payload.empty() && tensor.scales.empty();
        if (accessed && model_.access.read) return;
        check_span(
            i, tensor.payload, payload_bytes(tensor.dtype, tensor.shape),
            tensor.dtype == Dtype::f32,
            {ViewDefect::payload_size, ViewDefect::payload_null, ViewDefect::payload_misaligned});
        check_span(
            i, tensor.scales,
            scale_count(tensor.dtype, tensor.shape, tensor.block_size) * CheckedSize(sizeof(float)),
            true,
            {ViewDefect::scales_size, ViewDefect::scales_null, ViewDefect::scales_misaligned});
    }

    [[nodiscard]] static bool has_good_shape(const MemoryTensor& tensor) {
        const Shape& shape = tensor.shape;
        if (shape.rank < 1 || shape.rank > limits::tensor_rank) return false;
        for (std::uint32_t i = 0; i < limits::tensor_rank; ++i) {
            const std::uint32_t dim = shape.dims[i];
            if (dim < 1 || dim > limits::dim || (i >= shape.rank && dim != 1)) return false;
        }
        return shape.elements().fits(limits::elements);
    }

    [[nodiscard]] static bool has_good_block_size(const MemoryTensor& tensor) {
        const std::uint64_t cols = tensor.shape.cols();
        const std::uint32_t size = tensor.block_size;
        if (tensor.dtype == Dtype::f32) return size == 0;
        if (tensor.dtype == Dtype::q8_0) return size == cols;
        return size > 0 && size % 2 == 0 && cols % size == 0;
    }

    struct SpanDefects {
        ViewDefect size;
        ViewDefect null;
        ViewDefect misaligned;
    };

    void check_span(std::size_t i, MutableBytes span, CheckedSize expected, bool of_floats,
                    const SpanDefects& defects) {
        if (span.size() != expected.value()) return found({defects.size, i});
        if (span.empty()) return;
        if (span.data() == nullptr) return found({defects.null, i});
        const auto address = reinterpret_cast<std::uintptr_t>(span.data());
        if (of_floats && address % alignof(float) != 0) found({defects.misaligned, i});
        spans_[span_count_++] = {address, span.size(), i};
    }

    void check_overlaps() {
        std::sort(spans_.begin(), spans_.begin() + span_count_, [](const Span& a, const Span& b) {
            return a.begin != b.begin ? a.begin < b.begin : a.tensor < b.tensor;
        });
        for (std::size_t i = 1; i < span_count_; ++i) {
            const Span& before = spans_[i - 1];
            if (before.begin + before.size > spans_[i].begin) {
                found({ViewDefect::overlaps, spans_[i].tensor, before.tensor});
            }
        }
    }

    /// An identity that is not that of the tensors would let a wrong adapter pass. False when there
    /// is no memory for it.
    [[nodiscard]] bool check_identity() {
        const std::size_t count = model_.tensors.size();
        Buffer<std::size_t> order;
        if (!order.allocate(model_.allocator, count)) return false;
        CheckedSize parameters = 0;
        for (std::size_t i = 0; i < count; ++i) {
            order[i] = i;
            parameters = parameters + model_.tensors[i].shape.elements();
        }
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            const std::uint64_t first = model_.tensors[a].hash();
            const std::uint64_t second = model_.tensors[b].hash();
            return first != second ? first < second : a < b;
        });
        Buffer<std::byte> text;
        if (!text.allocate(model_.allocator, layout_magic.size() + layout_record_bytes * count)) {
            return false;
        }
        const MutableBytes bytes(text.data(), text.size());
        std::ranges::copy(as_bytes(layout_magic), bytes.begin());
        for (std::size_t i = 0; i < count; ++i) {
            const MemoryTensor& tensor = model_.tensors[order[i]];
            if (i > 0 && model_.tensors[order[i - 1]].hash() == tensor.hash()) {
                found({ViewDefect::named_twice, order[i]});
            }
            store_layout_record(
                bytes.subspan(layout_magic.size() + layout_record_bytes * i, layout_record_bytes),
                {tensor.hash(), tensor.shape});
        }
        const Identity& identity = model_.identity;
        if (identity.tensor_count != count || identity.parameter_count != parameters.value() ||
            identity.tensor_layout_checksum != checksum_of(bytes)) {
            found({ViewDefect::identity_differs});
        }
        return true;
    }

    const MemoryModel& model_;
    Sink sink_;
    std::size_t faults_ = 0;
    Buffer<Span> spans_;
    std::size_t span_count_ = 0;
};

/// Runs a `ViewChecker`. False when there is no memory for it.
template <class Sink>
[[nodiscard]] bool check_views(const MemoryModel& model, Sink sink) {
    return ViewChecker<Sink>(model, sink).run();
}

}  // namespace trlm::adapt
