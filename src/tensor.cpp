#include "trlm/adapt/tensor.hpp"

namespace trlm::adapt {

std::string_view to_string(Dtype dtype) noexcept {
    switch (dtype) {
        case Dtype::f32:
            return "f32";
        case Dtype::q8_0:
            return "q8_0";
        case Dtype::q4_0:
            return "q4_0";
    }
    return "unsupported";
}

CheckedSize payload_bytes(Dtype dtype, const Shape& shape) noexcept {
    const CheckedSize elements = shape.elements();
    switch (dtype) {
        case Dtype::f32:
            return CheckedSize(sizeof(float)) * elements;
        case Dtype::q8_0:
            return elements;
        case Dtype::q4_0:
            if (elements.overflowed()) return elements;
            return elements.value() / 2;
    }
    return 0;
}

CheckedSize scale_count(Dtype dtype, const Shape& shape, std::uint32_t block_size) noexcept {
    const CheckedSize rows = shape.rows();
    switch (dtype) {
        case Dtype::f32:
            return 0;
        case Dtype::q8_0:
            return rows;
        case Dtype::q4_0:
            return block_size == 0 ? 0 : rows * CheckedSize(shape.cols() / block_size);
    }
    return 0;
}

std::uint32_t canonical_block_size(Dtype dtype, const Shape& shape) noexcept {
    constexpr std::uint32_t largest_block = 32;
    const std::uint64_t cols = shape.cols();
    switch (dtype) {
        case Dtype::f32:
            return 0;
        case Dtype::q8_0:
            return static_cast<std::uint32_t>(cols);
        case Dtype::q4_0:
            for (std::uint32_t block = largest_block; block >= 2; block -= 2) {
                if (cols != 0 && cols % block == 0) return block;
            }
            return 0;
    }
    return 0;
}

float scale_bound(Dtype dtype) noexcept {
    switch (dtype) {
        case Dtype::f32:
            return 0;
        case Dtype::q8_0:
            return 0x1p121F;
        case Dtype::q4_0:
            return 0x1p125F;
    }
    return 0;
}

float largest_code(Dtype dtype) noexcept {
    switch (dtype) {
        case Dtype::f32:
            return 1;
        case Dtype::q8_0:
            return 128;
        case Dtype::q4_0:
            return 8;
    }
    return 1;
}

}  // namespace trlm::adapt
